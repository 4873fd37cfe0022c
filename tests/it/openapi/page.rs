//! The document and its page as they are served: to all who may come in by name, from nowhere else.

use std::path::Path;

use serde_json::{Value, json};

use super::document;
use crate::support::app::{Builder, TestApp};

async fn app(keys: &[&str]) -> TestApp {
    Builder::new(Path::new("/no/such/cli")).await.with_keys(keys).start().await
}

#[tokio::test]
async fn the_document_is_served_without_a_key_and_tells_whether_one_is_needed() {
    for (keys, security) in [
        (&["key"][..], json!([{"bearer": []}, {"apiKey": []}])),
        (&[], json!([{}, {"bearer": []}, {"apiKey": []}])),
    ] {
        let app = app(keys).await;
        let response = app.get("/openapi.json").send().await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/json".parse().expect("text"))
        );
        let mut served: Value = response.json().await.expect("JSON");
        assert_eq!(served["security"], security);
        assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
        let written = document();
        served["security"] = written["security"].clone();
        served["info"]["version"] = written["info"]["version"].clone();
        assert_eq!(served, written);
    }
}

#[tokio::test]
async fn foreign_hosts_and_origins_get_neither() {
    let app = app(&[]).await;
    for path in ["/openapi.json", "/docs", "/docs/script.js"] {
        for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
            let response = app.get(path).header(name, value).send().await.expect("an answer");
            assert_eq!(response.status(), 403, "{path} {name}");
        }
    }
}

/// All that the page is made of.
async fn parts(app: &TestApp) -> Vec<(&'static str, String)> {
    let mut parts = Vec::new();
    for (path, kind) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/style.css", "text/css; charset=utf-8"),
        ("/docs/script.js", "text/javascript; charset=utf-8"),
    ] {
        let response = app.get(path).send().await.expect("an answer");
        let headers = response.headers();
        assert_eq!(headers["content-type"], kind);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        parts.push((path, response.text().await.expect("text")));
    }
    parts
}

#[tokio::test]
async fn the_page_asks_nobody_else_for_anything() {
    let app = app(&["key"]).await;
    for (path, text) in parts(&app).await {
        // A name space is no address that anything is asked for at.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        let words =
            ["http://", "https://", "//cdn", "@import", "eval(", "innerHTML", "localStorage", "cookie"];
        let of_styles = if path == "/docs/style.css" { &["url("][..] } else { &[] };
        for word in words.iter().chain(of_styles) {
            assert!(!text.contains(*word), "{path}: {word}");
        }
    }
}

#[tokio::test]
async fn the_page_s_policy_takes_all_of_its_parts() {
    let app = app(&[]).await;
    let (_, page) = parts(&app).await.swap_remove(0);
    assert!(page.contains(r#"src="docs/script.js""#) && page.contains(r#"href="docs/style.css""#));
    // Neither a script nor a style within the page: the policy would not take it.
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="));
    let elsewhere =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let moved = elsewhere.get(format!("{}/docs/", app.url)).send().await.expect("an answer");
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["location"]),
        (308, &"../docs".parse().expect("text"))
    );
}
