//! How things stand with a caller's limits.

use std::time::Duration;

use super::bucket::{Bucket, Rate};

/// How things stand: with the limit of which least is left, of all that apply. What is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// With requests.
    pub requests: Option<Level>,
    /// With tokens.
    pub tokens: Option<Level>,
}

/// How things stand with one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The limit.
    pub limit: u64,
    /// How much of it is left.
    pub remaining: u64,
    /// The time until all of it is there again.
    pub reset: Duration,
}

impl Level {
    /// That of a bucket.
    #[must_use]
    pub fn of_bucket(bucket: Bucket, rate: Rate, now: u64) -> Self {
        Self {
            limit: rate.get().get().into(),
            remaining: bucket.remaining(rate, now).into(),
            reset: bucket.full_in(now),
        }
    }

    /// That of which the least part is left; of equals the one that takes longest to be there again.
    pub fn tightest(levels: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        levels.into_iter().flatten().min_by(|one, other| {
            // The same as comparing the parts, without rounding.
            let part = |of: &Self, to: &Self| u128::from(of.remaining) * u128::from(to.limit);
            part(one, other).cmp(&part(other, one)).then(other.reset.cmp(&one.reset))
        })
    }
}

impl Standing {
    /// The tighter of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: Level::tightest([self.requests, other.requests]),
            tokens: Level::tightest([self.tokens, other.tokens]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_of_which_the_least_part_is_left_is_told() {
        let level =
            |limit, remaining, seconds| Some(Level { limit, remaining, reset: Duration::from_secs(seconds) });
        let (roomy, tight) = (level(1_000_000, 400_000, 1), level(10, 3, 1));
        assert_eq!(Level::tightest([roomy, None, tight]), tight);
        assert_eq!(Level::tightest([level(10, 5, 1), level(20, 10, 9)]), level(20, 10, 9));
        assert_eq!(Level::tightest([None, None]), None);
    }
}
