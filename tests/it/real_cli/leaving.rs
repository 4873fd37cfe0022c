//! A client that goes away stops the model.

use std::time::Duration;

use couplet::upstream::Reply;
use futures_util::StreamExt;
use serde_json::json;

use super::app;
use crate::support::app::{Builder, ask};
use crate::support::fault_table::{Asked, Class};
use crate::support::real_cli::real_cli;
use crate::support::seen;

const A_SECOND: Duration = Duration::from_secs(1);

const OUTCOME: &str = "nothing, it has left; the API sees its connection closed within 1 s";

fn tell(when: &str, asked: Asked) {
    seen::tell(Class::Client, &format!("it goes away {when}, from the real CLI"), asked, OUTCOME);
}

#[tokio::test]
async fn leaving_a_stream_reaches_the_upstream_within_a_second() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 1000]][[slow 0.05]]");
    request["stream"] = json!(true);
    let mut body = app.chat(&request).await.bytes_stream();
    let first = body.next().await.expect("a chunk").expect("bytes");
    assert!(first.starts_with(b"data: "));
    drop(body);
    app.upstream.log().wait_for_disconnect(0, A_SECOND).await.expect("the upstream sees it");
    tell("in mid-stream", Asked::Streaming);
    assert_eq!(app.upstream.log().model_count(), 1, "and is not asked again");
}

#[tokio::test]
async fn leaving_before_a_whole_answer_reaches_the_upstream_within_a_second() {
    let Some(app) = app().await else { return };
    app.upstream.set_default(Reply::words(1000).between_deltas(Duration::from_millis(50)));
    let request = ask("hi");
    let answer = app.chat(&request);
    tokio::select! {
        _ = answer => panic!("the answer takes 50 s"),
        received = app.upstream.log().wait_for(1, Duration::from_secs(20)) => drop(received.expect("a request")),
    }
    // The future of the answer is dropped, and its connection with it.
    app.upstream.log().wait_for_disconnect(0, A_SECOND).await.expect("the upstream sees it");
    tell("while a whole answer is made", Asked::NotStreaming);
}

#[tokio::test]
async fn leaving_before_the_model_begins_reaches_the_upstream_within_a_second() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[delay 60]]");
    request["stream"] = json!(true);
    tokio::select! {
        _ = app.chat(&request) => panic!("the headers are held back"),
        received = app.upstream.log().wait_for(1, Duration::from_secs(20)) => drop(received.expect("a request")),
    }
    app.upstream.log().wait_for_disconnect(0, A_SECOND).await.expect("the upstream sees it");
    tell("before the first token", Asked::Streaming);
}

#[tokio::test]
async fn after_a_client_left_the_next_is_served_and_all_places_are_free() {
    let Some(cli) = real_cli() else { return };
    let mut app = Builder::new(&cli).await.with(|config| config.claude.max_concurrency = 1).start().await;
    let mut request = ask("[[words 1000]][[slow 0.05]]");
    request["stream"] = json!(true);
    let mut body = app.chat(&request).await.bytes_stream();
    body.next().await.expect("a chunk").expect("bytes");
    drop(body);
    let (status, answer) = app.answer(&ask("[[words 1]]")).await;
    assert_eq!(status, 200, "{answer}");
    let notes = app.state.path().join("state/claude");
    app.shut_down().await;
    assert_eq!(left_sessions(&notes), Vec::<String>::new(), "the CLI's notes of its sessions are gone too");
}

/// Notes that the CLI keeps of running sessions.
fn left_sessions(folder: &std::path::Path) -> Vec<String> {
    let credentials = std::fs::read_dir(folder).expect("a folder");
    credentials
        .filter_map(|entry| std::fs::read_dir(entry.expect("an entry").path().join("config/sessions")).ok())
        .flatten()
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}
