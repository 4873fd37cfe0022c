//! Somebody sets the clock, by an hour and by a year, while the server runs.
//!
//! libfaketime (Debian's package `faketime`) tells the server another time of day than there is; the monotonic clock goes on
//! as it does, which nobody can set. Where it is not installed, these tests say so and do nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use couplet::store::Store;
use couplet::store::keys::StoredKey;
use jiff::ToSpan;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, refused, said};
use crate::access::stored;
use crate::support::app::{Streamed, ask};
use crate::support::couplet_process::{CoupletProcess, streamed};
use crate::support::fake_cli::frames::{message_delta, message_start, message_stop, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};
use crate::support::fault_table::{Asked, Class, Tried, saw};

/// Where Debian has it.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

const YEAR: i64 = 365 * 24 * 3600;

/// The time of day as a server has it, as `+0` seconds beside the true one.
struct SetClock {
    folder: TempDir,
}

impl SetClock {
    fn set(&self, seconds: i64) {
        let unfinished = self.folder.path().join("unfinished");
        fs::write(&unfinished, format!("{seconds:+}\n")).expect("a file");
        fs::rename(unfinished, self.file()).expect("a file");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

/// A server whose clock can be set; `None` where that is not possible.
async fn served(fake: &FakeCli, variables: &[(&str, &str)]) -> Option<(CoupletProcess, SetClock)> {
    let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
        eprintln!("SKIPPED: libfaketime is not installed (apt-get install faketime)");
        return None;
    };
    // Not in the fake's folder: its processes are known by that.
    let clock = SetClock { folder: tempfile::tempdir().expect("a folder") };
    clock.set(0);
    let file = clock.file().display().to_string();
    let of_clock = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let variables: Vec<_> = of_clock.into_iter().chain(variables.iter().copied()).collect();
    Some((CoupletProcess::start(fake, &variables).await, clock))
}

/// Jumps of the clock, in seconds.
#[rstest]
#[case::an_hour_on(3600)]
#[case::an_hour_back(-3600)]
#[case::a_year_on(YEAR)]
#[case::a_year_back(-YEAR)]
#[tokio::test]
async fn a_clock_that_is_set_moves_no_deadline_and_no_rate(#[case] jump: i64) {
    let slow = [
        Step::Frames(vec![message_start("msg_1"), text("so far")]),
        Step::Sleep { milliseconds: 2500 },
        Step::Frames(vec![text(" and on"), message_delta(Some("end_turn"), 2), message_stop(), success()]),
    ];
    let hangs = play("hang", [Step::Hang]);
    let fake = FakeCli::new(&Script { plays: vec![play("slow", slow), hangs], ..Script::default() });
    let variables = [
        ("COUPLET_FIRST_FRAME_TIMEOUT", "3"),
        ("COUPLET_IDLE_TIMEOUT", "8"),
        ("COUPLET_RATE_LIMIT_RPM", "6"),
        (
            "COUPLET_API_KEYS",
            "one-key-of-the-settings,another-key-of-the-settings,a-third-key-of-the-settings",
        ),
    ];
    let Some((couplet, clock)) = served(&fake, &variables).await else { return };
    let send = |key: &'static str, body: Value| {
        let request = couplet.request(&body).bearer_auth(key);
        async move { request.send().await.expect("an answer") }
    };
    // A stream under way is not cut off.
    let stream = send("one-key-of-the-settings", streamed(&ask("slow"))).await;
    clock.set(jump);
    let stream = Streamed::read(stream).await;
    assert!(stream.contents().concat() == "so far and on" && stream.done, "{stream:?}");
    // `created` is the time of day, as it is now.
    let answer: Value = send("one-key-of-the-settings", ask("hello")).await.json().await.expect("JSON");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let created = answer["created"].as_i64().expect("a time");
    assert!((created - i64::try_from(now).expect("a time") - jump).abs() < 60, "{answer}");
    // A deadline passes when it is due.
    clock.set(0);
    let begun = Instant::now();
    let hanging = send("one-key-of-the-settings", ask("hang"));
    let set = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        clock.set(jump);
    };
    let (hanging, ()) = tokio::join!(hanging, set);
    assert_eq!(hanging.status(), 504);
    let waited = begun.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
    // A rate is neither given back nor frozen: one comes back in ten seconds.
    let knock = || async { send("another-key-of-the-settings", json!({})).await };
    clock.set(0);
    let begun = Instant::now();
    let mut taken = 0;
    while knock().await.status() == 400 {
        taken += 1;
        assert!(taken < 12, "the bucket is empty at last");
    }
    clock.set(jump);
    let refused = knock().await;
    if begun.elapsed() < Duration::from_secs(9) {
        assert_eq!(refused.status(), 429, "the jump gave nothing back");
    }
    let after: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!(after <= 11, "{after}");
    tokio::time::sleep(Duration::from_secs(after)).await;
    assert_eq!(knock().await.status(), 400, "and takes nothing away");
    let fault = "the clock is set while the server runs, by an hour or a year, on or back";
    let told = "streams, deadlines and rates go on as if nothing had been; `created` is the new time";
    saw(Class::Resources, fault, Asked::Either, told, Tried::Times(4));
    assert!(!couplet.running.said().contains("a panic"), "{}", couplet.running.said());
}

