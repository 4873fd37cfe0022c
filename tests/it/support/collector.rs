//! What traces are sent to: it takes OTLP over HTTP, and reads of its protobuf what the tests ask for.
//!
//! The numbers of the fields are those of opentelemetry-proto 1.x, which never change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;

/// A span.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// In hexadecimal digits.
    pub trace_id: String,
    /// In hexadecimal digits.
    pub id: String,
    /// In hexadecimal digits; empty for one without.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// 2 is a server's.
    pub kind: u64,
    /// In nanoseconds.
    pub start: u64,
    /// In nanoseconds.
    pub end: u64,
    /// 2 is an error.
    pub status: u64,
    /// Its attributes, as texts.
    pub attributes: BTreeMap<String, String>,
}

/// A receiver of traces on loopback.
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Starts it.
    pub async fn start() -> Self {
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let received = Arc::clone(&bodies);
        let take = async move |headers: HeaderMap, body: Bytes| {
            if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
                return StatusCode::UNSUPPORTED_MEDIA_TYPE;
            }
            received.lock().expect("no panic").push(body);
            StatusCode::OK
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, bodies }
    }

    /// All that was received, as it came.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().expect("no panic").clone()
    }

    /// All spans, in the order of their beginning.
    pub fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies();
        let resources = bodies.iter().flat_map(|body| messages(body, 1));
        let scopes = resources.flat_map(|resource| messages(resource, 2));
        let mut spans: Vec<Span> = scopes.flat_map(|scope| messages(scope, 2)).map(span).collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// The attributes of who sent the first batch.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let bodies = self.bodies();
        let batch = messages(bodies.first().expect("a batch"), 1).remove(0);
        messages(messages(batch, 1).remove(0), 1).into_iter().map(attribute).collect()
    }
}

fn span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, value) in fields(bytes) {
        match (number, value) {
            (1, Value::Bytes(id)) => span.trace_id = hex(id),
            (2, Value::Bytes(id)) => span.id = hex(id),
            (4, Value::Bytes(id)) => span.parent = hex(id),
            (5, Value::Bytes(name)) => span.name = text(name),
            (6, Value::Number(kind)) => span.kind = kind,
            (7, Value::Number(time)) => span.start = time,
            (8, Value::Number(time)) => span.end = time,
            (9, Value::Bytes(pair)) => span.attributes.extend([attribute(pair)]),
            (15, Value::Bytes(status)) => span.status = number_in(status, 3),
            _ => {}
        }
    }
    span
}

fn attribute(pair: &[u8]) -> (String, String) {
    let key = text(messages(pair, 1).remove(0));
    let value = fields(messages(pair, 2).remove(0)).into_iter().next();
    let value = match value {
        Some((1, Value::Bytes(value))) => text(value),
        Some((2, Value::Number(flag))) => (flag != 0).to_string(),
        Some((_, Value::Number(number))) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    };
    (key, value)
}

/// A field's value on the wire.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().expect("eight bytes"))),
            2 => {
                let length = varint(&mut bytes);
                Value::Bytes(take(&mut bytes, usize::try_from(length).expect("a length")))
            }
            5 => {
                Value::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().expect("four bytes")).into())
            }
            kind => panic!("no kind of field: {kind}"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

/// The fields of that number that are messages or texts.
fn messages(bytes: &[u8], wanted: u64) -> Vec<&[u8]> {
    let is_wanted = |(number, value)| match value {
        Value::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(is_wanted).collect()
}

fn number_in(bytes: &[u8], wanted: u64) -> u64 {
    let is_wanted = |(number, value)| match value {
        Value::Number(value) if number == wanted => Some(value),
        _ => None,
    };
    fields(bytes).into_iter().find_map(is_wanted).unwrap_or(0)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number without end");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}
