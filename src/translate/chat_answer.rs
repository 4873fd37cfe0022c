//! Events of an answer become chat chunks, and chunks fold into one answer.

use std::sync::Arc;

use async_openai::types::chat::{
    CompletionTokensDetails, CompletionUsage, FinishReason, PromptTokensDetails, Role,
};

use crate::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use crate::openai::chat_answer::{
    AnswerHead, AnswerMessage, ChatChunk, ChatCompletion, Choice, ChunkChoice, Delta,
};

/// What a client reads in `message.refusal` when the model declined without a text of its own about it.
const REFUSAL: &str = "The model declined to answer this request.";

/// Makes chunks of events.
#[derive(Debug)]
pub struct ChunkWriter {
    head: AnswerHead,
    include_usage: bool,
}

impl ChunkWriter {
    /// `id`, `created` (Unix seconds) and `fingerprint` are the same in every chunk; `include_usage` asks for a last chunk with the
    /// usage and for `usage: null` in the others.
    #[must_use]
    pub fn new(id: &str, created: u64, fingerprint: &'static str, include_usage: bool) -> Self {
        let head = AnswerHead {
            id: id.into(),
            object: "chat.completion.chunk",
            created,
            model: Arc::from(""),
            system_fingerprint: fingerprint,
        };
        Self { head, include_usage }
    }

    /// The chunks of an event: one for a piece of the answer, up to three at its end.
    #[must_use]
    pub fn on(&mut self, event: AnswerEvent) -> Vec<ChatChunk> {
        match event {
            AnswerEvent::Started { model } => {
                self.head.model = model.into();
                let delta =
                    Delta { role: Some(Role::Assistant), content: Some(String::new()), ..Delta::default() };
                vec![self.chunk(delta, None)]
            }
            AnswerEvent::Text(text) => {
                vec![self.chunk(Delta { content: Some(text), ..Delta::default() }, None)]
            }
            AnswerEvent::Reasoning(text) => {
                vec![self.chunk(Delta { reasoning_content: Some(text), ..Delta::default() }, None)]
            }
            AnswerEvent::ToolCall { .. } | AnswerEvent::ToolArguments(_) => Vec::new(),
            AnswerEvent::Ended(end) => self.end(&end),
        }
    }

    fn end(&self, end: &AnswerEnd) -> Vec<ChatChunk> {
        let mut chunks = Vec::with_capacity(3);
        if end.reason == StopReason::Refusal {
            let delta = Delta { refusal: Some(REFUSAL.to_owned()), ..Delta::default() };
            chunks.push(self.chunk(delta, None));
        }
        chunks.push(self.chunk(Delta::default(), Some(finish_reason(&end.reason))));
        if self.include_usage {
            let usage = Some(Some(usage(end.usage)));
            chunks.push(ChatChunk { head: self.head.clone(), choices: Vec::new(), usage });
        }
        chunks
    }

    fn chunk(&self, delta: Delta, finish_reason: Option<FinishReason>) -> ChatChunk {
        let choice = ChunkChoice { index: 0, delta, finish_reason, logprobs: None };
        let usage = self.include_usage.then_some(None);
        ChatChunk { head: self.head.clone(), choices: vec![choice], usage }
    }
}

/// Folds the chunks of an answer into the answer itself.
#[derive(Debug, Default)]
pub struct ChunkFold {
    head: Option<AnswerHead>,
    content: String,
    reasoning: String,
    refusal: Option<String>,
    finish_reason: Option<FinishReason>,
    usage: Option<CompletionUsage>,
}

impl ChunkFold {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: ChatChunk) {
        self.head = Some(chunk.head);
        self.usage = chunk.usage.flatten().or(self.usage.take());
        for choice in chunk.choices {
            self.content.push_str(choice.delta.content.as_deref().unwrap_or_default());
            self.reasoning.push_str(choice.delta.reasoning_content.as_deref().unwrap_or_default());
            if let Some(refusal) = choice.delta.refusal {
                self.refusal.get_or_insert_default().push_str(&refusal);
            }
            self.finish_reason = choice.finish_reason.or(self.finish_reason);
        }
    }

    /// The answer; `None` when the chunks did not end with a finish reason and the usage.
    #[must_use]
    pub fn finish(self) -> Option<ChatCompletion> {
        let head = AnswerHead { object: "chat.completion", ..self.head? };
        // A refusal without any text has no content; every other answer has one, be it empty.
        let content = (self.refusal.is_none() || !self.content.is_empty()).then_some(self.content);
        let message = AnswerMessage {
            role: Role::Assistant,
            content,
            refusal: self.refusal,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
        };
        let choice = Choice { index: 0, message, finish_reason: self.finish_reason?, logprobs: None };
        Some(ChatCompletion { head, choices: vec![choice], usage: self.usage? })
    }
}

fn finish_reason(reason: &StopReason) -> FinishReason {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::PauseTurn => FinishReason::Stop,
        StopReason::ToolUse => FinishReason::ToolCalls,
        StopReason::MaxTokens | StopReason::ContextWindow => FinishReason::Length,
        StopReason::Refusal => FinishReason::ContentFilter,
        StopReason::Unknown(reason) => {
            tracing::warn!(reason, "the model stopped for an unknown reason; passed on as `stop`");
            FinishReason::Stop
        }
    }
}

