//! Anthropic's own endpoint, over the real CLI: what the model is sent, and what comes back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use couplet::upstream::Reply;
use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::TestApp;
use crate::support::media::png;
use crate::support::messages::{answer, ask, stream};
use crate::support::received::{conversation, sessions};

const HAIKU: &str = "claude-haiku-4-5";

fn tool() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"name": "weather", "description": "Looks.", "input_schema": schema})
}

fn last_asked(app: &TestApp) -> Value {
    app.upstream.log().last().expect("a request").json()
}

#[tokio::test]
async fn an_answer_streams_as_anthropic_streams_it() {
    let Some(app) = app().await else { return };
    let prompt =
        "[[think one two]][[words 3]][[usage input=7 cache_creation=8 cache_read=9 output=20 thinking=2]]";
    let read = stream(&app, &ask(prompt)).await;
    let mut names = read.names();
    names.dedup();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let expected = [&["message_start"][..], &block, &block, &["message_delta", "message_stop"]].concat();
    assert_eq!(names, expected);
    assert_eq!(read.deltas("thinking").concat().trim(), "one two");
    assert_eq!(read.deltas("signature").len(), 1);
    assert_eq!(read.deltas("text"), ["w0 ", "w1 ", "w2"]);
    let start = &read.data("message_start")["message"];
    assert_eq!((&start["model"], &start["content"]), (&json!("claude-sonnet-5-5"), &json!([])));
    assert_eq!(
        (&start["usage"]["input_tokens"], &start["usage"]["cache_read_input_tokens"]),
        (&json!(7), &json!(9))
    );
    let end = read.data("message_delta");
    assert_eq!(end["delta"], json!({"stop_reason": "end_turn", "stop_sequence": null}));
    assert_eq!(end["usage"]["output_tokens"], 20);
}

#[tokio::test]
async fn an_answer_without_streaming_is_the_same_answer() {
    let Some(app) = app().await else { return };
    let (status, message) =
        answer(&app, &ask("[[think one]][[words 3]][[usage output=20 thinking=2]]")).await;
    assert_eq!(
        (status, &message["type"], &message["role"]),
        (200, &json!("message"), &json!("assistant")),
        "{message}"
    );
    assert!(message["id"].as_str().is_some_and(|id| id.starts_with("msg_")));
    let [thinking, text] = message["content"].as_array().expect("blocks").as_slice() else {
        panic!("{message}")
    };
    assert_eq!((&thinking["type"], text), (&json!("thinking"), &json!({"type": "text", "text": "w0 w1 w2"})));
    assert!(thinking["signature"].as_str().is_some_and(|signature| !signature.is_empty()));
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    let usage = json!({"input_tokens": 25, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 50,
        "output_tokens": 20, "output_tokens_details": {"thinking_tokens": 2}});
    assert_eq!(message["usage"], usage);
}

#[tokio::test]
async fn parameters_arrive_at_the_model() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 1]]");
    let parameters = json!({"max_tokens": 321, "temperature": 0.25, "top_p": 0.5, "top_k": 40, "stop_sequences": ["END", "\n\nX"],
        "output_config": {"effort": "high"}, "model": "claude-opus-5-5", "thinking": {"type": "adaptive"},
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}], "metadata": {"user_id": "u"}});
    request.as_object_mut().expect("an object").extend(parameters.as_object().expect("an object").clone());
    let response = app.post("/v1/messages").json(&request).send().await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-couplet-ignored"]),
        (200, &"metadata".parse().expect("a value"))
    );
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!((asked.model(), asked.max_tokens()), ("claude-opus-5-5", Some(321)));
    assert_eq!(
        (asked.field("temperature"), asked.field("top_p"), asked.field("top_k")),
        (Some(&json!(0.25)), Some(&json!(0.5)), Some(&json!(40)))
    );
    assert_eq!(asked.stop_sequences().collect::<Vec<_>>(), ["END", "\n\nX"]);
    assert_eq!(asked.field("output_config.effort"), Some(&json!("high")));
    assert_eq!(asked.system_texts().last(), Some(&"Be brief.\nBe kind."));
}

#[rstest]
#[case::a_budget(HAIKU, json!({"type": "enabled", "budget_tokens": 2000}), json!(2000), "")]
#[case::none(HAIKU, json!({"type": "disabled"}), Value::Null, "")]
#[case::as_it_sees_fit("claude-opus-5-5", json!({"type": "enabled", "budget_tokens": 2000}), Value::Null, "thinking.budget_tokens")]
#[tokio::test]
async fn a_budget_of_thinking_is_honoured_where_the_model_has_one(
    #[case] model: &str,
    #[case] thinking: Value,
    #[case] budget: Value,
    #[case] ignored: &str,
) {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 1]]");
    request["model"] = json!(model);
    request["thinking"] = thinking;
    let response = app.post("/v1/messages").json(&request).send().await.expect("an answer");
    let named = response.headers().get("x-couplet-ignored").map_or("", |names| names.to_str().expect("text"));
    assert_eq!((response.status().as_u16(), named), (200, ignored));
    assert_eq!(last_asked(&app)["thinking"]["budget_tokens"], budget);
}

