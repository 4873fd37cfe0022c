//! Who may come in.

use std::path::Path;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::{Builder, TestApp};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

async fn builder() -> Builder {
    Builder::new(Path::new("/no/such/cli")).await
}

/// The status and error code of a request that no model is needed for: an empty body is a 400 behind all checks.
async fn try_with(app: &TestApp, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = app.post("/v1/chat/completions").header("content-type", "application/json").body("{}");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON for every error");
    (status, body["error"]["code"].clone())
}

#[rstest]
#[case(&[], 401)]
#[case(&[("authorization", "Bearer wrong")], 401)]
#[case(&[("authorization", "Basic a2V5")], 401)]
#[case(&[("authorization", "key-one")], 401)]
#[case(&[("x-api-key", "wrong")], 401)]
#[case(&[("authorization", "Bearer key-one")], 400)]
#[case(&[("authorization", "bearer key-two")], 400)]
#[case(&[("x-api-key", "key-one")], 400)]
#[tokio::test]
async fn with_keys_only_they_open(#[case] headers: &[(&str, &str)], #[case] status: u16) {
    let app = builder().await.with_keys(&["key-one", "key-two"]).start().await;
    let (got, code) = try_with(&app, headers).await;
    assert_eq!(got, status);
    assert_eq!(code == "invalid_api_key", status == 401);
}

#[tokio::test]
async fn every_route_but_health_asks_for_the_key() {
    let app = builder().await.with_keys(&["key"]).start().await;
    for path in ["/v1/models", "/models", "/v1/models/x", "/v1/nothing", "/", "/v1/chat/completions"] {
        assert_eq!(app.get(path).send().await.expect("an answer").status(), 401, "{path}");
    }
    assert_eq!(app.get("/health/live").send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn without_keys_any_key_and_none_will_do() {
    let app = builder().await.start().await;
    for headers in [&[][..], &[("authorization", "Bearer sk-anything")], &[("x-api-key", "")]] {
        assert_eq!(try_with(&app, headers).await.0, 400);
    }
}

#[rstest]
#[case(&[("host", "evil.example")], 403)]
#[case(&[("host", "localhost:1")], 400)]
#[case(&[("origin", "https://evil.example")], 403)]
#[case(&[("origin", "null")], 403)]
#[case(&[("origin", "https://chat.example")], 400)]
#[tokio::test]
async fn foreign_hosts_and_origins_stay_out(#[case] headers: &[(&str, &str)], #[case] status: u16) {
    let builder =
        builder().await.with(|config| config.http.allowed_origins = vec!["https://chat.example".to_owned()]);
    assert_eq!(try_with(&builder.start().await, headers).await.0, status);
}

#[tokio::test]
async fn a_preflight_lets_in_only_configured_origins_and_never_all() {
    let builder =
        builder().await.with(|config| config.http.allowed_origins = vec!["https://chat.example".to_owned()]);
    let app = builder.start().await;
    let ask = async |origin: &str| {
        let url = format!("{}/v1/chat/completions", app.url);
        let request = reqwest::Client::new().request(reqwest::Method::OPTIONS, url);
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        let response = request.header("access-control-request-headers", "authorization").send().await;
        response.expect("an answer").headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(ask("https://chat.example").await.expect("allowed"), "https://chat.example");
    assert_eq!(ask("https://evil.example").await, None);
}

/// What pages have sent to servers on the same machine as their reader: another name that leads there (CVE-2024-28224), another
/// origin and address 0.0.0.0 (CVE-2025-49596), requests that need no preflight, and forms.
#[tokio::test]
async fn a_page_of_another_origin_cannot_use_a_keyless_server() {
    let app = builder().await.start().await;
    let port = app.url.rsplit(':').next().expect("a port");
    let names = |name: &str| format!("{name}:{port}");
    let mut seen = Seen::default();
    let json = "application/json";
    let mut vectors: Vec<(String, Vec<(&str, String)>)> = Vec::new();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "[::]",
        "192.168.0.1",
        "",
    ] {
        vectors
            .push((format!("host {host}"), vec![("host", names(host)), ("content-type", json.to_owned())]));
    }
    for origin in [
        "https://evil.example",
        "null",
        "file://",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0.0.0.0",
        "chrome-extension://abc",
        "http://evil.example:8000",
        "HTTP://EVIL.EXAMPLE",
        "https://user@evil.example",
    ] {
        vectors.push((
            format!("origin {origin}"),
            vec![("origin", origin.to_owned()), ("content-type", json.to_owned())],
        ));
        vectors.push((
            format!("origin {origin}, simple"),
            vec![("origin", origin.to_owned()), ("content-type", "text/plain".to_owned())],
        ));
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/csp-report",
        "",
    ] {
        vectors.push((format!("simple, {kind}"), vec![("content-type", kind.to_owned())]));
    }
    for (name, headers) in vectors {
        for (method, path) in
            [("POST", "/v1/chat/completions"), ("POST", "/v1/messages"), ("GET", "/v1/models")]
        {
            let is_simple = !headers.iter().any(|(name, _)| ["host", "origin"].contains(name));
            if method == "GET" && is_simple {
                // Without another origin this is any program's request.
                continue;
            }
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let mut request = reqwest::Client::new().request(method, format!("{}{path}", app.url)).body("{}");
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            let response = request.send().await.expect("an answer");
            assert!(!response.headers().contains_key("access-control-allow-origin"), "{name} {path}");
            let answer: (u16, Value) =
                (response.status().as_u16(), response.json().await.unwrap_or_default());
            assert!(matches!(answer.0, 400 | 403 | 415), "{name} {path}: {answer:?}");
            assert!(answer.0 != 400 || name == "host ", "{name} {path}: {answer:?}");
            seen.note(answer.0.to_string());
        }
    }
    let fault = "requests that a page of another origin can make its reader's browser send to a keyless server: no CORS header, no \
                 request gets in";
    seen.tell(Class::Hostile, fault, Asked::Either);
}

/// A page sees no other headers of an answer than these.
#[tokio::test]
async fn a_page_may_read_what_was_ignored() {
    let builder =
        builder().await.with(|config| config.http.allowed_origins = vec!["https://chat.example".to_owned()]);
    let app = builder.start().await;
    let response = app.get("/v1/models").header("origin", "https://chat.example").send().await;
    let response = response.expect("an answer");
    let exposed = response.headers()["access-control-expose-headers"].to_str().expect("text");
    assert!(exposed.split(',').any(|name| name.trim() == "x-couplet-ignored"), "{exposed}");
}

#[rstest]
#[case("text/plain")]
#[case("application/x-www-form-urlencoded")]
#[case("multipart/form-data; boundary=x")]
#[case("application/jsonx")]
#[tokio::test]
async fn a_post_that_a_web_page_may_send_unasked_is_refused(#[case] kind: &str) {
    let app = builder().await.start().await;
    let request = app.post("/v1/chat/completions").header("content-type", kind);
    let response = request.body(json!({"model": "m"}).to_string()).send().await.expect("an answer");
    assert_eq!(response.status(), 415);
    assert_eq!(response.headers()["x-should-retry"], "false");
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_sent_away() {
    let app = builder().await.start().await;
    let address = app.url.strip_prefix("http://").expect("a URL");
    let mut slow = TcpStream::connect(address).await.expect("a connection");
    slow.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx: ").await.expect("written");
    let begun = Instant::now();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(40), slow.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is closed");
    assert!(begun.elapsed() > Duration::from_secs(5), "but not at once");
}
