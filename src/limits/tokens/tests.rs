use super::*;
use proptest::prelude::*;
use std::num::NonZeroU32;

fn rate(count: u32) -> Rate {
    Rate::per_minute(NonZeroU32::new(count).unwrap())
}

const SECOND: u64 = 1_000_000_000;

fn left(bucket: &TokenBucket, rate: Rate, now: u64) -> u32 {
    bucket.bucket().remaining(rate, now)
}

#[test]
fn what_was_reserved_too_much_is_there_again_and_what_was_too_little_is_owed() {
    let rate = rate(600);
    let mut bucket = TokenBucket::default();
    let reservation = bucket.reserve(rate, 0, 1, 400);
    assert_eq!(left(&bucket, rate, 0), 200);
    bucket.settle(&reservation, 0, 100);
    assert_eq!(left(&bucket, rate, 0), 500);
    bucket.settle(&reservation, 0, 0);
    assert_eq!(left(&bucket, rate, 0), 500, "once");

    let reservation = bucket.reserve(rate, 0, 1, 500);
    bucket.settle(&reservation, 0, 1100);
    assert_eq!(left(&bucket, rate, 0), 0);
    // 600 owed, 10 a second.
    assert_eq!(bucket.check(rate, 0, 1, 1).unwrap_err(), Duration::from_millis(60_100));
    assert!(!bucket.is_fresh(119 * SECOND) && bucket.is_fresh(120 * SECOND));
}

#[test]
fn more_than_a_full_bucket_passes_when_it_is_full_and_is_shared_by_those_that_come_together() {
    let rate = rate(600);
    let mut bucket = TokenBucket::default();
    assert!(bucket.check(rate, 0, 1, 1_000_000).is_ok());
    assert!(bucket.check(rate, 0, 4, 1_000_000).is_ok());
    let reservations: Vec<_> = (0..4).map(|_| bucket.reserve(rate, 0, 4, 1_000_000)).collect();
    assert_eq!(left(&bucket, rate, 0), 0);
    for reservation in &reservations {
        bucket.settle(reservation, 0, 10);
    }
    assert_eq!(left(&bucket, rate, 0), 560);
}

/// Whoever reserves a full bucket, waits until it is full again, takes all, and gives the first one back, must not get another.
#[test]
fn what_has_come_back_meanwhile_is_not_given_back_again() {
    let rate = rate(60);
    let mut bucket = TokenBucket::default();
    let hoarded = bucket.reserve(rate, 0, 1, 60);
    let minute = 60 * SECOND;
    assert!(bucket.check(rate, minute, 1, 60).is_ok());
    bucket.reserve(rate, minute, 1, 60);
    bucket.settle(&hoarded, minute, 0);
    assert_eq!(left(&bucket, rate, minute), 0);

    // But a turn that runs for long, alone, gets all back that it did not take.
    let mut bucket = TokenBucket::default();
    let long = bucket.reserve(rate, 0, 1, 60);
    bucket.settle(&long, 30 * SECOND, 35);
    assert_eq!(left(&bucket, rate, 30 * SECOND), 55);
}

/// What is done to a bucket.
#[derive(Debug, Clone)]
enum Act {
    /// So many nanoseconds go by.
    Wait(u64),
    /// That much is reserved.
    Reserve(u64),
    /// One of those that are open is settled.
    Settle { which: usize, used: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..20 * SECOND).prop_map(Act::Wait),
        (1..800_u64).prop_map(Act::Reserve),
        (any::<usize>(), 0..1000_u64).prop_map(|(which, used)| Act::Settle { which, used }),
    ]
}

proptest! {
    /// The same as if it had been known from the beginning what each turn takes; and whenever something is reserved, all that was
    /// taken since any time before, debts included, is no more than a full bucket and what came back.
    #[test]
    fn settling_is_exact_and_in_no_interval_more_is_taken_than_it_holds_and_gets(
        per_minute in 60..3000_u32,
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let rate = rate(per_minute);
        let (mut bucket, mut now) = (TokenBucket::default(), 0);
        // All that was ever taken: when, and how much.
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let mut open: Vec<(usize, Reservation)> = Vec::new();
        for act in acts {
            match act {
                Act::Wait(time) => now += time,
                Act::Reserve(tokens) => {
                    let tokens = tokens.min(per_minute.into());
                    if let Err(wait) = bucket.check(rate, now, 1, tokens) {
                        let then = now + u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert!(bucket.check(rate, then, 1, tokens).is_ok());
                        prop_assert!(bucket.check(rate, then - 1, 1, tokens).is_err());
                    } else {
                        open.push((taken.len(), bucket.reserve(rate, now, 1, tokens)));
                        taken.push((now, tokens));
                        let mut sum = 0;
                        for (from, tokens) in taken.iter().rev() {
                            sum += tokens;
                            let came_back = u128::from(now - from) * u128::from(per_minute) / 60_000_000_000;
                            prop_assert!(u128::from(sum) <= u128::from(per_minute) + came_back);
                        }
                    }
                }
                Act::Settle { which, used } if !open.is_empty() => {
                    let (index, reservation) = open.remove(which % open.len());
                    bucket.settle(&reservation, now, used);
                    let reserved = taken[index].1;
                    taken[index].1 = used.min(reserved);
                    if used > reserved {
                        taken.push((now, used - reserved));
                    }
                }
                Act::Settle { .. } => {}
            }
            let replayed = taken
                .iter()
                .fold(Bucket::default(), |bucket, (at, tokens)| bucket.without(*at, rate.time_of(*tokens)));
            prop_assert_eq!(bucket.bucket().full_in(now), replayed.full_in(now));
            prop_assert!(bucket.open.len() == open.len());
        }
    }
}
