//! What goes wrong at Anthropic's API comes out as the right OpenAI error, streamed and not.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::{Builder, Streamed, TestApp, ask};
use crate::support::fault_table::{Asked, Class};
use crate::support::real_cli::real_cli;
use crate::support::seen::{self, Seen};

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// The error of an answer with its status, from the body or from the frame that ends a stream.
async fn error_of(app: &TestApp, request: &Value, stream: bool) -> (u16, Value, Streamed) {
    let mut request = request.clone();
    request["stream"] = json!(stream);
    let answer = Streamed::read(app.chat(&request).await).await;
    assert!(!answer.done, "an error is never followed by [DONE]");
    assert_eq!(answer.finish_reason(), None, "and has no finish reason");
    let error = answer.error().unwrap_or_else(|| panic!("no error: {answer:?}")).clone();
    let keys: Vec<&String> = error.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"], "all four keys");
    (answer.status, error, answer)
}

/// Within this of the CLI's own error the client has read it. The CLI's comes after the API's last answer.
const AT_ONCE: Duration = Duration::from_secs(2);

#[rstest]
#[case(
    "400",
    "[[err 400 invalid_request_error bad thing]]",
    400,
    "invalid_request_error",
    Value::Null,
    false
)]
#[case("400, the prompt is too long", "[[err 400 invalid_request_error prompt is too long: 250000 tokens > 200000 maximum]]", 400,
    "invalid_request_error", json!("context_length_exceeded"), false)]
#[case("401", "[[err 401 authentication_error]]", 401, "authentication_error", json!("invalid_api_key"), false)]
#[case("403", "[[err 403 permission_error]]", 403, "permission_error", json!("permission_denied"), false)]
#[case("404", "[[err 404 not_found_error]]", 404, "invalid_request_error", json!("model_not_found"), false)]
#[case("413", "[[err 413 request_too_large]]", 413, "invalid_request_error", json!("request_too_large"), false)]
#[case("429, a burst", "[[err 429 rate_limit_error]]", 429, "rate_limit_error", json!("rate_limit_exceeded"), true)]
#[case("429, the usage limit", "[[limit 5000]]", 429, "insufficient_quota", json!("insufficient_quota"), false)]
#[case("500", "[[err 500 api_error]]", 500, "server_error", json!("upstream_error"), true)]
#[case("529", "[[err 529 overloaded_error]]", 503, "server_error", json!("overloaded"), true)]
#[tokio::test]
async fn an_error_of_the_api_keeps_its_meaning(
    #[case] what: &str,
    #[case] prompt: &str,
    #[case] status: u16,
    #[case] kind: &str,
    #[case] code: Value,
    #[case] retry_can_help: bool,
) {
    let Some(cli) = real_cli() else { return };
    for stream in [false, true] {
        // Each its own: a usage limit is remembered.
        let app = Builder::new(&cli).await.start().await;
        let (got, error, answer) = error_of(&app, &ask(prompt), stream).await;
        let late = app.upstream.log().last().expect("a request").at.elapsed();
        assert_eq!((got, &error["type"], &error["code"]), (status, &json!(kind), &code), "{error}");
        let told_not_to = answer.headers.get("x-should-retry").is_some_and(|value| value == "false");
        assert_eq!(told_not_to, !retry_can_help, "{error}");
        assert!(late < AT_ONCE, "{late:?} after the API's last answer");
        let fault = format!("the API answers with {what}; told within 2 s of the CLI's own error");
        seen::tell(Class::Upstream, &fault, Asked::with(stream), seen::of_answer(&answer));
    }
}

#[tokio::test]
async fn a_wrong_token_says_how_to_get_one() {
    let Some(app) = app().await else { return };
    let (_, error, _) = error_of(&app, &ask("[[err 401 authentication_error]]"), true).await;
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains("claude setup-token") && message.contains("CLAUDE_CODE_OAUTH_TOKEN"),
        "{message}"
    );
}

#[tokio::test]
async fn a_usage_limit_tells_its_reset_and_later_requests_fail_fast_without_a_process() {
    let Some(app) = app().await else { return };
    let (_, _, answer) = error_of(&app, &ask("[[limit 5000]]"), false).await;
    let seconds: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!((4900..=5000).contains(&seconds), "{seconds}");
    let before = app.upstream.log().model_count();
    for stream in [false, true] {
        let mut seen = Seen::default();
        for _ in 0..10 {
            let begun = Instant::now();
            let (status, error, answer) = error_of(&app, &ask("hi"), stream).await;
            assert!(
                begun.elapsed() < Duration::from_millis(150),
                "no process was started: {:?}",
                begun.elapsed()
            );
            assert_eq!((status, &error["code"]), (429, &json!("insufficient_quota")));
            let after: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("a number");
            assert!((4800..=seconds).contains(&after), "{after}");
            seen.note(seen::of_answer(&answer));
        }
        seen.tell(
            Class::Account,
            "later requests, after a usage limit: at once, without a process",
            Asked::with(stream),
        );
    }
    assert_eq!(app.upstream.log().model_count(), before);
}

