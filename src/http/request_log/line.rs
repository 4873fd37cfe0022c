//! The line of a request, and what else is made of it: its metrics, and its span.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use tracing::Span;

use super::{Lines, span};
use crate::caller::TenantName;
use crate::claude::answer::Usage;
use crate::claude::sink::{OriginCell, ProcessOrigin};
use crate::metrics::Observed;

/// How much of a text that a client chose the line shows.
const MAX_SHOWN: usize = 128;

/// How many parts of a path without a route the line shows.
const MAX_PARTS: usize = 4;

/// What is known of a request.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) begun: Instant,
    pub(super) request_id: String,
    pub(super) method: String,
    pub(super) route: Route,
    /// Whether whoever sent it may come in.
    pub(super) is_let_in: bool,
    pub(super) status: Option<StatusCode>,
    /// How it ended, and the status it has or would have, were the headers not sent.
    pub(super) outcome: Option<(&'static str, StatusCode)>,
    pub(super) chat: Option<Chat>,
    /// The same for traces.
    pub(super) span: Span,
}

/// What is told of a request to the model.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// On whose behalf.
    pub(super) tenant: TenantName,
    pub(super) model: String,
    pub(super) resolved_model: String,
    /// The model as it names itself.
    pub(super) answered_model: String,
    pub(super) stream: bool,
    pub(super) ignored: String,
    pub(super) cause: Option<&'static str>,
    /// Which process answers.
    pub(super) origin: Option<Arc<OriginCell>>,
    pub(super) first_delta: Option<Duration>,
    /// How many calls of tools the model made.
    pub(super) tool_calls: u32,
    /// Of all answers together.
    pub(super) usage: Option<Usage>,
}

/// Where a request went.
#[derive(Debug)]
pub(super) enum Route {
    /// The route that serves it.
    Matched(MatchedPath),
    /// It has none: what is told of its path.
    Unmatched(String),
}

impl Route {
    /// The route that serves the request. A path that has none is the client's own text: it may hold a key, put there by
    /// mistake. Of such a path only the beginning is told, and only parts that look like words.
    pub(super) fn of(request: &Request) -> Self {
        if let Some(route) = request.extensions().get::<MatchedPath>() {
            return Self::Matched(route.clone());
        }
        let is_word = |part: &str| {
            part.len() <= 20
                && part.bytes().all(|c| c.is_ascii_alphabetic() || b"_-.".contains(&c))
                && !part.starts_with("sk-")
                || part == "v1"
        };
        let mut parts = request.uri().path().trim_start_matches('/').split('/');
        let mut shown = String::new();
        for part in parts.by_ref().take(MAX_PARTS) {
            shown.push('/');
            shown.push_str(if is_word(part) { part } else { "…" });
        }
        if parts.next().is_some() {
            shown.push_str("/…");
        }
        Self::Unmatched(shown)
    }

    pub(super) fn as_str(&self) -> &str {
        self.declared().unwrap_or(match self {
            Self::Matched(_) => "",
            Self::Unmatched(shown) => shown,
        })
    }

    /// The route that serves it, as it is declared.
    pub(super) fn declared(&self) -> Option<&str> {
        match self {
            Self::Matched(path) => Some(path.as_str()),
            Self::Unmatched(_) => None,
        }
    }

    /// Whether it is asked again and again by machines, which say nothing by it.
    pub(super) fn is_a_probe(&self) -> bool {
        self.declared().is_some_and(|route| route.starts_with("/health") || route == "/metrics")
    }
}

/// A client's text, not too long. What else is needed to write it into a line, the log's format does.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            request_id: String::new(),
            method: String::new(),
            route: Route::Unmatched(String::new()),
            is_let_in: false,
            status: None,
            outcome: None,
            chat: None,
            span: Span::none(),
        }
    }
}

impl Line {
    /// The request has ended: it is written into the log, counted, and its span is closed.
    pub(super) fn end(&mut self, lines: &Lines) {
        let total = self.begun.elapsed();
        let observed = self.observed(total);
        if self.is_its_own() || lines.strangers.have_room(self.status) {
            self.write(&observed);
        }
        lines.metrics.observe(&observed);
        span::tell(&self.span, &self.request_id, &observed);
        self.span = Span::none();
    }

