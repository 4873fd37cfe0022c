//! Demo mode: the binary on a machine that has nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::Streamed;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_chats_with_it() {
    let Some(python) = python() else { return };
    let server = demo(&[]).await;
    let url = server.url.clone();
    let said = tokio::task::spawn_blocking(move || {
        run_script(&python, "chat.py", &[&url], &[], Duration::from_secs(60))
    });
    assert_eq!(said.await.expect("the script succeeds").matches(" ok\n").count(), 7);
}
