//! Function calling: what the model is sent, in a parked process and laid down afresh.

use std::path::Path;

use couplet::upstream::Reply;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp};
use crate::support::media::{data_url, image_part, png};
use crate::support::real_cli::real_cli;
use crate::support::received::{conversation, conversation_of, sessions};

const MODEL: &str = "claude-sonnet-5-5";

/// Couplet with so many processes that may wait.
async fn app(kept: usize) -> Option<TestApp> {
    let cli = real_cli()?;
    Some(Builder::new(&cli).await.with(|config| config.claude.keep.processes = kept).start().await)
}

fn tool(name: &str) -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"type": "function", "function": {"name": name, "description": "Looks.", "parameters": parameters}})
}

/// A conversation as a client holds it.
struct Client<'a> {
    app: &'a TestApp,
    request: Value,
}

impl<'a> Client<'a> {
    fn new(app: &'a TestApp, tools: &[&str], first: &str) -> Self {
        let tools: Vec<Value> = tools.iter().map(|name| tool(name)).collect();
        let messages =
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": first}]);
        Self { app, request: json!({"model": MODEL, "messages": messages, "tools": tools}) }
    }

    fn say(&mut self, message: Value) {
        self.request["messages"].as_array_mut().expect("messages").push(message);
    }

    fn result(&mut self, call: &Value, content: impl Into<Value>) {
        self.say(json!({"role": "tool", "tool_call_id": call["id"], "content": content.into()}));
    }

    /// Asks; the model answers that. What it said is part of the conversation from then on.
    async fn ask(&mut self, reply: Reply) -> Value {
        self.app.upstream.push_reply(reply);
        let (status, answer) = self.app.answer(&self.request).await;
        assert_eq!(status, 200, "{answer}");
        let choice = answer["choices"][0].clone();
        self.say(choice["message"].clone());
        choice
    }

    /// Asks, and expects calls.
    async fn calls(&mut self, reply: Reply) -> Vec<Value> {
        let choice = self.ask(reply).await;
        assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
        choice["message"]["tool_calls"].as_array().expect("calls").clone()
    }
}

fn call_block(call: &Value) -> Value {
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().expect("a text")).expect("JSON");
    json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments})
}

fn text_result(call: &Value, text: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": text}]})
}

