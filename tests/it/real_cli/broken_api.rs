//! An API that does not keep to its form: what the real CLI makes of it, and what of that a client sees.

use std::net::SocketAddr;
use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::app::{Builder, Streamed, ask};
use crate::support::fault_table::{Asked, Class};
use crate::support::real_cli::real_cli;
use crate::support::seen;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Closed,
    Reset,
}

/// An API that answers every question with these bytes, and ends each connection so.
async fn api_that_says(said: Vec<u8>, end: End) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.expect("a connection");
            let said = said.clone();
            // A client that leaves early is its own business.
            tokio::spawn(async move { answer(connection, &said, end).await.ok() });
        }
    });
    address
}

async fn answer(mut connection: TcpStream, said: &[u8], end: End) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    connection.read_exact(&mut body).await?;
    if !head.starts_with("post /v1/messages?") && !head.starts_with("post /v1/messages ") {
        // It looks for other things too.
        return connection
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    }
    connection.write_all(said).await?;
    connection.flush().await?;
    if end == End::Reset {
        // What was written is to arrive first.
        tokio::time::sleep(Duration::from_millis(200)).await;
        connection.set_zero_linger()?;
    }
    Ok(())
}

fn stream_of(events: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}")
        .into_bytes()
}

/// The beginning of an answer, in good form.
fn half() -> String {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage,
    });
    let block = json!({"type": "text", "text": ""});
    let delta = json!({"type": "text_delta", "text": "half an "});
    [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
    ]
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
    .concat()
}

#[rstest]
#[case("it resets the connection in mid-answer", stream_of(&half()), End::Reset)]
#[case("it resets the connection before it answers", vec![], End::Reset)]
#[case("it closes the connection without an answer", vec![], End::Closed)]
#[case("it does not speak HTTP", b"220 ready\r\n".to_vec(), End::Closed)]
#[case("it answers 200 with a page", b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>".to_vec(), End::Closed)]
#[case("it answers 200 with no events", stream_of(""), End::Closed)]
#[case("it streams what are no events", stream_of("no event\n\n\u{0}\n\nmore\n\n"), End::Closed)]
#[case("an event in mid-answer is no JSON", stream_of(&format!("{}event: content_block_delta\ndata: {{\"type\": \n\n", half())), End::Closed)]
#[case("an event in mid-answer is of an unknown type, then it ends", stream_of(&format!("{}event: tomorrow\ndata: {{\"type\":\"tomorrow\"}}\n\n", half())), End::Closed)]
#[tokio::test]
async fn an_api_that_does_not_keep_to_its_form_is_an_error(
    #[case] what: &str,
    #[case] said: Vec<u8>,
    #[case] end: End,
    #[values(true, false)] stream: bool,
) {
    let Some(cli) = real_cli() else { return };
    let api = api_that_says(said, end).await;
    let app = Builder::new(&cli)
        .await
        .with(|config| config.claude.process.base_url = Some(format!("http://{api}")))
        .start()
        .await;
    let mut question = ask("hi");
    question["stream"] = json!(stream);
    let answer = Streamed::read(app.chat(&question).await).await;
    let error = answer.error().unwrap_or_else(|| panic!("an error: {answer:?}"));
    assert!(answer.status == 502 || (stream && answer.status == 200), "{} {error}", answer.status);
    assert!(answer.contents().len() <= 1, "nothing twice: {answer:?}");
    seen::tell(Class::Upstream, what, Asked::with(stream), seen::of_answer(&answer));
}
