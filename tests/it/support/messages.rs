//! Anthropic's endpoint, as its clients read it.

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::app::TestApp;

/// A request with one user message.
pub fn ask(text: &str) -> Value {
    json!({"model": "claude-sonnet-5-5", "max_tokens": 4096, "messages": [{"role": "user", "content": text}]})
}

/// An answer that is not streamed: its status and body.
pub async fn answer(app: &TestApp, body: &Value) -> (u16, Value) {
    let response = app.post("/v1/messages").json(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// A streamed answer.
pub async fn stream(app: &TestApp, body: &Value) -> MessageStream {
    let mut body = body.clone();
    body["stream"] = json!(true);
    MessageStream::read(app.post("/v1/messages").json(&body).send().await.expect("an answer")).await
}

/// A streamed answer as a client reads it.
#[derive(Debug)]
pub struct MessageStream {
    /// The events: name and data.
    pub events: Vec<(String, Value)>,
}

impl MessageStream {
    /// Reads a response to its end.
    ///
    /// # Panics
    /// When it is no event stream, or an event's name is not its type.
    pub async fn read(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let mut read = Self { events: Vec::new() };
        let mut events = response.bytes_stream().eventsource();
        while let Some(event) = events.next().await {
            let event = event.expect("a whole stream");
            let data: Value = serde_json::from_str(&event.data).expect("JSON");
            assert_eq!(data["type"], event.event.as_str());
            read.events.push((event.event, data));
        }
        read
    }

    /// The names of the events.
    pub fn names(&self) -> Vec<&str> {
        self.events.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The data of the first event of that name.
    pub fn data(&self, name: &str) -> &Value {
        let found = self.events.iter().find(|(found, _)| found == name);
        &found.unwrap_or_else(|| panic!("no {name}: {self:?}")).1
    }

    /// The pieces of that field of the deltas.
    pub fn deltas(&self, field: &str) -> Vec<&str> {
        self.events.iter().filter_map(|(_, data)| data["delta"][field].as_str()).collect()
    }
}
