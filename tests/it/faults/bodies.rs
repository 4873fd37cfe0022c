//! Bodies that are no requests: each endpoint refuses them, names the field where there is one, and logs nothing of them.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SOON, said};
use crate::support::app::ask;
use crate::support::couplet_process::CoupletProcess;
use crate::support::fake_cli::FakeCli;
use crate::support::fake_cli::script::Script;
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

/// In every body, and in no log.
const CANARY: &str = "zqcanary";

/// Of a longer body no more than the beginning is sent.
const MUCH: usize = 32 * 1024 * 1024;

const OPERATOR: &str = "the-key-of-the-operator";

/// Something that is sent in place of a request.
struct Sent {
    body: Vec<u8>,
    content_type: Option<&'static str>,
    encoding: Option<&'static str>,
}

impl Sent {
    fn json(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), content_type: Some("application/json"), encoding: None }
    }
}

/// A good request of each endpoint that reads a body.
fn endpoints() -> [(&'static str, Value); 7] {
    let messages = json!([{"role": "user", "content": CANARY}]);
    [
        ("/v1/chat/completions", json!({"model": "claude-sonnet-5-5", "messages": messages})),
        ("/chat/completions", json!({"model": "claude-sonnet-5-5", "input": CANARY})),
        ("/v1/completions", json!({"model": "claude-sonnet-5-5", "prompt": CANARY})),
        ("/v1/messages", json!({"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": messages})),
        ("/v1/messages/count_tokens", json!({"model": "claude-sonnet-5-5", "messages": messages})),
        ("/auth/logout", json!({"tenant": CANARY})),
        ("/admin/cli", json!({"command": CANARY})),
    ]
}

/// What is no request at any endpoint, by its kind.
#[expect(clippy::too_many_lines, reason = "a table")]
fn forms(good: &Value) -> Vec<(&'static str, Vec<Sent>)> {
    let good = good.to_string();
    let with = |field: &str| format!("{},{field}}}", &good[..good.len() - 1]);
    let replaced = |from: &str, to: &[u8]| {
        let (before, behind) = good.split_once(from).expect("a part of it");
        [before.as_bytes(), to, behind.as_bytes()].concat()
    };
    let as_kind = |content_type| Sent { content_type, ..Sent::json(good.clone()) };
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let utf_16: Vec<u8> =
        [vec![0xff, 0xfe], good.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat();
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    bomb.write_all(&vec![b' '; 64 * 1024 * 1024]).expect("packed");
    let packed = |body: Vec<u8>, encoding| Sent { encoding: Some(encoding), ..Sent::json(body) };
    vec![
        (
            "a body that is not JSON",
            [
                "",
                " ",
                CANARY,
                "{zqcanary: 1}",
                "{\"zqcanary\":}",
                "[,\"zqcanary\"]",
                "{'model': 'zqcanary'}",
                "{\"model\": \"zqcanary\" /* a word */}",
                "{\"model\": NaN}",
                "{\"model\": 0x10}",
                "<model>zqcanary</model>",
                "model=zqcanary&messages=",
            ]
            .map(Sent::json)
            .into(),
        ),
        (
            "JSON that is no object",
            ["null", "7", "\"zqcanary\"", "[]", "[\"zqcanary\"]", "true"].map(Sent::json).into(),
        ),
        (
            "a truncated body",
            [1, 2, 3, 4, 5, 6, 7]
                .map(|eighths| Sent::json(&good.as_bytes()[..good.len() * eighths / 8]))
                .into_iter()
                .chain([Sent::json(&good.as_bytes()[..good.len() - 1])])
                .collect(),
        ),
        (
            "more behind the body",
            ["{}", "]", "zqcanary", "\0"].map(|more| Sent::json(format!("{good}{more}"))).into(),
        ),
        (
            "a body that is not UTF-8",
            vec![
                Sent::json(replaced(CANARY, b"zqcanary\xff")),
                Sent::json(replaced(CANARY, b"zqcanary\xc3")),
                Sent::json(replaced(CANARY, b"\xed\xa0\x80zqcanary")),
                Sent::json(replaced(CANARY, b"\xf5\x80\x80\x80zqcanary")),
                Sent::json(replaced("\"", b"\x80\"")),
                Sent::json(utf_16),
            ],
        ),
        (
            "letters that no text has",
            vec![
                Sent::json(replaced(CANARY, b"zqcanary\0")),
                Sent::json(replaced(CANARY, b"zqcanary\n")),
                Sent::json(replaced(CANARY, b"zqcanary\\ud800")),
                Sent::json(replaced(CANARY, b"zqcanary\\udc00\\ud800")),
                Sent::json(replaced(CANARY, b"zqcanary\\x")),
                Sent::json(replaced(CANARY, b"zqcanary\\u12")),
            ],
        ),
        (
            "100,000 levels",
            vec![
                Sent::json(deep("[", "]")),
                Sent::json(deep("{\"a\":[", "]}")),
                Sent::json(with(&format!("\"x\":{}", deep("[", "]")))),
                Sent::json("[".repeat(1_000_000)),
                Sent::json("{\"model\":".repeat(100_000)),
            ],
        ),
        (
            "a giant body",
            vec![
                Sent::json(with(&format!("\"x\":\"{}\"", "x".repeat(40_000_000)))),
                packed(bomb.finish().expect("packed"), "gzip"),
            ],
        ),
        (
            "another content type",
            [
                None,
                Some("text/plain"),
                Some("application/x-www-form-urlencoded"),
                Some("multipart/form-data; boundary=x"),
                Some("application/xml"),
                Some("application/jsonx"),
                Some("zqcanary"),
            ]
            .map(as_kind)
            .into(),
        ),
        (
            "a content encoding that it does not have",
            ["gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"]
                .map(|encoding| packed(good.clone().into_bytes(), encoding))
                .into(),
        ),
    ]
}

/// Values that a field cannot have: of which path, the name of the field, and the values.
fn fields() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let huge: Value = serde_json::from_str("123456789012345678901234567890").expect("a number");
    let chat = "/v1/chat/completions";
    let numbers = |more: &[Value]| {
        [vec![json!(-1), json!("5"), json!([]), json!({}), json!(true)], more.to_vec()].concat()
    };
    let bad_messages = vec![
        Value::Null,
        json!([]),
        json!({}),
        json!(CANARY),
        json!([7]),
        json!([null]),
        json!([{}]),
        json!([{"role": CANARY, "content": CANARY}]),
        json!([{"role": 7, "content": CANARY}]),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": 7}]),
        json!([{"role": "user", "content": {}}]),
        json!([{"role": "user", "content": [7]}]),
        json!([{"role": "user", "content": [{"type": CANARY}]}]),
        json!([{"role": "user", "content": [{"type": "text", "text": 7}]}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 7}}]}]),
    ];
    let bad_models = vec![Value::Null, json!(7), json!([]), json!({}), json!(true)];
    vec![
        (chat, "model", bad_models.clone()),
        (chat, "messages", bad_messages.clone()),
        (chat, "max_tokens", numbers(&[json!(0), json!(1.5), json!(1e30), huge.clone()])),
        (chat, "max_completion_tokens", numbers(&[json!(0), json!(1.5), json!(1e30), huge.clone()])),
        (chat, "temperature", numbers(&[json!(3), json!(1e308)])),
        (chat, "top_p", numbers(&[json!(2), json!(1e308)])),
        (chat, "n", numbers(&[json!(0), json!(129), json!(1.5), json!(1e9), huge.clone()])),
        (chat, "stop", vec![json!(7), json!([7]), json!({}), json!([null])]),
        (chat, "stream", vec![json!("yes"), json!(7), json!([])]),
        (chat, "stream_options", vec![json!(7), json!("yes"), json!([])]),
        (
            chat,
            "response_format",
            vec![json!(7), json!({"type": CANARY}), json!({"type": "json_schema"}), json!([])],
        ),
        (
            chat,
            "tools",
            vec![
                json!({}),
                json!([7]),
                json!([{}]),
                json!([{"type": "function"}]),
                json!([{"type": "function", "function": {}}]),
            ],
        ),
        (chat, "tool_choice", vec![json!(7), json!(CANARY), json!({}), json!({"type": "function"})]),
        (chat, "reasoning_effort", vec![json!(7), json!(CANARY), json!([])]),
        ("/v1/completions", "model", bad_models.clone()),
        (
            "/v1/completions",
            "prompt",
            vec![Value::Null, json!(7), json!({}), json!([7]), json!([[7]]), json!([{}]), json!([])],
        ),
        ("/v1/completions", "max_tokens", numbers(&[json!(1.5), huge.clone()])),
        ("/v1/completions", "n", numbers(&[json!(0), json!(129), json!(1.5)])),
        ("/v1/completions", "stop", vec![json!(7), json!([7]), json!({})]),
        ("/v1/messages", "model", bad_models.clone()),
        ("/v1/messages", "messages", bad_messages.clone()),
        ("/v1/messages", "max_tokens", numbers(&[Value::Null, json!(0), json!(1.5), huge.clone()])),
        ("/v1/messages", "temperature", numbers(&[json!(2)])),
        ("/v1/messages", "top_p", numbers(&[json!(2)])),
        ("/v1/messages", "system", vec![json!(7), json!({}), json!([7])]),
        ("/v1/messages", "stop_sequences", vec![json!(7), json!("x"), json!([7])]),
        ("/v1/messages", "thinking", vec![json!(7), json!({"type": CANARY}), json!([])]),
        ("/v1/messages", "tools", vec![json!({}), json!([7]), json!([{}])]),
        ("/v1/messages", "tool_choice", vec![json!(7), json!({"type": CANARY})]),
        ("/v1/messages/count_tokens", "model", bad_models),
        ("/v1/messages/count_tokens", "messages", bad_messages),
        ("/admin/cli", "command", vec![Value::Null, json!(7), json!([]), json!({}), json!(CANARY)]),
        ("/auth/logout", "tenant", vec![json!(7), json!([]), json!({})]),
    ]
}