#[tokio::test]
async fn another_budget_is_another_process() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 1]]");
    request["model"] = json!(HAIKU);
    for budget in [2000, 2000, 3000] {
        request["thinking"] = json!({"type": "enabled", "budget_tokens": budget});
        let (status, message) = answer(&app, &request).await;
        assert_eq!(status, 200, "{message}");
        assert_eq!(last_asked(&app)["thinking"]["budget_tokens"], budget);
        let messages = request["messages"].as_array_mut().expect("messages");
        messages.push(json!({"role": "assistant", "content": message["content"]}));
        messages.push(json!({"role": "user", "content": "[[words 1]] again"}));
    }
    let mut sessions = sessions(&app);
    sessions.dedup();
    assert_eq!(sessions.len(), 2);
}

#[rstest]
#[case("[[say one two END three]]", "stop_sequence", json!("END"))]
#[case("[[words 3]][[stop max_tokens]]", "max_tokens", Value::Null)]
#[case("[[words 3]][[stop model_context_window_exceeded]]", "model_context_window_exceeded", Value::Null)]
#[case("[[words 3]][[stop refusal]]", "refusal", Value::Null)]
#[case("[[words 3]][[stop pause_turn]]", "pause_turn", Value::Null)]
#[case("[[words 3]][[stop some_new_reason]]", "some_new_reason", Value::Null)]
#[tokio::test]
async fn every_stop_reason_comes_back_as_it_was(
    #[case] prompt: &str,
    #[case] reason: &str,
    #[case] sequence: Value,
) {
    let Some(app) = app().await else { return };
    let mut request = ask(prompt);
    request["stop_sequences"] = json!(["END"]);
    let (status, message) = answer(&app, &request).await;
    assert_eq!(
        (status, &message["stop_reason"], &message["stop_sequence"]),
        (200, &json!(reason), &sequence),
        "{message}"
    );
}

#[tokio::test]
async fn images_documents_and_turns_arrive_as_they_are() {
    let Some(app) = app().await else { return };
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": STANDARD.encode(png(8, 8, 900))}});
    let document = json!({"type": "document", "title": "a.txt", "source": {"type": "text", "media_type": "text/plain", "data": "said"}});
    let mut request = ask("first");
    request["messages"] = json!([
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, image, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "A dot."}]},
        {"role": "user", "content": [document, {"type": "text", "text": "[[words 1]]"}]},
    ]);
    let response = app.post("/v1/messages").json(&request).send().await.expect("an answer");
    let ignored = response.headers()["x-couplet-ignored"].to_str().expect("text").to_owned();
    assert!(ignored.contains("messages[].content[].thinking"), "{ignored}");
    let expected = [
        json!({"role": "user", "content": [{"type": "text", "text": "Look:"}, image, {"type": "text", "text": "?"}]}),
        json!({"role": "assistant", "content": "A dot."}),
        json!({"role": "user", "content": [document, {"type": "text", "text": "[[words 1]]"}]}),
    ];
    assert_eq!(conversation(&app), expected);
}

