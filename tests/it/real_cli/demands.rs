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

fn with_tool(mut request: Value) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    request["tools"] = json!([{"type": "function", "function": {"name": "look", "parameters": parameters}}]);
    request
}

/// The body of the last request that the model got.
fn asked(app: &TestApp) -> Value {
    app.upstream.log().last().expect("a request").json()
}

fn ignored(response: &reqwest::Response) -> &str {
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
#[case("temperature", json!(0.5), "temperature", json!(0.5), "temperature")]
#[case("top_p", json!(0.5), "top_p", json!(0.5), "top_p")]
#[case("parallel_tool_calls", json!(false), "tool_choice.disable_parallel_tool_use", json!(true), "parallel_tool_calls")]
#[tokio::test]
async fn a_parameter_that_the_model_refuses_is_named_and_not_sent_again(
    #[case] field: &str,
    #[case] value: Value,
    #[case] arrives_as: &str,
    #[case] sent: Value,
    #[case] named: &str,
) {
    let Some(app) = app().await else { return };
    let mut request = with_tool(ask("[[words 1]]"));
    request[field] = value;
    let response = app.chat(&request).await;
    assert_eq!((response.status().as_u16(), ignored(&response)), (200, ""));
    assert_eq!(app.upstream.log().last().expect("a request").asked().field(arrives_as), Some(&sent));

    let refuse = format!("[[words 1]][[refuse {arrives_as} {arrives_as}: not for this model]]");
    request["messages"][0]["content"] = refuse.into();
    for stream in [true, false, true] {
        request["stream"] = stream.into();
        let response = app.chat(&request).await;
        assert_eq!((response.status().as_u16(), ignored(&response)), (200, named));
    }
    let requests = app.upstream.log().model_requests();
    let is_sent = |request: &couplet::upstream::Received| request.asked().field(arrives_as) == Some(&sent);
    assert!(requests[requests.len() - 2..].iter().all(|request| !is_sent(request)), "remembered");
    // The log line has it too, and another model is asked with it.
    request["model"] = "claude-opus-5-5".into();
    request["messages"][0]["content"] = "[[words 1]]".into();
    let response = app.chat(&request).await;
    assert_eq!((response.status().as_u16(), ignored(&response)), (200, ""));
}

/// The CLI sends an effort always, so that the model refuses not the field, but its value.
#[tokio::test]
async fn an_effort_that_the_model_refuses_is_named_and_not_sent_again() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 1]]");
    request["reasoning_effort"] = json!("xhigh");
    // The CLI repeats the first request by itself.
    for _ in 0..2 {
        app.upstream.push_reply(Reply::words(1).refuse("output_config.effort"));
    }
    for _ in 0..2 {
        let response = app.chat(&request).await;
        assert_eq!((response.status().as_u16(), ignored(&response)), (200, "reasoning_effort"));
        assert_ne!(asked(&app)["output_config"]["effort"], "xhigh");
    }
}

#[tokio::test]
async fn a_refusal_in_a_living_process_is_mended_in_a_fresh_one() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[words 2]]");
    let (_, first) = app.answer(&request).await;
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.push(first["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "[[words 3]][[refuse temperature]]"}));
    request["temperature"] = 0.2.into();
    let response = app.chat(&request).await;
    assert_eq!((response.status().as_u16(), ignored(&response)), (200, "temperature"));
    let processes = sessions(&app);
    assert_ne!(processes.last(), processes.first());
    assert_eq!(conversation(&app)[0]["content"], "[[words 2]]");
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
            assert_eq!(answer.error().expect("an error")["code"], "tool_choice_unmet");
        }
    }
}
