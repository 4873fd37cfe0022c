//! The two times that limits know: a steady one for rates, and the calendar's for quotas.

use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::wall_clock;

/// That moment: when somebody first asked.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    #[cfg(test)]
    fake: Option<fake::FakeClock>,
}

impl Clock {
    /// Nanoseconds since some moment. It never goes back, whatever is done to the system's time.
    #[must_use]
    pub fn now(&self) -> u64 {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return fake.now();
        }
        u64::try_from(BEGUN.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The time of the calendar.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return fake.timestamp();
        }
        wall_clock::timestamp()
    }

    /// The day, in UTC.
    #[must_use]
    pub fn today(&self) -> Date {
        day_of(self.timestamp())
    }
}

/// The day of a time, in UTC.
#[must_use]
pub fn day_of(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date()
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use governor::clock::{Clock as _, FakeRelativeClock};
    use std::time::Duration;

    /// A clock that goes on when it is told to. Clones show the same time.
    #[derive(Debug, Clone)]
    pub(crate) struct FakeClock {
        steady: FakeRelativeClock,
        began: Timestamp,
    }

    impl FakeClock {
        /// Shows that time, as `2026-11-29T10:00:00Z`.
        pub(crate) fn at(time: &str) -> Self {
            Self { steady: FakeRelativeClock::default(), began: time.parse().unwrap() }
        }

        pub(crate) fn clock(&self) -> Clock {
            Clock { fake: Some(self.clone()) }
        }

        pub(crate) fn advance(&self, by: Duration) {
            self.steady.advance(by);
        }

        pub(super) fn now(&self) -> u64 {
            self.steady.now().as_u64()
        }

        pub(super) fn timestamp(&self) -> Timestamp {
            self.began + Duration::from_nanos(self.now())
        }
    }
}
