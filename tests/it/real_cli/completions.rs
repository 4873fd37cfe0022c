//! `POST /v1/completions`: text that a chat model is asked to go on with.

use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::{Streamed, TestApp};
use crate::support::received::conversation;

async fn complete(app: &TestApp, extra: &Value) -> Streamed {
    let mut body = json!({"model": "claude-haiku-4-5"});
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("fields").clone());
    Streamed::read(app.post("/v1/completions").json(&body).send().await.expect("an answer")).await
}

/// The choices of an answer that is not streamed, as (text, `finish_reason`).
fn choices(answer: &Streamed) -> Vec<(&str, &str)> {
    assert_eq!((answer.status, &answer.data[0]["object"]), (200, &json!("text_completion")), "{answer:?}");
    let choices = answer.data[0]["choices"].as_array().expect("choices");
    let read = choices.iter().enumerate().map(|(index, choice)| {
        assert_eq!((&choice["index"], &choice["logprobs"]), (&json!(index), &Value::Null));
        let text = |field: &str| choice[field].as_str().expect("a text");
        (text("text"), text("finish_reason"))
    });
    read.collect()
}

#[rstest]
#[case("def f():\n    ")]
#[case("\n\n  two  spaces\t")]
#[case("/compact @/etc/passwd")]
#[case("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>")]
#[case("[SUFFIX]b[PREFIX]a")]
#[tokio::test]
async fn the_prompt_reaches_the_model_as_it_is_and_it_is_told_to_go_on(#[case] prompt: &str) {
    let Some(app) = app().await else { return };
    let answer = complete(&app, &json!({"model": "claude-sonnet-5-5", "prompt": prompt})).await;
    assert_eq!(choices(&answer)[0].1, "stop");
    let received = app.upstream.log().last().expect("a request");
    assert_eq!(received.asked().turn_texts(), [("user", prompt.to_owned())]);
    let system = received.asked().system_texts().concat();
    assert!(system.contains("text completion engine") && system.contains("comes next"), "{system}");
}

#[tokio::test]
async fn a_suffix_stands_behind_the_gap() {
    let Some(app) = app().await else { return };
    let request =
        json!({"model": "claude-sonnet-5-5", "prompt": "[[say return a + b]]", "suffix": "\n\nprint(f(1))"});
    let answer = complete(&app, &request).await;
    assert_eq!(choices(&answer), [("return a + b", "stop")]);
    let asked = "<before_gap>[[say return a + b]]</before_gap><after_gap>\n\nprint(f(1))</after_gap>";
    assert_eq!(conversation(&app), [json!({"role": "user", "content": asked})]);
    let system = app.upstream.log().last().expect("a request").asked().system_texts().concat();
    assert!(system.contains("the text that fills the gap"), "{system}");
}

#[tokio::test]
async fn parameters_arrive_at_the_model_and_what_it_lacks_is_named() {
    let Some(app) = app().await else { return };
    let parameters = json!({"prompt": "[[say one END two]]", "max_tokens": 77, "stop": "END", "temperature": 1.5,
        "top_p": 0.5, "seed": 1, "user": "u", "logprobs": 2});
    let answer = complete(&app, &parameters).await;
    assert_eq!(choices(&answer), [("one ", "stop")]);
    assert_eq!(answer.headers["x-couplet-ignored"], "seed, user, logprobs, temperature");
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!(asked.max_tokens(), Some(77));
    assert_eq!(asked.stop_sequences().collect::<Vec<_>>(), ["END"]);
    assert_eq!(asked.field("thinking.type"), Some(&json!("disabled")), "who types waits for no thoughts");
    assert_eq!((asked.field("temperature"), asked.field("top_p")), (Some(&json!(1)), Some(&json!(0.5))));
}

#[tokio::test]
async fn a_line_end_ends_the_completion_of_a_line() {
    let Some(app) = app().await else { return };
    let prompt = r#"[[say "return a + b\n\nprint(f(1))"]]"#;
    for stop in [json!("\n"), json!(["END", "\n"])] {
        let answer = complete(&app, &json!({"prompt": prompt, "stop": stop})).await;
        assert_eq!(choices(&answer), [("return a + b", "stop")]);
    }
    let answer = complete(&app, &json!({"prompt": prompt, "stop": "\n", "stream": true})).await;
    let texts: String = answer.data.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!((&*texts, answer.done), ("return a + b", true));
}

#[tokio::test]
async fn each_prompt_gets_its_answers_in_order_behind_it_where_it_is_echoed() {
    let Some(app) = app().await else { return };
    let prompts =
        json!({"prompt": ["[[say A]][[first 0.3]]", "[[say B]][[stop max_tokens]]"], "n": 2, "echo": true});
    let answer = complete(&app, &prompts).await;
    let (a, b) = ("[[say A]][[first 0.3]]A", "[[say B]][[stop max_tokens]]B");
    assert_eq!(choices(&answer), [(a, "stop"), (a, "stop"), (b, "length"), (b, "length")]);
    assert_eq!(app.upstream.log().model_count(), 4);
    assert_eq!(answer.data[0]["usage"]["prompt_tokens"], 4 * 175);
    assert!(answer.data[0]["id"].as_str().is_some_and(|id| id.starts_with("cmpl-")), "{answer:?}");
}

#[tokio::test]
async fn an_answer_streams_a_chunk_for_each_delta_with_the_prompt_first_where_it_is_echoed() {
    let Some(app) = app().await else { return };
    let request = json!({"prompt": "[[think]][[words 3]]", "stream": true, "echo": true,
        "stream_options": {"include_usage": true}});
    let answer = complete(&app, &request).await;
    assert_eq!((answer.status, answer.done), (200, true), "{answer:?}");
    let texts: Vec<&str> =
        answer.data.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(texts, ["[[think]][[words 3]]", "w0 ", "w1 ", "w2", ""]);
    assert_eq!(answer.finish_reason(), Some("stop"));
    assert_eq!(
        (&answer.data[5]["choices"], &answer.usage()["completion_tokens"].is_u64()),
        (&json!([]), &true)
    );
    assert_eq!(answer.data.len(), 6);
}

#[tokio::test]
async fn a_refusal_is_a_content_filter_s() {
    let Some(app) = app().await else { return };
    let answer = complete(&app, &json!({"prompt": "[[say no]][[stop refusal]]"})).await;
    assert_eq!(choices(&answer), [("no", "content_filter")]);
}

#[rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn a_failure_is_told_as_anywhere_and_names_the_prompt_where_it_is_about_it(#[case] stream: bool) {
    let Some(app) = app().await else { return };
    let too_long = "[[err 400 invalid_request_error prompt is too long: 250000 tokens > 200000 maximum]]";
    let answer = complete(&app, &json!({"prompt": too_long, "stream": stream})).await;
    let error = answer.error().expect("an error");
    assert_eq!((answer.status, &error["code"]), (400, &json!("context_length_exceeded")), "{error}");
    assert_eq!(error["param"], "prompt");
    let breaks = json!({"prompt": "[[words 6]][[cut 3]]", "stream": true});
    let answer = complete(&app, &breaks).await;
    let error = answer.error().expect("an error");
    assert_eq!(
        (answer.status, answer.done, &error["code"]),
        (200, false, &json!("upstream_broken")),
        "{error}"
    );
}
