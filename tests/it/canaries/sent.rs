//! Requests full of canaries.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::marks::{JWT_SECRET, KEY, mark};
use crate::support::media;

/// Where the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// OpenAI's chat.
    Chat,
    /// OpenAI's older form.
    Completions,
    /// Anthropic's own.
    Messages,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Sent {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The body before it was one.
    pub json: Value,
}

impl Endpoint {
    pub const ALL: [Self; 3] = [Self::Chat, Self::Completions, Self::Messages];

    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// The kinds of canaries that the model must have been told.
    pub fn heard(self) -> &'static [&'static str] {
        match self {
            Self::Completions => &["user", "stop"],
            Self::Chat | Self::Messages => &[
                "system",
                "earlier",
                "said",
                "tool",
                "description",
                "property",
                "arguments",
                "result",
                "user",
                "stop",
                "file",
                "encoded",
            ],
        }
    }

    fn body(self, scenario: usize) -> Value {
        let mark = |kind: &str| mark(kind, scenario);
        let schema = json!({"type": "object", "properties": {
            mark("property"): {"type": "string", "description": mark("meaning"), "enum": [mark("choice")]},
        }});
        let mut image = media::file(&media::flat(2, 2), ImageFormat::Png);
        image.extend(mark("image").into_bytes());
        let image = STANDARD.encode(image);
        let arguments = json!({mark("property"): mark("arguments")});
        match self {
            Self::Chat => json!({
                "model": "claude-sonnet-5-5",
                "messages": [
                    {"role": "system", "content": mark("system")},
                    {"role": "user", "content": mark("earlier"), "name": mark("name")},
                    {"role": "assistant", "content": mark("said"), "tool_calls": [{
                        "id": mark("callid"), "type": "function",
                        "function": {"name": mark("tool"), "arguments": arguments.to_string()},
                    }]},
                    {"role": "tool", "tool_call_id": mark("callid"), "content": mark("result")},
                    {"role": "user", "content": [
                        {"type": "text", "text": mark("user")},
                        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{image}")}},
                        {"type": "file", "file": {
                            "filename": format!("{}.txt", mark("filename")),
                            "file_data": format!("data:text/plain;base64,{}", STANDARD.encode(mark("file"))),
                        }},
                    ]},
                ],
                "tools": [{"type": "function", "function": {
                    "name": mark("tool"), "description": mark("description"), "parameters": schema,
                }}],
                "stop": [mark("stop")],
                "user": mark("account"),
                "safety_identifier": mark("safety"),
                "prompt_cache_key": mark("cache"),
                "metadata": {"of": mark("metadata")},
            }),
            Self::Completions => json!({
                "model": "claude-sonnet-5-5", "prompt": mark("user"), "stop": mark("stop"), "user": mark("account"),
            }),
            Self::Messages => json!({
                "model": "claude-sonnet-5-5",
                "max_tokens": 1000,
                "system": [{"type": "text", "text": mark("system")}],
                "messages": [
                    {"role": "user", "content": mark("earlier")},
                    {"role": "assistant", "content": [
                        {"type": "text", "text": mark("said")},
                        {"type": "tool_use", "id": mark("callid"), "name": mark("tool"), "input": arguments},
                    ]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": mark("callid"), "content": mark("result")},
                    ]},
                    {"role": "assistant", "content": mark("said")},
                    {"role": "user", "content": [
                        {"type": "text", "text": mark("user")},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
                        {"type": "document", "title": mark("title"),
                         "source": {"type": "text", "media_type": "text/plain", "data": mark("file")}},
                    ]},
                ],
                "tools": [{"name": mark("tool"), "description": mark("description"), "input_schema": schema}],
                "stop_sequences": [mark("stop")],
                "metadata": {"user_id": mark("account")},
            }),
        }
    }
}

impl Sent {
    /// A good request; the key comes in another form each time.
    pub fn new(endpoint: Endpoint, stream: bool, scenario: usize) -> Self {
        let mut json = endpoint.body(scenario);
        json["stream"] = stream.into();
        let mut sent = Self {
            method: Method::POST,
            path: endpoint.path().to_owned(),
            // The id has a blank, so that the server takes one of its own.
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("x-request-id", format!("{} x", mark("requestid", scenario))),
                ("user-agent", mark("agent", scenario)),
                ("referer", format!("http://{}/", mark("referer", scenario))),
                ("cookie", format!("a={}", mark("cookie", scenario))),
                ("x-forwarded-for", mark("forwarded", scenario)),
                ("openai-organization", mark("organization", scenario)),
                ("anthropic-beta", mark("beta", scenario)),
                ("traceparent", mark("trace", scenario)),
            ],
            body: json.to_string().into_bytes(),
            json,
        };
        match scenario % 4 {
            0 => sent.offer(KEY),
            1 => sent.offer("zqcanary-key-made"),
            2 => sent.offer(&token(600, JWT_SECRET)),
            _ => sent.header("x-api-key", KEY),
        }
        sent
    }

    /// Sends this key, and no other.
    pub fn offer(&mut self, key: &str) {
        self.header("authorization", &format!("Bearer {key}"));
    }

    /// Sets a header.
    pub fn header(&mut self, name: &'static str, value: &str) {
        if name == "authorization" {
            self.headers.retain(|(name, _)| *name != "x-api-key");
        }
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
    }

    /// Changes the body.
    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.json);
        self.body = self.json.to_string().into_bytes();
    }

    /// Where the last thing that is said stands in the body.
    pub fn last_content(&mut self) -> &mut Value {
        let messages = self.json["messages"].as_array_mut().expect("messages");
        &mut messages.last_mut().expect("a message")["content"]
    }
}

/// A token that is good for so many seconds from now on.
pub fn token(seconds: i64, secret: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let claims = json!({
        "iss": "issuer", "aud": "couplet", "sub": "ann", "exp": now.cast_signed() + seconds, "note": mark("claim", 0),
    });
    encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()).expect("a secret"),
    )
    .expect("a token")
}
