//! The main job: text chat.

use std::time::{Duration, Instant};

use couplet::translate::models::{Alias, Aliases};
use futures_util::StreamExt;
use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::{Builder, TestApp, ask};
use crate::support::real_cli::real_cli;

#[tokio::test]
async fn an_answer_streams_one_chunk_a_delta() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 5]]");
    request["stream_options"] = json!({"include_usage": true});
    let answer = app.stream(&request).await;
    assert_eq!(answer.contents(), ["w0 ", "w1 ", "w2 ", "w3 ", "w4"]);
    assert_eq!(answer.deltas("role"), ["assistant"]);
    assert_eq!((answer.finish_reason(), answer.done), (Some("stop"), true));
    assert_eq!(answer.usage()["total_tokens"], 25 + 100 + 50 + 5);
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(app.upstream.log().model_count(), 1);
}

#[tokio::test]
async fn an_answer_without_streaming_is_the_same_answer() {
    let Some(app) = app().await else { return };
    let (status, answer) =
        app.answer(&ask("[[think]][[words 5]][[usage input=7 output=9 thinking=4]]")).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "w0 w1 w2 w3 w4");
    assert_eq!(choice["message"]["refusal"], Value::Null);
    assert!(choice["message"]["reasoning_content"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 7 + 100 + 50);
    assert_eq!(answer["usage"]["completion_tokens"], 9);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
    let typed: async_openai::types::chat::CreateChatCompletionResponse =
        serde_json::from_value(answer).expect("OpenAI's own type");
    assert_eq!(typed.choices.len(), 1);
}

#[rstest]
#[case("max_tokens", "length")]
#[case("model_context_window_exceeded", "length")]
#[case("refusal", "content_filter")]
#[case("end_turn", "stop")]
#[case("pause_turn", "stop")]
#[case("some_new_reason", "stop")]
#[tokio::test]
async fn every_stop_reason_ends_the_answer_and_the_model_is_asked_once(
    #[case] reason: &str,
    #[case] finish_reason: &str,
) {
    let Some(app) = app().await else { return };
    let mut request = ask(&format!("[[words 3]][[stop {reason}]][[first 0.2]]"));
    request["stream_options"] = json!({"include_usage": true});
    let answer = app.stream(&request).await;
    assert_eq!(answer.contents(), ["w0 ", "w1 ", "w2"]);
    assert_eq!((answer.finish_reason(), answer.done), (Some(finish_reason), true));
    assert_eq!(answer.usage()["completion_tokens"], 3);
    assert_eq!(answer.deltas("refusal").len(), usize::from(reason == "refusal"));
    assert_not_asked_again(&app).await;
}

#[tokio::test]
async fn an_answer_without_text_is_an_empty_answer_and_the_model_is_asked_once() {
    let Some(app) = app().await else { return };
    let (status, answer) = app.answer(&ask("[[empty]][[first 0.2]]")).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("")), "{answer}");
    assert_not_asked_again(&app).await;
}

/// A second request of the CLI's own comes within milliseconds, if at all. On a busy machine the CLI may be faster than its
/// end; then the request is cut off before the model answers.
async fn assert_not_asked_again(app: &TestApp) {
    tokio::time::sleep(Duration::from_millis(150)).await;
    let requests = app.upstream.log().model_requests();
    assert!(requests.iter().skip(1).all(|request| request.gone().is_some()), "{} requests", requests.len());
}

#[tokio::test]
async fn the_usage_is_the_cli_s_own_sum() {
    let Some(app) = app().await else { return };
    let prompt = "[[words 2]][[usage input=11 cache_creation=22 cache_read=33 output=44 thinking=5]]";
    let (_, answer) = app.answer(&ask(prompt)).await;
    let usage = &answer["usage"];
    assert_eq!(usage["prompt_tokens"], 66);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 33);
    assert_eq!(usage["prompt_tokens_details"]["cache_write_tokens"], 22);
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(44), &json!(110)));
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 5);
}

#[tokio::test]
async fn parameters_arrive_at_the_model() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 1]]");
    let parameters = json!({"max_completion_tokens": 321, "temperature": 0.25, "top_p": 0.5, "stop": ["END", "\n\nX"],
        "reasoning_effort": "high", "model": "claude-opus-5-5", "seed": 7});
    request.as_object_mut().expect("an object").extend(parameters.as_object().expect("an object").clone());
    let response = app.chat(&request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-couplet-ignored"], "seed");
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!(asked.model(), "claude-opus-5-5");
    assert_eq!(asked.max_tokens(), Some(321));
    assert_eq!(asked.field("temperature"), Some(&json!(0.25)));
    assert_eq!(asked.field("top_p"), Some(&json!(0.5)));
    assert_eq!(asked.stop_sequences().collect::<Vec<_>>(), ["END", "\n\nX"]);
    assert_eq!(asked.field("output_config.effort"), Some(&json!("high")));
    assert_eq!(asked.field("thinking.display"), Some(&json!("summarized")));
}

