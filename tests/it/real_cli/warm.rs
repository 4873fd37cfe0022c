//! What the model sees of it that a process was set up before it was needed: nothing.

use std::time::{Duration, Instant};

use couplet::claude::warm::WarmLimits;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp, said};
use crate::support::real_cli::real_cli;

const PATIENCE: Duration = Duration::from_secs(60);

/// Couplet that keeps so many processes waiting; each answers one turn.
async fn app(warm: usize) -> Option<TestApp> {
    let cli = real_cli()?;
    let builder = Builder::new(&cli).await.with(|config| {
        config.claude.keep.processes = 0;
        config.claude.warm = WarmLimits { min: warm, max: warm, idle: PATIENCE * 10, max_age: PATIENCE * 10 };
    });
    Some(builder.start().await)
}

async fn wait_for(app: &TestApp, generic: u64, prepared: u64) {
    let begun = Instant::now();
    let wanted = json!([0, generic, prepared]);
    loop {
        let health = app.health().await;
        let processes = &health["processes"];
        if json!([processes["starting"], processes["generic"], processes["prepared"]]) == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{wanted} were to wait: {health}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the API was sent last, all of it but the ids of process and device, and the folder that it works in.
fn sent(app: &TestApp) -> Value {
    let body = app.upstream.log().last().expect("a request").json().to_string();
    let folder = app.state.path().to_str().expect("a text");
    let mut body: Value = serde_json::from_str(&body.replace(folder, "/folder")).expect("JSON");
    body.as_object_mut().expect("an object").remove("metadata").expect("ids");
    body
}

fn request(fields: &Value) -> Value {
    let mut request =
        json!({"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "[[words 2]] hello"}]});
    request.as_object_mut().expect("an object").extend(fields.as_object().expect("fields").clone());
    request
}

fn messages(system: Option<&str>) -> Value {
    let system = system.map(|system| json!({"role": "system", "content": system}));
    let said = json!([
        {"role": "user", "content": "/help"},
        {"role": "assistant", "content": "I shall."},
        {"role": "user", "content": "[[words 2]] and  now?\n"},
    ]);
    system.into_iter().chain(said.as_array().expect("messages").iter().cloned()).collect()
}

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| {
        json!({"type": "function", "function": {"name": name, "description": "Looks.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
    };
    names.iter().map(tool).collect()
}

/// Asks in a process of each kind, and gives what the API was sent each time: from one that was started for the question, one
/// that waited for anything, and one that was set up by the `before`, a question before it.
async fn from_all_kinds(before: &Value, asked: &Value) -> Option<[Value; 3]> {
    let cold = app(0).await?;
    said(&cold.answer(asked).await);
    let generic = app(1).await?;
    wait_for(&generic, 1, 0).await;
    said(&generic.answer(asked).await);
    let prepared = app(2).await?;
    wait_for(&prepared, 2, 0).await;
    said(&prepared.answer(before).await);
    wait_for(&prepared, 1, 1).await;
    said(&prepared.answer(asked).await);
    Some([sent(&cold), sent(&generic), sent(&prepared)])
}

#[rstest]
#[case::a_plain_question(json!({}), json!({}))]
#[case::a_system_prompt(json!({"messages": messages(Some("Be brief."))}), json!({"messages": messages(Some("Be brief."))}))]
#[case::a_history(json!({}), json!({"messages": messages(None)}))]
#[case::the_same_tools(json!({"tools": tools(&["f", "g"])}), json!({"tools": tools(&["f", "g"])}))]
#[case::tools_that_come_later(json!({}), json!({"tools": tools(&["g", "f"]), "messages": messages(None)}))]
#[case::another_model(json!({}), json!({"model": "claude-opus-5-5"}))]
#[case::a_model_that_is_not_listed(json!({}), json!({"model": "claude-made-up-9"}))]
#[case::parameters(json!({}), json!({"temperature": 0.5, "top_p": 0.25, "stop": ["END"], "max_tokens": 77, "reasoning_effort": "high"}))]
#[case::no_thinking(json!({}), json!({"reasoning_effort": "none", "model": "claude-haiku-4-5"}))]
#[tokio::test]
async fn the_api_is_sent_the_same_from_every_process(#[case] before: Value, #[case] asked: Value) {
    let Some([cold, generic, prepared]) = from_all_kinds(&request(&before), &request(&asked)).await else {
        return;
    };
    pretty_eq(&generic, &cold, "one for anything");
    pretty_eq(&prepared, &cold, "one that was set up ahead");
}

fn pretty_eq(one: &Value, other: &Value, what: &str) {
    assert!(one == other, "{what}:\n{one:#}\nelse:\n{other:#}");
}

#[tokio::test]
async fn nothing_is_sent_before_a_question_is_asked() {
    let Some(app) = app(3).await else { return };
    wait_for(&app, 3, 0).await;
    assert_eq!(app.upstream.log().count(), 0);
    said(&app.answer(&request(&json!({}))).await);
    wait_for(&app, 2, 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(app.upstream.log().count(), 1, "{:?}", app.upstream.log().requests());
}

#[tokio::test]
async fn a_conversation_that_began_in_a_prepared_process_goes_on_there() {
    let Some(cli) = real_cli() else { return };
    let builder = Builder::new(&cli).await.with(|config| {
        config.claude.warm = WarmLimits { min: 2, max: 2, idle: PATIENCE * 10, max_age: PATIENCE * 10 };
    });
    let app = builder.start().await;
    wait_for(&app, 2, 0).await;
    said(&app.answer(&request(&json!({}))).await);
    wait_for(&app, 1, 1).await;
    let mut request = request(&json!({"messages": [{"role": "user", "content": "[[words 1]] again"}]}));
    let answer = said(&app.answer(&request).await).to_owned();
    let first = crate::support::received::sessions(&app).pop();
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.extend([
        json!({"role": "assistant", "content": answer}),
        json!({"role": "user", "content": "[[words 1]] more"}),
    ]);
    said(&app.answer(&request).await);
    assert_eq!(crate::support::received::sessions(&app).pop(), first);
    let turns = app.upstream.log().last().expect("a request").asked().turn_texts().len();
    assert_eq!(turns, 3);
}
