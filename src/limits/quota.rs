//! Tokens in a day and a month. The calendar is UTC's.
//!
//! What was used is what the store says, and what was settled since it was asked. Nothing else is kept, so a restart or another
//! day changes nothing but that the store is asked again.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::clock::day_of;
use super::refusal::Limited;
use crate::caller::Limits;

/// What was used of somebody's quotas.
#[derive(Debug, Default)]
pub struct QuotaUse {
    /// As of that day; on another the store must be asked.
    known: Option<Known>,
    /// What turns under way will take, as far as can be told.
    reserved: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    day: Date,
    used: Used,
}

/// Tokens that were used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// That day.
    pub day: u64,
    /// That month, the day included.
    pub month: u64,
}

/// Why a turn may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaReached {
    /// The store must be asked first.
    Unknown,
    /// One is used up, or would be by the prompt alone.
    Reached {
        /// Which.
        limited: Limited,
        /// Its size.
        size: u64,
        /// The time after which it may begin.
        after: Duration,
    },
}

impl Used {
    fn plus(self, tokens: u64) -> Self {
        Self { day: self.day.saturating_add(tokens), month: self.month.saturating_add(tokens) }
    }
}

impl QuotaUse {
    /// Whether a turn may begin whose prompts have so many tokens: there must be room for them, beside what was used and what
    /// is reserved. What is answered may go beyond the quota. A quota of which nothing is used takes every turn.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, limits: &Limits, now: Timestamp, prompts: u64) -> Result<(), QuotaReached> {
        if !limits.have_quota() {
            return Ok(());
        }
        let today = day_of(now);
        let used = self.used(today).ok_or(QuotaReached::Unknown)?;
        // The month first: its wait is the longer one.
        for (limit, used, limited, over) in [
            (limits.tokens_per_month, used.month, Limited::MonthlyTokens, next_month(today)),
            (limits.tokens_per_day, used.day, Limited::DailyTokens, next_day(today)),
        ] {
            let Some(limit) = limit else { continue };
            let size = limit.get();
            let needed = prompts.clamp(1, size);
            if used.saturating_add(needed) > size {
                return Err(QuotaReached::Reached { limited, size, after: until(over, now) });
            }
            if used.saturating_add(self.reserved).saturating_add(needed) > size {
                // Turns under way may yet take less than is reserved for them.
                return Err(QuotaReached::Reached { limited, size, after: super::SOON });
            }
        }
        Ok(())
    }

    /// What was used; `None` if the store must be asked.
    #[must_use]
    pub fn used(&self, today: Date) -> Option<Used> {
        self.known.filter(|known| known.day == today).map(|known| known.used)
    }

    /// What is reserved.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The store was asked.
    pub fn learn(&mut self, day: Date, used: Used) {
        self.known = Some(Known { day, used });
    }

    /// A turn begins.
    pub fn reserve(&mut self, tokens: u64) {
        self.reserved = self.reserved.saturating_add(tokens);
    }

    /// A turn for which `reserved` were reserved has taken `used`, which the store is told too.
    pub fn settle(&mut self, today: Date, reserved: u64, used: u64) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.known = self
            .known
            .filter(|known| known.day == today)
            .map(|known| Known { used: known.used.plus(used), ..known });
    }
}

/// The time until a day begins.
#[must_use]
pub fn until(day: Option<Date>, now: Timestamp) -> Duration {
    let begins = day.and_then(|day| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
    // There is no day after the last of the calendar.
    begins.map_or(Duration::MAX, |begins| begins.duration_since(now).unsigned_abs())
}

/// The day after.
#[must_use]
pub fn next_day(day: Date) -> Option<Date> {
    day.tomorrow().ok()
}

/// The first day of the month after.
#[must_use]
pub fn next_month(day: Date) -> Option<Date> {
    day.last_of_month().tomorrow().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use std::num::NonZeroU64;

    fn limits(day: Option<u64>, month: Option<u64>) -> Limits {
        Limits {
            tokens_per_day: day.and_then(NonZeroU64::new),
            tokens_per_month: month.and_then(NonZeroU64::new),
            ..Limits::default()
        }
    }

    fn time(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn known(day: u64, month: u64) -> QuotaUse {
        let mut quota = QuotaUse::default();
        quota.learn(date(2026, 12, 31), Used { day, month });
        quota
    }

    fn reached(limited: Limited, size: u64, hours: u64) -> Result<(), QuotaReached> {
        Err(QuotaReached::Reached { limited, size, after: Duration::from_secs(hours * 3600) })
    }

    #[test]
    fn a_quota_lasts_until_the_day_or_the_month_is_over_in_utc() {
        let now = time("2026-12-31T21:00:00Z");
        assert_eq!(known(99, 99).check(&limits(Some(100), Some(100)), now, 1), Ok(()));
        assert_eq!(
            known(100, 0).check(&limits(Some(100), None), now, 1),
            reached(Limited::DailyTokens, 100, 3)
        );
        let mid_month = time("2026-11-30T21:00:00Z");
        let mut quota = QuotaUse::default();
        quota.learn(date(2026, 11, 30), Used { day: 0, month: 100 });
        assert_eq!(
            quota.check(&limits(Some(1), Some(100)), mid_month, 1),
            reached(Limited::MonthlyTokens, 100, 3)
        );
        let mut quota = QuotaUse::default();
        quota.learn(date(2026, 11, 1), Used { day: 100, month: 100 });
        let first = time("2026-11-01T00:00:00Z");
        assert_eq!(
            quota.check(&limits(None, Some(100)), first, 1),
            reached(Limited::MonthlyTokens, 100, 720)
        );
    }

    #[test]
    fn a_prompt_must_fit_in_but_a_quota_of_which_nothing_is_used_takes_every_one() {
        let now = time("2026-12-31T12:00:00Z");
        let limits = limits(Some(100), None);
        assert_eq!(known(40, 0).check(&limits, now, 60), Ok(()));
        assert_eq!(known(40, 0).check(&limits, now, 61), reached(Limited::DailyTokens, 100, 12));
        assert_eq!(known(0, 0).check(&limits, now, 1000), Ok(()));
    }

    #[test]
    fn what_turns_under_way_may_take_is_waited_for_and_not_taken_for_used() {
        let now = time("2026-12-31T12:00:00Z");
        let mut quota = known(40, 40);
        quota.reserve(60);
        let soon =
            QuotaReached::Reached { limited: Limited::DailyTokens, size: 100, after: super::super::SOON };
        assert_eq!(quota.check(&limits(Some(100), None), now, 1), Err(soon));
        quota.settle(date(2026, 12, 31), 60, 5);
        assert_eq!(quota.used(date(2026, 12, 31)), Some(Used { day: 45, month: 45 }));
        assert_eq!(quota.check(&limits(Some(100), None), now, 55), Ok(()));
    }

    #[test]
    fn on_another_day_the_store_must_be_asked() {
        let mut quota = known(100, 100);
        let tomorrow = time("2027-01-01T00:00:00Z");
        assert_eq!(quota.check(&limits(Some(100), None), tomorrow, 1), Err(QuotaReached::Unknown));
        assert_eq!(quota.check(&Limits::default(), tomorrow, 1), Ok(()), "where there is a quota at all");
        quota.settle(day_of(tomorrow), 0, 7);
        assert_eq!(quota.used(date(2026, 12, 31)), None, "what is settled then belongs to that day");
    }
}
