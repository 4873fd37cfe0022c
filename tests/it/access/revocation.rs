//! A running server notices what becomes of its keys.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::{store, stored};
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};

/// Within which everything that is done for a key must be over.
const SOON: Duration = Duration::from_secs(1);

/// A CLI that begins to answer and goes on for ever.
fn endless() -> FakeCli {
    let begin = Step::Frames(vec![message_start("msg_1"), text("so far")]);
    let piece = [Step::Frames(vec![text("and on")]), Step::Sleep { milliseconds: 20 }];
    let on = Step::Repeat { times: 3000, steps: piece.into() };
    let slow = play("", [begin.clone(), on]);
    FakeCli::new(&Script { plays: vec![play("silent", [begin, Step::Hang]), slow], ..Script::default() })
}

async fn send(app: &TestApp, key: &str, body: &Value) -> reqwest::Response {
    let request = app.post("/v1/chat/completions").bearer_auth(key).json(body);
    request.send().await.expect("an answer")
}

/// The status of a request that no model is needed for: an empty body is a 400 behind the key.
async fn verdict(app: &TestApp, key: &str) -> u16 {
    send(app, key, &json!({})).await.status().as_u16()
}

/// Waits until the server says `status` of the key.
async fn until(app: &TestApp, key: &str, status: u16) {
    let begun = Instant::now();
    while verdict(app, key).await != status {
        assert!(begun.elapsed() < SOON, "{key} is not {status} within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_key_opens_as_soon_as_it_is_made_and_until_it_is_revoked() {
    let fake = endless();
    let app = fake.app_with(|config| config.access.keys = vec!["of-the-settings".into()]).await;
    assert_eq!(verdict(&app, "one").await, 401);
    store(&app).add_key(&stored("one")).expect("kept");
    until(&app, "one", 400).await;
    store(&app).revoke_key("one", Timestamp::now()).expect("revoked");
    until(&app, "one", 401).await;
    assert_eq!(verdict(&app, "of-the-settings").await, 400);
}

#[tokio::test]
async fn a_server_without_keys_is_closed_by_the_first_and_stays_so() {
    let fake = endless();
    let app = fake.app().await;
    assert_eq!(verdict(&app, "anything").await, 400);
    store(&app).add_key(&stored("one")).expect("kept");
    until(&app, "anything", 401).await;
    store(&app).revoke_key("one", Timestamp::now()).expect("revoked");
    until(&app, "one", 401).await;
    assert_eq!(verdict(&app, "anything").await, 401);
    // As if somebody had put an empty database into the place of the other.
    rusqlite::Connection::open(couplet::store::path(&app.state.path().join("state")))
        .and_then(|connection| connection.execute("DELETE FROM keys", ()))
        .expect("emptied");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(verdict(&app, "anything").await, 401);
}

#[tokio::test]
async fn a_database_that_was_deleted_takes_its_keys_with_it() {
    let fake = endless();
    let app = fake.app().await;
    store(&app).add_key(&stored("one")).expect("kept");
    until(&app, "one", 400).await;
    for file in std::fs::read_dir(app.state.path().join("state")).expect("a folder") {
        let file = file.expect("an entry");
        if file.file_name().to_string_lossy().starts_with("couplet.db") {
            std::fs::remove_file(file.path()).expect("deleted");
        }
    }
    until(&app, "one", 401).await;
    store(&app).add_key(&stored("other")).expect("kept");
    until(&app, "other", 400).await;
    store(&app).revoke_key("other", Timestamp::now()).expect("revoked");
    until(&app, "other", 401).await;
}

#[rstest]
#[case::that_is_under_way("go on")]
#[case::that_is_silent("silent")]
#[tokio::test]
async fn the_streams_of_a_revoked_key_end_within_a_second(#[case] question: &str) {
    let fake = endless();
    let app = fake.app().await;
    for key in ["one", "other"] {
        store(&app).add_key(&stored(key)).expect("kept");
    }
    until(&app, "one", 400).await;
    until(&app, "other", 400).await;
    let mut body = ask(question);
    body["stream"] = true.into();
    let mut others = send(&app, "other", &body).await;
    let whole = tokio::spawn(app.post("/v1/chat/completions").bearer_auth("one").json(&ask(question)).send());
    let stream = send(&app, "one", &body).await;
    assert_eq!(stream.status(), 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    store(&app).revoke_key("one", Timestamp::now()).expect("revoked");
    let begun = Instant::now();
    let stream = Streamed::read(stream).await;
    let whole = whole.await.expect("no panic").expect("an answer");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(stream.error().map(|error| &error["code"]), Some(&json!("invalid_api_key")));
    assert!(!stream.done && stream.finish_reason().is_none());
    assert_eq!(whole.status(), 401);
    assert_eq!(verdict(&app, "one").await, 401);
    // The other one's goes on; only its process is left.
    let left = Instant::now();
    while fake.reports().iter().filter(|report| is_running(report.process_id)).count() > 1 {
        assert!(left.elapsed() < SOON, "the processes of the revoked key end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if question != "silent" {
        assert!(others.chunk().await.expect("more").is_some());
    }
    assert_eq!(verdict(&app, "other").await, 400);
}

fn is_running(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z")
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends_with_its_key_too() {
    let flood = Step::Texts { count: 100_000, size: 1000 };
    let fake = FakeCli::that_does([Step::Frames(vec![message_start("msg_1")]), flood]);
    let app = fake.app().await;
    store(&app).add_key(&stored("one")).expect("kept");
    until(&app, "one", 400).await;
    let mut body = ask("much");
    body["stream"] = true.into();
    let unread = send(&app, "one", &body).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    store(&app).revoke_key("one", Timestamp::now()).expect("revoked");
    fake.gone_within(SOON).await;
    drop(unread);
}

#[tokio::test]
async fn a_stream_ends_when_its_key_expires() {
    let fake = endless();
    let app = fake.app().await;
    // Times are kept in whole seconds.
    let expires_at = Timestamp::now() + Duration::from_secs(3);
    store(&app).add_key(&super::StoredKey { expires_at: Some(expires_at), ..stored("one") }).expect("kept");
    until(&app, "one", 400).await;
    let mut body = ask("go on");
    body["stream"] = true.into();
    let stream = Streamed::read(send(&app, "one", &body).await).await;
    assert_eq!(stream.error().map(|error| &error["code"]), Some(&json!("invalid_api_key")));
    assert!(Timestamp::now() < expires_at + SOON);
    let refused = send(&app, "one", &json!({})).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Bearer realm=\"couplet\"".parse().expect("a header"))
    );
    let refused: Value = refused.json().await.expect("JSON");
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("expired")), "{refused}");
}

#[tokio::test]
async fn a_turn_that_waits_for_a_place_leaves_the_queue_with_its_key() {
    let fake = endless();
    let app = fake.app_with(|config| config.claude.max_concurrency = 1).await;
    for key in ["one", "other"] {
        store(&app).add_key(&stored(key)).expect("kept");
    }
    until(&app, "one", 400).await;
    until(&app, "other", 400).await;
    let mut body = ask("go on");
    body["stream"] = true.into();
    let first = send(&app, "other", &body).await;
    let waiting = tokio::spawn(app.post("/v1/chat/completions").bearer_auth("one").json(&ask("too")).send());
    let begun = Instant::now();
    while app.health().await["queued"] != 1 {
        assert!(begun.elapsed() < SOON, "it waits: {}", app.health().await);
    }
    store(&app).revoke_key("one", Timestamp::now()).expect("revoked");
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 401);
    assert_eq!(app.health().await["queued"], 0);
    drop(first);
}