#[tokio::test]
async fn a_burst_limit_and_a_warning_are_not_remembered() {
    let Some(app) = app().await else { return };
    error_of(&app, &ask("[[err 429 rate_limit_error]]"), false).await;
    let warned = app.answer(&ask("[[limits allowed_warning 0.95]][[words 1]]")).await;
    assert_eq!(warned.0, 200, "{warned:?}");
    let later = app.answer(&ask("[[words 1]]")).await;
    assert_eq!(later.0, 200, "{later:?}");
    let fault = "an answer with a warning that the usage limit is near";
    seen::tell(Class::Account, fault, Asked::NotStreaming, seen::of_whole(&warned));
    let fault = "a request after a burst limit and a warning";
    seen::tell(Class::Account, fault, Asked::NotStreaming, seen::of_whole(&later));
}

#[tokio::test]
async fn an_api_that_cannot_be_reached_is_a_502() {
    let Some(cli) = real_cli() else { return };
    // A port that was free a moment ago and refuses connections.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nowhere = format!("http://{free}");
    let app =
        Builder::new(&cli).await.with(|config| config.claude.process.base_url = Some(nowhere)).start().await;
    for stream in [false, true] {
        let (status, error, answer) = error_of(&app, &ask("hi"), stream).await;
        assert_eq!((status, &error["code"]), (502, &json!("upstream_unreachable")), "{error}");
        let fault = "nothing listens where the API should be";
        seen::tell(Class::Upstream, fault, Asked::with(stream), seen::of_answer(&answer));
    }
}

#[rstest]
#[case("its connection is closed", "[[words 6]][[cut 3]]")]
#[case("an `error` event comes", "[[words 6]][[errevent 3 overloaded_error]]")]
#[tokio::test]
async fn an_answer_that_breaks_in_the_middle_is_an_error(#[case] what: &str, #[case] prompt: &str) {
    let Some(app) = app().await else { return };
    let (status, error, answer) = error_of(&app, &ask(prompt), true).await;
    assert_eq!(status, 200, "the headers were sent already");
    assert_eq!(answer.contents(), ["w0 ", "w1 ", "w2 "], "nothing twice");
    assert!(!error["message"].as_str().expect("a message").is_empty());
    let (status, error, whole) = error_of(&app, &ask(prompt), false).await;
    assert!(status >= 500, "{status} {error}");
    let fault = format!("{what} in mid-answer");
    seen::tell(Class::Upstream, &fault, Asked::Streaming, seen::of_answer(&answer));
    seen::tell(Class::Upstream, &fault, Asked::NotStreaming, seen::of_answer(&whole));
}

#[rstest]
#[case("in mid-answer", "[[words 6]][[stall 3]]", 3)]
#[case("before it begins", "[[words 6]][[stall start]]", 0)]
#[tokio::test]
async fn a_stall_ends_at_the_deadline(#[case] when: &str, #[case] prompt: &str, #[case] deltas: usize) {
    let Some(cli) = real_cli() else { return };
    let app = Builder::new(&cli)
        .await
        .with(|config| {
            // The start of the CLI is part of the one that is not to be reached where an answer begins.
            config.claude.deadlines.first_frame = Duration::from_secs(if deltas == 0 { 8 } else { 60 });
            config.claude.deadlines.idle = Duration::from_secs(2);
        })
        .start()
        .await;
    for (index, stream) in [true, false].into_iter().enumerate() {
        let (status, error, answer) = error_of(&app, &ask(prompt), stream).await;
        assert_eq!(error["code"], "timeout", "{error}");
        let whole = !stream || deltas == 0;
        assert_eq!(status, if whole { 504 } else { 200 });
        assert_eq!(answer.contents().len(), if stream { deltas } else { 0 });
        let gone = app.upstream.log().wait_for_disconnect(index, PATIENCE).await;
        assert!(gone.is_ok(), "the CLI is ended, and its request with it: {gone:?}");
        let fault = format!("silent {when}, until the deadline");
        seen::tell(Class::Upstream, &fault, Asked::with(stream), seen::of_answer(&answer));
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_repeated_by_the_cli() {
    let Some(app) = app().await else { return };
    let answer = app.answer(&ask("[[err 529 overloaded_error]][[once]]")).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    let fault = "the API answers with 529 once, and then well";
    seen::tell(Class::Upstream, fault, Asked::NotStreaming, seen::of_whole(&answer));
    assert_eq!(app.upstream.log().model_count(), 2);
}

#[tokio::test]
async fn a_model_nobody_knows_is_a_404_without_a_question() {
    let Some(app) = app().await else { return };
    let mut request = ask("hi");
    request["model"] = json!("gpt-4o");
    let (status, error, answer) = error_of(&app, &request, true).await;
    assert_eq!((status, &error["code"], &error["param"]), (404, &json!("model_not_found"), &json!("model")));
    seen::tell(Class::Body, "a model that nobody knows", Asked::Streaming, seen::of_answer(&answer));
    assert_eq!(app.upstream.log().model_count(), 0);
}
