//! More callers than anybody keeps apart: what is known of them takes no more memory than is said.

use std::num::{NonZeroU32, NonZeroU64};

use couplet::access::{Access, AccessSettings};
use couplet::caller::{Caller, CallerId, Limits};
use couplet::limits::accounts::Accounts;
use couplet::limits::limiter::{LimitSettings, Limiter};
use couplet::limits::refusal::Refusal;
use couplet::store::Store;

use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

/// So many are kept apart.
const KEPT_APART: u64 = 100_000;

/// The most memory for that, in bytes, while the table grows.
const MEMORY: u64 = 50_000_000;

fn limiter() -> Limiter {
    let caller = Limits {
        // So slow that none of them can be forgotten for a minute.
        requests_per_minute: NonZeroU32::new(1),
        tokens_per_day: NonZeroU64::new(1000),
        ..Limits::default()
    };
    let settings = LimitSettings { caller, ..LimitSettings::default() };
    Limiter::new(settings, Accounts::new(Store::in_memory().expect("a store")).expect("a writer"))
}

/// What becomes of one request each of so many callers, and of wrong keys.
fn come(callers: u64) -> [Seen; 2] {
    let limiter = limiter();
    let mut counts = [0_usize; 2];
    let memory = allocation_counter::measure(|| {
        for number in 0..callers {
            let id = format!("sub_{number}");
            let caller = Caller { id: CallerId::new(&id), name: id.into(), ..Caller::anyone() };
            match limiter.count_request(&caller) {
                Ok(()) => counts[0] += 1,
                Err(Refusal::TooManyCallers) => counts[1] += 1,
                Err(other) => panic!("{number}: {other:?}"),
            }
        }
    });
    println!("{callers} callers: {counts:?}, {} bytes at most", memory.bytes_max);
    // Where this takes longer than a minute, the first are forgotten, and there is room for others.
    assert!(counts[0] as u64 >= KEPT_APART.min(callers), "{counts:?}");
    assert!(limiter.active_callers() as u64 <= KEPT_APART, "{}", limiter.active_callers());
    assert!(memory.bytes_max < MEMORY, "{memory:?}");

    let settings = AccessSettings { keys: vec!["right".into()], ..AccessSettings::default() };
    let access = Access::new(&settings, Store::in_memory().expect("a store")).expect("a store");
    let memory = allocation_counter::measure(|| {
        for number in 0..callers {
            assert!(access.caller(Some(format!("wrong-{number}").as_bytes())).is_err());
        }
    });
    assert!(memory.bytes_current < 10_000, "{memory:?}");

    let (mut of_callers, mut of_keys) = (Seen::default(), Seen::default());
    of_callers.note_all("counted, while there is room", counts[0]);
    if counts[1] > 0 {
        of_callers.note_all("refused, where none of the others can be forgotten yet", counts[1]);
    }
    of_keys.note_all("refused, and nothing is kept of it", usize::try_from(callers).expect("a number"));
    [of_callers, of_keys]
}

const CALLERS: &str = "different callers at once: no more than 50 MB for all of them";
const KEYS: &str = "different wrong keys";

#[test]
fn many_callers_and_wrong_keys_take_bounded_memory() {
    let [callers, keys] = come(150_000);
    callers.tell(Class::Resources, CALLERS, Asked::Either);
    keys.tell(Class::Resources, KEYS, Asked::Either);
}

#[test]
#[ignore = "two million requests"]
fn a_million_callers_and_wrong_keys_take_bounded_memory() {
    let [callers, keys] = come(1_000_000);
    callers.tell_of_long_run(Class::Resources, CALLERS, Asked::Either);
    keys.tell_of_long_run(Class::Resources, KEYS, Asked::Either);
}