/// Anthropic counts the parts of the prompt apart; OpenAI's `prompt_tokens` is all of it.
fn usage(usage: Usage) -> CompletionUsage {
    let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_creation);
    let total = prompt.saturating_add(usage.output);
    CompletionUsage {
        prompt_tokens: narrow(prompt),
        completion_tokens: narrow(usage.output),
        total_tokens: narrow(total),
        prompt_tokens_details: Some(PromptTokensDetails {
            audio_tokens: Some(0),
            cached_tokens: Some(narrow(usage.cache_read)),
            text_tokens: None,
            image_tokens: None,
            cache_write_tokens: Some(i64::from(narrow(usage.cache_creation))),
        }),
        completion_tokens_details: Some(CompletionTokensDetails {
            accepted_prediction_tokens: Some(0),
            audio_tokens: Some(0),
            reasoning_tokens: Some(narrow(usage.thinking)),
            rejected_prediction_tokens: Some(0),
            text_tokens: None,
        }),
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const USAGE: Usage = Usage { input: 25, cache_creation: 100, cache_read: 50, output: 12, thinking: 4 };

    fn ended(reason: StopReason) -> AnswerEvent {
        AnswerEvent::Ended(AnswerEnd { reason, usage: USAGE })
    }

    fn write(events: Vec<AnswerEvent>, include_usage: bool) -> Vec<ChatChunk> {
        let mut writer = ChunkWriter::new("chatcmpl-1", 7, "couplet-VERSION", include_usage);
        events.into_iter().flat_map(|event| writer.on(event)).collect()
    }

    fn started() -> AnswerEvent {
        AnswerEvent::Started { model: "claude-s".to_owned() }
    }

    fn fold(events: Vec<AnswerEvent>) -> Option<ChatCompletion> {
        let mut fold = ChunkFold::default();
        for chunk in write(events, true) {
            fold.push(chunk);
        }
        fold.finish()
    }

    #[test]
    fn a_stream_reads_as_openai_s() {
        let events = vec![
            started(),
            AnswerEvent::Reasoning("hm".to_owned()),
            AnswerEvent::Text("a\u{1f600}".to_owned()),
            ended(StopReason::EndTurn),
        ];
        let lines: Vec<String> =
            write(events, true).iter().map(|chunk| serde_json::to_string(chunk).unwrap()).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn usage_shows_only_when_asked_for() {
        let events = || vec![started(), ended(StopReason::EndTurn)];
        let without = serde_json::to_value(write(events(), false)).unwrap();
        assert!(without.as_array().unwrap().iter().all(|chunk| chunk.get("usage").is_none()));
        let with = serde_json::to_value(write(events(), true)).unwrap();
        let usages: Vec<&Value> = with.as_array().unwrap().iter().map(|chunk| &chunk["usage"]).collect();
        assert_eq!(usages[..2], [&Value::Null, &Value::Null]);
        assert_eq!(
            (usages[2]["prompt_tokens"].as_u64(), usages[2]["completion_tokens"].as_u64()),
            (Some(175), Some(12))
        );
        assert_eq!(usages[2]["total_tokens"], 187);
        assert_eq!(usages[2]["prompt_tokens_details"]["cached_tokens"], 50);
        assert_eq!(usages[2]["prompt_tokens_details"]["cache_write_tokens"], 100);
        assert_eq!(usages[2]["completion_tokens_details"]["reasoning_tokens"], 4);
    }

    #[rstest]
    #[case(StopReason::EndTurn, "stop")]
    #[case(StopReason::StopSequence, "stop")]
    #[case(StopReason::PauseTurn, "stop")]
    #[case(StopReason::MaxTokens, "length")]
    #[case(StopReason::ContextWindow, "length")]
    #[case(StopReason::Refusal, "content_filter")]
    #[case(StopReason::Unknown("new".to_owned()), "stop")]
    fn every_stop_reason_has_its_finish_reason(#[case] reason: StopReason, #[case] finish_reason: &str) {
        let chunks = serde_json::to_value(write(vec![started(), ended(reason)], false)).unwrap();
        let last = chunks.as_array().unwrap().last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], finish_reason);
        assert_eq!(last["choices"][0]["delta"], json!({}));
    }

    #[test]
    fn a_refusal_is_told_in_its_own_field() {
        let answer = fold(vec![started(), ended(StopReason::Refusal)]).unwrap();
        let message = serde_json::to_value(answer).unwrap()["choices"][0]["message"].clone();
        assert_eq!(message, json!({"role": "assistant", "content": null, "refusal": REFUSAL}));
    }

    #[test]
    fn chunks_without_an_end_are_no_answer() {
        assert_eq!(fold(vec![started(), AnswerEvent::Text("half".to_owned())]), None);
    }

    proptest! {
        #[test]
        fn the_fold_holds_what_the_chunks_said(pieces in prop::collection::vec((any::<bool>(), ".{0,5}"), 0..20)) {
            let mut events = vec![started()];
            events.extend(pieces.iter().cloned().map(|(text, piece)| {
                if text { AnswerEvent::Text(piece) } else { AnswerEvent::Reasoning(piece) }
            }));
            events.push(ended(StopReason::EndTurn));
            let answer = fold(events).unwrap();
            let said = |text: bool| pieces.iter().filter(|p| p.0 == text).map(|p| p.1.as_str()).collect::<String>();
            prop_assert_eq!(answer.choices[0].message.content.clone().unwrap(), said(true));
            prop_assert_eq!(answer.choices[0].message.reasoning_content.clone().unwrap_or_default(), said(false));
            prop_assert_eq!(answer.usage.total_tokens, 187);
        }
    }
}
