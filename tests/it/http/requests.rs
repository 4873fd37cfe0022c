//! What is asked wrongly is told so, in OpenAI's form.

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp, ask};

async fn app() -> TestApp {
    Builder::new(Path::new("/no/such/cli")).await.start().await
}

async fn error_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(
        response.headers().get("x-should-retry").map(reqwest::header::HeaderValue::as_bytes),
        Some(&b"false"[..])
    );
    let body: Value = response.json().await.expect("JSON");
    let keys: Vec<&String> = body["error"].as_object().expect("an error").keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"]);
    (status, body["error"].clone())
}

#[rstest]
#[case("GET", "/", 404)]
#[case("GET", "/v1", 404)]
#[case("POST", "/v1/embeddings", 404)]
#[case("POST", "/embeddings", 404)]
#[case("POST", "/v1/responses", 404)]
#[case("DELETE", "/v1/responses/resp_1", 404)]
#[case("POST", "/v1/audio/speech", 404)]
#[case("GET", "/v1/files", 404)]
#[case("GET", "/v1/realtime?model=gpt-realtime", 404)]
#[case("DELETE", "/v1/nothing/at/all", 404)]
#[case("GET", "/v1/chat/completions", 405)]
#[case("PUT", "/chat/completions", 405)]
#[case("GET", "/v1/completions", 405)]
#[case("POST", "/v1/models", 405)]
#[case("DELETE", "/v1/models/x", 405)]
#[case("POST", "/health", 405)]
#[tokio::test]
async fn every_unknown_path_and_method_is_answered_in_json(
    #[case] method: &str,
    #[case] path: &str,
    #[case] status: u16,
) {
    let app = app().await;
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let response = reqwest::Client::new().request(method, format!("{}{path}", app.url)).send().await;
    let (got, error) = error_of(response.expect("an answer")).await;
    assert_eq!(got, status);
    assert_eq!(error["code"], if status == 404 { "unsupported_endpoint" } else { "method_not_allowed" });
}

#[rstest]
#[case("/v1/chat/completions")]
#[case("/chat/completions")]
#[tokio::test]
async fn an_error_names_the_field_with_and_without_the_prefix(#[case] path: &str) {
    let body =
        json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]});
    let app = app().await;
    let (status, error) = error_of(app.post(path).json(&body).send().await.expect("an answer")).await;
    assert_eq!((status, &error["param"]), (400, &json!("messages[0].content[0].text")), "{error}");
}

#[rstest]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}), "input[0].content[0].text")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"},
    {"type": "input_image", "image_url": "data:,x"}]}]}), "input[0].content[1].image_url")]
#[case(json!({"input": "a", "tools": [{"type": "custom", "name": "ApplyPatch"}]}), "tools[0].type")]
#[case(json!({"input": "a", "previous_response_id": "resp_1"}), "previous_response_id")]
#[case(json!({"input": "a", "messages": []}), "messages")]
#[case(json!({"input": null}), "messages")]
#[case(json!({}), "messages")]
#[tokio::test]
async fn a_body_of_the_responses_form_is_told_its_own_fields(#[case] extra: Value, #[case] param: &str) {
    let mut body = json!({"model": "claude-sonnet-5-5"});
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("fields").clone());
    let app = app().await;
    let (status, error) = error_of(app.chat(&body).await).await;
    assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(param == "messages" || !message.contains("'messages"), "{message}");
}

