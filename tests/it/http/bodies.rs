//! How large, how deep, how packed and how slow a body may be.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::{Builder, TestApp, ask};

/// It answers with 503 to what it finds nothing wrong with.
async fn app() -> TestApp {
    Builder::new(Path::new("/no/such/cli")).await.start().await
}

async fn told(app: &TestApp, body: Vec<u8>, encoding: Option<&str>) -> (u16, Value) {
    let mut request = app.post("/v1/chat/completions").header("content-type", "application/json").body(body);
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn packed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let into = Vec::new();
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(into, Compression::default());
            encoder.write_all(body).expect("packed");
            encoder.finish().expect("packed")
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(into, Compression::default());
            encoder.write_all(body).expect("packed");
            encoder.finish().expect("packed")
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(into, 4096, 5, 22);
            encoder.write_all(body).expect("packed");
            encoder.into_inner()
        }
        _ => body.to_vec(),
    }
}

#[rstest]
#[case("gzip")]
#[case("deflate")]
#[case("br")]
#[case("identity")]
#[tokio::test]
async fn a_packed_body_is_read_and_what_is_in_it_is_as_large_as_any(#[case] encoding: &str) {
    let app = app().await;
    let question = ask("hi").to_string().into_bytes();
    assert_eq!(told(&app, packed(encoding, &question), Some(encoding)).await.0, 503);
    let wrong = json!({"model": "m", "messages": []}).to_string().into_bytes();
    let (status, error) = told(&app, packed(encoding, &wrong), Some(encoding)).await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("messages")), "{error}");
    if encoding != "identity" {
        let bomb = packed(encoding, &vec![b' '; 64 * 1024 * 1024]);
        assert!(bomb.len() < 200_000, "{}", bomb.len());
        let (status, error) = told(&app, bomb, Some(encoding)).await;
        assert_eq!((status, &error["error"]["code"]), (413, &json!("request_too_large")), "{error}");
        assert_eq!(told(&app, b"no such thing".to_vec(), Some(encoding)).await.0, 400);
    }
}

#[rstest]
#[case("zstd")]
#[case("gzip, gzip")]
#[case("nonsense")]
#[tokio::test]
async fn an_unknown_encoding_is_named(#[case] encoding: &str) {
    let (status, error) = told(&app().await, ask("hi").to_string().into_bytes(), Some(encoding)).await;
    assert_eq!((status, &error["error"]["code"]), (415, &json!("unsupported_media_type")));
    assert!(error["error"]["message"].as_str().expect("a text").contains("content-encoding"), "{error}");
}

#[tokio::test]
async fn what_is_said_to_be_too_large_is_refused_before_it_is_sent() {
    let app = app().await;
    let address = app.url.strip_prefix("http://").expect("a URL");
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 40000000\r\nconnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("written");
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(Duration::from_secs(5), client.read_exact(&mut answer)).await;
    read.expect("at once").expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_of_very_many_pieces_is_refused_and_one_of_many_is_not() {
    let app = app().await;
    let body = |number: usize| {
        let mut body = ask("hi");
        body["x"] = vec![0; number].into();
        body.to_string().into_bytes()
    };
    assert_eq!(told(&app, body(240_000), None).await.0, 503);
    let (status, error) = told(&app, body(260_000), None).await;
    assert_eq!((status, &error["error"]["code"]), (413, &json!("request_too_large")), "{error}");
    let (status, error) = told(&app, body(15_000_000), None).await;
    assert_eq!((status, &error["error"]["code"]), (413, &json!("request_too_large")), "{error}");
}

#[tokio::test]
async fn a_very_deep_body_is_no_json() {
    let deep = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(told(&app().await, deep.into_bytes(), None).await.0, 400);
}

/// Sends the beginning of a body of two and a half MiB.
async fn begin_a_large_body(app: &TestApp) -> TcpStream {
    let address = app.url.strip_prefix("http://").expect("a URL");
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 2621440\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("written");
    client.write_all(&vec![b' '; 2 * 1024 * 1024]).await.expect("written");
    client
}

#[tokio::test]
async fn so_many_large_bodies_are_in_memory_and_the_next_one_waits() {
    let app = app().await;
    let mut begun = Vec::new();
    for _ in 0..8 {
        begun.push(begin_a_large_body(&app).await);
    }
    // All of them are read as far as they go.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut large = ask("hi");
    large["x"] = "x".repeat(2 * 1024 * 1024).into();
    let large = packed("gzip", large.to_string().as_bytes());
    assert!(large.len() < 10_000, "{}", large.len());
    let waits = told(&app, large, Some("gzip"));
    let mut waits = std::pin::pin!(waits);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut waits).await;
    assert!(early.is_err(), "{early:?}");
    let small = told(&app, ask("hi").to_string().into_bytes(), None);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), small).await.expect("at once").0, 503);
    // A client that goes away makes room.
    begun.pop();
    let (status, _) = tokio::time::timeout(Duration::from_secs(5), waits).await.expect("there is room");
    assert_eq!(status, 503);
}
