use super::*;
use crate::caller::CallerId;
use crate::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use crate::limits::clock::fake::FakeClock;
use crate::limits::refusal::Limited;
use crate::store::Store;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

mod many;

const TIME: &str = "2026-11-30T21:00:00Z";

struct Bench {
    limiter: Limiter,
    clock: FakeClock,
    store: Store,
}

fn bench(settings: LimitSettings) -> Bench {
    with_store(settings, Store::in_memory().unwrap(), 1000)
}

fn with_store(settings: LimitSettings, store: Store, max_callers: usize) -> Bench {
    let clock = FakeClock::at(TIME);
    let accounts = Accounts::new(store.clone()).unwrap();
    let limiter = Limiter::with_clock(settings, accounts, clock.clock(), max_callers);
    Bench { limiter, clock, store }
}

impl Bench {
    async fn turn(&self, caller: &Caller, estimate: u64) -> Result<Permit, Refusal> {
        let estimate = Estimate { prompt: estimate / 2, answer: estimate.div_ceil(2) };
        self.limiter.take_turns(caller, 1, Some(estimate)).await.map(|mut permits| permits.remove(0))
    }
}

fn caller(id: &str) -> Caller {
    Caller { id: CallerId::new(id), name: id.into(), ..Caller::anyone() }
}

fn of_caller(caller: Limits) -> LimitSettings {
    LimitSettings { caller, ..LimitSettings::default() }
}

fn requests(count: u32) -> Limits {
    Limits { requests_per_minute: NonZeroU32::new(count), ..Limits::default() }
}

fn tokens(count: u32) -> Limits {
    Limits { tokens_per_minute: NonZeroU32::new(count), ..Limits::default() }
}

fn turns(count: u32) -> Limits {
    Limits { concurrent_turns: NonZeroU32::new(count), ..Limits::default() }
}

fn daily(count: u64) -> Limits {
    Limits { tokens_per_day: NonZeroU64::new(count), ..Limits::default() }
}

fn started(input: u64) -> AnswerEvent {
    let usage = Usage { input, output: 1, ..Usage::default() };
    AnswerEvent::Started { model: "sonnet".to_owned(), usage, unheeded: Vec::new() }
}

fn ended(input: u64, output: u64) -> AnswerEvent {
    let usage = Usage { input, cache_read: 20, cache_creation: 30, output, thinking: 0 };
    AnswerEvent::Ended(AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage })
}

fn remaining(bench: &Bench, caller: &Caller) -> (Option<u64>, Option<u64>) {
    let standing = bench.limiter.standing(caller);
    (standing.requests.map(|level| level.remaining), standing.tokens.map(|level| level.remaining))
}

#[test]
fn what_one_limit_refuses_has_taken_nothing_from_the_others() {
    let name = TenantName::new("team").unwrap();
    let settings = LimitSettings {
        caller: requests(10),
        tenants: [(name.clone(), requests(5))].into(),
        all: requests(1),
    };
    let bench = bench(settings);
    let ann = Caller { tenant: name, ..caller("ann") };
    assert_eq!(bench.limiter.count_request(&ann), Ok(()));
    for _ in 0..20 {
        let refused = bench.limiter.count_request(&ann).unwrap_err();
        let after = Duration::from_secs(60);
        assert_eq!(refused, Refusal::Reached { limited: Limited::Requests, of: Holder::All, size: 1, after });
    }
    let shares = bench.limiter.0.shares(&ann, bench.limiter.0.now()).unwrap();
    let left: Vec<_> = shares
        .iter()
        .map(|share| {
            lock(&share.meter).requests_left(&share.limits, bench.limiter.0.now()).unwrap().remaining
        })
        .collect();
    assert_eq!(left, [9, 4, 0]);
    assert_eq!(remaining(&bench, &ann), (Some(0), None), "the tightest is told");
}

