//! Calls that wait for their results, and what else may come in their place.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Dialogue, app, health, heard, questions};
use crate::support::app::{Builder, TestApp, said};
use crate::support::real_cli::real_cli;

const TWO_CALLS: &str = r#"[[say calling]][[tool f {"x":1}]][[tool g {"x":[1.0,{"y":"\u00e9"}]}]]"#;

fn tools() -> Value {
    let schema = json!({"type": "object", "properties": {"x": {}}});
    let tool = |name| json!({"type": "function", "function": {"name": name, "parameters": schema}});
    json!({"tools": [tool("f"), tool("g")]})
}

/// A conversation in which the model has just called both tools, and the ids of the calls.
async fn called(app: &TestApp) -> (Dialogue, Vec<String>) {
    let mut dialogue = Dialogue::new(&tools());
    dialogue.say(app, "[[say hello]]").await;
    let (status, answer) = app.answer(&dialogue.asking(TWO_CALLS)).await;
    let choice = &answer["choices"][0];
    assert_eq!((status, &choice["finish_reason"]), (200, &json!("tool_calls")), "{answer}");
    dialogue.push("user", TWO_CALLS);
    dialogue.messages().push(choice["message"].clone());
    let calls = choice["message"]["tool_calls"].as_array().expect("calls");
    let ids: Vec<String> = calls.iter().map(|call| call["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((ids.len(), waiting(app).await), (2, (0, 1)));
    (dialogue, ids)
}

/// Live and parked processes.
async fn waiting(app: &TestApp) -> (u64, u64) {
    (health(app, "/processes/live").await, health(app, "/processes/parked").await)
}

fn result(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

/// The request that brings these results.
fn bringing(dialogue: &Dialogue, results: impl IntoIterator<Item = Value>) -> Value {
    let mut next = dialogue.clone();
    next.messages().extend(results);
    next.request
}

/// What the model was asked last: in which process, and with which results.
fn asked_last(app: &TestApp) -> (String, Vec<String>) {
    let asked = app.upstream.log().last().expect("a request").asked();
    let results = asked.last_tool_results();
    (super::Heard::from(asked).process, results)
}

type Change = fn(&mut Dialogue);

/// The message of the model's calls as the upstream received it, if nothing is between it and the question before.
fn calls_in(asked: &couplet::upstream::Asked) -> Value {
    let turns: Vec<&Value> = asked.turns().collect();
    let calls = turns.iter().find(|turn| turn["content"][1]["type"] == "tool_use").expect("calls");
    json!([
        calls["content"][0]["text"],
        calls["content"][1]["input"],
        calls["content"][2]["input"],
        turns.len()
    ])
}

#[rstest]
#[case::in_the_order_of_the_calls(false)]
#[case::in_another_order(true)]
#[tokio::test]
async fn the_results_of_all_calls_go_on_in_the_process(#[case] reversed: bool) {
    let Some(app) = app().await else { return };
    let (mut dialogue, ids) = called(&app).await;
    let mut results = [result(&ids[0], "first \u{1f600}\n"), result(&ids[1], "[[say done]] second")];
    if reversed {
        results.reverse();
    }
    let answer = app.answer(&bringing(&dialogue, results.clone())).await;
    assert_eq!(said(&answer), "done");
    let (process, heard_results) = asked_last(&app);
    assert_eq!(process, heard(&app.upstream, "[[say hello]]").process);
    assert_eq!(heard_results, ["first \u{1f600}\n", "[[say done]] second"]);
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!(calls_in(&asked), json!(["calling", {"x": 1}, {"x": [1, {"y": "\u{e9}"}]}, 5]));
    assert_eq!(waiting(&app).await, (1, 0));
    // And on it goes as any other conversation.
    dialogue.messages().extend(results);
    dialogue.push("assistant", "done");
    dialogue.say(&app, "[[words 1]] and then").await;
    assert_eq!(heard(&app.upstream, "[[words 1]] and then").process, process);
}

#[tokio::test]
async fn a_text_beside_the_results_is_laid_down_and_ends_the_parked_process() {
    let Some(app) = app().await else { return };
    let (dialogue, ids) = called(&app).await;
    let results = [
        result(&ids[0], "1"),
        result(&ids[1], "2"),
        json!({"role": "user", "content": "[[say stopped]] never mind"}),
    ];
    assert_eq!(said(&app.answer(&bringing(&dialogue, results)).await), "stopped");
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!(asked.last_tool_results(), ["1", "2"]);
    assert_eq!(asked.last_user_text(), "[[say stopped]] never mind");
    assert_eq!(asked.system_message_texts().iter().find(|text| text.contains("never mind")), None);
    assert_ne!(asked_last(&app).0, heard(&app.upstream, "[[say hello]]").process);
    assert_eq!(waiting(&app).await, (1, 0), "the one that was parked is gone");
}

#[tokio::test]
async fn results_that_do_not_fit_the_calls_are_refused_and_the_calls_wait_on() {
    let Some(app) = app().await else { return };
    let (dialogue, ids) = called(&app).await;
    let (one, two, other) =
        (result(&ids[0], "1"), result(&ids[1], "[[say done]]"), result("toolu_none", "3"));
    for wrong in [
        vec![one.clone()],
        vec![one.clone(), two.clone(), other.clone()],
        vec![one.clone(), other],
        vec![one.clone(), one.clone()],
        vec![json!({"role": "user", "content": "stop"})],
    ] {
        let (status, refusal) = app.answer(&bringing(&dialogue, wrong)).await;
        assert_eq!((status, waiting(&app).await), (400, (0, 1)), "{refusal}");
    }
    assert_eq!(said(&app.answer(&bringing(&dialogue, [one, two])).await), "done");
    assert_eq!(asked_last(&app).0, heard(&app.upstream, "[[say hello]]").process);
}

#[tokio::test]
async fn results_behind_another_history_are_laid_down_and_the_calls_wait_on() {
    let Some(app) = app().await else { return };
    let (dialogue, ids) = called(&app).await;
    let process = heard(&app.upstream, "[[say hello]]").process;
    // The process of such an answer is not kept.
    let results = |last: &str| [result(&ids[0], "1"), result(&ids[1], last)];
    let changes: [(&str, Change); 6] = [
        ("an edited message", |dialogue| dialogue.messages()[0]["content"] = "[[say hello]]!".into()),
        ("an edited argument", |dialogue| {
            dialogue.messages()[3]["tool_calls"][0]["function"]["arguments"] = r#"{"x":2}"#.into();
        }),
        ("another tool called", |dialogue| {
            dialogue.messages()[3]["tool_calls"][0]["function"]["name"] = "g".into();
        }),
        ("another text before the calls", |dialogue| dialogue.messages()[3]["content"] = "Calling".into()),
        ("calls in another order", |dialogue| {
            dialogue.messages()[3]["tool_calls"].as_array_mut().expect("calls").reverse();
        }),
        ("without the beginning", |dialogue| drop(dialogue.messages().drain(..2))),
    ];
    for (what, change) in changes {
        let mut other = dialogue.clone();
        change(&mut other);
        let (status, answer) =
            app.answer(&bringing(&other, results("[[say done]][[stop max_tokens]]"))).await;
        assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("done")), "{what}");
        assert_ne!(asked_last(&app).0, process, "{what}");
        assert_eq!(waiting(&app).await, (0, 1), "{what}");
    }
    assert_eq!(said(&app.answer(&bringing(&dialogue, results("[[say done]]"))).await), "done");
    assert_eq!(asked_last(&app).0, process);
}

#[tokio::test]
async fn arguments_written_in_another_way_are_the_same_call() {
    let Some(app) = app().await else { return };
    let (mut dialogue, ids) = called(&app).await;
    let calls = &mut dialogue.messages()[3]["tool_calls"];
    calls[0]["function"]["arguments"] = "{ \"x\" : 1.0 }".into();
    calls[1]["function"]["arguments"] = "{\"x\": [1, {\"y\": \"\\u00e9\"}]}".into();
    let results = [result(&ids[0], "1"), result(&ids[1], "[[say done]]")];
    assert_eq!(said(&app.answer(&bringing(&dialogue, results)).await), "done");
    assert_eq!(asked_last(&app).0, heard(&app.upstream, "[[say hello]]").process);
}

#[tokio::test]
async fn the_same_results_sent_twice_at_once_are_answered_twice_and_go_on_once() {
    let Some(app) = app().await else { return };
    let (dialogue, ids) = called(&app).await;
    let request = bringing(&dialogue, [result(&ids[0], "1"), result(&ids[1], "[[say done]]")]);
    let answers = tokio::join!(app.answer(&request), app.answer(&request));
    assert_eq!((said(&answers.0), said(&answers.1)), ("done", "done"));
    let first = heard(&app.upstream, "[[say hello]]").process;
    let both: Vec<_> = questions(&app.upstream, "")
        .filter(|heard| heard.asked.last_tool_results() == ["1", "[[say done]]"])
        .collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both.iter().filter(|heard| heard.process == first).count(), 1);
    assert_eq!(both[0].turns, both[1].turns);
    assert_eq!(waiting(&app).await, (2, 0));
}

