//! What a request costs in the limiter: counted, let in, settled, and told how things stand, by the limits of its caller, its
//! tenant and the server. To be less than 2 µs each.
//!
//!     cargo bench --bench limits
#![expect(clippy::unwrap_used, reason = "a benchmark is a program of its own")]

use std::num::{NonZeroU32, NonZeroU64};

use couplet::caller::Limits;
use couplet::caller::{Caller, CallerId, TenantName};
use couplet::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use couplet::limits::accounts::Accounts;
use couplet::limits::estimate::Estimate;
use couplet::limits::limiter::{LimitSettings, Limiter};
use couplet::store::Store;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;

criterion_group!(benches, requests, turns);
criterion_main!(benches);

/// A limiter that refuses nothing, and so many callers that it forgets none.
fn limiter() -> (Limiter, Vec<Caller>) {
    let limits = Limits {
        requests_per_minute: NonZeroU32::new(u32::MAX),
        tokens_per_minute: NonZeroU32::new(u32::MAX),
        concurrent_turns: NonZeroU32::new(u32::MAX),
        tokens_per_day: NonZeroU64::new(u64::MAX),
        tokens_per_month: None,
    };
    let settings =
        LimitSettings { caller: limits, tenants: [(TenantName::default(), limits)].into(), all: limits };
    let accounts = Accounts::new(Store::in_memory().unwrap()).unwrap();
    let limiter = Limiter::new(settings, accounts);
    let caller = |number| Caller { id: CallerId::new(&format!("key_{number:016x}")), ..Caller::anyone() };
    (limiter, (0..1000).map(caller).collect())
}

fn requests(criterion: &mut Criterion) {
    let (limiter, callers) = limiter();
    let mut next = callers.iter().cycle();
    criterion.bench_function("a request is counted", |bencher| {
        bencher.iter(|| limiter.count_request(next.next().unwrap()).unwrap());
    });
    criterion.bench_function("how things stand", |bencher| {
        bencher.iter(|| limiter.standing(next.next().unwrap()));
    });
}

fn turns(criterion: &mut Criterion) {
    let (limiter, callers) = limiter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for caller in &callers {
        runtime.block_on(limiter.learn_usage(caller)).unwrap();
    }
    let usage = Usage { input: 100, output: 10, ..Usage::default() };
    let end = AnswerEvent::Ended(AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage });
    let mut next = callers.iter().cycle();
    criterion.bench_function("a turn is let in and settled", |bencher| {
        bencher.iter(|| {
            let estimate = Some(Estimate { prompt: 100, answer: 100 });
            let taken = limiter.take_turns(next.next().unwrap(), 1, estimate).now_or_never();
            taken.unwrap().unwrap()[0].event(&end);
        });
    });
}
