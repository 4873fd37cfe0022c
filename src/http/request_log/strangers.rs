//! The lines of requests that were not let in, and of those beyond a limit: so many a second, and then their number.
//!
//! Anybody can send them, as fast as he likes, and each costs next to nothing, if it is not for its line. The metrics count
//! all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

/// Lines in a [`WINDOW`].
const LINES: u32 = 20;

const WINDOW: Duration = Duration::from_secs(1);

/// Says which of them have a line of their own. Cheap to clone. What was left out is told at the end of its window, and when
/// the last clone is dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Strangers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    begun: Option<Instant>,
    lines: u32,
    left_out: LeftOut,
}

/// How many have no line, by how they were refused.
#[derive(Debug, Default)]
struct LeftOut {
    unauthorized: u64,
    forbidden: u64,
    rate_limited: u64,
    others: u64,
}

impl Strangers {
    /// Whether there is a line for one more, which ended with that status; else it is counted.
    pub(super) fn have_room(&self, status: Option<StatusCode>) -> bool {
        let now = Instant::now();
        let mut window = self.0.window();
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= WINDOW) {
            window.tell();
            *window = Window { begun: Some(now), ..Window::default() };
        }
        if window.lines < LINES {
            window.lines += 1;
            return true;
        }
        let is_first = window.left_out.count(status);
        drop(window);
        if is_first {
            self.tell_soon();
        }
        false
    }

    /// Tells of what was left out though nobody comes any more.
    fn tell_soon(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let inner = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            tokio::time::sleep(WINDOW).await;
            if let Some(inner) = inner.upgrade() {
                inner.window().tell();
            }
        });
    }
}

impl Inner {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.window().tell();
    }
}

impl Window {
    fn tell(&mut self) {
        let LeftOut { unauthorized, forbidden, rate_limited, others } = std::mem::take(&mut self.left_out);
        let count = unauthorized + forbidden + rate_limited + others;
        if count > 0 {
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
}

impl LeftOut {
    /// Whether it is the first one.
    fn count(&mut self, status: Option<StatusCode>) -> bool {
        let is_first = self.unauthorized + self.forbidden + self.rate_limited + self.others == 0;
        *match status {
            Some(StatusCode::UNAUTHORIZED) => &mut self.unauthorized,
            Some(StatusCode::FORBIDDEN) => &mut self.forbidden,
            Some(StatusCode::TOO_MANY_REQUESTS) => &mut self.rate_limited,
            _ => &mut self.others,
        } += 1;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_so_many_lines_and_the_next_one_has_them_anew() {
        let strangers = Strangers::default();
        let lines =
            |count: u32| (0..count).filter(|_| strangers.have_room(Some(StatusCode::UNAUTHORIZED))).count();
        assert_eq!(lines(1000), LINES as usize);
        assert_eq!(strangers.0.window().left_out.unauthorized, 1000 - u64::from(LINES));
        strangers.0.window().begun = Instant::now().checked_sub(WINDOW);
        assert_eq!(lines(1000), LINES as usize);
        assert_eq!(strangers.0.window().left_out.unauthorized, 1000 - u64::from(LINES), "counted anew");
    }

    #[test]
    fn each_is_counted_by_how_it_was_refused() {
        let mut left_out = LeftOut::default();
        assert!(left_out.count(Some(StatusCode::TOO_MANY_REQUESTS)));
        assert!(!left_out.count(Some(StatusCode::FORBIDDEN)));
        assert!(!left_out.count(None));
        assert_eq!((left_out.rate_limited, left_out.forbidden, left_out.others), (1, 1, 1));
    }
}
