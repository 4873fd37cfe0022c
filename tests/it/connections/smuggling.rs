//! Requests that two programs could read in two ways, with a second request in them that only one of the two sees.
//!
//! What must hold of each: it is refused and its connection closed, or it is read in the one way that RFC 9112 gives. The second
//! request asks for a path of its own ([`HIDDEN`]); that it was not served is seen in what the client reads, and in the number of
//! requests that Couplet counts.

use std::path::Path;

use super::{exchange, metric, statuses};
use crate::support::app::{Builder, TestApp};
use crate::support::fault_table::{Asked, Class, Tried, saw};

/// The second request. Its answer names the path.
const HIDDEN: &str = "GET /v1/hidden HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// How it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Before it is a request: with this status, or closed without a word (0).
    RefusedUnseen(u16),
    /// As a request, with 400, and nothing behind it is read.
    Refused,
    /// As one request, in the only way there is; nothing behind it is read.
    One,
    /// As one request, in the only way there is; what is behind it begins in the middle of something, and is refused with 400.
    OneAndARest,
    /// As two requests, in the only way there is.
    Two,
}
use Read::{One, OneAndARest, Refused, RefusedUnseen, Two};

const BAD: Read = RefusedUnseen(400);

/// A POST with these headers beside its host, and this behind its head.
fn post(headers: &str, rest: &str) -> String {
    let headers = headers.replace('\n', "\r\n");
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n\r\n{rest}"
    )
}

/// The same, with the second request behind it.
fn with_hidden(headers: &str, rest: &str) -> String {
    post(headers, rest) + HIDDEN
}

/// A GET of those lines, with the second request behind it.
fn get(lines: &str) -> String {
    lines.replace('\n', "\r\n") + "\r\n\r\n" + HIDDEN
}