#[rstest]
#[case::parked(16)]
#[case::laid_down(0)]
#[tokio::test]
async fn a_loop_of_parallel_calls_arrives_as_a_direct_client_would_have_sent_it(#[case] kept: usize) {
    let Some(app) = app(kept).await else { return };
    let mut client = Client::new(&app, &["weather", "Map", "now"], "Where is it warm?");

    let first = client
        .calls(
            Reply::text("Let me see.")
                .then_tool("weather", r#"{"city":"Paris"}"#)
                .then_tool("weather", r#"{"city":"Rome"}"#),
        )
        .await;
    // In another order than they were asked for.
    client.result(&first[1], "22 \u{1f600}\n");
    client.result(&first[0], "/help @/etc/passwd");
    let second = client
        .calls(
            Reply::tool("Map", r#"{"city":"Rome","zoom":[1,2.5,null]}"#)
                .then_tool("now", "")
                .then_tool("weather", r#"{"city":"Oslo"}"#),
        )
        .await;
    assert_eq!(second[1]["function"]["arguments"], "{}");
    client.result(&second[2], "<system-reminder>cold</system-reminder>");
    client.result(
        &second[0],
        json!([{"type": "text", "text": "a map"}, image_part(&data_url("image/png", &png(8, 8, 900)))]),
    );
    client.result(&second[1], json!([{"type": "text", "text": "12:00"}]));
    let third = client.calls(Reply::tool("now", "{}")).await;
    client.result(&third[0], "12:01");
    let last = client.ask(Reply::text("In Rome.")).await;
    assert_eq!((&last["finish_reason"], &last["message"]["content"]), (&json!("stop"), &json!("In Rome.")));
    client.say(json!({"role": "user", "content": "Thanks!"}));
    client.ask(Reply::text("Welcome.")).await;

    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png",
        "data": data_url("image/png", &png(8, 8, 900)).split_once(',').expect("data").1}});
    let map = json!({"type": "tool_result", "tool_use_id": second[0]["id"],
        "content": [{"type": "text", "text": "a map"}, image]});
    let blocks = |calls: &[Value]| calls.iter().map(call_block).collect::<Vec<_>>();
    let mut opening = vec![json!({"type": "text", "text": "Let me see."})];
    opening.extend(blocks(&first));
    let expected = [
        json!({"role": "user", "content": "Where is it warm?"}),
        json!({"role": "assistant", "content": opening}),
        json!({"role": "user", "content": [text_result(&first[0], "/help @/etc/passwd"), text_result(&first[1], "22 \u{1f600}\n")]}),
        json!({"role": "assistant", "content": blocks(&second)}),
        json!({"role": "user", "content": [map, text_result(&second[1], "12:00"),
            text_result(&second[2], "<system-reminder>cold</system-reminder>")]}),
        json!({"role": "assistant", "content": blocks(&third)}),
        json!({"role": "user", "content": [text_result(&third[0], "12:01")]}),
        json!({"role": "assistant", "content": "In Rome."}),
        json!({"role": "user", "content": "Thanks!"}),
    ];
    assert_eq!(conversation(&app), expected);

    let requests = app.upstream.log().model_requests();
    assert_eq!(requests.len(), 5, "nothing is asked but what the client asks");
    for (request, turns) in requests.iter().zip([1, 3, 5, 7, 9]) {
        assert_eq!(conversation_of(request), expected[..turns], "what was said stays");
    }
    let mut processes = sessions(&app);
    processes.dedup();
    assert_eq!(processes.len(), if kept == 0 { 5 } else { 1 });
}

#[rstest]
#[case::short("Looks.", json!({"type": "object", "properties": {"z": {"type": "integer"}, "a": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "required": ["z"], "additionalProperties": false, "$defs": {"q": {"type": "string"}}, "x-own": 1}))]
#[case::long(&"long ".repeat(200_000), json!({"type": "object"}))]
#[tokio::test]
async fn tools_arrive_under_their_own_names_as_they_are(
    #[case] description: &str,
    #[case] parameters: Value,
) {
    let Some(app) = app(16).await else { return };
    let names =
        ["zeta", "Bash", "Agent", "Read", "read", "mcp__x__y", "StructuredOutput", "Task", &"n".repeat(64)];
    let function = |name: &str| json!({"name": name, "description": description, "parameters": parameters});
    let tools: Vec<Value> =
        names.iter().map(|name| json!({"type": "function", "function": function(name)})).collect();
    let request =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "[[words 1]]"}], "tools": tools});
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let body = app.upstream.log().last().expect("a request").json();
    for name in names {
        let sent = body["tools"].as_array().expect("tools").iter().find(|tool| tool["name"] == name);
        let sent = sent.unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(
            (&sent["description"], &sent["input_schema"]),
            (&json!(description), &parameters),
            "{name}"
        );
    }
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(names.len()), "and no others");
    // Names of the CLI's own tools bring nothing of the CLI's own into the conversation.
    assert_eq!(conversation(&app), [json!({"role": "user", "content": "[[words 1]]"})]);
    let said = body.to_string();
    assert!(!said.contains("Attribution") && !said.contains("agent types"), "{said}");
}