#[tokio::test]
async fn the_longest_wait_is_told_and_after_it_the_turn_passes() {
    let limits = LimitSettings { caller: tokens(60), all: tokens(6000), ..LimitSettings::default() };
    let bench = bench(limits);
    let (ann, bob) = (caller("ann"), caller("bob"));
    drop(bench.turn(&ann, 60).await.unwrap());
    assert_eq!(remaining(&bench, &ann), (None, Some(60)), "nothing was taken");
    let mut permit = bench.turn(&ann, 60).await.unwrap();
    permit.event(&ended(10, 6000));
    let refused = bench.turn(&ann, 10).await.unwrap_err();
    // 6,060 were taken of 60.
    let after = Duration::from_secs(6010);
    assert_eq!(refused, Refusal::Reached { limited: Limited::Tokens, of: Holder::Caller, size: 60, after });
    assert!(matches!(bench.turn(&bob, 10).await, Err(Refusal::Reached { of: Holder::All, .. })));
    bench.clock.advance(Duration::from_millis(6_009_999));
    assert!(bench.turn(&ann, 10).await.is_err());
    bench.clock.advance(Duration::from_millis(1));
    assert!(bench.turn(&ann, 10).await.is_ok());
}

#[tokio::test]
async fn a_turn_is_settled_with_what_the_model_says_it_took() {
    let bench = bench(of_caller(tokens(10_000)));
    let ann = caller("ann");
    let mut permit = bench.turn(&ann, 4000).await.unwrap();
    assert_eq!(remaining(&bench, &ann).1, Some(6000), "reserved");
    permit.event(&started(10));
    permit.event(&AnswerEvent::Text("x".repeat(4000)));
    permit.event(&ended(10, 5));
    assert_eq!(remaining(&bench, &ann).1, Some(10_000 - 65), "all kinds of tokens count");
    drop(permit);
    assert_eq!(remaining(&bench, &ann).1, Some(10_000 - 65), "once");
}

#[tokio::test]
async fn who_leaves_before_the_end_pays_for_the_prompt_and_what_he_was_told() {
    let bench = bench(of_caller(tokens(10_000)));
    let ann = caller("ann");
    let mut permit = bench.turn(&ann, 4000).await.unwrap();
    permit.event(&started(100));
    permit.event(&AnswerEvent::Reasoning("x".repeat(2000)));
    permit.event(&AnswerEvent::ToolArguments("x".repeat(2001)));
    drop(permit);
    assert_eq!(remaining(&bench, &ann).1, Some(10_000 - 100 - 1001));

    // Not even the first word came, but a process had the turn.
    let mut permit = bench.turn(&ann, 800).await.unwrap();
    let (sink, answer) = crate::claude::sink::answer();
    permit.asked(answer.origin());
    sink.comes_from(crate::claude::sink::ProcessOrigin::Started);
    drop(permit);
    assert_eq!(remaining(&bench, &ann).1, Some(10_000 - 1101 - 300));

    // It failed before the model read anything.
    let mut permit = bench.turn(&ann, 800).await.unwrap();
    permit.asked(answer.origin());
    permit.failed(&crate::claude::failure::TurnFailure::Busy);
    drop(permit);
    assert_eq!(remaining(&bench, &ann).1, Some(10_000 - 1101 - 300));
}

#[tokio::test]
async fn places_are_free_again_when_turns_end_however_they_end() {
    let bench = bench(of_caller(turns(2)));
    let ann = caller("ann");
    let mut ends = bench.turn(&ann, 1).await.unwrap();
    let leaves = bench.turn(&ann, 1).await.unwrap();
    let refused = bench.turn(&ann, 1).await.unwrap_err();
    let after = super::super::SOON;
    assert_eq!(refused, Refusal::Reached { limited: Limited::Turns, of: Holder::Caller, size: 2, after });
    assert!(bench.turn(&caller("bob"), 1).await.is_ok(), "others have their own");
    ends.event(&ended(1, 1));
    let counting = bench.limiter.take_turns(&ann, 1, None).await.unwrap();
    assert!(bench.turn(&ann, 1).await.is_err(), "counting tokens takes a place too");
    drop((leaves, counting));
    assert_eq!(bench.limiter.take_turns(&ann, 2, None).await.unwrap().len(), 2);
    let never = bench.limiter.take_turns(&ann, 3, None).await.unwrap_err();
    assert_eq!(never, Refusal::TooManyTurns { asked: 3, of: Holder::Caller, size: 2 });
}

