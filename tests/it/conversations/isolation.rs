//! Nothing but the identical history goes on in a process, and only in one that holds it whole.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use super::{Dialogue, PATIENCE, app, app_with, health, heard, texts};
use crate::support::app::{Builder, Streamed, TestApp};
use crate::support::couplet_process::streamed;
use crate::support::real_cli::real_cli;

/// A question whose process is not kept, so that many can be asked.
const NEXT: &str = "[[words 1]][[stop max_tokens]] next";

fn message(request: &mut Value, index: usize) -> &mut Value {
    &mut request["messages"][index]["content"]
}

fn edit(request: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    change(request["messages"].as_array_mut().expect("messages"));
}

fn tool(name: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}});
    json!({"type": "function", "function": {"name": name, "description": "does", "parameters": schema}})
}

/// A conversation of three turns: 0 is the system prompt, then question and answer in turn; 7 asks what comes next.
async fn three_turns(app: &TestApp, fields: &Value) -> Dialogue {
    let mut dialogue = Dialogue::new(fields);
    dialogue.push("system", "Be brief.");
    for question in ["[[say one]] caf\u{e9}", "[[say two]] b", "[[say three]] c"] {
        dialogue.say(app, question).await;
    }
    dialogue
}

type Change = fn(&mut Value);

/// Each change of the conversation is laid down in a process of its own, and the conversation goes on in its own.
async fn none_goes_on(fields: &Value, changes: &[(&str, Change)]) {
    let Some(app) = app().await else { return };
    let mut dialogue = three_turns(&app, fields).await;
    let process = heard(&app.upstream, "[[say three]] c").process;
    for (number, (what, change)) in changes.iter().enumerate() {
        let question = format!("{NEXT} {number}");
        let mut request = dialogue.asking(&question);
        change(&mut request);
        let asked = texts(&request).pop().expect("a question").1;
        let (status, answer) = app.answer(&request).await;
        assert_eq!(status, 200, "{what}: {answer}");
        let heard = heard(&app.upstream, &asked);
        assert_ne!(heard.process, process, "{what}");
        assert_eq!(heard.turns, texts(&request), "{what}");
        assert_eq!(health(&app, "/processes/live").await, 1, "{what}");
    }
    dialogue.say(&app, "[[words 1]] at last").await;
    assert_eq!(
        heard(&app.upstream, "[[words 1]] at last").process,
        process,
        "the conversation itself goes on"
    );
}

#[tokio::test]
async fn a_history_that_differs_is_laid_down_in_another_process() {
    none_goes_on(
        &json!({}),
        &[
            ("another second question", |r| *message(r, 3) = "[[say two]] B".into()),
            ("an edited answer", |r| *message(r, 4) = "Two".into()),
            ("an edited last answer", |r| *message(r, 6) = "three!".into()),
            ("a blank more", |r| *message(r, 6) = "three ".into()),
            ("another normal form", |r| *message(r, 1) = "[[say one]] cafe\u{301}".into()),
            ("a question in two parts", |r| {
                *message(r, 3) =
                    json!([{"type": "text", "text": "[[say two]]"}, {"type": "text", "text": " b"}]);
            }),
            ("an answer in two parts", |r| {
                *message(r, 4) = json!([{"type": "text", "text": "t"}, {"type": "text", "text": "wo"}]);
            }),
            ("shortened", |r| edit(r, |messages| drop(messages.drain(5..7)))),
            ("without its beginning", |r| edit(r, |messages| drop(messages.drain(1..3)))),
            ("reordered", |r| edit(r, |messages| messages[1..5].rotate_left(2))),
            ("answers exchanged", |r| edit(r, |messages| messages.swap(2, 4))),
            ("an answer twice", |r| edit(r, |messages| messages.insert(6, messages[6].clone()))),
            ("two questions without an answer between", |r| edit(r, |messages| drop(messages.remove(4)))),
            ("another system prompt", |r| *message(r, 0) = "Be brief".into()),
            ("no system prompt", |r| edit(r, |messages| drop(messages.remove(0)))),
            ("another model", |r| r["model"] = "claude-opus-5-5".into()),
            ("no thinking", |r| r["reasoning_effort"] = "none".into()),
            ("a tool", |r| r["tools"] = json!([tool("f")])),
        ],
    )
    .await;
}

#[tokio::test]
async fn other_tools_are_for_another_process() {
    none_goes_on(
        &json!({"tools": [tool("f"), tool("g")]}),
        &[
            ("none", |r| drop(r.as_object_mut().expect("an object").remove("tools"))),
            ("one less", |r| r["tools"] = json!([tool("f")])),
            ("one more", |r| r["tools"] = json!([tool("f"), tool("g"), tool("h")])),
            ("in another order", |r| r["tools"] = json!([tool("g"), tool("f")])),
            ("another name", |r| r["tools"][1]["function"]["name"] = "h".into()),
            ("another description", |r| r["tools"][1]["function"]["description"] = "does not".into()),
            ("another schema", |r| {
                r["tools"][1]["function"]["parameters"]["properties"]["x"]["type"] = "number".into();
            }),
            ("a field of the schema less", |r| {
                let properties = &mut r["tools"][1]["function"]["parameters"]["properties"];
                properties.as_object_mut().expect("an object").remove("y");
            }),
        ],
    )
    .await;
}