#[tokio::test]
async fn more_images_than_the_model_takes_are_told_as_the_input_s() {
    let image = json!({"type": "input_image", "image_url": "https://example.com/a.png"});
    let body =
        json!({"model": "claude-sonnet-5-5", "input": [{"role": "user", "content": vec![image; 101]}]});
    let app = app().await;
    let (status, error) = error_of(app.chat(&body).await).await;
    assert_eq!((status, &error["param"]), (400, &json!("input")), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_claude_has_nothing_for_says_where_to_look() {
    let app = app().await;
    for path in ["/v1/embeddings", "/embeddings"] {
        let (_, error) = error_of(app.post(path).json(&json!({})).send().await.expect("an answer")).await;
        let message = error["message"].as_str().expect("a message");
        assert!(
            message.contains("point the embeddings setting of your client at another server"),
            "{message}"
        );
    }
    let (_, error) = error_of(app.get("/v1/nothing").send().await.expect("an answer")).await;
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("/v1/chat/completions, /v1/completions, "), "{message}");
}

#[rstest]
#[case(json!({"prompt": ""}), "prompt")]
#[case(json!({"prompt": [464, 3797]}), "prompt")]
#[case(json!({"prompt": ["a", " "]}), "prompt[1]")]
#[case(json!({"prompt": "a", "best_of": 3}), "best_of")]
#[case(json!({"prompt": "a", "n": 17}), "n")]
#[case(json!({"prompt": vec!["a"; 17]}), "prompt")]
#[tokio::test]
async fn a_text_completion_that_cannot_be_asked_for_is_refused_by_name(
    #[case] body: Value,
    #[case] param: &str,
) {
    let mut body = body;
    body["model"] = json!("claude-haiku-4-5");
    let app = app().await;
    for path in ["/v1/completions", "/completions"] {
        let (status, error) = error_of(app.post(path).json(&body).send().await.expect("an answer")).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
    }
}

#[rstest]
#[case(json!({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g h"}}]}),
    "tools[1].function.name")]
#[case(json!({"functions": [{"name": "f", "parameters": {"type": "null"}}]}), "functions[0].parameters.type")]
#[case(json!({"tool_choice": "required"}), "tool_choice")]
#[tokio::test]
async fn tools_that_cannot_be_offered_are_refused_before_anything_is_started(
    #[case] extra: Value,
    #[case] param: &str,
) {
    let mut body = ask("hi");
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("fields").clone());
    let app = app().await;
    let (status, error) = error_of(app.chat(&body).await).await;
    assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_a_413() {
    let app = app().await;
    let text = "x".repeat(33 * 1024 * 1024);
    let response = app.post("/v1/chat/completions").json(&ask(&text)).send().await;
    // A server that answers before the body is through may close the connection under the writer.
    if let Ok(response) = response {
        assert_eq!(error_of(response).await.0, 413);
    }
    let (status, _) =
        error_of(app.post("/v1/chat/completions").json(&json!({})).send().await.expect("alive")).await;
    assert_eq!(status, 400, "the server goes on");
}

#[rstest]
#[case("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}")]
#[case("")]
#[case("null")]
#[case("\u{feff}{}")]
#[tokio::test]
async fn what_is_no_json_object_is_a_400(#[case] body: &'static str) {
    let app = app().await;
    let request = app.post("/v1/chat/completions").header("content-type", "application/json").body(body);
    assert_eq!(error_of(request.send().await.expect("an answer")).await.0, 400);
}

#[tokio::test]
async fn the_request_id_of_the_client_comes_back_and_one_is_made_otherwise() {
    let app = app().await;
    let given = app.get("/health/live").header("x-request-id", "mine-7").send().await.expect("an answer");
    assert_eq!(given.headers()["x-request-id"], "mine-7");
    assert!(given.headers().contains_key("openai-processing-ms"));
    let made = app.get("/health/live").send().await.expect("an answer");
    assert!(made.headers()["x-request-id"].len() >= 32);
}

#[tokio::test]
async fn without_a_usable_cli_the_server_says_so_and_is_not_ready() {
    let app = app().await;
    let (status, answer) = app.answer(&ask("hi")).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("cli_unavailable")), "{answer}");
    assert!(answer["error"]["message"].as_str().expect("a message").contains("CLAUDE_CLI_PATH"));
    assert_eq!(app.get("/health/ready").send().await.expect("an answer").status(), 503);
    assert_eq!(app.get("/health").send().await.expect("an answer").status(), 503);
}
