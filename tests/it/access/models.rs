//! A key may be for some models only.

use couplet::translate::models::Alias;
use rstest::rstest;
use serde_json::{Value, json};

use super::{store, stored};
use crate::support::app::{TestApp, ask};
use crate::support::fake_cli::FakeCli;
use crate::support::fake_cli::script::Step;

/// A server whose key is for these models.
async fn app(models: &[&str]) -> (FakeCli, TestApp) {
    let fake = FakeCli::that_does([Step::Answer("well".to_owned())]);
    let app = fake
        .app_with(|config| {
            config.http.aliases = [("gpt-4o", "sonnet"), ("mini", "haiku")]
                .map(|(name, model)| (name.to_owned(), Alias::of(model)))
                .into();
        })
        .await;
    let models = Some(models.iter().map(|model| (*model).to_owned()).collect());
    store(&app).add_key(&super::StoredKey { models, ..stored("one") }).expect("kept");
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    (fake, app)
}

async fn verdict(app: &TestApp, path: &str, body: Value) -> (u16, Value) {
    let response = app.post(path).bearer_auth("one").json(&body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// The fake CLI's list says that `sonnet` is `claude-sonnet-5-5`.
#[rstest]
#[case::its_name(&["sonnet"], "sonnet", 200)]
#[case::its_full_id(&["sonnet"], "claude-sonnet-5-5", 200)]
#[case::an_alias_of_it(&["sonnet"], "gpt-4o", 200)]
#[case::the_name_of_a_full_id(&["claude-sonnet-5-5"], "sonnet", 200)]
#[case::an_alias(&["gpt-4o"], "gpt-4o", 200)]
#[case::what_an_alias_stands_for(&["gpt-4o"], "sonnet", 404)]
#[case::another_alias(&["sonnet"], "mini", 404)]
#[case::another_model(&["sonnet"], "haiku", 404)]
#[case::a_full_id_that_is_not_listed(&["sonnet"], "claude-opus-4-1", 404)]
#[case::a_longer_name(&["sonnet"], "claude-sonnet-5-5-x", 404)]
#[case::no_model_at_all(&[], "sonnet", 404)]
#[tokio::test]
async fn a_key_asks_its_own_models(#[case] models: &[&str], #[case] model: &str, #[case] status: u16) {
    let (_fake, app) = app(models).await;
    let mut body = ask("hello");
    body["model"] = model.into();
    let (got, answer) = verdict(&app, "/v1/chat/completions", body).await;
    assert_eq!(got, status, "{answer}");
    assert_eq!(answer["error"]["code"] == "model_not_found", status == 404, "{answer}");
}

#[tokio::test]
async fn every_endpoint_that_asks_a_model_looks() {
    let (_fake, app) = app(&["haiku"]).await;
    let messages =
        json!({"model": "sonnet", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
    for (path, body) in [
        ("/v1/chat/completions", ask("x")),
        ("/chat/completions", ask("x")),
        ("/v1/completions", json!({"model": "sonnet", "prompt": "x"})),
        ("/v1/messages", messages.clone()),
        ("/v1/messages/count_tokens", messages),
        ("/v1/chat/completions", json!({"model": "sonnet", "input": "x"})),
    ] {
        assert_eq!(verdict(&app, path, body).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn only_its_models_are_listed() {
    let (_fake, app) = app(&["sonnet"]).await;
    let get = async |path: &str| {
        let response = app.get(path).bearer_auth("one").send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (_, list) = get("/v1/models").await;
    let ids: Vec<&str> =
        list["data"].as_array().expect("a list").iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"sonnet") && ids.contains(&"gpt-4o") && !ids.contains(&"mini"), "{ids:?}");
    assert_eq!(get("/v1/models/sonnet").await.0, 200);
    assert_eq!(get("/v1/models/haiku").await.0, 404);
}