/// The first results go to the parked process; what it would change is laid down.
#[rstest]
#[case::text(json!([{"type": "text", "text": "22"}]), false, json!([{"type": "text", "text": "22"}]), 1)]
#[case::failed(json!("no such city"), true, json!("no such city"), 1)]
#[case::failed_at_length(json!([{"type": "text", "text": "x".repeat(20_000)}]), true, json!([{"type": "text", "text": "x".repeat(20_000)}]), 2)]
#[case::failed_without_a_word(json!([]), true, json!(""), 2)]
#[tokio::test]
async fn results_reach_the_model_as_what_they_are(
    #[case] content: Value,
    #[case] is_error: bool,
    #[case] received: Value,
    #[case] processes: usize,
) {
    let Some(app) = app().await else { return };
    let mut request = ask("Where is it warm?");
    request["tools"] = json!([tool()]);
    app.upstream.push_reply(Reply::text("Let me see.").then_tool("weather", r#"{"city":"Paris"}"#));
    let (status, message) = answer(&app, &request).await;
    assert_eq!((status, &message["stop_reason"]), (200, &json!("tool_use")), "{message}");
    let call = message["content"][1].clone();
    assert_eq!((&call["name"], &call["input"]), (&json!("weather"), &json!({"city": "Paris"})));
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.push(json!({"role": "assistant", "content": message["content"]}));
    let mut result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": content});
    if is_error {
        result["is_error"] = json!(true);
    }
    messages.push(json!({"role": "user", "content": [result]}));
    app.upstream.push_reply(Reply::text("In Rome."));
    let (status, message) = answer(&app, &request).await;
    assert_eq!((status, &message["content"][0]["text"]), (200, &json!("In Rome.")), "{message}");
    let got = &conversation(&app)[2]["content"][0];
    assert_eq!((&got["tool_use_id"], &got["content"]), (&call["id"], &received));
    assert_eq!(got["is_error"].as_bool().unwrap_or(false), is_error);
    let mut sessions = sessions(&app);
    sessions.dedup();
    assert_eq!(sessions.len(), processes);
}

#[rstest]
#[case(json!({"type": "any"}))]
#[case(json!({"type": "tool", "name": "weather", "disable_parallel_tool_use": true}))]
#[case(json!({"type": "none"}))]
#[tokio::test]
async fn a_choice_of_tools_arrives_at_the_model(#[case] choice: Value) {
    let Some(app) = app().await else { return };
    let mut request = ask("hi");
    request["tools"] = json!([tool()]);
    request["tool_choice"] = choice.clone();
    app.upstream.push_reply(if choice["type"] == "none" {
        Reply::text("no")
    } else {
        Reply::tool("weather", r#"{"city":"Paris"}"#)
    });
    let (status, message) = answer(&app, &request).await;
    assert_eq!(status, 200, "{message}");
    assert_eq!(last_asked(&app)["tool_choice"], choice);
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_an_error_event_and_nothing_follows() {
    let Some(app) = app().await else { return };
    let read = stream(&app, &ask("[[words 6]][[errevent 3 overloaded_error]]")).await;
    assert_eq!(read.deltas("text"), ["w0 ", "w1 ", "w2 "]);
    assert_eq!(read.names().last(), Some(&"error"));
    assert_eq!(read.data("error")["error"]["type"], "overloaded_error");
}

/// How many tokens of its own the scripted API counts in each request to count.
fn counted(app: &TestApp) -> Vec<(u64, bool)> {
    let requests = app.upstream.log().requests();
    let counts = requests.iter().filter(|request| request.path.ends_with("/count_tokens"));
    counts.map(|request| (request.body.len() as u64 / 4, !request.asked().tools().is_empty())).collect()
}

#[rstest]
#[case::a_question(false)]
#[case::with_tools(true)]
#[tokio::test]
async fn tokens_are_those_that_the_api_counts_for_all_that_the_model_would_be_sent(#[case] with_tools: bool) {
    let Some(app) = app().await else { return };
    let mut request = json!({"model": "claude-sonnet-5-5", "system": "Be brief.", "messages": [
        {"role": "user", "content": "first"}, {"role": "assistant", "content": "answer"}, {"role": "user", "content": "canary"}]});
    if with_tools {
        let mut tool = tool();
        tool["description"] = json!("long ".repeat(1000));
        request["tools"] = json!([tool]);
    }
    let response = app.post("/v1/messages/count_tokens").json(&request).send().await.expect("an answer");
    let told: Value = response.json().await.expect("JSON");
    let counts = counted(&app);
    // Without tools the CLI has a message counted that stands for them, and takes it off again.
    let (tools, rest): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(_, of_tools)| *of_tools);
    let bodies: Vec<String> = app
        .upstream
        .log()
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    let of = |text: &str| {
        bodies.iter().find(|body| body.contains(text)).map(|body| body.len() as u64 / 4).expect("a count")
    };
    assert_eq!(tools.len(), usize::from(with_tools), "{rest:?}");
    let expected = of("canary") + of("Be brief.") + tools.iter().map(|(tokens, _)| tokens).sum::<u64>();
    assert_eq!(told, json!({"input_tokens": expected}));
    assert_eq!(app.upstream.log().model_count(), 0, "the model is not asked");
    assert_eq!(app.health().await["processes"]["working"], 0);
}

#[tokio::test]
async fn models_come_in_anthropic_s_form_to_its_clients() {
    let Some(app) = app().await else { return };
    let get = async |path: &str| {
        let request = app.get(path).header("anthropic-version", "2023-06-01");
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (_, list) = get("/v1/models").await;
    let data = list["data"].as_array().expect("a list");
    assert_eq!((&list["has_more"], &list["first_id"]), (&json!(false), &data[0]["id"]));
    assert_eq!(list["last_id"], data[data.len() - 1]["id"]);
    let (_, sonnet) = get("/v1/models/sonnet").await;
    assert!(data.contains(&sonnet), "{sonnet}");
    assert_eq!((&sonnet["type"], &sonnet["created_at"]), (&json!("model"), &json!("2026-06-01T00:00:00Z")));
    let (status, missing) = get("/v1/models/some/unknown%20model").await;
    assert_eq!((status, &missing["error"]["type"]), (404, &json!("not_found_error")));
}

#[tokio::test]
async fn the_form_of_the_answer_reaches_the_model_and_the_answer_keeps_to_it() {
    let Some(app) = app().await else { return };
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let mut request = ask("[[json {\"n\":5}]]");
    request["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    let (status, message) = answer(&app, &request).await;
    let said: Value =
        serde_json::from_str(message["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    assert_eq!(
        (status, &message["stop_reason"], said),
        (200, &json!("end_turn"), json!({"n": 5})),
        "{message}"
    );
    assert_eq!(last_asked(&app)["output_config"]["format"]["schema"], schema);
}
