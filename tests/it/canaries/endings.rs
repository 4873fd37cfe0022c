//! The ways in which a request can end.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::marks::{JWT_SECRET, TOKEN, mark};
use super::sent::{Endpoint, Sent, token};
use crate::support::fake_cli::frames::{event, message_delta, message_start, message_stop, text};
use crate::support::fake_cli::script::{OnControl, Script, Step};
use crate::support::fake_cli::{fixture, play};

/// One way.
#[derive(Clone, Copy)]
pub struct Ending {
    pub name: &'static str,
    /// The status; a stream that has begun says 200.
    pub status: u16,
    /// The kinds of canaries that the error may name: the client's own value that it is about.
    pub named: &'static [&'static str],
    /// Those that the log may tell: names that the client has for models and fields.
    pub logged: &'static [&'static str],
    pub how: How,
}

/// What makes it end so.
#[derive(Clone, Copy)]
pub enum How {
    /// What the CLI does once it was asked.
    Asked(fn(usize) -> Vec<Step>),
    /// What the client sends; the CLI answers well.
    Answered(fn(&mut Sent, usize)),
    /// What the CLI does before it was asked.
    Early(fn(usize) -> Script),
    /// The client leaves while the CLI works.
    Gone,
    /// What the client sends; the CLI is not asked.
    Refused(fn(&mut Sent, usize)),
}

const fn asked(name: &'static str, status: u16, steps: fn(usize) -> Vec<Step>) -> Ending {
    Ending { name, status, named: &[], logged: &[], how: How::Asked(steps) }
}

const fn refused(name: &'static str, status: u16, change: fn(&mut Sent, usize)) -> Ending {
    Ending { name, status, named: &[], logged: &[], how: How::Refused(change) }
}

