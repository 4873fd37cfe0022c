//! What is served is in the document, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use super::{document, operations};
use crate::support::app::{Builder, TestApp};
use crate::tidy::sources;

/// The methods that routes are made for.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Parts of the page at /docs.
const PARTS: &str = "/docs/";

/// The routes in a source: their paths and methods.
fn routes_in(source: &str) -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    // Tests may have routers of their own.
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    for rest in source.split(".route(").skip(1) {
        let (_, rest) = rest.split_once('"').expect("a path in quotes");
        let (path, rest) = rest.split_once('"').expect("a path in quotes");
        // Up to the next route there is nothing that looks like a method but this one's.
        let end = rest.find(".route(").unwrap_or(rest.len());
        let rest = &rest[..rest.find(";\n").unwrap_or(end).min(end)];
        let end = rest.find("\n}").unwrap_or(rest.len());
        for method in METHODS {
            let call = format!("{method}(");
            let mut found = rest[..end].match_indices(&call);
            let is_own = |at: usize| !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if found.any(|(at, _)| is_own(at)) {
                routes.insert((path.replace("{*", "{"), method.to_owned()));
            }
        }
    }
    routes
}

/// Those of src/http, without the prefix that they may have.
fn routes() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let read = |path| std::fs::read_to_string(path).expect("a source file");
    sources(&folder).into_iter().flat_map(|path| routes_in(&read(path))).collect()
}

fn without_prefix(path: &str) -> String {
    path.strip_prefix("/v1").unwrap_or(path).to_owned()
}

#[test]
fn each_route_is_in_the_document_and_nothing_else_is() {
    let served: BTreeSet<_> = routes().into_iter().filter(|(path, _)| !path.starts_with(PARTS)).collect();
    let document = document();
    let told: BTreeSet<_> =
        operations(&document).map(|(path, method, _)| (without_prefix(path), method.to_owned())).collect();
    assert!(served.len() > 10, "{served:?}");
    assert_eq!(served, told);
}

#[test]
fn routes_are_found_however_they_are_written() {
    let source = "Router::new()\n.route(\n  \"/a/{*id}\",\n  get(x).post(y),\n)\n.route(\"/b\", axum::routing::delete(z))\n}\nfn get() {}";
    let found = routes_in(source);
    let expected = [("/a/{id}", "get"), ("/a/{id}", "post"), ("/b", "delete")];
    assert_eq!(found, expected.map(|(path, method)| (path.to_owned(), method.to_owned())).into());
}

/// Every path with a value for what it leaves open, and its methods.
fn paths(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations(document) {
        let path = path.replace("{id}", "sonnet");
        // The page's own parts are no part of the document.
        paths.entry(path).or_default().insert(method.to_uppercase());
    }
    paths
}

async fn app() -> TestApp {
    let builder = Builder::new(Path::new("/no/such/cli")).await;
    builder.with(|config| config.access.admin_key = Some("admin".into())).start().await
}

async fn ask(app: &TestApp, method: &str, path: &str) -> reqwest::Response {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = reqwest::Client::new().request(method, format!("{}{path}", app.url));
    // It opens what is the operator's; all else is open.
    request.header("x-api-key", "admin").send().await.expect("an answer")
}

#[tokio::test]
async fn each_path_has_the_methods_it_should_and_names_them_for_all_others() {
    let app = app().await;
    for (path, methods) in paths(&document()) {
        let mut allowed = methods.clone();
        if methods.contains("GET") {
            allowed.insert("HEAD".to_owned());
        }
        for path in [path.clone(), without_prefix(&path)] {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"] {
                let response = ask(&app, method, &path).await;
                let allow = response.headers().get("allow").cloned();
                let status = response.status().as_u16();
                let body = response.text().await.expect("a body");
                assert!(!body.contains("unsupported_endpoint"), "{method} {path}: {body}");
                if allowed.contains(method) {
                    assert!(status != 404 && status != 405, "{method} {path}: {status} {body}");
                    continue;
                }
                let allow =
                    allow.unwrap_or_else(|| panic!("{method} {path} names no methods: {status} {body}"));
                let named = allow.to_str().expect("text").split(',').map(|name| name.trim().to_owned());
                assert_eq!((status, named.collect()), (405, allowed.clone()), "{method} {path}");
                assert!(method == "HEAD" || body.contains("does not take"), "{method} {path}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn options_tell_the_methods_of_a_path() {
    let app = app().await;
    for (path, methods) in paths(&document()) {
        let response = ask(&app, "OPTIONS", &path).await;
        let allow = response.headers()["allow"].to_str().expect("text").to_owned();
        assert!(response.status().is_success(), "{path}");
        assert!(methods.iter().all(|method| allow.contains(method.as_str())), "{path}: {allow}");
        assert_eq!(response.bytes().await.expect("a body").len(), 0);
    }
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let app = app().await;
    for path in ["/health/live", "/openapi.json", "/docs", "/docs/script.js"] {
        let (get, head) = (ask(&app, "GET", path).await, ask(&app, "HEAD", path).await);
        let of = |response: &reqwest::Response| {
            ["content-type", "content-length", "content-security-policy"]
                .map(|name| response.headers().get(name).cloned())
        };
        assert_eq!((get.status(), of(&get)), (head.status(), of(&head)), "{path}");
        assert_eq!(head.bytes().await.expect("no body").len(), 0, "{path}");
    }
}

#[tokio::test]
async fn a_model_s_name_may_be_no_text() {
    let app = app().await;
    for headers in [&[][..], &[("anthropic-version", "2023-06-01")]] {
        let mut request = app.get("/v1/models/%ff");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 404);
        let error: Value = response.json().await.expect("JSON");
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("does not exist")));
    }
}