/// What is sent, and how it is read.
#[expect(clippy::too_many_lines, reason = "a table")]
fn vectors() -> Vec<(&'static str, String, Read)> {
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let length = HIDDEN.len() + 5;
    let cl_te = |te: &str| with_hidden(&format!("content-length: {length}\n{te}"), "0\r\n\r\n");
    let te = |te: &str| with_hidden(te, chunks);
    let cl = |cl: &str| with_hidden(cl, "{}");
    let size =
        |size: &str| with_hidden("transfer-encoding: chunked", &format!("{size}\r\n{{}}\r\n0\r\n\r\n"));
    vec![
        // Both ways to tell a length.
        ("CL and TE, the hidden request within the length", cl_te("transfer-encoding: chunked"), One),
        (
            "TE and CL, the hidden request behind the length",
            with_hidden("transfer-encoding: chunked\ncontent-length: 2", chunks),
            One,
        ),
        (
            "TE and CL, the hidden request in a chunk",
            post(
                "transfer-encoding: chunked\ncontent-length: 4",
                &format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
            ),
            One,
        ),
        ("CL and TE, which is not chunked", cl_te("transfer-encoding: identity"), BAD),
        ("CL and TE, which is nonsense", cl_te("transfer-encoding: xchunked"), BAD),
        ("CL and TE in capitals", cl_te("Transfer-Encoding: CHUNKED"), One),
        // Lengths.
        ("two equal CL", cl("content-length: 2\ncontent-length: 2"), Two),
        ("two different CL", cl("content-length: 2\ncontent-length: 50"), BAD),
        ("two different CL, the greater first", cl("content-length: 50\ncontent-length: 2"), BAD),
        ("a list as CL", cl("content-length: 2, 2"), BAD),
        ("CL with a plus", cl("content-length: +2"), BAD),
        ("CL with a minus", cl("content-length: -2"), BAD),
        ("CL with a space in it", cl("content-length: 2 0"), BAD),
        ("CL in hexadecimal", cl("content-length: 0x2"), BAD),
        ("CL with a decimal point", cl("content-length: 2.0"), BAD),
        ("an empty CL", cl("content-length: "), BAD),
        ("CL beyond 64 bits", cl("content-length: 18446744073709551618"), BAD),
        ("CL that is just 64 bits", cl("content-length: 18446744073709551615"), RefusedUnseen(431)),
        ("CL with zeros before it", cl("content-length: 0002"), Two),
        ("CL in quotes", cl("content-length: \"2\""), BAD),
        ("more than CL says", cl("content-length: 1"), OneAndARest),
        // Transfer encodings.
        ("TE chunked, identity", te("transfer-encoding: chunked, identity"), BAD),
        ("TE identity, chunked", te("transfer-encoding: identity, chunked"), Refused),
        ("TE gzip, chunked", te("transfer-encoding: gzip, chunked"), Refused),
        ("TE xchunked", te("transfer-encoding: xchunked"), BAD),
        ("TE chunkedx", te("transfer-encoding: chunkedx"), BAD),
        ("TE with a tab before it", te("transfer-encoding:\tchunked"), One),
        ("TE with a vertical tab before it", te("transfer-encoding: \u{b}chunked"), BAD),
        ("TE in quotes", te("transfer-encoding: \"chunked\""), BAD),
        ("an empty TE", te("transfer-encoding: "), BAD),
        ("two TE, both chunked", te("transfer-encoding: chunked\ntransfer-encoding: chunked"), Refused),
        ("two TE, the first chunked", te("transfer-encoding: chunked\ntransfer-encoding: identity"), BAD),
        (
            "two TE, the second chunked",
            te("transfer-encoding: identity\ntransfer-encoding: chunked"),
            Refused,
        ),
        ("TE in a folded line", te("transfer-encoding:\n chunked"), BAD),
        ("TE with a space before the colon", te("transfer-encoding : chunked"), BAD),
        ("TE with a space before its name", te(" transfer-encoding: chunked"), BAD),
        ("TE with an underscore", te("content-length: 2\ntransfer_encoding: chunked"), OneAndARest),
        ("TE behind a bare CR", te("x: y\rtransfer-encoding: chunked"), BAD),
        // Chunks.
        ("a chunk's size with 0x", size("0x2"), One),
        ("a chunk's size with a minus", size("-2"), One),
        ("a chunk's size with a plus", size("+2"), One),
        ("a chunk's size beyond 64 bits", size("10000000000000002"), One),
        ("no chunk's size", size(""), One),
        ("a chunk's size with a space before it", size(" 2"), One),
        ("a chunk with an extension", size("2;a=b"), One),
        ("a chunk with 20 kB of extensions", size(&format!("2;{}", "x".repeat(20_000))), One),
        ("a bare LF in an extension", size("2;a\nb"), One),
        (
            "a bare LF behind a chunk's size",
            with_hidden("transfer-encoding: chunked", "2\n{}\r\n0\r\n\r\n"),
            One,
        ),
        ("no CRLF behind a chunk", with_hidden("transfer-encoding: chunked", "2\r\n{}0\r\n\r\n"), One),
        ("a bare LF behind a chunk", with_hidden("transfer-encoding: chunked", "2\r\n{}\n0\r\n\r\n"), One),
        (
            "a trailer that is a length",
            with_hidden("transfer-encoding: chunked", "2\r\n{}\r\n0\r\ncontent-length: 9\r\n\r\n"),
            One,
        ),
        // Lines.
        ("a NUL in a header", get("GET /v1/models HTTP/1.1\nhost: localhost\nx: a\0b"), BAD),
        ("a bare CR in a header", get("GET /v1/models HTTP/1.1\nhost: localhost\nx: a\rb"), BAD),
        ("a header without a name", get("GET /v1/models HTTP/1.1\nhost: localhost\n: x"), BAD),
        ("a header without a colon", get("GET /v1/models HTTP/1.1\nhost: localhost\nx"), BAD),
        ("a space before a colon", get("GET /v1/models HTTP/1.1\nhost : localhost"), BAD),
        ("a folded header", get("GET /v1/models HTTP/1.1\nhost: localhost\nx: a\n b"), BAD),
        ("a space in a method", get("GE T /v1/models HTTP/1.1\nhost: localhost"), BAD),
        ("a bracket in a method", get("G(T /v1/models HTTP/1.1\nhost: localhost"), BAD),
        ("a space in the target", get("GET /v1/mod els HTTP/1.1\nhost: localhost"), BAD),
        ("two spaces before the version", get("GET /v1/models  HTTP/1.1\nhost: localhost"), BAD),
        ("a NUL in the target", get("GET /v1/mod\0els HTTP/1.1\nhost: localhost"), BAD),
        ("HTTP/1.2", get("GET /v1/models HTTP/1.2\nhost: localhost"), BAD),
        ("HTTP/0.9", "GET /v1/models\r\n".to_owned() + HIDDEN, BAD),
        ("a version in small letters", get("GET /v1/models http/1.1\nhost: localhost"), BAD),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned() + HIDDEN, RefusedUnseen(0)),
        ("HTTP/1.0 with TE", te("transfer-encoding: chunked").replacen("HTTP/1.1", "HTTP/1.0", 1), BAD),
        (
            "101 headers",
            get(&format!("GET /v1/models HTTP/1.1\nhost: localhost{}", "\nx: y".repeat(100))),
            RefusedUnseen(431),
        ),
        (
            "a header of 200 kB",
            get(&format!("GET /v1/models HTTP/1.1\nhost: localhost\nx: {}", "y".repeat(200_000))),
            RefusedUnseen(431),
        ),
        (
            "a target of 200 kB",
            get(&format!("GET /{} HTTP/1.1\nhost: localhost", "y".repeat(200_000))),
            RefusedUnseen(431),
        ),
        // Hosts.
        ("no host", get("GET /v1/models HTTP/1.1\nx: y"), Refused),
        ("two hosts", get("GET /v1/models HTTP/1.1\nhost: localhost\nhost: evil.example"), Refused),
        ("two equal hosts", get("GET /v1/models HTTP/1.1\nhost: localhost\nhost: localhost"), Refused),
        (
            "an absolute target of another host",
            get("GET http://evil.example/v1/models HTTP/1.1\nhost: localhost"),
            Refused,
        ),
        ("CONNECT", get("CONNECT localhost:80 HTTP/1.1\nhost: localhost"), Refused),
        // What is to come after it.
        (
            "an upgrade to h2c",
            get(
                "GET /version HTTP/1.1\nhost: localhost\nconnection: upgrade, http2-settings\nupgrade: h2c\nhttp2-settings: AAMAAABkAAQAAP__",
            ),
            Two,
        ),
        (
            "Connection: close, keep-alive",
            get("GET /version HTTP/1.1\nhost: localhost\nconnection: close, keep-alive"),
            One,
        ),
        (
            "Connection: close and another one",
            get("GET /version HTTP/1.1\nhost: localhost\nconnection: close\nconnection: keep-alive"),
            One,
        ),
        ("HTTP/1.0", get("GET /version HTTP/1.0\nhost: localhost"), One),
        ("a whole second request", get("GET /version HTTP/1.1\nhost: localhost"), Two),
        (
            "a length with GET",
            with_hidden("content-length: 2", "{}").replacen("POST /v1/chat/completions", "GET /version", 1),
            Two,
        ),
        (
            "the hidden request as a body of GET",
            get(&format!("GET /version HTTP/1.1\nhost: localhost\ncontent-length: {}", HIDDEN.len())),
            One,
        ),
    ]
}