    /// Whether it is written however many there are. What anybody can send without end is not.
    fn is_its_own(&self) -> bool {
        let is_refused = self.status == Some(StatusCode::TOO_MANY_REQUESTS);
        (self.is_let_in && !is_refused) || (self.route.is_a_probe() && !self.is_our_fault())
    }

    fn is_our_fault(&self) -> bool {
        self.outcome.is_some_and(|(_, status)| status.is_server_error())
    }

    fn observed(&self, total: Duration) -> Observed<'_> {
        let chat = self.chat.as_ref();
        Observed {
            route: self.route.declared(),
            method: &self.method,
            status: self.status.map(|status| status.as_u16()),
            outcome: self.outcome.map_or("client_gone", |(word, _)| word),
            is_our_fault: self.is_our_fault(),
            cause: chat.and_then(|chat| chat.cause),
            duration: total,
            first_delta: chat.and_then(|chat| chat.first_delta),
            origin: chat.and_then(|chat| chat.origin.as_ref()?.get()),
            usage: chat.and_then(|chat| chat.usage),
            tool_calls: chat.map_or(0, |chat| chat.tool_calls),
            tenant: chat.map(|chat| &chat.tenant),
            asked_model: chat.map_or("", |chat| &chat.resolved_model),
            model: chat.map_or("", |chat| &chat.answered_model),
            stream: chat.is_some_and(|chat| chat.stream),
        }
    }

    fn write(&self, observed: &Observed<'_>) {
        let chat = self.chat.as_ref();
        let text =
            |of: fn(&Chat) -> &String| chat.map(of).filter(|text| !text.is_empty()).map(String::as_str);
        let usage = observed.usage;
        macro_rules! write_at {
            ($level:ident) => {
                tracing::$level!(
                    target: "couplet::request",
                    request_id = self.request_id,
                    method = self.method,
                    route = self.route.as_str(),
                    status = observed.status,
                    outcome = observed.outcome,
                    cause = observed.cause,
                    model = text(|chat| &chat.model),
                    resolved_model = text(|chat| &chat.resolved_model),
                    stream = chat.map(|chat| chat.stream),
                    ignored = text(|chat| &chat.ignored),
                    process = observed.origin.map(ProcessOrigin::as_str),
                    first_delta_ms = observed.first_delta.map(milliseconds),
                    tool_calls = Some(observed.tool_calls).filter(|calls| *calls > 0),
                    total_ms = milliseconds(observed.duration),
                    input_tokens = usage.map(|usage| usage.input),
                    cache_read_tokens = usage.map(|usage| usage.cache_read),
                    cache_creation_tokens = usage.map(|usage| usage.cache_creation),
                    output_tokens = usage.map(|usage| usage.output),
                    "request"
                )
            };
        }
        // What a client did wrong is nothing to wake anybody for, and probes ask every few seconds.
        if observed.is_our_fault {
            write_at!(warn);
        } else if self.route.is_a_probe() {
            write_at!(debug);
        } else {
            write_at!(info);
        }
    }

    /// Writes it into the log, for tests.
    #[cfg(test)]
    pub(super) fn log(&self) {
        self.write(&self.observed(Duration::ZERO));
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use rstest::rstest;

    #[rstest]
    #[case("/v1/embeddings", "/v1/embeddings")]
    #[case("/", "/")]
    #[case("/v1/sk-ant-oat01-canary/models", "/v1/…/models")]
    #[case("/bot123:canary/x?key=canary", "/…/x")]
    #[case("/a/b/c/d/e/f", "/a/b/c/d/…")]
    #[case("/averyveryverylongcanaryofalphabeticletters", "/…")]
    #[case("/%0aINFO%20canary", "/…")]
    fn a_path_without_a_route_is_told_only_as_far_as_it_is_words(#[case] path: &str, #[case] told: &str) {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let route = Route::of(&request);
        assert_eq!((route.as_str(), route.declared()), (told, None));
    }
}