/// Those after which a server goes on as before.
pub const ENDINGS: &[Ending] = &[
    asked("well", 200, |n| vec![complaint(n), nonsense(n), Step::Answer(mark("answer", n))]),
    asked("well, slowly", 200, |n| {
        let start = Step::Frames(vec![message_start("msg_1"), text(&mark("answer", n))]);
        vec![
            start,
            Step::Sleep { milliseconds: 50 },
            Step::Frames(vec![
                text("."),
                message_delta(Some("end_turn"), 5),
                message_stop(),
                crate::support::fake_cli::frames::success(),
            ]),
        ]
    }),
    asked("with a call", 200, with_a_call),
    Ending {
        logged: &["field"],
        how: How::Answered(|sent, n| {
            sent.change(|body| {
                body[mark("field", n)] = mark("value", n).into();
                body["logit_bias"] = json!({mark("hidden", n): 1});
                if let Some(message) = body["messages"].get_mut(0) {
                    message[mark("field", n)] = json!({mark("hidden", n): mark("value", n)});
                }
            });
        }),
        ..asked("well, with fields that nobody knows", 200, |_| vec![])
    },
    asked("an error of the API: permission", 403, |_| replay("error-403")),
    asked("an error of the API: no such model", 404, |_| replay("error-404-model")),
    asked("an error of the API: too large", 413, |_| replay("error-413")),
    asked("an error of the API: too many at once", 429, |_| replay("error-429-burst")),
    asked("an error of the API: it failed", 500, |_| replay("error-500")),
    asked("an error of the API: overloaded", 529, |_| replay("error-529")),
    asked("an error of the API: too long", 400, |_| replay("error-400-too-long")),
    asked("an error of the API in mid-answer", 529, |_| replay("error-event")),
    asked("an error of the API that quotes the sign-in", 403, |_| quoting("error-403", 403, TOKEN)),
    Ending {
        // The API's sentence reaches the client word for word.
        named: &["user"],
        ..asked("an error of the API that quotes the prompt", 400, |n| {
            quoting("error-500", 400, &format!("{} and {TOKEN}", mark("user", n)))
        })
    },
    asked("a crash at once", 502, |n| vec![complaint(n), Step::Exit(1)]),
    asked("a crash in mid-answer", 502, |n| vec![complaint(n), half(n), Step::Exit(3)]),
    asked("a crash in mid-line", 502, |n| vec![half(n), Step::Bytes(cut_frame(n)), Step::Die]),
    Ending {
        // Taken for the launcher's, which says why it could not start the CLI.
        named: &["user", "system"],
        ..asked("an end as if it could not be started", 503, |n| vec![complaint(n), Step::Exit(127)])
    },
    asked("killed", 502, |n| vec![complaint(n), Step::Die]),
    asked("silence in mid-answer", 504, |n| vec![half(n), Step::Hang]),
    asked("stdout closed", 502, |n| vec![half(n), Step::CloseStdout, Step::Hang]),
    asked("garbage and an end", 502, |n| vec![nonsense(n), Step::Bytes(cut_frame(n)), Step::Exit(0)]),
    asked("frames in unknown forms and an end", 502, |n| {
        let said = mark("answer", n);
        vec![
            Step::Frames(vec![
                json!({"type": said}),
                json!({"type": "stream_event", "event": said}),
                json!({"type": "assistant", "message": {"content": said}}),
                json!({"type": "result", "subtype": [said]}),
                json!({"type": "control_request", "request_id": said, "request": {"subtype": said}}),
                json!({"type": "control_response", "response": said}),
            ]),
            Step::Exit(1),
        ]
    }),
    asked("a flood on stderr and an end", 502, |n| {
        vec![complaint(n), Step::FloodStderr(300_000), Step::Exit(1)]
    }),
    Ending {
        named: &["system", "user"],
        how: How::Early(|n| Script {
            controls: [("initialize".to_owned(), OnControl::Decline(complaint_of(n)))].into(),
            ..Script::default()
        }),
        ..asked("a set-up that is declined", 502, |_| vec![])
    },
    Ending { how: How::Gone, ..asked("the client gone", 0, |_| vec![]) },
    // From here on the CLI is not asked.
    refused("JSON that is cut", 400, |sent, _| sent.body.truncate(sent.body.len() - 9)),
    refused("no UTF-8", 400, |sent, _| {
        let place = sent.body.len() - 12;
        sent.body.insert(place, 0xff);
    }),
    refused("a list", 400, |sent, n| sent.body = json!([mark("user", n)]).to_string().into_bytes()),
    refused("a text", 400, |sent, n| sent.body = json!(mark("user", n)).to_string().into_bytes()),
    refused("no JSON at all", 400, |sent, n| sent.body = mark("user", n).into_bytes()),
    refused("nothing", 400, |sent, _| sent.body.clear()),
    refused("too deep", 400, |sent, n| {
        let deep = 200;
        sent.body = [
            &b"{\"model\":".repeat(deep)[..],
            json!(mark("user", n)).to_string().as_bytes(),
            &b"}".repeat(deep),
        ]
        .concat();
    }),
    refused("another content type", 415, |sent, n| sent.header("content-type", &mark("type", n))),
    refused("an unknown encoding", 415, |sent, n| sent.header("content-encoding", &mark("encoding", n))),
    refused("no gzip", 400, |sent, _| sent.header("content-encoding", "gzip")),
    refused("too large once it is unpacked", 413, |sent, n| {
        sent.header("content-encoding", "gzip");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let piece = mark("user", n).repeat(1000);
        for _ in 0..34 * 1024 * 1024 / piece.len() {
            packed.write_all(piece.as_bytes()).expect("packed");
        }
        sent.body = packed.finish().expect("packed");
    }),
    refused("a number that is a text", 400, |sent, n| {
        sent.change(|body| body["temperature"] = mark("user", n).into());
    }),
    refused("a list that is a text", 400, |sent, n| {
        let field = if sent.json.get("prompt").is_some() { "logit_bias" } else { "tools" };
        sent.change(|body| {
            body[field] = mark("user", n).into();
            if field == "logit_bias" {
                body["prompt"] = json!([{"a": mark("user", n)}]);
            }
        });
    }),
    refused("nothing to answer", 400, |sent, _| {
        sent.change(|body| {
            for field in ["messages", "prompt"] {
                body.as_object_mut().expect("an object").remove(field);
            }
        });
    }),
    Ending {
        named: &["model"],
        logged: &["model"],
        ..refused("a model that there is not", 404, |sent, n| {
            sent.change(|body| body["model"] = mark("model", n).into());
        })
    },
    refused("no model", 400, |sent, _| sent.change(|body| body["model"] = Value::Null)),
    refused("a wrong key", 401, |sent, n| sent.offer(&mark("key", n))),
    refused("a key in the wrong form", 401, |sent, n| {
        sent.header("authorization", &format!("Basic {}", mark("key", n)));
    }),
    refused("a key that nobody could have", 401, |sent, _| {
        sent.header("authorization", "Bearer zqcanary-key-\u{e9}");
    }),
    refused("no key", 401, |sent, _| {
        sent.header("authorization", "");
    }),
    refused("a revoked key", 401, |sent, _| sent.offer("zqcanary-key-revoked")),
    refused("an expired key", 401, |sent, _| sent.offer("zqcanary-key-expired")),
    refused("a token that is over", 401, |sent, _| sent.offer(&token(-600, JWT_SECRET))),
    refused("a token of another issuer", 401, |sent, _| sent.offer(&token(600, &JWT_SECRET.repeat(2)))),
    refused("a key of a tenant that there is not", 403, |sent, _| sent.offer("zqcanary-key-homeless")),
    refused("a key with too many requests", 429, |sent, _| sent.offer("zqcanary-key-limited")),
    refused("a key with its quota used up", 429, |sent, _| sent.offer("zqcanary-key-spent")),
    refused("a key for other models", 404, |sent, _| sent.offer("zqcanary-key-elsewhere")),
    refused("the operator's key", 401, |sent, _| sent.offer(super::marks::ADMIN_KEY)),
    refused("a foreign page", 403, |sent, n| sent.header("origin", &format!("http://{}", mark("origin", n)))),
    Ending {
        named: &["path"],
        ..refused("a path that there is not", 404, |sent, n| sent.path = format!("/v1/{}/x", mark("path", n)))
    },
    refused("a query with a key", 401, |sent, n| {
        sent.header("authorization", "");
        sent.path = format!("{}?api_key={}", sent.path, mark("key", n));
    }),
    refused("a wrong method", 405, |sent, _| sent.method = reqwest::Method::PUT),
];