#[tokio::test]
async fn another_caller_never_goes_on_in_the_process() {
    let Some(cli) = real_cli() else { return };
    let app = Builder::new(&cli).await.with_keys(&["alpha", "beta"]).start().await;
    let ask = async |key: &str, request: &Value| {
        let response = app.post("/v1/chat/completions").bearer_auth(key).json(request).send().await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.expect("JSON");
        answer["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
    };
    let mut dialogue = Dialogue::new(&json!({}));
    let answer = ask("alpha", &dialogue.asking("[[say hello]]")).await;
    dialogue.push("user", "[[say hello]]");
    dialogue.push("assistant", &answer);
    ask("beta", &dialogue.asking("[[words 1]] beta")).await;
    ask("alpha", &dialogue.asking("[[words 1]] alpha")).await;
    let [first, beta, alpha] =
        ["[[say hello]]", "[[words 1]] beta", "[[words 1]] alpha"].map(|said| heard(&app.upstream, said));
    assert_eq!(first.process, alpha.process);
    assert_ne!(first.process, beta.process);
    assert_eq!(beta.turns, texts(&dialogue.asking("[[words 1]] beta")));
}

/// What spoils a process.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spoiled {
    /// The answer to this question.
    By(&'static str),
    /// A client that leaves.
    Leaving,
}

#[rstest]
#[case::by_an_error_of_the_api(Spoiled::By("[[err 400]]"))]
#[case::by_the_limit_of_tokens(Spoiled::By("[[words 9]][[stop max_tokens]]"))]
#[case::by_a_refusal(Spoiled::By("[[words 2]][[stop refusal]]"))]
#[case::by_an_answer_that_broke_off(Spoiled::By("[[words 9]][[cut 3]]"))]
#[case::by_an_answer_of_nothing(Spoiled::By("[[empty]]"))]
#[case::by_the_total_deadline(Spoiled::By("[[words 1000]][[slow 0.05]]"))]
#[case::by_a_client_that_left(Spoiled::Leaving)]
#[tokio::test]
async fn a_process_that_was_spoiled_is_not_gone_on_in(#[case] spoiled: Spoiled) {
    let total = Duration::from_secs(4);
    let Some(app) = app_with(|config| config.claude.deadlines.total = total).await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "[[say hello]]").await;
    let first = heard(&app.upstream, "[[say hello]]").process;
    let question = match spoiled {
        Spoiled::By(question) => {
            let answer = app.answer(&dialogue.asking(question)).await;
            assert_ne!((answer.0, &answer.1["choices"][0]["message"]["content"]), (200, &json!("fine")));
            question
        }
        Spoiled::Leaving => {
            let question = "[[words 1000]][[slow 0.05]]";
            let mut answer = app.chat(&streamed(&dialogue.asking(question))).await;
            answer.chunk().await.expect("a chunk").expect("not the end");
            question
        }
    };
    assert_eq!(heard(&app.upstream, question).process, first, "it was live");
    assert_eq!(health(&app, "/processes/live").await, 0);
    // The same once more, and what a client may make of what it got.
    let again = format!("[[say well]] {}", question.replace("[[", "[ [").replace("]]", "] ]"));
    assert_eq!(dialogue.say(&app, &again).await, "well");
    let repeat = heard(&app.upstream, &again);
    assert_ne!(repeat.process, first);
    let mut sent = texts(&dialogue.request);
    sent.pop();
    assert_eq!(repeat.turns, sent);
    let log = app.upstream.log();
    for received in log.model_requests() {
        log.wait_until_over(received.index, PATIENCE).await.expect("nobody asks on");
    }
}

#[tokio::test]
async fn a_part_of_an_answer_that_a_client_sends_back_is_laid_down() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "[[say hello]]").await;
    let mut request = dialogue.asking("[[words 9]]");
    request["max_tokens"] = json!(3);
    let cut = Streamed::read(app.chat(&streamed(&request)).await).await;
    assert_eq!(cut.finish_reason(), Some("length"));
    dialogue.push("user", "[[words 9]]");
    dialogue.push("assistant", &cut.contents().concat());
    dialogue.say(&app, "[[words 1]] go on").await;
    let on = heard(&app.upstream, "[[words 1]] go on");
    assert_eq!(
        on.turns,
        texts(&request).into_iter().chain(texts(&dialogue.request).split_off(3)).take(5).collect::<Vec<_>>()
    );
    assert_ne!(on.process, heard(&app.upstream, "[[words 9]]").process);
    assert_eq!(on.asked.max_tokens(), heard(&app.upstream, "[[say hello]]").asked.max_tokens());
}
