//! The least that could be done: lines of a process's stdout become server-sent events.
//!
//! One task a connection, no channel, no deadlines, no look at anything but the text of a line. What Couplet does beyond
//! that is what it costs.

use std::convert::Infallible;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::support::children::Bound;

/// The argument that makes this program the copy.
const ARGUMENT: &str = "__pipe-copy";

/// Whether the program was started as the copy. If so it serves until it is killed.
pub fn run() -> bool {
    let is_copy = std::env::args().nth(1).is_some_and(|argument| argument == ARGUMENT);
    if is_copy {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(serve());
    }
    is_copy
}

/// A running copy, ended when dropped.
pub struct PipeCopy {
    child: Bound,
    pub port: u16,
}

impl PipeCopy {
    /// Starts it.
    pub fn start() -> Self {
        let this = std::env::current_exe().unwrap();
        let mut child = Bound::start(Command::new(this).arg(ARGUMENT).stdout(Stdio::piped()));
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.0.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }
}

async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(connection), service_fn(answer)));
    }
}

/// The text of a line, if it has one.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: Option<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    text: Option<&'a str>,
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let body: Value = serde_json::from_slice(&request.collect().await.unwrap().to_bytes()).unwrap();
    let mut source = tokio::process::Command::new(std::env::current_exe().unwrap())
        .arg("stream-json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let question = serde_json::json!({"type": "user", "message": body["messages"][0]});
    let mut stdin = source.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("{question}\n").as_bytes()).await.unwrap();
    // The end of its stdin is the end of the source.
    drop(stdin);
    let lines = BufReader::with_capacity(64 * 1024, source.stdout.take().unwrap());
    let events = stream::unfold((lines, Vec::new(), source), |(mut lines, mut line, source)| async move {
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).await.unwrap() == 0 {
                return None;
            }
            let parsed: Line<'_> = serde_json::from_slice(&line).unwrap();
            if let Some(Event { delta: Some(Delta { text: Some(text) }) }) = parsed.event {
                let mut event = b"data: {\"delta\":{\"content\":".to_vec();
                serde_json::to_writer(&mut event, text).unwrap();
                event.extend_from_slice(b"}}\n\n");
                return Some((Ok(Frame::data(Bytes::from(event))), (lines, line, source)));
            }
        }
    });
    let mut response = Response::new(StreamBody::new(events));
    response.headers_mut().insert(CONTENT_TYPE, "text/event-stream".parse().unwrap());
    Ok(response)
}
