//! [`Reply`], built: a first part, then changes.

use std::time::Duration;

use super::limits::Limits;
use super::reply::{ApiError, Break, Echo, Part, Place, Reply, Stop, Usage};

/// First parts.
impl Reply {
    /// `w0 w1 …`: this many words, none after the last blank.
    #[must_use]
    pub fn words(count: usize) -> Self {
        Self::text(numbered_words(count))
    }

    /// Exactly this text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().then(Part::Text(text.into()))
    }

    /// A call of a tool; `input` is JSON text.
    #[must_use]
    pub fn tool(name: impl Into<String>, input: impl Into<String>) -> Self {
        Self::default().then_tool(name, input)
    }

    /// A schema's answer, see [`Part::Structured`].
    #[must_use]
    pub fn structured(json: impl Into<String>) -> Self {
        Self::default().then(Part::Structured(json.into()))
    }

    /// What an agent would do, see [`Part::Agent`].
    #[must_use]
    pub fn agent() -> Self {
        Self::default().then(Part::Agent)
    }

    /// The last user message's text, less its directives.
    #[must_use]
    pub fn echo() -> Self {
        Self::default().then(Part::Echo(Echo::Asked))
    }

    /// An HTTP error with no rate-limit headers.
    #[must_use]
    pub fn error(error: ApiError) -> Self {
        Self { error: Some(error), limits: None, ..Self::default() }
    }

    /// The documented error of a status, see [`ApiError::of_status`].
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::error(ApiError::of_status(status))
    }

    /// A subscription's usage limit was reached and is lifted in so many seconds: 429, with the unified headers that
    /// tell it from a burst.
    #[must_use]
    pub fn usage_limit(resets_in_seconds: u64) -> Self {
        let mut reply = Self::error(ApiError::new(
            429,
            "rate_limit_error",
            "This request would exceed your account's rate limit. Please try again later.",
        ));
        reply.limits = Some(Limits::rejected(resets_in_seconds));
        reply
    }

    /// The 400 for a prompt that does not fit the context window.
    #[must_use]
    pub fn prompt_too_long(tokens: u64, maximum: u64) -> Self {
        Self::error(ApiError::new(
            400,
            "invalid_request_error",
            format!("prompt is too long: {tokens} tokens > {maximum} maximum"),
        ))
    }
}

/// Changes.
impl Reply {
    /// Adds a part after the others.
    #[must_use]
    pub fn then(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds a text block.
    #[must_use]
    pub fn then_text(self, text: impl Into<String>) -> Self {
        self.then(Part::Text(text.into()))
    }

    /// Adds a tool call; `input` is JSON text.
    #[must_use]
    pub fn then_tool(self, name: impl Into<String>, input: impl Into<String>) -> Self {
        self.then(Part::Tool { name: name.into(), input: input.into() })
    }

    /// Puts a thinking block before everything but earlier thinking.
    #[must_use]
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        let first = |part: &Part| !matches!(part, Part::Thinking { .. } | Part::RedactedThinking(_));
        let at = self.parts.iter().position(first).unwrap_or(self.parts.len());
        self.parts.insert(at, Part::Thinking { text: text.into(), signature: SIGNATURE.to_owned() });
        self
    }

    /// Ends with this stop reason.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Ends with this stop reason, by name.
    #[must_use]
    pub fn stop_reason(self, reason: impl Into<String>) -> Self {
        self.stop(Stop::Reason(reason.into()))
    }

    /// Reports these token counts.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Waits before the response headers.
    #[must_use]
    pub fn before_headers(mut self, wait: Duration) -> Self {
        self.before_headers = wait;
        self
    }

    /// Waits between `message_start` and the first delta.
    #[must_use]
    pub fn before_first_delta(mut self, wait: Duration) -> Self {
        self.before_first_delta = wait;
        self
    }

    /// Waits before every delta but the first.
    #[must_use]
    pub fn between_deltas(mut self, wait: Duration) -> Self {
        self.between_deltas = wait;
        self
    }

    /// Sends pings before the first delta, waiting before each.
    #[must_use]
    pub fn pings(mut self, count: usize, wait: Duration) -> Self {
        (self.pings, self.between_pings) = (count, wait);
        self
    }

    /// Cuts text into deltas of so many characters instead of words.
    #[must_use]
    pub fn delta_chars(mut self, chars: usize) -> Self {
        self.delta_chars = Some(chars);
        self
    }

    /// Falls silent there until the client leaves.
    #[must_use]
    pub fn stall(mut self, place: Place) -> Self {
        self.broken = Some((place, Break::Stall));
        self
    }

    /// Closes the connection there.
    #[must_use]
    pub fn cut(mut self, place: Place) -> Self {
        self.broken = Some((place, Break::Cut));
        self
    }

    /// Sends an `error` event there.
    #[must_use]
    pub fn error_event(mut self, place: Place, error: ApiError) -> Self {
        self.broken = Some((place, Break::Error(error)));
        self
    }

    /// Fails (breaks, refuses) once, and answers the repeat in full.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Sends these rate-limit headers, or none.
    #[must_use]
    pub fn limits(mut self, limits: impl Into<Option<Limits>>) -> Self {
        self.limits = limits.into();
        self
    }

    /// Adds or replaces a response header; an illegal one is left out.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Answers 400 to a request that has this body field (dotted path).
    #[must_use]
    pub fn refuse(mut self, field: impl Into<String>) -> Self {
        self.refuses.push((field.into(), String::new()));
        self
    }

    /// Goes on beyond `max_tokens` and `stop_sequences`.
    #[must_use]
    pub fn boundless(mut self) -> Self {
        (self.honours_max_tokens, self.honours_stop_sequences) = (false, false);
        self
    }
}

/// The signature of scripted thinking.
pub(super) const SIGNATURE: &str = "c2ln";

pub(super) fn numbered_words(count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    for index in 0..count {
        if index > 0 {
            text.push(' ');
        }
        text.push('w');
        text.push_str(&index.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_and_end_without_a_blank() {
        assert_eq!(Reply::words(3), Reply::text("w0 w1 w2"));
        assert_eq!(Reply::words(0), Reply::text(""));
    }

    #[test]
    fn thinking_goes_before_the_text_but_after_earlier_thinking() {
        let reply = Reply::text("answer").thinking("first").thinking("second");
        let kinds: Vec<_> = reply
            .parts
            .iter()
            .map(|part| match part {
                Part::Thinking { text, .. } | Part::Text(text) => text.as_str(),
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        assert_eq!(kinds, ["first", "second", "answer"]);
    }
}
