//! Many callers, many threads.

use super::*;

#[test]
fn callers_that_cannot_be_forgotten_keep_others_out_until_they_can() {
    let bench = with_store(of_caller(requests(60)), Store::in_memory().unwrap(), 100);
    let count = |number: usize| bench.limiter.count_request(&caller(&format!("caller {number}")));
    for number in 0..100 {
        assert_eq!(count(number), Ok(()));
    }
    assert_eq!(count(100), Err(Refusal::TooManyCallers));
    assert_eq!(count(7), Ok(()), "who is known may go on");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(count(100), Ok(()), "all buckets but one are full again");
    assert_eq!(bench.limiter.active_callers(), 2);
    let shares = bench.limiter.0.shares(&caller("caller 7"), bench.limiter.0.now()).unwrap();
    assert_eq!(
        lock(&shares[0].meter).requests_left(&shares[0].limits, bench.limiter.0.now()).unwrap().remaining,
        59,
        "that of the one who went on was kept"
    );
}

#[test]
fn many_callers_take_no_more_memory_than_is_said() {
    take_no_more_than_is_said(MAX_METERS / 10, 50_000);
}

#[test]
#[ignore = "takes most of a minute without optimization"]
fn a_million_callers_take_no_more_memory_than_is_said() {
    take_no_more_than_is_said(MAX_METERS, 1_000_000);
}

/// So many callers one after the other, and all at once, where `max` are kept apart.
fn take_no_more_than_is_said(max: usize, callers: usize) {
    let limits = Limits {
        tokens_per_day: NonZeroU64::new(1000),
        tokens_per_minute: NonZeroU32::new(9),
        ..requests(60)
    };
    let bench = with_store(of_caller(limits), Store::in_memory().unwrap(), max);
    let long = "x".repeat(500);
    allocation_counter::measure(|| {
        for number in 0..callers {
            // A thousand a second, and each bucket is full again within one.
            if number % 1000 == 0 {
                bench.clock.advance(Duration::from_secs(1));
            }
            let id = if number % 2 == 0 { format!("sub_{number}") } else { format!("{long}{number}") };
            assert_eq!(bench.limiter.count_request(&caller(&id)), Ok(()), "{number}");
        }
    });
    assert!(bench.limiter.active_callers() < 5000, "{}", bench.limiter.active_callers());

    let bench = with_store(of_caller(limits), Store::in_memory().unwrap(), max);
    let mut refused = 0;
    let memory = allocation_counter::measure(|| {
        for number in 0..callers {
            let id = format!("{}{number}", &long[..number % 500]);
            refused += usize::from(bench.limiter.count_request(&caller(&id)).is_err());
        }
    });
    assert_eq!((bench.limiter.active_callers(), refused), (max, callers - max));
    let each = |bytes: i64| usize::try_from(bytes).unwrap() / max;
    let most = usize::try_from(memory.bytes_max).unwrap() / max;
    println!("{} bytes for each of {max} callers, {most} while the table grows", each(memory.bytes_current));
    assert!(each(memory.bytes_current) <= 250 + 130 && most <= 500, "{memory:?}");
}

/// The real clock, and threads that take, settle and owe.
#[test]
fn whatever_threads_do_no_more_is_given_than_the_limits_say() {
    let settings = LimitSettings { caller: tokens(60_000), all: tokens(90_000), ..LimitSettings::default() };
    let limiter = Limiter::new(settings, Accounts::new(Store::in_memory().unwrap()).unwrap());
    let begun = Instant::now();
    let taken = |id: &'static str, seed: u64| {
        let limiter = limiter.clone();
        std::thread::spawn(move || {
            let (mut sum, mut random) = (0, seed);
            while begun.elapsed() < Duration::from_millis(400) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let estimate = Estimate { prompt: 1, answer: 100 + (random >> 56) };
                let Ok(mut permits) = limiter.try_take_turns(&caller(id), 1, Some(estimate)) else {
                    continue;
                };
                // Never more than was reserved, so that nothing is owed at the end.
                let used = (random >> 33) % estimate.total();
                let usage = Usage { output: used, ..Usage::default() };
                let end = AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage };
                permits[0].event(&AnswerEvent::Ended(end));
                sum += used;
            }
            sum
        })
    };
    let of_ann: Vec<_> = (1..=3).map(|seed| taken("ann", seed)).collect();
    let of_bob: Vec<_> = (4..=5).map(|seed| taken("bob", seed)).collect();
    let sum = |threads: Vec<std::thread::JoinHandle<u64>>| -> u64 {
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    };
    let (ann, bob) = (sum(of_ann), sum(of_bob));
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap() + 1;
    assert!(ann <= 60_000 + milliseconds && bob <= 60_000 + milliseconds, "{ann}, {bob}");
    assert!(ann + bob <= 90_000 + milliseconds * 3 / 2, "{ann} + {bob}");
    assert!(ann + bob >= 89_000, "and all of it is given: {ann} + {bob}");
}
