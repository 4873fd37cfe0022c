//! Events of answers become chunks of a text completion, and chunks fold into one body.

use std::sync::Arc;

use async_openai::types::chat::{CompletionUsage, FinishReason};

use super::chat_answer::{CallForm, finish_reason, index, usage};
use crate::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use crate::openai::chat_answer::AnswerHead;
use crate::openai::completion_answer::{TextChoice, TextCompletion};

/// Makes chunks of the events of answers, which are counted from 0.
#[derive(Debug)]
pub struct CompletionWriter {
    head: AnswerHead,
    /// Whether a model was named: the first that begins stands for all.
    has_model: bool,
    include_usage: bool,
    /// For each answer the text it begins with.
    begin_with: Vec<Option<Arc<str>>>,
    /// How many answers are not at their end.
    open: usize,
    /// The tokens of those that are.
    usage: Usage,
}

impl CompletionWriter {
    /// `id`, `created` (Unix seconds) and `fingerprint` are the same in every chunk; `include_usage` asks for a last chunk
    /// with the usage and for `usage: null` in the others. Each of the answers begins with its text in `begin_with`.
    #[must_use]
    pub fn new(
        id: &str,
        created: u64,
        fingerprint: &'static str,
        include_usage: bool,
        begin_with: Vec<Option<Arc<str>>>,
    ) -> Self {
        let head = AnswerHead {
            id: id.into(),
            object: "text_completion",
            created,
            model: Arc::from(""),
            system_fingerprint: fingerprint,
        };
        let open = begin_with.len();
        Self { head, has_model: false, include_usage, begin_with, open, usage: Usage::default() }
    }

    /// The chunks of an event of one of the answers: at most one for a piece of it, up to two at its end. There is no place
    /// for the model's thinking.
    #[must_use]
    pub fn on(&mut self, of: usize, event: AnswerEvent) -> Vec<TextCompletion> {
        match event {
            AnswerEvent::Started { model, .. } => {
                if !self.has_model {
                    self.head.model = model.into();
                    self.has_model = true;
                }
                let echo = self.begin_with.get_mut(of).and_then(Option::take);
                echo.into_iter().map(|text| self.chunk(of, text.as_ref().to_owned(), None)).collect()
            }
            AnswerEvent::Text(text) => vec![self.chunk(of, text, None)],
            AnswerEvent::Reasoning(_)
            | AnswerEvent::Signature(_)
            | AnswerEvent::ToolCall { .. }
            | AnswerEvent::ToolArguments(_) => Vec::new(),
            AnswerEvent::Ended(end) => self.end(of, &end),
        }
    }

    fn end(&mut self, of: usize, end: &AnswerEnd) -> Vec<TextCompletion> {
        let reason = match &end.reason {
            // There is nothing that could be called.
            StopReason::ToolUse => FinishReason::Stop,
            reason => finish_reason(reason, CallForm::ToolCalls),
        };
        let mut chunks = vec![self.chunk(of, String::new(), Some(reason))];
        self.usage = self.usage.plus(end.usage);
        self.open = self.open.saturating_sub(1);
        if self.include_usage && self.open == 0 {
            let usage = Some(Some(usage(self.usage)));
            chunks.push(TextCompletion { head: self.head.clone(), choices: Vec::new(), usage });
        }
        chunks
    }

    fn chunk(&self, of: usize, text: String, finish_reason: Option<FinishReason>) -> TextCompletion {
        let choice = TextChoice { text, index: index(of), logprobs: None, finish_reason };
        let usage = self.include_usage.then_some(None);
        TextCompletion { head: self.head.clone(), choices: vec![choice], usage }
    }
}

/// Folds the chunks of all answers into one body.
#[derive(Debug, Default)]
pub struct CompletionFold {
    head: Option<AnswerHead>,
    choices: Vec<TextChoice>,
    usage: Option<CompletionUsage>,
}