#[tokio::test]
async fn no_effort_turns_thinking_off_where_the_model_allows_it() {
    let Some(app) = app().await else { return };
    for (model, thinking) in
        [("claude-haiku-4-5", json!("disabled")), ("claude-sonnet-5-5", json!("adaptive"))]
    {
        let mut request = ask("[[words 1]]");
        request["model"] = json!(model);
        request["reasoning_effort"] = json!("none");
        let (status, answer) = app.answer(&request).await;
        assert_eq!(status, 200, "{answer}");
        let asked = app.upstream.log().last().expect("a request").asked();
        assert_eq!(asked.field("thinking.type"), Some(&thinking), "{model}");
    }
    assert_eq!(app.upstream.log().model_count(), 2, "a model the CLI does not list is not tried out first");
}

#[tokio::test]
async fn a_stop_sequence_ends_the_answer() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[say one two END three]]");
    request["stop"] = json!("END");
    let answer = app.stream(&request).await;
    assert_eq!(answer.contents().concat(), "one two ");
    assert_eq!((answer.finish_reason(), answer.done), (Some("stop"), true));
}

#[tokio::test]
async fn thinking_streams_as_reasoning_content_before_the_text() {
    let Some(app) = app().await else { return };
    let answer = app.stream(&ask("[[think one two three]][[words 2]]")).await;
    assert_eq!(answer.deltas("reasoning_content").concat().trim(), "one two three");
    assert_eq!(answer.contents(), ["w0 ", "w1"]);
    let first_text = answer.data.iter().position(|chunk| chunk["choices"][0]["delta"]["content"] == "w0 ");
    let last_thought =
        answer.data.iter().rposition(|chunk| !chunk["choices"][0]["delta"]["reasoning_content"].is_null());
    assert!(last_thought < first_text);
}

#[tokio::test]
async fn a_slow_answer_streams_as_it_comes() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 4]][[slow 0.4]]");
    request["stream"] = json!(true);
    let mut body = app.chat(&request).await.bytes_stream();
    let mut arrivals = Vec::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.expect("bytes");
        let deltas = String::from_utf8_lossy(&bytes).matches("\"content\":\"w").count();
        assert!(deltas <= 1, "each delta comes by itself");
        if deltas == 1 {
            arrivals.push(Instant::now());
        }
    }
    assert_eq!(arrivals.len(), 4);
    assert!(arrivals[3] - arrivals[0] > Duration::from_secs(1), "they were not held back");
}

#[tokio::test]
async fn the_models_are_the_cli_s_own_with_sizes_once_known() {
    let Some(cli) = real_cli() else { return };
    let aliases = Aliases::from([("gpt-4o".to_owned(), Alias::of("sonnet"))]);
    let app = Builder::new(&cli).await.with(|config| config.http.aliases = aliases).start().await;
    let list: Value = app.get("/v1/models").send().await.expect("an answer").json().await.expect("JSON");
    let ids: Vec<&str> =
        list["data"].as_array().expect("a list").iter().filter_map(|m| m["id"].as_str()).collect();
    assert!(ids.contains(&"sonnet") && ids.contains(&"gpt-4o"), "{ids:?}");
    let full = ids.iter().find(|id| id.starts_with("claude-sonnet")).expect("a full id");

    let mut request = ask("[[words 1]]");
    request["model"] = json!("gpt-4o");
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, answer["model"].as_str()), (200, Some(*full)), "{answer}");
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!(asked.model(), *full);

    let one: Value = app.get("/models/gpt-4o").send().await.expect("an answer").json().await.expect("JSON");
    assert!(
        one["created"].is_u64() && one["context_length"].is_u64() && one["max_output_tokens"].is_u64(),
        "{one}"
    );
    let missing = app.get("/v1/models/some/unknown%20model").send().await.expect("an answer");
    assert_eq!(missing.status(), 404);
    let missing: Value = missing.json().await.expect("JSON");
    assert_eq!(missing["error"]["code"], "model_not_found");
}
