//! The memory of all processes together, and the queue in front of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use couplet::claude::memory::OF_A_PROCESS;
use serde_json::json;

use super::{PATIENCE, app_with, question, recital, reciting, wait_for, waiting};
use crate::support::app::ask;
use crate::support::fake_cli::eventually;
use crate::support::fake_cli::script::Step;

/// The processes that were started, seen all the time; the most of them at once.
struct Most {
    most: Arc<AtomicUsize>,
    watch: tokio::task::JoinHandle<()>,
}

impl Most {
    fn of(state: &std::path::Path) -> Self {
        let most = Arc::new(AtomicUsize::new(0));
        let (seen, folder) = (Arc::clone(&most), state.as_os_str().to_owned());
        let watch = tokio::task::spawn_blocking(move || {
            while Arc::strong_count(&seen) > 1 {
                let entries = std::fs::read_dir("/proc").expect("processes").flatten();
                let ours = entries.filter(|entry| {
                    let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
                    let environment = read("environ");
                    let bytes = folder.as_encoded_bytes();
                    environment.windows(bytes.len()).any(|part| part == bytes)
                });
                seen.fetch_max(ours.count(), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { most, watch }
    }

    async fn stop(self) -> usize {
        let Self { most, watch } = self;
        let most =
            Arc::try_unwrap(most).map_or_else(|most| most.load(Ordering::Acquire), AtomicUsize::into_inner);
        watch.await.expect("it watched");
        most
    }
}

#[tokio::test]
async fn a_herd_is_served_within_the_budget() {
    let fake = reciting("hello", vec![Step::Sleep { milliseconds: 20 }, Step::Recite("fine".to_owned())]);
    let app = app_with(&fake, waiting(3, 8), |config| {
        config.claude.keep.processes = 16;
        config.claude.memory_budget = 6 * OF_A_PROCESS;
    })
    .await;
    // No more than half of them wait.
    wait_for(&app, (3, 0)).await;
    let most = Most::of(app.state.path());
    let herd = (0..64).map(|number| {
        let app = &app;
        async move {
            let request =
                question(Some(&format!("be {}", number % 7)), if number % 3 == 0 { &["f"] } else { &[] });
            recital(app, &request).await;
        }
    });
    futures_util::future::join_all(herd).await;
    let most = most.stop().await;
    // What a small fake was seen to take makes room for more of it; at no time are there more than were planned for.
    let health = app.health().await;
    assert!(health["memory"]["used_bytes"].as_u64() <= health["memory"]["budget_bytes"].as_u64(), "{health}");
    assert!((3..=64).contains(&most), "{most} at once");
}

#[tokio::test]
async fn answers_at_once_are_as_many_as_there_is_memory_for() {
    let fake = reciting("hello", vec![Step::Hang]);
    let app = app_with(&fake, waiting(0, 0), |config| {
        config.claude.memory_budget = 3 * OF_A_PROCESS;
        config.claude.queue_size = 1;
    })
    .await;
    let request = ask("hello");
    let mut hanging = Vec::new();
    for number in 1..=4 {
        hanging.push(tokio::spawn(app.chat_later(&request)));
        let started = number.min(3);
        eventually(PATIENCE, "those work that may", || fake.reports().len() == started).await;
    }
    let begun = Instant::now();
    while app.health().await["queued"] != 1 {
        assert!(begun.elapsed() < PATIENCE);
    }
    let refused = app.chat(&request).await;
    assert_eq!(refused.status(), 429);
    assert!(
        refused.headers()["retry-after"].to_str().expect("a number").parse::<u64>().expect("a number") > 0
    );
    assert_eq!(fake.reports().len(), 3);
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_waits_too_long_is_sent_away() {
    let fake = reciting("hello", vec![Step::Hang]);
    let app = app_with(&fake, waiting(0, 0), |config| {
        config.claude.max_concurrency = 1;
        config.claude.queue_timeout = Duration::from_millis(300);
    })
    .await;
    let request = ask("hello");
    let hanging = tokio::spawn(app.chat_later(&request));
    eventually(PATIENCE, "one works", || fake.reports().len() == 1).await;
    let begun = Instant::now();
    let refused = app.chat(&request).await;
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < PATIENCE, "{waited:?}");
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.status(), 429);
    let error: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(error["error"]["code"], json!("rate_limit_exceeded"));
    hanging.abort();
}

#[tokio::test]
async fn the_floor_waits_even_where_many_conversations_are_kept() {
    let fake = reciting("none", vec![]);
    let app = app_with(&fake, waiting(2, 4), |config| {
        config.claude.keep.processes = 100;
        // A small fake takes some 5 MB once it is looked at: kept ones fill the rest of the budget.
        config.claude.memory_budget = 2 * OF_A_PROCESS + 20 * 1024 * 1024;
    })
    .await;
    for number in 0..20 {
        recital(&app, &question(Some(&format!("be {number}")), &[])).await;
    }
    let begun = Instant::now();
    loop {
        let health = app.health().await;
        let processes = &health["processes"];
        let count = |name: &str| processes[name].as_u64().unwrap_or_default();
        if count("generic") + count("prepared") >= 1 && count("starting") == 0 {
            assert!(
                health["memory"]["used_bytes"].as_u64() <= health["memory"]["budget_bytes"].as_u64(),
                "{health}"
            );
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{health}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
