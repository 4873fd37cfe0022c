//! Conversations and the processes they live in: nothing but an identical history goes on in one.
//!
//! - `going_on`: what the client said reaches the model as it was, turn after turn, in one process
//! - `isolation`: histories that are nearly the same, and processes that are not kept
//! - `parked`: calls that wait for their results
//! - `races`: several requests for one process
//! - `waiting`: what becomes of a process that waits (fake CLI)
//! - `random`: trees of conversations at random (fake CLI)
//! - `soak`: hundreds of turns, some at a time, with clients that leave

mod going_on;
mod isolation;
mod parked;
mod races;
mod random;
mod soak;
mod waiting;

use std::time::Duration;

use couplet::config::Config;
use couplet::upstream::{Asked, Upstream};
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp, said};
use crate::support::real_cli::real_cli;

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

async fn app() -> Option<TestApp> {
    app_with(|_| {}).await
}

/// Couplet in front of the real CLI, where processes wait long enough for any test.
async fn app_with(change: impl FnOnce(&mut Config)) -> Option<TestApp> {
    let cli = real_cli()?;
    let patient = |config: &mut Config| {
        config.claude.keep.live = Duration::from_secs(600);
        config.claude.keep.parked = Duration::from_secs(600);
    };
    Some(Builder::new(&cli).await.with(patient).with(change).start().await)
}

/// A conversation as a client holds it.
#[derive(Debug, Clone)]
struct Dialogue {
    /// A request without a question.
    request: Value,
}

impl Dialogue {
    /// One in which nothing was said, with these fields of the request.
    fn new(fields: &Value) -> Self {
        let mut request = json!({"model": "claude-sonnet-5-5", "messages": []});
        let fields = fields.as_object().cloned().expect("fields");
        request.as_object_mut().expect("an object").extend(fields);
        Self { request }
    }

    fn messages(&mut self) -> &mut Vec<Value> {
        self.request["messages"].as_array_mut().expect("messages")
    }

    /// The request that asks this next.
    fn asking(&self, question: &str) -> Value {
        let mut next = self.clone();
        next.push("user", question);
        next.request
    }

    /// Something was said.
    fn push(&mut self, role: &str, text: &str) {
        self.messages().push(json!({"role": role, "content": text}));
    }

    /// Asks, and remembers question and answer.
    async fn say(&mut self, app: &TestApp, question: &str) -> String {
        let answer = said(&app.answer(&self.asking(question)).await).to_owned();
        self.push("user", question);
        self.push("assistant", &answer);
        answer
    }
}

/// What the model was sent.
#[derive(Debug)]
struct Heard {
    /// Tells processes apart.
    process: String,
    /// Who said what.
    turns: Vec<(String, String)>,
    asked: Asked,
}

/// What the model was sent when it was last asked this.
fn heard(upstream: &Upstream, question: &str) -> Heard {
    let mut requests = questions(upstream, question);
    requests.next().unwrap_or_else(|| panic!("the model was never asked {question:?}"))
}

/// What the model was sent each time it was asked this, the newest first.
fn questions<'a>(upstream: &Upstream, question: &'a str) -> impl Iterator<Item = Heard> + use<'a> {
    let requests = upstream.log().model_requests().into_iter().rev().map(|received| received.asked());
    requests.filter(move |asked| asked.last_user_text() == question).map(Heard::from)
}

impl From<Asked> for Heard {
    fn from(asked: Asked) -> Self {
        let turns = asked.turn_texts().into_iter().map(|(role, text)| (role.to_owned(), text)).collect();
        // The session is in it, and each process has one of its own.
        let process = asked.field("metadata.user_id").and_then(Value::as_str).expect("an id").to_owned();
        Self { process, turns, asked }
    }
}

/// What a request says, message by message, the system prompt left out.
fn texts(request: &Value) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for message in request["messages"].as_array().expect("messages") {
        // Results of tools are the user's, and no text.
        let role = message["role"].as_str().expect("a role").replace("tool", "user");
        let parts = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parts = parts.iter().filter_map(|part| part["text"].as_str()).collect::<String>();
        let text = message["content"].as_str().filter(|_| message["role"] != "tool").unwrap_or(&parts);
        match texts.last_mut() {
            // What one says without a break is one turn.
            Some((before, said)) if *before == role => said.push_str(text),
            _ if role == "system" => {}
            _ => texts.push((role, text.to_owned())),
        }
    }
    texts
}

/// A number in what `/health` says.
async fn health(app: &TestApp, field: &str) -> u64 {
    let health: Value = app.get("/health").send().await.expect("an answer").json().await.expect("JSON");
    health.pointer(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("{field} in {health}"))
}
