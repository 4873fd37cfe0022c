//! The machine's bounds are those of all tenants together.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use couplet::claude::memory::OF_A_PROCESS;
use couplet::claude::warm::WarmLimits;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{PATIENCE, answer, healthy, recital, reciting, request};
use crate::support::app::{TestApp, key_of, tenant};
use crate::support::fake_cli::eventually;
use crate::support::fake_cli::script::Step;

const LONG: Duration = Duration::from_secs(600);

fn number(health: &Value, pointer: &str) -> u64 {
    health.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {health}"))
}

fn waiting(health: &Value) -> u64 {
    number(health, "/processes/generic") + number(health, "/processes/prepared")
}

/// Tells whether more memory is ever taken than there is, until it is told to stop.
async fn stays_within_budget(app: &TestApp, stop: &tokio_util::sync::CancellationToken) {
    while !stop.is_cancelled() {
        let health = app.health().await;
        let (used, budget) = (number(&health, "/memory/used_bytes"), number(&health, "/memory/budget_bytes"));
        assert!(used <= budget, "{health}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn five_tenants_find_room_where_three_processes_have_it() {
    const TENANTS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let fake = reciting("none", vec![]);
    let app = fake.builder().await.with_tenants(&TENANTS);
    let app = app
        .with(|config| {
            config.claude.keep.processes = 100;
            config.claude.warm = WarmLimits { min: 3, max: 8, idle: LONG, max_age: LONG };
            // A small fake takes some 5 MB once it is looked at.
            config.claude.memory_budget = 3 * OF_A_PROCESS;
        })
        .start()
        .await;
    let stop = tokio_util::sync::CancellationToken::new();
    let hello = request(&[], "hello");
    let all = async {
        // Each in turn, then all at once, again and again: what is kept or waits for one is in the way of the next.
        for round in 0..6 {
            for tenant in TENANTS {
                recital(&app, tenant, &request(&[], &format!("hello {round}"))).await;
            }
            join_all(TENANTS.map(|tenant| recital(&app, tenant, &hello)))
                .await
                .iter()
                .for_each(|recital| assert_eq!(recital.said.len(), 1));
        }
        stop.cancel();
    };
    tokio::join!(all, stays_within_budget(&app, &stop));
    let health = app.health().await;
    assert!(
        waiting(&health) + number(&health, "/processes/starting") <= 1,
        "no more than half waits: {health}"
    );
}

#[tokio::test]
async fn what_a_tenant_keeps_ends_for_a_turn_of_another() {
    let fake = reciting("none", vec![]);
    let app = fake.builder().await.with_tenants(&["ann", "bob"]);
    // Each takes the whole budget, as long as it is not looked at; measured it is less. So they are kept until there are two.
    let app = app
        .with(|config| {
            config.claude.keep.processes = 2;
            config.claude.max_concurrency = 3;
        })
        .start()
        .await;
    let first = recital(&app, "ann", &request(&[], "one")).await;
    recital(&app, "ann", &request(&[], "two")).await;
    recital(&app, "bob", &request(&[], "three")).await;
    healthy(&app, "two are kept in all", |health| number(health, "/processes/live") == 2).await;
    let next = request(&[("user", "one"), ("assistant", "fine")], "and now?");
    assert_ne!(recital(&app, "ann", &next).await.process_id, first.process_id, "the oldest had to end");
}

#[tokio::test]
async fn processes_that_wait_are_shared_out_where_there_are_few() {
    const TENANTS: [&str; 3] = ["a", "b", "c"];
    let fake = reciting("none", vec![]);
    let app = fake.builder().await.with_tenants(&TENANTS);
    let app = app
        .with(|config| {
            config.claude.warm = WarmLimits { min: 4, max: 8, idle: LONG, max_age: LONG };
            config.claude.memory_budget = 8 * OF_A_PROCESS;
        })
        .start()
        .await;
    healthy(&app, "all that may wait do so for the one there is", |health| waiting(health) == 4).await;
    for tenant in TENANTS {
        recital(&app, tenant, &request(&[], "hello")).await;
    }
    let of = |token: &str| {
        let living = fake.living();
        let reports = fake.reports().into_iter();
        reports
            .filter(|report| {
                living.contains(&report.process_id) && report.credential.as_deref() == Some(token)
            })
            .count()
    };
    let begun = Instant::now();
    loop {
        let each: Vec<usize> =
            TENANTS.iter().map(|tenant| of(&crate::support::app::token_of(tenant))).collect();
        if each.iter().all(|number| *number == 1) && of(crate::support::app::TOKEN) == 1 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "one for each, not {each:?}: {}", app.health().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    healthy(&app, "and no more than that", |health| {
        waiting(health) == 4 && number(health, "/processes/starting") == 0
    })
    .await;
}

#[tokio::test]
async fn places_are_counted_for_each_tenant_and_in_all() {
    let fake = reciting("hang", vec![Step::Hang]);
    let app = fake.builder().await.with_tenants(&["few", "many"]);
    let app = app
        .with(|config| {
            config.claude.max_concurrency = 3;
            config.claude.queue_size = 1;
            config.tenants.get_mut(&tenant("few")).expect("a tenant").max_concurrency = NonZeroUsize::new(1);
        })
        .start()
        .await;
    let hang = request(&[], "hang");
    let mut hanging = Vec::new();
    for (count, name) in ["few", "many", "many"].into_iter().enumerate() {
        hanging.push(tokio::spawn(answer(&app, name, &hang)));
        eventually(PATIENCE, "it works", || fake.reports().len() == count + 1).await;
        if count == 0 {
            // One more of the same tenant waits, though there are places; the next has no place in its queue.
            hanging.push(tokio::spawn(answer(&app, name, &hang)));
            healthy(&app, "it waits", |health| health["queued"] == 1).await;
            assert_eq!(app.health().await["free_places"], 2);
            assert_eq!(answer(&app, name, &hang).await.0, 429);
        }
    }
    // Now there are three in all.
    hanging.push(tokio::spawn(answer(&app, "many", &hang)));
    healthy(&app, "one of each waits", |health| health["queued"] == 2).await;
    assert_eq!(answer(&app, "many", &hang).await.0, 429);
    assert_eq!((fake.reports().len(), app.health().await["processes"]["working"].as_u64()), (3, Some(3)));
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn more_answers_than_a_tenant_may_have_at_once_are_refused() {
    let fake = reciting("none", vec![]);
    let app = fake.builder().await.with_tenants(&["few", "many"]);
    let few = |config: &mut couplet::config::Config| {
        config.tenants.get_mut(&tenant("few")).expect("a tenant").max_concurrency = NonZeroUsize::new(1);
    };
    let app = app.with(few).start().await;
    let mut twice = request(&[], "hello");
    twice["n"] = json!(2);
    assert_eq!(answer(&app, "few", &twice).await.0, 400);
    assert_eq!(answer(&app, "many", &twice).await.0, 200);
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_processes_of_all_within_one_grace() {
    const TENANTS: [&str; 4] = ["a", "b", "c", "d"];
    let fake = reciting("hang", vec![Step::Hang]);
    let app = fake.builder().await.with_tenants(&TENANTS);
    let mut app = app
        .with(|config| {
            config.claude.keep.processes = 16;
            config.claude.warm = WarmLimits { min: 1, max: 2, idle: LONG, max_age: LONG };
            config.shutdown_grace = Duration::from_secs(2);
        })
        .start()
        .await;
    let mut hanging = Vec::new();
    for name in TENANTS {
        recital(&app, name, &request(&[], "hello")).await;
        hanging.push(tokio::spawn(answer(&app, name, &request(&[], "hang"))));
    }
    healthy(&app, "all work", |health| {
        number(health, "/processes/working") == 4 && number(health, "/processes/live") == 4
    })
    .await;
    let begun = Instant::now();
    app.begin_shutdown();
    let draining = || async {
        let ready = app.get("/health/ready").send().await;
        ready.is_ok_and(|ready| ready.status() == 503)
    };
    let mut was_draining = false;
    while !was_draining {
        was_draining = draining().await;
        assert!(begun.elapsed() < PATIENCE);
    }
    for name in TENANTS {
        let refused = app.post("/v1/chat/completions").bearer_auth(key_of(name)).json(&request(&[], "hello"));
        assert_eq!(refused.send().await.expect("an answer").status(), 503, "{name}");
    }
    app.shut_down().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(5), "one grace, not four: {took:?}");
    for answer in hanging {
        assert_eq!(answer.await.expect("no panic").0, 503);
    }
    fake.gone_within(PATIENCE).await;
}

#[tokio::test]
async fn twenty_tenants_work_on_a_small_machine() {
    let names: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fake = reciting("none", vec![]);
    let app = fake.builder().await.with_tenants(&names);
    let app = app
        .with(|config| {
            config.claude.keep.processes = 16;
            config.claude.warm = WarmLimits { min: 3, max: 8, idle: LONG, max_age: LONG };
            config.claude.memory_budget = 4 * OF_A_PROCESS;
        })
        .start()
        .await;
    let stop = tokio_util::sync::CancellationToken::new();
    let hello = request(&[], "hello");
    let all = async {
        for _ in 0..2 {
            for recital in join_all(names.iter().map(|name| recital(&app, name, &hello))).await {
                assert_eq!(recital.said.len(), 1);
            }
        }
        stop.cancel();
    };
    tokio::join!(all, stays_within_budget(&app, &stop));
    assert_eq!(app.health().await["tenants"], 21);
}
