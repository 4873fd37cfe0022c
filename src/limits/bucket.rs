//! How much may be taken in a minute: a bucket that fills evenly (GCRA, by [`governor`]).
//!
//! A bucket is a value: taking from it gives the bucket as it would be. So several can be asked before any is changed, and
//! what was taken can be settled afterwards (see [`super::tokens`]). Time is that of [`super::clock`], in nanoseconds.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, RateLimiter, StateStore};

const MINUTE: u64 = 60_000_000_000;

/// The latest time at which a bucket may be full: far from where the arithmetic ends, 146 years away.
const NEVER: u64 = u64::MAX / 4;

/// How much a minute gives, and a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

/// How full a bucket is: what it lacks comes back until that time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: u64,
}

impl Rate {
    /// So many a minute.
    #[must_use]
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self(count)
    }

    /// How many a minute.
    #[must_use]
    pub fn get(self) -> NonZeroU32 {
        self.0
    }

    /// The time in which `count` come back. Rounded up, so that never more than the rate is given.
    #[must_use]
    pub fn time_of(self, count: u64) -> u64 {
        self.interval().saturating_mul(count)
    }

    /// As much of `count` as a full bucket holds; 1 at least.
    #[must_use]
    pub fn at_most(self, count: u64) -> NonZeroU32 {
        u32::try_from(count)
            .map_or(self.0, |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN).min(self.0))
    }

    fn interval(self) -> u64 {
        MINUTE.div_ceil(u64::from(self.0.get()))
    }

    fn quota(self) -> Quota {
        // A time of more than none always makes one.
        Quota::with_period(Duration::from_nanos(self.interval()))
            .unwrap_or(Quota::per_minute(self.0))
            .allow_burst(self.0)
    }
}

impl Bucket {
    /// One that is full from that time on.
    fn full_at(time: u64) -> Self {
        Self { full_at: time.min(NEVER) }
    }

    /// The bucket without `count`.
    ///
    /// # Errors
    /// The time after which it holds so many; if it never can, that until it is full.
    pub fn take(self, rate: Rate, now: u64, count: NonZeroU32) -> Result<Self, Duration> {
        let lack = Lack(Cell::new(self.full_at.saturating_sub(now)));
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(rate.quota(), lack, Still);
        match limiter.check_n(count) {
            Ok(Ok(())) => Ok(Self::full_at(now.saturating_add(limiter.into_state_store().0.get()))),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(Still.now())),
            Err(_more_than_it_holds) => Err(self.full_in(now)),
        }
    }

    /// The bucket without what takes that time to come back, even if it does not hold so much: then it must come back before
    /// anything else is given.
    #[must_use]
    pub fn without(self, now: u64, time: u64) -> Self {
        Self::full_at(self.full_at.max(now).saturating_add(time))
    }

    /// How much it holds.
    #[must_use]
    pub fn remaining(self, rate: Rate, now: u64) -> u32 {
        let lacking = self.full_at.saturating_sub(now).div_ceil(rate.interval());
        u32::try_from(lacking).map_or(0, |lacking| rate.0.get().saturating_sub(lacking))
    }

    /// The time until it is full.
    #[must_use]
    pub fn full_in(self, now: u64) -> Duration {
        Duration::from_nanos(self.full_at.saturating_sub(now))
    }

    /// Whether it is like a new one.
    #[must_use]
    pub fn is_full(self, now: u64) -> bool {
        self.full_at <= now
    }
}

/// What governor keeps of a bucket: the time until it is full.
struct Lack(Cell<u64>);

impl StateStore for Lack {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (result, lack) = decide(Some(Nanos::new(self.0.get())))?;
        self.0.set(lack.as_u64());
        Ok(result)
    }
}

/// The time of one decision: it is always now.
struct Still;

impl Clock for Still {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(count: u32) -> Rate {
        Rate::per_minute(NonZeroU32::new(count).unwrap())
    }

    fn count(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn it_gives_what_it_holds_and_then_tells_the_true_wait() {
        let rate = rate(20);
        let mut bucket = Bucket::default();
        for taken in 1..=20 {
            bucket = bucket.take(rate, 0, count(1)).unwrap();
            assert_eq!(bucket.remaining(rate, 0), 20 - taken);
        }
        assert_eq!(bucket.full_in(0), Duration::from_secs(60));
        let wait = bucket.take(rate, 0, count(1)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(3));
        let then = u64::try_from(wait.as_nanos()).unwrap();
        assert!(bucket.take(rate, then - 1, count(1)).is_err());
        assert_eq!(bucket.take(rate, then, count(1)).unwrap().remaining(rate, then), 0);
    }

    #[test]
    fn a_debt_comes_back_first() {
        let rate = rate(60);
        let bucket = Bucket::default().without(0, rate.time_of(90));
        assert_eq!(bucket.remaining(rate, 0), 0);
        assert_eq!(bucket.take(rate, 0, count(1)).unwrap_err(), Duration::from_secs(31));
        let beyond_all = Bucket::default().without(u64::MAX / 2, u64::MAX);
        assert_eq!(beyond_all.remaining(rate, 0), 0);
        assert!(beyond_all.take(rate, 0, count(60)).is_err(), "and nothing overflows");
    }

    #[test]
    fn a_full_one_gives_all_it_holds_at_once_whatever_the_rate() {
        for per_minute in [1, 7, 59, 1_000_003, u32::MAX] {
            let rate = rate(per_minute);
            let now = 12_345;
            let bucket = Bucket::default().take(rate, now, rate.at_most(u64::MAX)).unwrap();
            assert_eq!(bucket.remaining(rate, now), 0, "{per_minute}");
            assert!(bucket.take(rate, now, count(1)).is_err(), "{per_minute}");
        }
        assert_eq!(rate(5).at_most(0), count(1));
    }

    proptest! {
        /// Whenever something is given, all that was given since any time before is no more than a full bucket and what came back.
        #[test]
        fn in_no_interval_more_is_given_than_it_holds_and_gets(
            per_minute in 1..5_000_u32,
            asked in prop::collection::vec((0..20_000_000_000_u64, 1..300_u32), 1..80),
        ) {
            let rate = rate(per_minute);
            let (mut bucket, mut now, mut given) = (Bucket::default(), 0, Vec::new());
            for (later, wanted) in asked {
                now += later;
                match bucket.take(rate, now, count(wanted)) {
                    Ok(then) => {
                        bucket = then;
                        given.push((now, u64::from(wanted)));
                    }
                    Err(wait) if wanted <= per_minute => {
                        let then = now + u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert!(bucket.take(rate, then, count(wanted)).is_ok(), "the wait is long enough");
                        prop_assert!(bucket.take(rate, then - 1, count(wanted)).is_err(), "and no longer");
                    }
                    Err(_never) => {}
                }
            }
            for (index, (from, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (at, count) in &given[index..] {
                    sum += count;
                    let most = u128::from(per_minute) + u128::from(at - from) * u128::from(per_minute) / u128::from(MINUTE);
                    prop_assert!(u128::from(sum) <= most, "{sum} of {most}");
                }
            }
        }
    }
}
