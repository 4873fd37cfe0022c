//! Who may come in.

use std::path::Path;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::{Builder, TestApp};

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
