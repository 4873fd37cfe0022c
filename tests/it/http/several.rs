//! `n`: several answers to one request.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Streamed, ask};
use crate::support::fake_cli::frames::{message_delta, message_start, message_stop, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};

const SOON: Duration = Duration::from_secs(2);

fn ask_for(n: u32) -> Value {
    let mut request = ask("hello");
    request["n"] = json!(n);
    request["stream_options"] = json!({"include_usage": true});
    request
}

/// What the chunks of one answer hold in a field of their choice.
fn of<'a>(answer: &'a Streamed, index: u32, field: &str) -> Vec<&'a str> {
    let choices = answer.data.iter().map(|chunk| &chunk["choices"][0]);
    let values = choices.filter(|choice| choice["index"] == index).map(|choice| choice.pointer(field));
    values.filter_map(|value| value?.as_str()).filter(|text| !text.is_empty()).collect()
}

#[tokio::test]
async fn each_answer_streams_under_its_index_and_the_usage_of_all_comes_once() {
    let end = vec![message_delta(Some("end_turn"), 5), message_stop(), success()];
    let texts = Step::Texts { count: 3, size: 10 };
    let fake = FakeCli::that_does([Step::Frames(vec![message_start("msg_1")]), texts, Step::Frames(end)]);
    let app = fake.app().await;
    let answer = app.stream(&ask_for(3)).await;
    assert_eq!((answer.status, answer.done), (200, true), "{answer:?}");
    for index in 0..3 {
        assert_eq!(of(&answer, index, "/delta/role"), ["assistant"]);
        assert_eq!(of(&answer, index, "/delta/content"), ["00000000xx", "00000001xx", "00000002xx"]);
        assert_eq!(of(&answer, index, "/finish_reason"), ["stop"]);
    }
    let first: Vec<&Value> = answer.data[..3].iter().map(|chunk| &chunk["choices"][0]["index"]).collect();
    assert_eq!(first, [0, 1, 2], "openai-python counts them in the order in which it first reads of them");
    let usages: Vec<&Value> = answer.data.iter().filter(|chunk| !chunk["usage"].is_null()).collect();
    assert_eq!(usages, [answer.data.last().expect("a chunk")]);
    assert_eq!((&usages[0]["choices"], &usages[0]["usage"]["prompt_tokens"]), (&json!([]), &json!(180)));
    assert_eq!(usages[0]["usage"]["completion_tokens"], 15);
    assert_eq!(fake.reports().len(), 3, "each asked by itself");
}

#[tokio::test]
async fn the_whole_answer_holds_all_of_them_in_order() {
    let fake = FakeCli::that_does([Step::Answer("fine".to_owned())]);
    let app = fake.app().await;
    let (status, answer) = app.answer(&ask_for(2)).await;
    let choices = answer["choices"].as_array().unwrap_or_else(|| panic!("no choices: {answer}"));
    let read: Vec<_> =
        choices.iter().map(|choice| (&choice["index"], &choice["message"]["content"])).collect();
    assert_eq!((status, read), (200, vec![(&json!(0), &json!("fine")), (&json!(1), &json!("fine"))]));
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"]),
        (&json!(120), &json!(130))
    );
}

#[rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn one_that_fails_before_any_begins_fails_the_request_with_its_status(#[case] stream: bool) {
    let fake = FakeCli::new(&Script::default());
    let fails = Step::Once { file: fake.file("failed"), steps: vec![Step::Exit(3)] };
    fake.follow(&Script { plays: vec![play("", [fails, Step::Hang])], ..Script::default() });
    let app = fake.app().await;
    let mut request = ask_for(3);
    request["stream"] = json!(stream);
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("upstream_broken")), "{answer}");
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn one_that_fails_later_ends_the_stream_with_one_error_and_interrupts_the_others() {
    let fake = FakeCli::new(&Script::default());
    let dies = vec![Step::Sleep { milliseconds: 500 }, Step::Exit(3)];
    let fails = Step::Once { file: fake.file("failed"), steps: dies };
    let begins = Step::Frames(vec![message_start("msg_1"), text("half ")]);
    fake.follow(&Script { plays: vec![play("", [begins, fails, Step::Hang])], ..Script::default() });
    let app = fake.app().await;
    let answer = app.stream(&ask_for(3)).await;
    assert_eq!((answer.status, answer.done), (200, false), "{answer:?}");
    let error = answer.error().unwrap_or_else(|| panic!("no error: {answer:?}"));
    assert_eq!(error["code"], "upstream_broken");
    assert!((0..3).all(|index| of(&answer, index, "/finish_reason").is_empty()), "{answer:?}");
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn a_client_that_leaves_interrupts_all_of_them() {
    let begins = Step::Frames(vec![message_start("msg_1"), text("half ")]);
    let fake = FakeCli::that_does([begins, Step::Hang]);
    let app = fake.app().await;
    let mut request = ask_for(3);
    request["stream"] = json!(true);
    let response = app.chat(&request).await;
    assert_eq!((response.status().as_u16(), fake.living().is_empty()), (200, false));
    drop(response);
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn more_answers_than_the_server_gives_at_once_are_refused_and_the_limit_is_told() {
    let fake = FakeCli::that_does([Step::Answer("fine".to_owned())]);
    let app = fake.app_with(|config| config.claude.max_concurrency = 2).await;
    let (status, answer) = app.answer(&ask_for(3)).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("n")), "{answer}");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|message| message.contains("up to 2 ")),
        "{answer}"
    );
    assert!(fake.reports().is_empty(), "nothing was started for it");
    assert_eq!(app.answer(&ask_for(2)).await.0, 200);
}
