//! The main job: text chat.

use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp, ask};
use crate::support::real_cli::real_cli;

async fn app() -> Option<TestApp> {
    let cli = real_cli()?;
    Some(Builder::new(&cli).await.start().await)
}

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