struct Stage {
    couplet: CoupletProcess,
    client: Client,
}

impl Stage {
    /// The beginning of a body that is said to be longer: an answer comes before the rest.
    async fn begin(&self, path: &str, sent: &Sent) -> (u16, Value) {
        let address = self.couplet.url.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {OPERATOR}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            sent.body.len()
        );
        connection.write_all(head.as_bytes()).await.expect("written");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), serde_json::from_str(body).expect("JSON"))
    }

    /// The status, what was seen, and the error.
    async fn send(&self, path: &str, sent: Sent) -> (u16, String, Value) {
        if sent.body.len() > MUCH {
            let (status, body) = self.begin(path, &sent).await;
            return (status, seen::of_whole(&(status, body.clone())), body["error"].clone());
        }
        let mut request = self.client.post(format!("{}{path}", self.couplet.url)).bearer_auth(OPERATOR);
        if let Some(kind) = sent.content_type {
            request = request.header("content-type", kind);
        }
        if let Some(encoding) = sent.encoding {
            request = request.header("content-encoding", encoding);
        }
        let response = request.body(sent.body).send().await.expect("an answer");
        let status = response.status().as_u16();
        let body: Value = response.json().await.expect("JSON");
        assert!((400..500).contains(&status), "{path}: {status} {body}");
        (status, seen::of_whole(&(status, body.clone())), body["error"].clone())
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_not_logged() {
    let fake = FakeCli::new(&Script::default());
    let variables = [("COUPLET_ADMIN_KEY", OPERATOR), ("COUPLET_LOG", "debug")];
    let stage = Stage { couplet: CoupletProcess::start(&fake, &variables).await, client: Client::new() };
    let (mut kinds, mut of_endpoint): (BTreeMap<&str, Seen>, BTreeMap<&str, u64>) = Default::default();
    for (path, good) in endpoints() {
        for (kind, sent) in forms(&good) {
            for sent in sent {
                // Without a body it is an order that is understood.
                if path == "/auth/logout" && sent.body.trim_ascii().is_empty() {
                    continue;
                }
                let (_, outcome, _) = stage.send(path, sent).await;
                kinds.entry(kind).or_default().note(outcome);
                *of_endpoint.entry(path).or_default() += 1;
            }
        }
    }
    assert!(of_endpoint.values().all(|times| *times >= 60), "{of_endpoint:?}");
    let mut named = Seen::default();
    let goods = BTreeMap::from(endpoints());
    for (path, field, values) in fields() {
        for value in values {
            let mut body = goods[path].clone();
            body[field] = value;
            let (_, outcome, error) = stage.send(path, Sent::json(body.to_string())).await;
            let message = error["message"].as_str().expect("a message");
            let names_it = match error["param"].as_str() {
                Some(param) => param.starts_with(field),
                // Anthropic's errors have no field for it.
                None => message.contains(field),
            };
            assert!(names_it, "{field} at {path}, {body}: {error}");
            named.note(outcome);
        }
    }
    assert_eq!(said(&stage.couplet.answer(&ask("are you well?")).await), "fine");
    fake.gone_within(2 * SOON).await;
    assert_eq!(fake.reports().len(), 1, "none of them got as far as the CLI");
    let log = stage.couplet.running.said();
    assert!(log.matches("/v1/").count() > 60, "each request is in the log");
    let told = log.lines().find(|line| line.contains(CANARY));
    assert_eq!(told, None, "nothing of a body is in the log");
    for (kind, seen) in kinds {
        seen.tell(Class::Body, kind, Asked::Either);
    }
    named.tell(
        Class::Body,
        "a field of a wrong type, or with an absurd number: the error names it",
        Asked::Either,
    );
}

#[tokio::test]
async fn a_field_that_nobody_knows_is_named_and_does_no_harm() {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    let mut seen = Seen::default();
    for value in [json!(false), json!(7), json!({"a": [CANARY]}), json!(1e300), json!(CANARY.repeat(10_000))]
    {
        let mut question = ask("hello");
        question["zq_unknown"] = value;
        let response = app.chat(&question).await;
        let ignored = response.headers()["x-couplet-ignored"].to_str().expect("text").to_owned();
        assert_eq!(ignored, "zq_unknown");
        let answer = (response.status().as_u16(), response.json().await.expect("JSON"));
        assert_eq!(said(&answer), "fine");
        seen.note(format!("{}; `x-couplet-ignored` names it", seen::of_whole(&answer)));
    }
    fake.gone_within(2 * SOON).await;
    seen.tell(Class::Body, "a field that nobody knows", Asked::NotStreaming);
}
