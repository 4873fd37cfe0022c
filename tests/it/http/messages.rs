//! Anthropic's endpoint as far as no model is needed, and with one that misbehaves on command.

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp};
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::Step;
use crate::support::fake_cli::{FakeCli, fixture};
use crate::support::messages::{MessageStream, ask};

async fn builder() -> Builder {
    Builder::new(Path::new("/no/such/cli")).await
}

/// The status, type and message of an error in Anthropic's form.
async fn error_of(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["request-id"], headers["x-request-id"]);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(
        (&body["type"], body["request_id"].as_str()),
        (&json!("error"), headers["request-id"].to_str().ok())
    );
    let keys: Vec<&String> = body["error"].as_object().expect("an error").keys().collect();
    assert_eq!(keys, ["type", "message"]);
    let text = |key: &str| body["error"][key].as_str().expect("a text").to_owned();
    (status, text("type"), text("message"))
}

#[rstest]
#[case("POST", "/v1/messages", 400, "invalid_request_error")]
#[case("POST", "/messages", 400, "invalid_request_error")]
#[case("POST", "/v1/messages/count_tokens", 400, "invalid_request_error")]
#[case("GET", "/v1/messages", 405, "invalid_request_error")]
#[case("PUT", "/v1/messages/count_tokens", 405, "invalid_request_error")]
#[case("POST", "/v1/messages/batches", 404, "not_found_error")]
#[case("GET", "/v1/messages/batches/x", 404, "not_found_error")]
#[tokio::test]
async fn errors_below_messages_are_in_anthropic_s_form(
    #[case] method: &str,
    #[case] path: &str,
    #[case] status: u16,
    #[case] kind: &str,
) {
    let app = builder().await.start().await;
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let request = reqwest::Client::new().request(method, format!("{}{path}", app.url)).json(&json!({}));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (got, told, _) = error_of(response).await;
    assert_eq!((got, told.as_str()), (status, kind));
}

#[rstest]
#[case(&[], 401, "authentication_error")]
#[case(&[("x-api-key", "wrong")], 401, "authentication_error")]
#[case(&[("x-api-key", "key"), ("origin", "https://evil.example")], 403, "permission_error")]
#[case(&[("x-api-key", "key"), ("content-type", "text/plain")], 415, "invalid_request_error")]
#[case(&[("x-api-key", "key"), ("anthropic-version", "2023-06-01"), ("anthropic-beta", "some-2025-01-01")], 400, "invalid_request_error")]
#[case(&[("authorization", "Bearer key")], 400, "invalid_request_error")]
#[tokio::test]
async fn who_may_not_come_in_reads_so_in_anthropic_s_form(
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
    #[case] kind: &str,
) {
    let app = builder().await.with_keys(&["key"]).start().await;
    let mut request = app.post("/v1/messages").body("{}");
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (got, told, _) = error_of(request.send().await.expect("an answer")).await;
    assert_eq!((got, told.as_str()), (status, kind));
}

#[tokio::test]
async fn the_message_names_the_field() {
    let app = builder().await.start().await;
    let told = async |body: Value| {
        error_of(app.post("/v1/messages").json(&body).send().await.expect("an answer")).await.2
    };
    let mut request = ask("hi");
    request["max_tokens"] = Value::Null;
    assert_eq!(told(request).await, "Missing required parameter: 'max_tokens'.");
    let mut request = ask("hi");
    request["tools"] = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    assert!(told(request).await.starts_with("tools[0].type: "));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_a_413() {
    let app = builder().await.start().await;
    let response = app.post("/v1/messages").json(&ask(&"x".repeat(33 * 1024 * 1024))).send().await;
    // A server that answers before the body is through may close the connection under the writer.
    if let Ok(response) = response {
        let (status, kind, _) = error_of(response).await;
        assert_eq!((status, kind.as_str()), (413, "request_too_large"));
    }
}

#[rstest]
#[case("/v1/messages")]
#[case("/v1/messages/count_tokens")]
#[tokio::test]
async fn without_a_usable_cli_a_retry_may_help_later(#[case] path: &str) {
    let app = builder().await.start().await;
    let response = app.post(path).json(&ask("hi")).send().await.expect("an answer");
    assert!(
        response.headers().contains_key("retry-after") && !response.headers().contains_key("x-should-retry")
    );
    let (status, kind, message) = error_of(response).await;
    assert_eq!((status, kind.as_str()), (503, "api_error"));
    assert!(message.contains("CLAUDE_CLI_PATH"), "{message}");
}

#[tokio::test]
async fn the_other_endpoints_keep_openai_s_form() {
    let app = builder().await.start().await;
    let request = app.post("/v1/chat/completions").header("anthropic-version", "2023-06-01").json(&json!({}));
    let response = request.send().await.expect("an answer");
    assert!(!response.headers().contains_key("request-id"));
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "missing_required_parameter");
}

async fn stream(app: &TestApp) -> MessageStream {
    let mut request = ask("hi");
    request["stream"] = json!(true);
    let response = app.post("/v1/messages").json(&request).send().await.expect("an answer");
    MessageStream::read(response).await
}

#[tokio::test]
async fn a_process_that_dies_in_mid_answer_ends_the_stream_with_an_error_event() {
    let steps = [Step::Frames(vec![message_start("msg_1"), text("half ")]), Step::Exit(0)];
    let read = stream(&FakeCli::that_does(steps).app().await).await;
    let names = read.names();
    assert_eq!(names.last(), Some(&"error"), "{names:?}");
    assert!(names.contains(&"message_start") && !names.contains(&"message_stop"), "{names:?}");
    let error = read.data("error");
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("api_error")));
    assert_eq!(error.as_object().map(serde_json::Map::len), Some(2), "{error}");
}

#[rstest]
#[case("error-400-too-long", 400, "invalid_request_error")]
#[case("error-401", 401, "authentication_error")]
#[case("error-403", 403, "permission_error")]
#[case("error-404-model", 404, "not_found_error")]
#[case("error-413", 413, "request_too_large")]
#[case("error-429-usage-limit", 429, "rate_limit_error")]
#[case("error-500", 500, "api_error")]
#[case("error-529", 529, "overloaded_error")]
#[tokio::test]
async fn a_failure_of_the_api_comes_back_as_what_it_was(
    #[case] recording: &str,
    #[case] status: u16,
    #[case] kind: &str,
) {
    let replay = Step::Replay { file: fixture(recording), frames: usize::MAX, half: false };
    let fake = FakeCli::that_does([replay]);
    let app = fake.app().await;
    for stream in [false, true] {
        let mut request = ask("hi");
        request["stream"] = json!(stream);
        let response = app.post("/v1/messages").json(&request).send().await.expect("an answer");
        let (got, told, _) = error_of(response).await;
        assert_eq!((got, told.as_str()), (status, kind));
    }
}