/// Those that only requests with messages can come to.
pub const OF_MESSAGES: &[Ending] = &[
    refused("a role that there is not", 400, |sent, n| {
        sent.change(|body| body["messages"][0]["role"] = mark("role", n).into());
    }),
    refused("a part that there is not", 400, |sent, n| {
        *sent.last_content() = json!([{"type": mark("part", n), "text": mark("user", n)}]);
        sent.change(|_| ());
    }),
    refused("an image that is none", 400, |sent, n| {
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mark("user", n));
        *sent.last_content() = if sent.path.ends_with("messages") {
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}])
        } else {
            json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}])
        };
        sent.change(|_| ());
    }),
    refused("an image that is no base64", 400, |sent, n| {
        let data = format!("!{}!", mark("user", n));
        *sent.last_content() = if sent.path.ends_with("messages") {
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}])
        } else {
            json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}])
        };
        sent.change(|_| ());
    }),
    refused("an image from within", 400, |sent, n| {
        let url = format!("https://127.0.0.1/{}", mark("user", n));
        *sent.last_content() = if sent.path.ends_with("messages") {
            json!([{"type": "image", "source": {"type": "url", "url": url}}])
        } else {
            json!([{"type": "image_url", "image_url": {"url": url}}])
        };
        sent.change(|_| ());
    }),
    refused("a result without its call", 400, |sent, n| {
        let place = 2;
        sent.change(|body| {
            let messages = body["messages"].as_array_mut().expect("messages");
            messages.remove(if messages[0]["role"] == "system" { place } else { place - 1 });
            let _ = n;
        });
    }),
    refused("a schema that is none", 400, |sent, n| {
        let schema = json!({"type": "object", "properties": mark("user", n)});
        sent.change(|body| {
            if body["tools"][0].get("function").is_some() {
                body["tools"][0]["function"]["parameters"] = json!([schema]);
            } else {
                body["tools"][0]["input_schema"] = json!([schema]);
            }
        });
    }),
    refused("a choice of a tool that there is not", 400, |sent, n| {
        let name = format!("{} ", mark("chosen", n));
        sent.change(|body| {
            body["tool_choice"] = if body["tools"][0].get("function").is_some() {
                json!({"type": "function", "function": {"name": name}})
            } else {
                json!({"type": "tool", "name": name})
            };
        });
    }),
];