/// A key's end and the days of quotas are times of day. They follow the clock, on and back.
#[tokio::test]
async fn a_key_that_is_over_by_a_wrong_clock_is_in_use_again_by_the_right_one() {
    let fake = FakeCli::new(&Script::default());
    let expires_at = jiff::Timestamp::now().checked_add(100.hours()).ok();
    let tokens_per_day = std::num::NonZeroU64::new(1_000_000);
    let limits = couplet::caller::Limits { tokens_per_day, ..Default::default() };
    let store = Store::open(&fake.file("state")).expect("a database");
    assert!(store.add_key(&StoredKey { expires_at, limits, ..stored("one") }).expect("kept"));
    let Some((couplet, clock)) = served(&fake, &[]).await else { return };
    let answer = || async {
        let response = couplet.request(&ask("hello")).bearer_auth("one").send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    for _ in 0..2 {
        assert_eq!(said(&answer().await), "fine");
        clock.set(YEAR);
        assert_eq!(refused(&answer().await), (401, "invalid_api_key"));
        clock.set(-YEAR);
        assert_eq!(said(&answer().await), "fine");
        clock.set(0);
        let begun = Instant::now();
        // What was done for it had ended; that it may be done again is noticed within a quarter of a second.
        while answer().await.0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "it is in use again");
        }
    }
    let told = "401 `invalid_api_key` as long as it is wrong";
    saw(Class::Resources, "a key is over by a clock that is wrong", Asked::Either, told, Tried::Times(2));
}

/// The time of a reset becomes a span as soon as it is heard.
#[rstest]
#[case::back(-3600)]
#[case::on(3600)]
#[tokio::test]
async fn a_usage_limit_ends_in_time_whatever_the_clock_says_meanwhile(#[case] jump: i64) {
    const SECONDS: u64 = 6;
    let fake = FakeCli::new(&Script::default());
    let Some((couplet, clock)) = served(&fake, &[]).await else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let limit = json!({"status": "rejected", "resetsAt": now + SECONDS, "rateLimitType": "five_hour", "isUsingOverage": false});
    let frames = vec![
        json!({"type": "rate_limit_event", "rate_limit_info": limit}),
        json!({
            "type": "result", "subtype": "success", "is_error": true, "api_error_status": 429, "modelUsage": {},
            "api_error": "usage_limit_reached", "result": "You've hit your 5-hour limit · resets 11:38am (UTC)",
        }),
    ];
    fake.follow(&Script { plays: vec![play("", [Step::Frames(frames)])], ..Script::default() });
    assert_eq!(refused(&couplet.answer(&ask("hello")).await), (429, "insufficient_quota"));
    let begun = Instant::now();
    fake.follow(&Script::default());
    clock.set(jump);
    let closed = couplet.chat(&ask("hello")).await;
    if begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(closed.status(), 429, "it still counts");
        let after: u64 = closed.headers()["retry-after"].to_str().expect("text").parse().expect("a number");
        assert!(after <= SECONDS, "{after}");
    }
    while couplet.answer(&ask("hello")).await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it ends");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let fault = "the clock is set by an hour while the usage limit is reached";
    let told = "429 until the true reset, an answer from then on";
    saw(Class::Account, fault, Asked::Either, told, Tried::Times(2));
}
