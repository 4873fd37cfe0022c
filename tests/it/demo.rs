//! Demo mode: the binary on a machine that has nothing.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::Streamed;
use crate::support::messages;
use crate::support::python::{python, run_script};
use crate::support::server::Server;

/// No CLI is in its PATH and no sign-in in its environment.
async fn demo(variables: &[(&str, &str)]) -> Server {
    let nothing = tempfile::tempdir().expect("a folder");
    let path = nothing.path().to_str().expect("UTF-8").to_owned();
    let variables: Vec<(&str, &str)> =
        [("PATH", path.as_str())].into_iter().chain(variables.iter().copied()).collect();
    Server::start(&variables).await
}

async fn ask(server: &Server, body: &Value) -> Streamed {
    let request = reqwest::Client::new().post(format!("{}/v1/chat/completions", server.url)).json(body);
    Streamed::read(request.send().await.expect("an answer")).await
}

#[tokio::test]
async fn it_says_that_it_is_a_demo_everywhere() {
    let server = demo(&[]).await;
    let health: Value =
        reqwest::get(format!("{}/health", server.url)).await.expect("up").json().await.expect("JSON");
    assert_eq!((&health["status"], &health["mode"]), (&json!("ok"), &json!("demo")), "{health}");
    let body = json!({"model": "sonnet", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let answer = ask(&server, &body).await;
    assert!(answer.done);
    for chunk in &answer.data {
        assert!(chunk["system_fingerprint"].as_str().is_some_and(|name| name.ends_with("-demo")), "{chunk}");
    }
    assert!(answer.contents().concat().contains("demo"), "{answer:?}");
    let log = server.stop().await;
    assert!(log.contains("DEMO MODE"), "{log}");
}

#[tokio::test]
async fn texts_are_completed_and_several_answers_given_without_a_cli() {
    let server = demo(&[]).await;
    let body = json!({"model": "sonnet", "prompt": ["[[say a]]", "[[say \"b\\nc\"]]"], "n": 2, "stop": "\n", "echo": true});
    let request = reqwest::Client::new().post(format!("{}/v1/completions", server.url)).json(&body);
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let choices = answer["choices"].as_array().unwrap_or_else(|| panic!("no choices: {answer}"));
    let texts: Vec<&str> = choices.iter().filter_map(|choice| choice["text"].as_str()).collect();
    let (a, b) = ("[[say a]]a", "[[say \"b\\nc\"]]b");
    assert_eq!(texts, [a, a, b, b]);
    let body = json!({"model": "sonnet", "input": "[[say a]]", "text": {"format": {"type": "text"}}});
    assert_eq!(ask(&server, &body).await.data[0]["choices"][0]["message"]["content"], "a");
}

#[tokio::test]
async fn tenants_are_there_in_a_demo_though_none_of_them_is_signed_in() {
    let tenants = r#"{"ann": {"claude_code_oauth_token_file": "/no/such/file"}, "bob": {"claude_config_dir": "/no/such"}}"#;
    let server = demo(&[("COUPLET_DEMO", "always"), ("COUPLET_TENANTS", tenants)]).await;
    let health: Value =
        reqwest::get(format!("{}/health", server.url)).await.expect("up").json().await.expect("JSON");
    assert_eq!((&health["mode"], &health["tenants"]), (&json!("demo"), &json!(3)), "{health}");
    assert!(!health.to_string().contains("ann"), "it is open to all, and names nobody: {health}");
    let body = json!({"model": "sonnet", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    assert!(ask(&server, &body).await.done);
}

#[tokio::test]
async fn always_is_a_demo_even_with_a_sign_in_and_never_is_none_without() {
    let server = demo(&[("COUPLET_DEMO", "always"), ("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-canary")]).await;
    let health: Value =
        reqwest::get(format!("{}/health", server.url)).await.expect("up").json().await.expect("JSON");
    assert_eq!(health["mode"], "demo");
    let refused = Server::refused(&[("COUPLET_DEMO", "never"), ("PATH", "/nowhere")]);
    assert!(refused.contains("claude setup-token"), "{refused}");
}

#[tokio::test]
async fn a_sign_in_without_a_usable_cli_is_no_demo() {
    let refused = Server::refused(&[("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-canary"), ("PATH", "/nowhere")]);
    assert!(refused.contains("npm install") && !refused.contains("canary"), "{refused}");
    let broken =
        [("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-canary"), ("CLAUDE_CLI_PATH", "/bin/false"), ("PATH", "/bin")];
    let refused = Server::refused(&broken);
    assert!(refused.contains("CLAUDE_CLI_PATH") && refused.contains("/bin/false"), "{refused}");
}

#[tokio::test]
async fn parameters_history_and_failures_are_as_with_the_cli() {
    let server = demo(&[]).await;
    let body = json!({"model": "haiku", "max_tokens": 3, "temperature": 0.5, "reasoning_effort": "low",
        "messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
                     {"role": "user", "content": "[[words 9]]"}]});
    let answer = ask(&server, &body).await;
    let choice = &answer.data[0]["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("w0 w1 w2"), &json!("length"))
    );
    for (prompt, status, code) in [
        ("[[err 429 rate_limit_error]]", 429, "rate_limit_exceeded"),
        ("[[err 529 overloaded_error]]", 503, "overloaded"),
        ("[[words 5]][[cut 2]]", 502, "upstream_broken"),
        ("[[limit 600]]", 429, "insufficient_quota"),
    ] {
        let body = json!({"model": "sonnet", "messages": [{"role": "user", "content": prompt}]});
        let answer = ask(&server, &body).await;
        assert_eq!((answer.status, &answer.data[0]["error"]["code"]), (status, &json!(code)), "{prompt}");
    }
}

async fn health(server: &Server) -> Value {
    reqwest::get(format!("{}/health", server.url)).await.expect("up").json().await.expect("JSON")
}

fn weather(messages: &[Value]) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let function = json!({"name": "weather", "description": "of a city", "parameters": schema});
    json!({"model": "sonnet", "messages": messages, "tools": [{"type": "function", "function": function}]})
}

#[tokio::test]
async fn tools_are_called_and_their_results_read_in_a_conversation_that_stays() {
    let server = demo(&[]).await;
    let calls = r#"[[say Let me look.]] [[tool weather {"city":"Paris"}]] [[tool weather {"city":"Rome"}]]"#;
    let mut messages = vec![json!({"role": "user", "content": calls})];
    let answer = ask(&server, &weather(&messages)).await;
    let choice = &answer.data[0]["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer:?}");
    let message = &choice["message"];
    assert_eq!(message["content"], "Let me look.");
    let cities: Vec<&Value> = message["tool_calls"]
        .as_array()
        .expect("calls")
        .iter()
        .map(|call| &call["function"]["arguments"])
        .collect();
    assert_eq!(cities, [r#"{"city":"Paris"}"#, r#"{"city":"Rome"}"#]);
    assert_eq!(health(&server).await["processes"]["parked"], 1);

    messages.push(message.clone());
    for (call, result) in [(1, "30"), (0, "22 [[echo messages]]")] {
        let id = &message["tool_calls"][call]["id"];
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
    }
    let answer = ask(&server, &weather(&messages)).await;
    let message = &answer.data[0]["choices"][0]["message"];
    let seen: Value = serde_json::from_str(message["content"].as_str().expect("a text")).expect("JSON");
    assert_eq!(seen.as_array().map(Vec::len), Some(3), "{seen}");
    assert_eq!(seen[1]["content"][1]["input"], json!({"city": "Paris"}));
    let results: Vec<&Value> =
        seen[2]["content"].as_array().expect("results").iter().map(|result| &result["content"]).collect();
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    assert_eq!(results, [&text("22 [[echo messages]]"), &text("30")]);
    let kept = health(&server).await;
    assert_eq!((&kept["processes"]["parked"], &kept["processes"]["live"]), (&json!(0), &json!(1)), "{kept}");

    messages.push(message.clone());
    messages.push(json!({"role": "user", "content": "[[echo messages]]"}));
    let answer = ask(&server, &weather(&messages)).await;
    let content = answer.data[0]["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    let more: Value = serde_json::from_str(&content).expect("JSON");
    assert_eq!(more.as_array().map(|all| all[..3].to_vec()), seen.as_array().cloned(), "nothing was lost");
    assert_eq!(more[4]["content"], "[[echo messages]]");
}

#[tokio::test]
async fn a_call_of_no_tool_is_the_client_s_to_answer() {
    let server = demo(&[]).await;
    for call in ["[[tool time {}]]", "[[tool weather {\"city\": Paris]]"] {
        let answer = ask(&server, &weather(&[json!({"role": "user", "content": call})])).await;
        let choice = &answer.data[0]["choices"][0];
        assert_eq!(choice["message"]["tool_calls"].as_array().map(Vec::len), Some(1), "{answer:?}");
        assert_eq!(health(&server).await["processes"]["parked"], 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_stand_in() {
    let server = demo(&[]).await;
    let body = json!({"model": "sonnet", "stream": true, "messages": [{"role": "user", "content": "[[words 1000]][[slow 0.1]]"}]});
    let request = reqwest::Client::new().post(format!("{}/v1/chat/completions", server.url)).json(&body);
    let response = request.send().await.expect("headers");
    let free = async || {
        let health: Value =
            reqwest::get(format!("{}/health", server.url)).await.expect("up").json().await.expect("JSON");
        health["free_places"].as_u64()
    };
    let all = 16;
    assert_eq!(free().await, Some(all - 1));
    drop(response);
    let begun = Instant::now();
    while free().await != Some(all) {
        assert!(begun.elapsed() < Duration::from_secs(2), "its place is free again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[rstest]
#[case("chat.py", 7)]
#[case("structured.py", 9)]
#[case("pydantic_ai_agent.py", 5)]
#[tokio::test(flavor = "multi_thread")]
async fn python_clients_can_try_it(#[case] script: &'static str, #[case] steps: usize) {
    let Some(python) = python() else { return };
    let server = demo(&[]).await;
    let url = server.url.clone();
    let said = tokio::task::spawn_blocking(move || {
        run_script(&python, script, &[&url, ""], &[], Duration::from_secs(60))
    });
    assert_eq!(said.await.expect("the script succeeds").matches(" ok\n").count(), steps);
}

#[tokio::test]
async fn anthropic_s_api_is_there_too() {
    let server = demo(&[]).await;
    let post = async |path: &str| {
        let request = reqwest::Client::new().post(format!("{}{path}", server.url));
        let response = request.json(&messages::ask("[[words 3]]")).send().await.expect("an answer");
        response.json::<Value>().await.expect("JSON")
    };
    let message = post("/v1/messages").await;
    assert_eq!(message["content"], json!([{"type": "text", "text": "w0 w1 w2"}]), "{message}");
    let counted = post("/v1/messages/count_tokens").await;
    assert!(counted["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{counted}");
}
