//! What clients saw, in the words of docs/faults.md: made of answers as they came, so that no row says what nobody saw.

use std::collections::BTreeMap;

use serde_json::Value;

use super::app::Streamed;
use super::fault_table::{self, Asked, Class, Tried};

/// What clients saw of a fault, each kind of outcome with how often there was it.
#[derive(Debug, Default)]
pub struct Seen {
    outcomes: BTreeMap<String, u64>,
}

impl Seen {
    /// One more outcome.
    pub fn note(&mut self, outcome: impl Into<String>) {
        *self.outcomes.entry(outcome.into()).or_default() += 1;
    }

    /// So many more outcomes of a kind.
    pub fn note_all(&mut self, outcome: impl Into<String>, times: usize) {
        *self.outcomes.entry(outcome.into()).or_default() += u64::try_from(times).expect("a number");
    }

    /// How many there were.
    pub fn times(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// All kinds of outcomes.
    pub fn words(&self) -> String {
        self.outcomes.keys().map(String::as_str).collect::<Vec<_>>().join(fault_table::OR)
    }

    /// Tells of them in the table, as a test does that runs with all others.
    ///
    /// # Panics
    /// When the table says something else.
    #[track_caller]
    pub fn tell(&self, class: Class, fault: &str, asked: Asked) {
        fault_table::saw(class, fault, asked, &self.words(), Tried::Times(self.times()));
    }

    /// The same, as a test does that is run by hand.
    ///
    /// # Panics
    /// When the table says something else.
    #[track_caller]
    pub fn tell_of_long_run(&self, class: Class, fault: &str, asked: Asked) {
        fault_table::saw(class, fault, asked, &self.words(), Tried::LongRun(self.times()));
    }
}

/// One outcome that does not depend on how it was asked.
#[track_caller]
pub fn tell(class: Class, fault: &str, asked: Asked, outcome: impl Into<String>) {
    let mut seen = Seen::default();
    seen.note(outcome);
    seen.tell(class, fault, asked);
}

/// An answer read to its end, streamed or not.
///
/// # Panics
/// When a stream ends well and with an error, or neither.
pub fn of_answer(answer: &Streamed) -> String {
    let is_stream = answer
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let waits = if answer.headers.contains_key("retry-after") { ", `retry-after`" } else { "" };
    match (is_stream, answer.error()) {
        (true, Some(error)) => {
            assert!(!answer.done && answer.finish_reason().is_none(), "an error is no end: {answer:?}");
            assert_eq!(answer.status, 200);
            format!("error frame {}", code(error))
        }
        (false, Some(error)) => format!("{} {}{waits}", answer.status, code(error)),
        (_, None) => {
            assert!(answer.done || !is_stream, "a stream without an end: {answer:?}");
            let reason =
                answer.finish_reason().unwrap_or_else(|| panic!("neither end nor error: {answer:?}"));
            format!("the answer, `{reason}`")
        }
    }
}

/// An answer that is not streamed.
pub fn of_whole((status, answer): &(u16, Value)) -> String {
    if let Some(error) = answer.get("error") {
        return format!("{status} {}", code(error));
    }
    assert_eq!(*status, 200, "{answer}");
    let reason = &answer["choices"][0]["finish_reason"];
    let reason = reason.as_str().or(answer["stop_reason"].as_str());
    format!("the answer, `{}`", reason.unwrap_or_else(|| panic!("an end: {answer}")))
}

/// An answer of Anthropic's endpoint, streamed or not.
///
/// # Panics
/// When a stream ends well and with an error, or neither.
pub async fn of_messages(response: reqwest::Response) -> String {
    let status = response.status().as_u16();
    let is_stream = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let text = response.text().await.expect("an answer");
    if !is_stream {
        let body: Value = serde_json::from_str(&text).expect("JSON");
        if status != 200 {
            assert_eq!(body["type"], "error", "{body}");
        }
        return of_whole(&(status, body));
    }
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let last = events.last().expect("an event");
    let ends = events.iter().filter(|event| event["type"] == "message_stop").count();
    let reason = events.iter().find_map(|event| event["delta"]["stop_reason"].as_str());
    if last["type"] == "error" {
        assert_eq!((ends, reason), (0, None), "an error is no end: {text}");
        return format!("event `error` {}", code(&last["error"]));
    }
    assert_eq!((ends, &last["type"]), (1, &"message_stop".into()), "one end: {text}");
    format!("the answer, `{}`", reason.expect("a reason"))
}

/// The code of an error; where it has none, its type.
fn code(error: &Value) -> String {
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    let code = error["code"].as_str().or(error["type"].as_str());
    format!("`{}`", code.unwrap_or_else(|| panic!("a code: {error}")))
}
