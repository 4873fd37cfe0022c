//! One request to a Messages API on loopback, its events as they come.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The longest body of an error that is read, in bytes.
const ERROR_LIMIT: usize = 64 * 1024;

/// Where the API is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    address: SocketAddr,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The API answered with an error.
    Api {
        /// The HTTP status.
        status: u16,
        /// The `error` object.
        error: Value,
        /// The rate-limit headers.
        limits: Limits,
    },
    /// It could not be reached, or the connection broke.
    Connection(String),
}

/// The headers that tell of the limits, by name.
pub type Limits = BTreeMap<String, String>;

/// An answer under way.
#[derive(Debug)]
pub struct Streamed {
    body: Incoming,
    /// Bytes that no whole line was made of yet.
    rest: Vec<u8>,
    /// Events read and not handed out yet, the next one last.
    events: Vec<Value>,
    /// The rate-limit headers.
    pub limits: Limits,
}

impl Api {
    /// The API of a URL such as `http://127.0.0.1:9911`; `None` for anything but plain HTTP on loopback.
    #[must_use]
    pub fn on_loopback(url: &str) -> Option<Self> {
        let address: SocketAddr = url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()?;
        address.ip().is_loopback().then_some(Self { address })
    }

    /// Asks for a streamed message.
    ///
    /// # Errors
    /// When the API answers with an error or not at all.
    pub async fn ask(&self, body: &Value) -> Result<Streamed, Failure> {
        let broken = |error: &dyn std::error::Error| Failure::Connection(error.to_string());
        let stream = TcpStream::connect(self.address).await.map_err(|error| broken(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Ends with the response's body.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/messages?beta=true")
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let limits = limits_of(&response);
        if response.status().is_success() {
            return Ok(Streamed { body: response.into_body(), rest: Vec::new(), events: Vec::new(), limits });
        }
        let status = response.status().as_u16();
        let body = http_body_util::Limited::new(response.into_body(), ERROR_LIMIT).collect().await;
        let body: Value =
            body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok()).unwrap_or_default();
        Err(Failure::Api { status, error: body["error"].clone(), limits })
    }
}

impl Streamed {
    /// The next event; `None` at the end of the answer.
    ///
    /// # Errors
    /// When the connection breaks, or for an `error` event.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            match self.events.pop() {
                Some(event) if event["type"] == "error" => {
                    let error = event["error"].clone();
                    return Err(Failure::Api { status: 529, error, limits: Limits::new() });
                }
                Some(event) if event["type"] == "ping" => continue,
                Some(event) => return Ok(Some(event)),
                None => {}
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.take(frame.data_ref().map_or(&[], |data| &**data)),
                Some(Err(error)) => return Err(Failure::Connection(error.to_string())),
                None => return Ok(None),
            }
        }
    }

    /// Takes the whole lines of new bytes; `data:` lines are events, the rest of the stream's form is of no concern.
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        let data = lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
        self.events = data.filter_map(|data| serde_json::from_slice(data).ok()).collect();
        self.events.reverse();
    }
}

fn limits_of(response: &Response<Incoming>) -> Limits {
    let headers = response.headers().iter();
    headers
        .filter(|(name, _)| name.as_str().starts_with("anthropic-ratelimit-unified-"))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_asked() {
        assert!(Api::on_loopback("http://127.0.0.1:9911").is_some());
        assert!(Api::on_loopback("http://[::1]:9911/").is_some());
        for elsewhere in
            ["https://api.anthropic.com", "http://10.0.0.1:80", "http://example.org", "127.0.0.1:1", ""]
        {
            assert_eq!(Api::on_loopback(elsewhere), None, "{elsewhere}");
        }
    }
}
