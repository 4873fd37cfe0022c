//! What a request demands of the answer: JSON, calls, an end at a stop string. And what becomes of it where the model
//! refuses the way it is demanded in.

use std::time::Duration;

use couplet::upstream::Reply;
use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::received::{conversation, sessions};

const REFUSES_FORMAT: &str = "[[refuse output_config.format]]";
const REFUSES_SCHEMA: &str =
    "[[refuse output_config.format \"output_config.format.schema: For 'object' type, ...\"]]";
const REFUSES_FORCE: &str =
    "[[refuse tool_choice.type Thinking may not be enabled when tool_choice forces tool use.]]";

fn person() -> Value {
    json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false})
}

fn wants(text: &str, schema: &Value) -> Value {
    let mut request = ask(text);
    request["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema": schema}});
    request
}

pub(super) fn with_tool(mut request: Value) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    request["tools"] = json!([{"type": "function", "function": {"name": "look", "parameters": parameters}}]);
    request
}

/// The body of the last request that the model got.
pub(super) fn asked(app: &TestApp) -> Value {
    app.upstream.log().last().expect("a request").json()
}

pub(super) fn ignored(response: &reqwest::Response) -> &str {
    response.headers().get("x-couplet-ignored").map_or("", |names| names.to_str().expect("text"))
}

