//! One line in the log for each chat request: what, how long, how it ended; never what was said.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::HeaderValue;

use super::REQUEST_ID;
use crate::claude::answer::{AnswerEvent, Usage};

/// Collects what the line tells and writes it when dropped: a client that goes away ends the request without a word.
#[derive(Debug, Default)]
pub struct RequestLog {
    begun: Option<Instant>,
    request_id: String,
    model: String,
    stream: bool,
    ignored: String,
    first_delta: Option<Duration>,
    usage: Usage,
    cause: Option<&'static str>,
    outcome: Option<(&'static str, u16)>,
}

impl RequestLog {
    /// For a request that just came in.
    #[must_use]
    pub fn begin(request: &Request) -> Self {
        let id = request.headers().get(REQUEST_ID).map(HeaderValue::to_str);
        let mut log = Self::default();
        log.begun = Some(Instant::now());
        id.and_then(Result::ok).unwrap_or_default().clone_into(&mut log.request_id);
        log
    }

    /// The request was understood.
    pub fn asked(&mut self, model: &str, stream: bool, ignored: &[String]) {
        model.clone_into(&mut self.model);
        self.stream = stream;
        self.ignored = ignored.join(", ");
    }

    /// An event of the answer passed by.
    pub fn event(&mut self, event: &AnswerEvent) {
        match event {
            AnswerEvent::Text(_) | AnswerEvent::Reasoning(_) if self.first_delta.is_none() => {
                self.first_delta = self.begun.map(|begun| begun.elapsed());
            }
            AnswerEvent::Ended(end) => self.usage = end.usage,
            _ => {}
        }
    }

    /// The turn failed for this reason.
    pub fn cause(&mut self, kind: &'static str) {
        self.cause = Some(kind);
    }

    /// The answer was given to its end.
    pub fn complete(&mut self) {
        self.outcome = Some(("complete", 200));
    }

    /// The request failed.
    pub fn fail(&mut self, code: &'static str, status: u16) {
        self.outcome = Some((code, status));
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        // The log of a stream was moved into its body; what is left behind has nothing to tell.
        let Some(begun) = self.begun else { return };
        let (outcome, status) = self.outcome.unwrap_or(("client_gone", 499));
        let first_delta_ms = self.first_delta.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        tracing::info!(
            request_id = self.request_id,
            model = self.model,
            stream = self.stream,
            ignored = self.ignored,
            outcome,
            cause = self.cause,
            status,
            first_delta_ms,
            total_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            input_tokens = self.usage.input,
            cache_read_tokens = self.usage.cache_read,
            cache_creation_tokens = self.usage.cache_creation,
            output_tokens = self.usage.output,
            "chat completion"
        );
    }
}