#[tokio::test]
async fn results_for_the_calls_of_another_caller_are_laid_down() {
    let Some(cli) = real_cli() else { return };
    let app = Builder::new(&cli).await.with_keys(&["alpha", "beta"]).start().await;
    let ask = async |key: &str, request: &Value| -> Value {
        let request = app.post("/v1/chat/completions").bearer_auth(key).json(request);
        request.send().await.expect("an answer").json().await.expect("JSON")
    };
    let mut dialogue = Dialogue::new(&tools());
    let called = ask("alpha", &dialogue.asking("[[tool f {}]]")).await;
    let message = called["choices"][0]["message"].clone();
    dialogue.push("user", "[[tool f {}]]");
    dialogue.messages().push(message.clone());
    let id = message["tool_calls"][0]["id"].as_str().expect("an id");
    let first = heard(&app.upstream, "[[tool f {}]]").process;
    for (key, goes_on) in [("beta", false), ("alpha", true)] {
        let request = bringing(&dialogue, [result(id, &format!("[[say {key}]]"))]);
        assert_eq!(ask(key, &request).await["choices"][0]["message"]["content"], key);
        let (process, results) = asked_last(&app);
        assert_eq!(results, [format!("[[say {key}]]")]);
        assert_eq!(process == first, goes_on, "{key}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_results_are_answered_takes_the_process_with_it() {
    let Some(app) = app().await else { return };
    let (dialogue, ids) = called(&app).await;
    let results = [result(&ids[0], "1"), result(&ids[1], "[[words 1000]][[slow 0.05]]")];
    let request = crate::support::couplet_process::streamed(&bringing(&dialogue, results.clone()));
    let mut answer = app.chat(&request).await;
    answer.chunk().await.expect("a chunk").expect("not the end");
    drop(answer);
    let index = app.upstream.log().last().expect("a request").index;
    app.upstream.log().wait_for_disconnect(index, super::PATIENCE).await.expect("the model stops");
    assert_eq!(waiting(&app).await, (0, 0));
    let again = [results[0].clone(), result(&ids[1], "[[say done]]")];
    assert_eq!(said(&app.answer(&bringing(&dialogue, again)).await), "done");
    assert_ne!(asked_last(&app).0, heard(&app.upstream, "[[say hello]]").process);
}