/// After these the account is closed, and those that follow are refused without the CLI.
pub const CLOSING: &[Ending] = &[
    asked("the usage limit", 429, |_| replay("error-429-usage-limit")),
    asked("a sign-in that is not taken, quoted", 401, |_| quoting("error-401", 401, TOKEN)),
];

/// Whether the endpoint can come to it.
pub fn applies(ending: &Ending, endpoint: Endpoint) -> bool {
    ending.name != "with a call" || endpoint != Endpoint::Completions
}

/// What the CLI says on stderr: what it was told.
fn complaint(n: usize) -> Step {
    Step::Complain(complaint_of(n))
}

fn complaint_of(n: usize) -> String {
    format!("{} {} {TOKEN}", mark("user", n), mark("system", n))
}

fn nonsense(n: usize) -> Step {
    let said = mark("answer", n);
    Step::Bytes(format!("{{\"type\":\"{said}\"\nnot JSON: {said} {TOKEN}\n").into_bytes())
}

fn half(n: usize) -> Step {
    Step::Frames(vec![message_start("msg_1"), text(&mark("answer", n))])
}

fn cut_frame(n: usize) -> Vec<u8> {
    format!(r#"{{"type":"stream_event","event":{{"type":"{}"#, mark("answer", n)).into_bytes()
}

/// What was recorded of an answer. What the CLI says of itself is left out: there it had other tools.
fn recorded(name: &str) -> Vec<Value> {
    let recording = std::fs::read_to_string(fixture(name)).expect("a recording");
    let lines: Vec<Value> = recording.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let question = lines.iter().rposition(|line| line["dir"] == "in" && line["frame"]["type"] == "user");
    let answer = lines[question.expect("a question")..].iter().filter(|line| line["dir"] == "out");
    answer.map(|line| line["frame"].clone()).filter(|frame| frame["type"] != "system").collect()
}

fn replay(name: &str) -> Vec<Step> {
    vec![Step::Frames(recorded(name))]
}

/// An error as it was recorded, with another status and sentence.
fn quoting(name: &str, status: u16, sentence: &str) -> Vec<Step> {
    let mut frames = recorded(name);
    for frame in &mut frames {
        if frame.get("api_error_status").is_some() {
            frame["api_error_status"] = status.into();
        }
        if frame["type"] == "assistant" {
            frame["message"]["content"][0]["text"] = sentence.into();
            if status == 400 {
                frame["error"] = "invalid_request".into();
            }
        }
        if frame["type"] == "result" {
            frame["result"] = sentence.into();
        }
    }
    vec![Step::Frames(frames)]
}

/// A call of the client's tool. The process waits for its result, and is ended.
fn with_a_call(n: usize) -> Vec<Step> {
    let (name, id) = (mark("tool", n), format!("toolu_{}", mark("call", n)));
    let arguments = json!({mark("property", n): mark("called", n)});
    let start = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}});
    let delta = json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": arguments.to_string()}});
    let stop = json!({"type": "content_block_stop", "index": 0});
    let message = json!({"method": "tools/call", "jsonrpc": "2.0", "id": 2, "params": {
        "name": name, "arguments": arguments, "_meta": {"claudecode/toolUseId": id, "progressToken": 2}}});
    vec![
        Step::Frames(vec![
            message_start("msg_1"),
            event(&start),
            event(&delta),
            event(&stop),
            message_delta(Some("tool_use"), 5),
            message_stop(),
        ]),
        Step::Ask(json!({"subtype": "mcp_message", "server_name": "couplet", "message": message})),
    ]
}

/// A script in which every question is answered by these steps.
pub fn script(steps: Vec<Step>) -> Script {
    Script { plays: vec![play("", steps)], ..Script::default() }
}
