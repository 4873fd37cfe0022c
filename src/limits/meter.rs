//! What is known of one holder of limits: a caller, a tenant, or all together.

use std::time::Duration;

use jiff::Timestamp;
use std::num::NonZeroU32;

use super::bucket::{Bucket, Rate};
use super::clock::day_of;
use super::estimate::Estimate;
use super::quota::{QuotaReached, QuotaUse, next_day, next_month, until};
use super::refusal::Limited;
use super::standing::Level;
use super::tokens::{Reservation, TokenBucket};
use crate::caller::Limits;

/// The state of one holder of limits. The limits themselves are told with each question: they may change.
#[derive(Debug, Default)]
pub struct Meter {
    requests: Bucket,
    tokens: TokenBucket,
    running: u32,
    /// What of the quotas was used.
    pub quota: QuotaUse,
}

/// The time of one decision.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Of the steady clock.
    pub steady: u64,
    /// Of the calendar.
    pub calendar: Timestamp,
}

/// What stands against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A limit is reached.
    Reached {
        /// What is limited.
        limited: Limited,
        /// The limit.
        size: u64,
        /// The time after which it may pass.
        after: Duration,
    },
    /// It is more than ever may be at once.
    Never {
        /// The limit.
        size: u64,
    },
    /// The store must be asked first what was used.
    Unknown,
}

/// What a turn holds of a holder's limits.
#[derive(Debug)]
pub struct Hold {
    reservation: Option<Reservation>,
    reserved: u64,
}

impl Meter {
    /// Whether one more request fits in; if so, how the bucket would be.
    ///
    /// # Errors
    /// What stands against it.
    pub fn check_request(&self, limits: &Limits, now: Now) -> Result<Bucket, Obstacle> {
        let Some(limit) = limits.requests_per_minute else { return Ok(self.requests) };
        self.requests
            .take(Rate::per_minute(limit), now.steady, NonZeroU32::MIN)
            .map_err(|after| reached(Limited::Requests, limit, after))
    }

    /// Counts the request that was checked.
    pub fn count_request(&mut self, bucket: Bucket) {
        self.requests = bucket;
    }

    /// Whether so many turns may begin. One that takes no tokens needs only a place.
    ///
    /// # Errors
    /// What stands against it longest.
    pub fn check_turns(
        &self,
        limits: &Limits,
        now: Now,
        count: usize,
        each: Option<Estimate>,
    ) -> Result<(), Obstacle> {
        let mut obstacle = self.check_places(limits, count).err();
        if matches!(obstacle, Some(Obstacle::Never { .. })) {
            return obstacle.map_or(Ok(()), Err);
        }
        let Some(each) = each else { return obstacle.map_or(Ok(()), Err) };
        if let Some(limit) = limits.tokens_per_minute {
            let rate = Rate::per_minute(limit);
            if let Err(after) = self.tokens.check(rate, now.steady, count, each.total()) {
                obstacle = later(obstacle, reached(Limited::Tokens, limit, after));
            }
        }
        let prompts = each.prompt.saturating_mul(count as u64);
        match self.quota.check(limits, now.calendar, prompts) {
            Ok(()) => {}
            Err(QuotaReached::Unknown) => return Err(Obstacle::Unknown),
            Err(QuotaReached::Reached { limited, size, after }) => {
                obstacle = later(obstacle, Obstacle::Reached { limited, size, after });
            }
        }
        obstacle.map_or(Ok(()), Err)
    }

    fn check_places(&self, limits: &Limits, count: usize) -> Result<(), Obstacle> {
        let Some(limit) = limits.concurrent_turns else { return Ok(()) };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > limit.get() {
            return Err(Obstacle::Never { size: limit.get().into() });
        }
        if self.running.saturating_add(count) > limit.get() {
            return Err(reached(Limited::Turns, limit, super::SOON));
        }
        Ok(())
    }

    /// Begins one of the `count` turns that were checked.
    pub fn begin_turn(&mut self, limits: &Limits, now: Now, count: usize, each: Option<Estimate>) -> Hold {
        self.running = self.running.saturating_add(1);
        let reserved = each.map_or(0, Estimate::total);
        self.quota.reserve(reserved);
        let reservation = limits.tokens_per_minute.filter(|_| each.is_some());
        let reservation = reservation
            .map(|limit| self.tokens.reserve(Rate::per_minute(limit), now.steady, count, reserved));
        Hold { reservation, reserved }
    }

    /// Ends a turn that took so many tokens.
    pub fn end_turn(&mut self, hold: &Hold, now: Now, tokens: u64) {
        self.running = self.running.saturating_sub(1);
        self.quota.settle(day_of(now.calendar), hold.reserved, tokens);
        if let Some(reservation) = &hold.reservation {
            self.tokens.settle(reservation, now.steady, tokens);
        }
    }

    /// Whether it is like a new one: what was used of quotas, the store knows.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        self.running == 0 && self.requests.is_full(now) && self.tokens.is_fresh(now)
    }

    /// How things stand with requests.
    #[must_use]
    pub fn requests_left(&self, limits: &Limits, now: Now) -> Option<Level> {
        let limit = limits.requests_per_minute?;
        Some(Level::of_bucket(self.requests, Rate::per_minute(limit), now.steady))
    }

    /// How things stand with tokens: those of a minute, a day, or a month, of which least is left.
    #[must_use]
    pub fn tokens_left(&self, limits: &Limits, now: Now) -> Option<Level> {
        let minute = limits
            .tokens_per_minute
            .map(|limit| Level::of_bucket(self.tokens.bucket(), Rate::per_minute(limit), now.steady));
        let today = day_of(now.calendar);
        let used = self.quota.used(today);
        let left = |limit: u64, used: u64, over| Level {
            limit,
            remaining: limit.saturating_sub(used).saturating_sub(self.quota.reserved()),
            reset: until(over, now.calendar),
        };
        let day =
            limits.tokens_per_day.zip(used).map(|(limit, used)| left(limit.get(), used.day, next_day(today)));
        let month = limits
            .tokens_per_month
            .zip(used)
            .map(|(limit, used)| left(limit.get(), used.month, next_month(today)));
        Level::tightest([minute, day, month])
    }
}

fn reached(limited: Limited, limit: NonZeroU32, after: Duration) -> Obstacle {
    Obstacle::Reached { limited, size: limit.get().into(), after }
}

/// That of the two which stands longer.
fn later(one: Option<Obstacle>, other: Obstacle) -> Option<Obstacle> {
    match (one, other) {
        (Some(Obstacle::Reached { after: first, .. }), Obstacle::Reached { after: second, .. })
            if first >= second =>
        {
            one
        }
        _ => Some(other),
    }
}
