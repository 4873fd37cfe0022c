//! What becomes of a parameter that the model refuses.

use couplet::upstream::Reply;
use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use super::demands::{asked, ignored, with_tool};
use crate::support::app::ask;
use crate::support::received::{conversation, sessions};

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

/// One client's wrong value does not take the parameter from the others.
#[rstest]
#[case("top_p", json!(0.5), json!(0.97), "top_p=0.5", "`top_p` must be unset or at least 0.95 when thinking is enabled.", "top_p")]
#[case("reasoning_effort", json!("xhigh"), json!("low"), "output_config.effort=xhigh", "output_config.effort: Input should be 'low' or 'high'", "reasoning_effort")]
#[tokio::test]
async fn a_value_that_the_model_refuses_says_nothing_of_others(
    #[case] field: &str,
    #[case] refused: Value,
    #[case] taken: Value,
    #[case] rule: &str,
    #[case] message: &str,
    #[case] named: &str,
) {
    let Some(app) = app().await else { return };
    app.upstream.refuse(rule, message);
    let mut request = ask("[[words 1]]");
    for (value, named) in [(&refused, named), (&taken, ""), (&refused, named)] {
        request[field] = value.clone();
        let response = app.chat(&request).await;
        assert_eq!((response.status().as_u16(), ignored(&response)), (200, named), "{value}");
    }
}

/// No model takes it, so it is not left out either.
#[tokio::test]
async fn a_value_out_of_range_is_the_client_s_to_mend() {
    let Some(app) = app().await else { return };
    app.upstream.refuse("top_k", "top_k: Input should be less than or equal to 500");
    let body = json!({"model": "sonnet", "max_tokens": 2000, "top_k": 100_000, "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..2 {
        let response = app.post("/v1/messages").json(&body).send().await.expect("an answer");
        assert_eq!(response.status(), 400);
        assert!(response.text().await.expect("a text").contains("less than or equal to 500"));
    }
}

/// Titles and completions: the CLI gives such a model a budget of 1,024 tokens for its thoughts whatever the answer may have.
#[tokio::test]
async fn few_tokens_are_enough_for_a_model_with_a_budget_of_thoughts() {
    let Some(app) = app().await else { return };
    app.upstream.be_strict();
    for _ in 0..2 {
        let mut request = ask("[[words 3]]");
        (request["model"], request["max_tokens"]) = ("claude-haiku-4-5".into(), 50.into());
        let response = app.chat(&request).await;
        assert_eq!((response.status().as_u16(), ignored(&response)), (200, ""));
        let body = app.upstream.log().last().expect("a request").json();
        assert_eq!(
            (&body["max_tokens"], body["thinking"]["budget_tokens"].is_number()),
            (&json!(50), false),
            "{body}"
        );
    }
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