impl CompletionFold {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: TextCompletion) {
        self.head = Some(chunk.head);
        self.usage = chunk.usage.flatten().or(self.usage.take());
        for piece in chunk.choices {
            match self.choices.iter_mut().find(|choice| choice.index == piece.index) {
                Some(choice) => {
                    choice.text.push_str(&piece.text);
                    choice.finish_reason = piece.finish_reason.or(choice.finish_reason);
                }
                None => self.choices.push(piece),
            }
        }
    }

    /// The body; `None` when the chunks did not end with a finish reason for each answer and the usage.
    #[must_use]
    pub fn finish(mut self) -> Option<TextCompletion> {
        let is_whole = self.choices.iter().all(|choice| choice.finish_reason.is_some());
        self.choices.sort_by_key(|choice| choice.index);
        let usage = self.usage.filter(|_| is_whole)?;
        Some(TextCompletion { head: self.head?, choices: self.choices, usage: Some(Some(usage)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn started() -> AnswerEvent {
        AnswerEvent::Started { model: "claude-s".to_owned(), usage: Usage::default(), unheeded: Vec::new() }
    }

    fn text(text: &str) -> AnswerEvent {
        AnswerEvent::Text(text.to_owned())
    }

    fn ended(reason: StopReason) -> AnswerEvent {
        let usage = Usage { input: 10, output: 2, ..Usage::default() };
        AnswerEvent::Ended(AnswerEnd { reason, stop_sequence: None, usage })
    }

    fn chunks(
        begin_with: &[Option<&str>],
        include_usage: bool,
        events: Vec<(usize, AnswerEvent)>,
    ) -> Vec<TextCompletion> {
        let begin_with = begin_with.iter().map(|text| text.map(Into::into)).collect();
        let mut writer = CompletionWriter::new("cmpl-1", 7, "couplet-VERSION", include_usage, begin_with);
        events.into_iter().flat_map(|(of, event)| writer.on(of, event)).collect()
    }

    #[test]
    fn a_stream_reads_as_openai_s_with_thinking_left_out() {
        let thought = AnswerEvent::Reasoning("hm".to_owned());
        let events = vec![started(), thought, text(" a"), text("b\n"), ended(StopReason::StopSequence)];
        let events: Vec<_> = events.into_iter().map(|event| (0, event)).collect();
        let with = |usage: Value, choices: Value| {
            let mut chunk = json!({"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "claude-s",
                "system_fingerprint": "couplet-VERSION", "choices": choices});
            if !usage["absent"].is_null() {
                return chunk;
            }
            chunk["usage"] = usage;
            chunk
        };
        let choice = |text: &str, finish_reason: Value| json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": finish_reason}]);
        let absent = || json!({"absent": true});
        assert_eq!(
            json!(chunks(&[None], false, events.clone())),
            json!([
                with(absent(), choice(" a", Value::Null)),
                with(absent(), choice("b\n", Value::Null)),
                with(absent(), choice("", json!("stop")))
            ])
        );
        let told = json!(chunks(&[None], true, events));
        assert_eq!(told[0], with(Value::Null, choice(" a", Value::Null)));
        assert_eq!((&told[3]["choices"], &told[3]["usage"]["total_tokens"]), (&json!([]), &json!(12)));
    }

    #[rstest]
    #[case(StopReason::EndTurn, "stop")]
    #[case(StopReason::ToolUse, "stop")]
    #[case(StopReason::MaxTokens, "length")]
    #[case(StopReason::Refusal, "content_filter")]
    fn every_stop_reason_has_its_finish_reason(#[case] reason: StopReason, #[case] finish_reason: &str) {
        let chunks = json!(chunks(&[None], false, vec![(0, started()), (0, ended(reason))]));
        assert_eq!(chunks[0]["choices"][0]["finish_reason"], finish_reason);
    }

    #[test]
    fn several_answers_fold_into_their_order_each_behind_its_prompt() {
        let events = vec![
            (1, started()),
            (1, text("one")),
            (0, started()),
            (1, ended(StopReason::EndTurn)),
            (0, text("nought")),
            (0, ended(StopReason::MaxTokens)),
        ];
        let mut fold = CompletionFold::default();
        for chunk in chunks(&[Some("a: "), Some("b: ")], true, events) {
            fold.push(chunk);
        }
        let answer = json!(fold.finish().unwrap());
        let choices = json!([
            {"text": "a: nought", "index": 0, "logprobs": null, "finish_reason": "length"},
            {"text": "b: one", "index": 1, "logprobs": null, "finish_reason": "stop"}]);
        assert_eq!((&answer["choices"], &answer["usage"]["prompt_tokens"]), (&choices, &json!(20)));
    }

    #[test]
    fn without_the_end_of_each_there_is_no_body() {
        let mut fold = CompletionFold::default();
        let events = vec![(0, started()), (1, started()), (0, text("a")), (1, ended(StopReason::EndTurn))];
        for chunk in chunks(&[None, None], true, events) {
            fold.push(chunk);
        }
        assert_eq!(fold.finish(), None);
    }
}