#[tokio::test]
async fn a_caller_s_own_limits_win_one_by_one() {
    let bench = bench(of_caller(Limits { tokens_per_minute: NonZeroU32::new(100), ..requests(10) }));
    let ann = Caller { limits: requests(3), ..caller("ann") };
    assert_eq!(remaining(&bench, &ann), (Some(3), Some(100)));
    assert_eq!(remaining(&bench, &caller("bob")), (Some(10), Some(100)));
}

#[tokio::test]
async fn nothing_is_kept_of_callers_without_limits_but_their_accounts() {
    let bench = bench(LimitSettings::default());
    let ann = caller("ann");
    bench.limiter.count_request(&ann).unwrap();
    let mut permits =
        bench.limiter.take_turns(&ann, 2, Some(Estimate { prompt: 1, answer: 1 })).await.unwrap();
    assert_eq!(bench.limiter.active_callers(), 0);
    for permit in &mut permits {
        permit.event(&started(10));
        permit.event(&ended(10, 5));
    }
    bench.limiter.accounts().write().unwrap();
    let used = bench.store.used_tokens(&Whose::All, bench.clock.clock().today()).unwrap();
    assert_eq!(used, (130, 130));
    let query = crate::store::usage::UsageQuery {
        from: bench.clock.clock().today(),
        to: bench.clock.clock().today(),
        caller: None,
        tenant: None,
        model: None,
        limit: 10,
    };
    let rows = bench.store.usage(&query).unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].amounts.requests, &*rows[0].key.model),
        (1, "sonnet"),
        "one request with two answers"
    );
}

#[tokio::test]
async fn a_quota_is_what_the_store_says_and_what_came_since() {
    let store = Store::in_memory().unwrap();
    let settings = || of_caller(daily(200));
    let first = with_store(settings(), store.clone(), 10);
    let ann = caller("ann");
    let mut permit = first.turn(&ann, 2).await.unwrap();
    permit.event(&started(10));
    permit.event(&ended(10, 5));
    // It is not in the store yet, and counts nevertheless.
    assert_eq!(remaining(&first, &ann).1, Some(135));
    drop((permit, first));

    let second = with_store(settings(), store.clone(), 10);
    second.limiter.learn_usage(&ann).await.unwrap();
    assert_eq!(remaining(&second, &ann).1, Some(135));
    let mut permit = second.turn(&ann, 2).await.unwrap();
    permit.event(&ended(10, 140));
    let refused = second.turn(&ann, 2).await.unwrap_err();
    let after = Duration::from_secs(3 * 3600);
    assert_eq!(
        refused,
        Refusal::Reached { limited: Limited::DailyTokens, of: Holder::Caller, size: 200, after }
    );
    assert!(second.turn(&caller("bob"), 2).await.is_ok());
    second.clock.advance(after);
    assert!(second.turn(&ann, 2).await.is_ok(), "another day");
}

#[tokio::test]
async fn what_was_used_is_not_forgotten_with_a_meter() {
    let bench = with_store(of_caller(daily(100)), Store::in_memory().unwrap(), 1);
    let ann = caller("ann");
    let mut permit = bench.turn(&ann, 2).await.unwrap();
    permit.event(&ended(10, 100));
    drop(permit);
    assert!(bench.turn(&caller("bob"), 2).await.is_ok(), "it has the only meter now");
    bench.clock.advance(Duration::from_secs(1));
    assert!(matches!(bench.turn(&ann, 2).await, Err(Refusal::Reached { limited: Limited::DailyTokens, .. })));
}

#[tokio::test]
async fn without_the_store_nobody_gets_past_a_quota_and_nobody_else_is_held_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let bench = with_store(of_caller(daily(100)), store, 10);
    rusqlite::Connection::open(crate::store::path(folder.path()))
        .unwrap()
        .execute_batch("DROP TABLE usage")
        .unwrap();
    assert_eq!(bench.turn(&caller("ann"), 2).await.unwrap_err(), Refusal::UsageUnknown);
    let free = with_store(LimitSettings::default(), bench.store.clone(), 10);
    let mut permit = free.turn(&caller("ann"), 2).await.unwrap();
    permit.event(&ended(10, 100));
    assert!(free.limiter.accounts().write().is_err());
    assert!(free.turn(&caller("ann"), 2).await.is_ok());
}