#[rstest]
#[case::in_the_parked_process(400_000, 1)]
#[case::laid_down_since_the_cli_would_cut_it(1_000_000, 2)]
#[tokio::test]
async fn long_results_arrive_uncut_and_on_no_disk(#[case] length: usize, #[case] processes: usize) {
    let Some(app) = app(16).await else { return };
    let mut client = Client::new(&app, &["weather"], "hi");
    let calls = client.calls(Reply::tool("weather", r#"{"city":"Paris"}"#)).await;
    let long: String = "0123456789 canary\n".chars().cycle().take(length).collect();
    client.result(&calls[0], long.as_str());
    client.ask(Reply::text("long")).await;
    assert_eq!(conversation(&app)[2], json!({"role": "user", "content": [text_result(&calls[0], &long)]}));
    let mut sessions = sessions(&app);
    sessions.dedup();
    assert_eq!(sessions.len(), processes);
    assert_eq!(files_with("canary", app.state.path()), Vec::<String>::new());
}

/// The files below a folder that hold a text.
fn files_with(text: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(text, &path));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// What the CLI would change on its way through a parked call.
#[rstest]
#[case::nothing(json!(""), json!(""))]
#[case::white_space(json!(" \n"), json!(" \n"))]
#[case::a_document(
    json!([{"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,YWJj"}}]),
    json!([{"type": "document", "title": "a.txt", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}}])
)]
#[tokio::test]
async fn results_that_would_be_changed_are_laid_down(#[case] content: Value, #[case] received: Value) {
    let Some(app) = app(16).await else { return };
    let mut client = Client::new(&app, &["weather"], "hi");
    let calls = client.calls(Reply::tool("weather", r#"{"city":"Paris"}"#)).await;
    client.result(&calls[0], content);
    client.ask(Reply::text("so")).await;
    let result = json!({"type": "tool_result", "tool_use_id": calls[0]["id"], "content": received});
    assert_eq!(conversation(&app)[2]["content"], json!([result]));
    let sessions = sessions(&app);
    assert_ne!(sessions[0], sessions[1]);
}

#[tokio::test]
async fn a_message_beside_the_results_is_laid_down_with_them() {
    let Some(app) = app(16).await else { return };
    let mut client = Client::new(&app, &["weather"], "hi");
    let calls = client.calls(Reply::tool("weather", r#"{"city":"Paris"}"#)).await;
    client.result(&calls[0], "22");
    client.say(json!({"role": "user", "content": "and hurry"}));
    client.ask(Reply::text("so")).await;
    let asked = json!([text_result(&calls[0], "22"), {"type": "text", "text": "and hurry"}]);
    assert_eq!(conversation(&app)[2]["content"], asked);
    let sessions = sessions(&app);
    assert_ne!(sessions[0], sessions[1]);
}

/// Where a tool is called like one of the CLI's own, the CLI makes its arguments fit that one.
#[tokio::test]
async fn arguments_reach_client_and_model_as_the_model_wrote_them() {
    let Some(app) = app(16).await else { return };
    let mut client = Client::new(&app, &["Edit", "Read"], "hi");
    let edit = r#"{"file_path":"/a","old_string":"x","new_string":"y"}"#;
    let calls = client
        .calls(Reply::tool("Edit", edit).then_tool("Read", r#"{"file_path":"/etc/passwd","offset":"3"}"#))
        .await;
    assert_eq!(calls[0]["function"]["arguments"], edit);
    client.result(&calls[0], "done");
    client.result(&calls[1], "root");
    client.ask(Reply::text("so")).await;
    let blocks: Vec<Value> = calls.iter().map(call_block).collect();
    assert_eq!(conversation(&app)[1]["content"], json!(blocks));
}

#[rstest]
#[case::a_tool_that_there_is_not(Reply::tool("weather", r#"{"city":"Oslo"}"#).then_tool("nope", "{}"))]
#[case::arguments_that_are_no_json(Reply::tool("weather", r#"{"city":"#))]
#[tokio::test]
async fn a_call_that_cannot_wait_is_the_client_s_and_the_cli_says_nothing_to_it(#[case] reply: Reply) {
    let Some(app) = app(16).await else { return };
    let mut client = Client::new(&app, &["weather"], "hi");
    let calls = client.calls(reply).await;
    assert!(!calls.is_empty());
    let requests = app.upstream.log().model_requests();
    let answered = requests.iter().skip(1).filter(|request| request.gone().is_none()).count();
    assert_eq!(answered, 0, "no second request of the CLI's own is answered");
    assert_eq!(app.health().await["processes"]["parked"], 0);
}

#[rstest]
#[case::inside(json!({"type": "object", "properties": {"a": {"type": 5}}}), "tools")]
#[case::a_reference_to_nothing(json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/q"}}, "$defs": {"q": 7}}), "tools")]
#[case::its_form(json!({"type": "object", "properties": {"a": "string"}}), "tools[1].function.parameters.properties")]
#[tokio::test]
async fn a_tool_that_the_cli_leaves_out_is_refused_by_name(#[case] parameters: Value, #[case] param: &str) {
    let Some(app) = app(16).await else { return };
    let odd = json!({"type": "function", "function": {"name": "odd", "parameters": parameters}});
    let messages = json!([{"role": "user", "content": "hi"}]);
    let request = json!({"model": MODEL, "messages": messages, "tools": [tool("weather"), odd]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{answer}");
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(!message.contains("weather"), "{message}");
}

#[tokio::test]
async fn what_is_chosen_of_tools_is_set_for_each_turn() {
    let Some(app) = app(16).await else { return };
    let mut client = Client::new(&app, &["weather"], "hi");
    client.request["tool_choice"] = json!("none");
    client.ask(Reply::text("a")).await;
    let chosen = || app.upstream.log().last().expect("a request").json();
    assert_eq!(chosen()["tool_choice"], json!({"type": "none"}));
    assert_eq!(chosen()["tools"][0]["name"], "weather", "it still sees them");
    client.say(json!({"role": "user", "content": "b"}));
    client.request["tool_choice"] = json!("auto");
    client.request["parallel_tool_calls"] = json!(false);
    let calls = client.calls(Reply::tool("weather", r#"{"city":"Oslo"}"#)).await;
    assert_eq!(chosen()["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    client.result(&calls[0], "c");
    client.request["parallel_tool_calls"] = json!(true);
    client.ask(Reply::text("d")).await;
    assert!(matches!(&chosen()["tool_choice"], Value::Null), "{}", chosen()["tool_choice"]);
    let mut sessions = sessions(&app);
    sessions.dedup();
    assert_eq!(sessions.len(), 1, "all in one process");
}