/// A demand for JSON, by a model that takes the form of the text and by ones that do not.
#[rstest]
#[case::as_text("", person(), r#"{"name":"Ada"}"#, "format")]
#[case::as_arguments(REFUSES_FORMAT, person(), r#"{"name":"Ada"}"#, "tool")]
#[case::schema_refused(REFUSES_SCHEMA, person(), r#"{"name":"Ada"}"#, "tool")]
#[case::as_wrapped_arguments(REFUSES_FORMAT, json!({"type": "array", "items": {"type": "integer"}}), "[1,2]", "tool")]
#[case::in_words(&format!("{REFUSES_FORMAT}{REFUSES_FORCE}"), person(), r#"{"name":"Ada"}"#, "auto")]
#[tokio::test]
async fn json_comes_in_the_form_that_is_demanded(
    #[case] refuses: &str,
    #[case] schema: Value,
    #[case] json: &str,
    #[case] way: &str,
    #[values(false, true)] stream: bool,
) {
    let Some(app) = app().await else { return };
    let scripted = if way != "format" && schema["type"] == "array" {
        format!("{{\"value\":{json}}}")
    } else {
        json.to_owned()
    };
    let request = wants(&format!("{refuses}[[json {scripted}]] who?"), &schema);
    let (content, finish_reason) = if stream {
        let answer = app.stream(&request).await;
        assert!(answer.done, "{:?}", answer.error());
        (answer.contents().concat(), answer.finish_reason().unwrap_or_default().to_owned())
    } else {
        let (status, answer) = app.answer(&request).await;
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        assert_eq!(choice["message"]["tool_calls"], Value::Null);
        (
            choice["message"]["content"].as_str().unwrap_or_default().to_owned(),
            choice["finish_reason"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!((content.as_str(), finish_reason.as_str()), (json, "stop"));
    let body = asked(&app);
    if way == "format" {
        assert_eq!(body["output_config"]["format"]["type"], "json_schema");
    } else {
        assert_eq!(body["output_config"]["format"], Value::Null);
        assert_eq!(body["tools"][0]["name"], "StructuredOutput");
        let choice = json!({"type": "tool", "name": "StructuredOutput", "disable_parallel_tool_use": true});
        assert_eq!(body["tool_choice"], if way == "tool" { choice } else { Value::Null });
    }
    // What is known of a model is not asked of it again.
    let before = app.upstream.log().model_count();
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(app.upstream.log().model_count(), before + 1);
}

#[rstest]
#[case::text("[[say Her name is Ada.]]", "")]
#[case::other_json(r#"[[say "{\"nom\":\"Ada\"}"]]"#, "")]
#[case::other_arguments(r#"[[json {"nom":"Ada"}]]"#, REFUSES_FORMAT)]
#[case::no_call_at_all("[[say Her name is Ada.]]", &format!("{REFUSES_FORMAT}{REFUSES_FORCE}"))]
#[case::cut_short_by_a_stop_string(r#"[[say "{\"name\":"]][[stop stop_sequence Ada]]"#, "")]
#[tokio::test]
async fn what_is_not_of_the_form_never_ends_well(
    #[case] says: &str,
    #[case] refuses: &str,
    #[values(false, true)] stream: bool,
) {
    let Some(app) = app().await else { return };
    // Whatever it is told.
    app.upstream.set_default(Reply::text("Her name is Ada."));
    let request = wants(&format!("{refuses}{says} who?"), &person());
    if stream {
        let mut request = request;
        request["stream"] = true.into();
        let response = app.chat(&request).await;
        if response.status() == 200 {
            let answer = Streamed::read(response).await;
            assert!(!answer.done && answer.error().is_some(), "{:?}", answer.contents());
        } else {
            assert_eq!(response.status(), 502);
        }
    } else {
        let (status, answer) = app.answer(&request).await;
        assert_eq!(status, 502, "{answer}");
    }
}

#[tokio::test]
async fn json_that_the_model_writes_in_place_of_the_call_counts() {
    let Some(app) = app().await else { return };
    let says = r#"[[say "```json\n{\"name\":\"Ada\"}\n```"]]"#;
    let (status, answer) =
        app.answer(&wants(&format!("{REFUSES_FORMAT}{REFUSES_FORCE}{says} who?"), &person())).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!(r#"{"name":"Ada"}"#)));
}

#[rstest]
#[case::as_text("", "[[tool look {}]]")]
#[case::as_arguments(REFUSES_FORMAT, "[[say I will look.]][[tool look {}]]")]
#[tokio::test]
async fn with_tools_a_call_comes_before_the_json(#[case] refuses: &str, #[case] calls: &str) {
    let Some(app) = app().await else { return };
    let mut request = with_tool(wants(&format!("{refuses}{calls}"), &person()));
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.push(choice["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": format!("{refuses}[[json {{\"name\":\"Ada\"}}]]")}));
    let (status, answer) = app.answer(&request).await;
    assert_eq!(
        (status, &answer["choices"][0]["message"]["content"]),
        (200, &json!(r#"{"name":"Ada"}"#)),
        "{answer}"
    );
}

/// `tool_choice`, its way to a model that takes it, and the words for one that does not.
#[rstest]
#[case(json!("required"), json!({"type": "any"}), "Answer with a call of at least one of your tools.")]
#[case(json!({"type": "function", "function": {"name": "look"}}), json!({"type": "tool", "name": "look"}), "Answer with a call of the tool `look`")]
#[tokio::test]
async fn a_call_that_is_demanded_comes(
    #[case] choice: Value,
    #[case] forced: Value,
    #[case] words: &str,
    #[values(false, true)] is_refused: bool,
) {
    let Some(app) = app().await else { return };
    let refuses = if is_refused { REFUSES_FORCE } else { "" };
    let mut request = with_tool(ask(&format!("{refuses}[[say Well.]][[tool look {{}}]] where?")));
    request["tool_choice"] = choice;
    let answer = app.stream(&request).await;
    assert_eq!((answer.finish_reason(), answer.done), (Some("tool_calls"), true), "{:?}", answer.error());
    assert_eq!(answer.contents().concat(), "Well.");
    let body = asked(&app);
    let said = conversation(&app).last().expect("a question")["content"].to_string();
    assert_eq!(said.contains(words), is_refused, "{said}");
    assert_eq!(body["tool_choice"], if is_refused { Value::Null } else { forced });
}

#[tokio::test]
async fn a_model_that_answers_in_text_is_corrected_once_and_its_tokens_are_added_up() {
    let Some(app) = app().await else { return };
    let mut request = with_tool(ask(&format!("{REFUSES_FORCE}[[say It is there.]] where?")));
    request["tool_choice"] = json!("required");
    // The first request is refused thrice: the CLI repeats it by itself.
    for _ in 0..3 {
        app.upstream.push_reply(Reply::text("unused").refuse("tool_choice.type"));
    }
    app.upstream.push_reply(Reply::text("It is there."));
    app.upstream.push_reply(Reply::tool("look", "{}"));
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["choices"][0]["finish_reason"]), (200, &json!("tool_calls")), "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(answer["usage"]["prompt_tokens"], 2 * 175);
    let turns = conversation(&app);
    assert_eq!(turns[1]["content"], "It is there.");
    assert!(turns[2]["content"].to_string().contains("This was not what was asked for."), "{turns:?}");
    let processes = sessions(&app);
    assert_ne!(
        processes.last(),
        processes.get(processes.len() - 2),
        "the correction has a process of its own"
    );
}

#[tokio::test]
async fn an_answer_in_text_is_an_error_where_a_call_is_demanded() {
    let Some(app) = app().await else { return };
    let mut request = with_tool(ask(&format!("{REFUSES_FORCE} where?")));
    app.upstream.set_default(Reply::text("It is there."));
    request["tool_choice"] = json!("required");
    let response = app.chat(&request).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["x-should-retry"].to_str().ok()),
        (502, Some("false"))
    );
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answer["error"]["code"], "tool_choice_unmet");
}

#[rstest]
#[case::white_space(json!("\n\n"), "[[chunk 1]][[say \"one\\n\\ntwo\"]]", "one")]
#[case::both_kinds(json!(["END", "\n"]), "[[chunk 2]][[say \"one END\\ntwo\"]]", "one ")]
#[case::refused(json!("END"), "[[chunk 2]][[say one END two]][[refuse stop_sequences]]", "one ")]
#[tokio::test]
async fn a_stop_string_ends_the_answer_and_is_never_shown(
    #[case] stop: Value,
    #[case] says: &str,
    #[case] shown: &str,
    #[values(false, true)] stream: bool,
) {
    let Some(app) = app().await else { return };
    let mut request = ask(says);
    request["stop"] = stop;
    let (content, finish_reason) = if stream {
        let answer = app.stream(&request).await;
        assert!(answer.done, "{:?}", answer.error());
        (answer.contents().concat(), answer.finish_reason().map(ToOwned::to_owned))
    } else {
        let (status, answer) = app.answer(&request).await;
        assert_eq!(status, 200, "{answer}");
        let choice = answer["choices"][0].clone();
        (
            choice["message"]["content"].as_str().unwrap_or_default().to_owned(),
            choice["finish_reason"].as_str().map(ToOwned::to_owned),
        )
    };
    assert_eq!((content.as_str(), finish_reason.as_deref()), (shown, Some("stop")));
}

#[tokio::test]
async fn the_model_is_stopped_at_a_stop_string_of_white_space() {
    let Some(app) = app().await else { return };
    let mut request =
        ask("[[chunk 4]][[slow 0.1]][[say \"one\\ntwo three four five six seven eight nine ten\"]]");
    request["stop"] = json!("\n");
    let (_, answer) = app.answer(&request).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one");
    let left = async {
        while app.upstream.log().last().is_none_or(|request| request.gone().is_none()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), left).await.expect("the CLI leaves");
}

/// A model that answers in text first: it obeys when it is told again, or never does.
#[rstest]
#[case::calls("[[reluctant 1]][[tool look {}]]", false, Some("tool_calls"))]
#[case::never_calls("[[reluctant]][[tool look {}]]", false, None)]
#[case::json("[[reluctant 1]][[json {\"name\":\"Ada\"}]]", true, Some("stop"))]
#[case::never_json("[[reluctant]][[json {\"name\":\"Ada\"}]]", true, None)]
#[tokio::test]
async fn who_asks_in_words_asks_twice(
    #[case] script: &str,
    #[case] is_form: bool,
    #[case] ends: Option<&str>,
    #[values(false, true)] stream: bool,
) {
    let Some(app) = app().await else { return };
    app.upstream.be_strict();
    app.upstream.refuse("output_config.format", "");
    let mut request = if is_form { wants(script, &person()) } else { with_tool(ask(script)) };
    if !is_form {
        request["tool_choice"] = json!("required");
    }
    request["stream"] = stream.into();
    let answer = Streamed::read(app.chat(&request).await).await;
    let last = conversation(&app).pop().expect("a turn")["content"].to_string();
    assert!(last.contains("This was not what was asked for."), "{last}");
    match ends {
        Some(reason) if stream => assert_eq!((answer.finish_reason(), answer.done), (Some(reason), true)),
        Some(reason) => assert_eq!(answer.data[0]["choices"][0]["finish_reason"], reason, "{answer:?}"),
        None => {
            assert_eq!(answer.status, 502, "{answer:?}");
            let code = if is_form { "response_format_unmet" } else { "tool_choice_unmet" };
            assert_eq!(answer.error().expect("an error")["code"], code);
        }
    }
}

/// Text in place of JSON, then in place of the call, then in place of the call that words ask for.
#[tokio::test]
async fn the_tokens_of_all_answers_that_were_thrown_away_are_added_up() {
    let Some(app) = app().await else { return };
    let request = wants(r#"[[reluctant 1]][[json {"name":"Ada"}]]"#, &person());
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!(r#"{"name":"Ada"}"#)));
    assert_eq!((app.upstream.log().model_count(), &answer["usage"]["prompt_tokens"]), (4, &json!(4 * 175)));
}

/// JSON that ended at one would be none. And it is not taken for a model that does not keep to the form.
#[rstest]
#[tokio::test]
async fn stop_strings_do_not_cut_json(#[values(false, true)] stream: bool) {
    let Some(app) = app().await else { return };
    for _ in 0..2 {
        let mut request = wants(r#"[[chunk 3]][[json {"name":"Ada"}]]"#, &person());
        request["stop"] = json!(["}", "\n"]);
        request["stream"] = stream.into();
        let response = app.chat(&request).await;
        assert_eq!((response.status().as_u16(), ignored(&response)), (200, "stop"));
        let answer = Streamed::read(response).await;
        let content = if stream {
            answer.contents().concat()
        } else {
            answer.data[0]["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
        };
        assert_eq!(content, r#"{"name":"Ada"}"#);
        let body = asked(&app);
        assert_eq!(
            (&body["output_config"]["format"]["schema"], body.get("stop_sequences")),
            (&person(), None)
        );
    }
}

/// Whoever wanted JSON and forbade calls reads nothing of one.
#[tokio::test]
async fn a_call_beside_the_json_of_who_forbade_calls_is_kept_from_him() {
    let Some(app) = app().await else { return };
    let script = format!("{REFUSES_FORMAT}[[tool StructuredOutput {{\"name\":\"Ada\"}}]][[tool look {{}}]]");
    let mut request = with_tool(wants(&script, &person()));
    request["tool_choice"] = json!("none");
    let (status, answer) = app.answer(&request).await;
    let choice = &answer["choices"][0];
    assert_eq!((status, &choice["finish_reason"]), (200, &json!("stop")), "{answer}");
    assert_eq!(
        (&choice["message"]["content"], choice["message"].get("tool_calls")),
        (&json!(r#"{"name":"Ada"}"#), None)
    );
}
