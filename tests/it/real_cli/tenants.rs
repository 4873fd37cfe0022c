//! Tenants, as the model's API sees them.

use std::collections::BTreeMap;

use couplet::upstream::Received;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp, ask, key_of, said, token_of};
use crate::support::real_cli::real_cli;
use crate::support::received::session_of;

async fn app() -> Option<TestApp> {
    let cli = real_cli()?;
    Some(Builder::new(&cli).await.with_tenants(&["ann", "bob"]).start().await)
}

async fn answer(app: &TestApp, tenant: &str, request: &Value) -> (u16, Value) {
    let request = app.post("/v1/chat/completions").bearer_auth(key_of(tenant)).json(request);
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn token(request: &Received) -> &str {
    let header = request.header("authorization").expect("a credential");
    header.strip_prefix("Bearer ").expect("a token")
}

/// The one request in which the model was last asked this.
fn asked(app: &TestApp, question: &str) -> Received {
    let requests = app.upstream.log().model_requests().into_iter();
    let mut found: Vec<_> = requests.filter(|request| request.last_user_text() == question).collect();
    assert_eq!(found.len(), 1, "{question}");
    found.remove(0)
}

#[tokio::test]
async fn each_tenant_asks_with_its_own_token_and_in_its_own_conversation() {
    let Some(app) = app().await else { return };
    let hello = ask("[[say hello]]");
    for tenant in ["ann", "bob"] {
        let mut request = hello.clone();
        request["messages"][0]["content"] = json!(format!("[[say hello]] {tenant}"));
        assert_eq!(said(&answer(&app, tenant, &request).await), "hello");
        assert_eq!(token(&asked(&app, &format!("[[say hello]] {tenant}"))), token_of(tenant));
    }
    // The identical conversation, of callers with the same id.
    let next = |question: &str| {
        let mut request = ask("[[say hello]] ann");
        let messages = request["messages"].as_array_mut().expect("messages");
        messages.push(json!({"role": "assistant", "content": "hello"}));
        messages.push(json!({"role": "user", "content": question}));
        request
    };
    assert_eq!(answer(&app, "bob", &next("[[words 1]] bob")).await.0, 200);
    assert_eq!(answer(&app, "ann", &next("[[words 1]] ann")).await.0, 200);
    let [first, bob, ann] =
        ["[[say hello]] ann", "[[words 1]] bob", "[[words 1]] ann"].map(|question| asked(&app, question));
    assert_eq!((token(&bob), token(&ann)), (&*token_of("bob"), &*token_of("ann")));
    assert_eq!(session_of(&ann), session_of(&first), "hers goes on");
    assert_ne!(session_of(&bob), session_of(&first), "and not for another");
    let mut tokens_of_sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in app.upstream.log().model_requests() {
        tokens_of_sessions.entry(session_of(&request)).or_default().push(token(&request).to_owned());
    }
    for tokens in tokens_of_sessions.values() {
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens_of_sessions:?}");
    }
}

#[tokio::test]
async fn results_of_calls_never_reach_a_process_that_waits_for_them_with_another_tenant() {
    let Some(app) = app().await else { return };
    let schema = json!({"type": "object", "properties": {"x": {}}});
    let mut request = ask(r#"[[say calling]][[tool f {"x":1}]]"#);
    request["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let (status, called) = answer(&app, "ann", &request).await;
    let message = &called["choices"][0]["message"];
    assert_eq!((status, &called["choices"][0]["finish_reason"]), (200, &json!("tool_calls")), "{called}");
    let parked = session_of(&app.upstream.log().last().expect("a request"));
    let id = &message["tool_calls"][0]["id"];
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.push(message.clone());
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "[[say done]]"}));
    for (tenant, is_its_own) in [("bob", false), ("ann", true)] {
        assert_eq!(app.health().await["processes"]["parked"], 1, "{tenant}");
        assert_eq!(said(&answer(&app, tenant, &request).await), "done");
        let asked = app.upstream.log().last().expect("a request");
        assert_eq!((session_of(&asked) == parked, token(&asked)), (is_its_own, &*token_of(tenant)));
    }
    assert_eq!(app.health().await["processes"]["parked"], 0);
}

#[tokio::test]
async fn a_usage_limit_and_a_refused_token_are_those_of_one_tenant() {
    let Some(app) = app().await else { return };
    let (status, error) = answer(&app, "ann", &ask("[[limit 5000]]")).await;
    assert_eq!((status, &error["error"]["code"]), (429, &json!("insufficient_quota")), "{error}");
    let (status, error) = answer(&app, "bob", &ask("[[err 401 authentication_error]]")).await;
    assert_eq!((status, &error["error"]["code"]), (401, &json!("invalid_api_key")), "{error}");
    let before = app.upstream.log().model_count();
    assert_eq!(answer(&app, "ann", &ask("[[words 1]]")).await.0, 429);
    assert_eq!(answer(&app, "bob", &ask("[[words 1]]")).await.0, 401);
    assert_eq!(app.upstream.log().model_count(), before, "theirs are not even asked");
    assert_eq!(answer(&app, "default", &ask("[[words 1]]")).await.0, 200);
}
