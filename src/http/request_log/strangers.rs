//! The lines of requests that were not let in, and of those beyond a limit: so many a second, and then their number.
//!
//! Anybody can send them, as fast as he likes, and each costs next to nothing, if it is not for its line. The metrics count
//! all of them.

use std::time::Duration;

use axum::http::StatusCode;

use crate::logging::bounded::{BoundedLines, LeftOut};

/// Says which of them have a line of their own.
pub(super) type Strangers = BoundedLines<Refused>;

/// How many have no line, by how they were refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    unauthorized: u64,
    forbidden: u64,
    rate_limited: u64,
    others: u64,
}

impl LeftOut for Refused {
    /// The status that it ended with.
    type One = Option<StatusCode>;
    const LINES: u32 = 20;
    const WINDOW: Duration = Duration::from_secs(1);

    fn count(&mut self, status: Option<StatusCode>) {
        *match status {
            Some(StatusCode::UNAUTHORIZED) => &mut self.unauthorized,
            Some(StatusCode::FORBIDDEN) => &mut self.forbidden,
            Some(StatusCode::TOO_MANY_REQUESTS) => &mut self.rate_limited,
            _ => &mut self.others,
        } += 1;
    }

    fn tell(&self, count: u64) {
        let Self { unauthorized, forbidden, rate_limited, others } = self;
        tracing::info!(
            target: "couplet::request",
            count,
            unauthorized,
            forbidden,
            rate_limited,
            others,
            "more requests were refused than have lines of their own"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_by_how_it_was_refused() {
        let mut refused = Refused::default();
        refused.count(Some(StatusCode::TOO_MANY_REQUESTS));
        refused.count(Some(StatusCode::FORBIDDEN));
        refused.count(None);
        assert_eq!((refused.rate_limited, refused.forbidden, refused.others), (1, 1, 1));
    }
}