/// How many requests have reached Couplet's routes, the question for that left out.
async fn counted(app: &TestApp, questions: u64) -> u64 {
    metric(app, "couplet_requests_total", "", "").await - questions
}

#[tokio::test]
async fn no_request_is_smuggled_in() {
    // Whatever is asked of the model is refused before it is asked.
    let app =
        Builder::new(Path::new("/no/such/cli")).await.with(|config| config.connections = super::short());
    let app = app.start().await;
    let (mut before, mut wrong, mut count) = (0, Vec::new(), 0);
    let vectors = vectors();
    for (questions, (name, sent, expected)) in (0..).zip(&vectors) {
        let read = exchange(&app, sent.as_bytes()).await;
        let now = counted(&app, questions).await;
        let reached = now - before;
        before = now;
        let (statuses, is_seen) = (statuses(&read), read.contains("/v1/hidden"));
        let is_right = match expected {
            RefusedUnseen(0) => statuses.is_empty() && reached == 0,
            RefusedUnseen(status) => statuses == [*status] && reached == 0,
            Refused => statuses.len() == 1 && (400..500).contains(&statuses[0]) && reached == 1,
            OneAndARest => statuses.len() == 2 && statuses[1] == 400 && reached == 1,
            One => statuses.len() == 1 && reached == 1,
            Two => statuses.len() == 2 && reached == 2,
        };
        if !is_right || is_seen != (*expected == Two) {
            wrong.push(format!("{name}: {expected:?}, but {statuses:?}, {reached} requests\n{read}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let told = "400 (431 where it is too long) and the connection is closed, or the one reading that RFC 9112 gives; the second \
                request is never answered";
    saw(
        Class::Connection,
        "a second request is hidden in what can be read in two ways",
        Asked::Either,
        told,
        Tried::Times(count),
    );
}
