//! Events of an answer become the events of Anthropic's API, and these fold into one message.

use std::sync::Arc;

use crate::anthropic::answer::{
    BlockDelta, ContentBlock, Input, Message, MessageEnd, MessageEvent, OutputTokens, Usage,
};
use crate::claude::answer::{self, AnswerEnd, AnswerEvent, StopReason};

/// Makes the events of a stream.
#[derive(Debug)]
pub struct MessageWriter {
    id: Arc<str>,
    /// The block that is being written.
    open: Option<Open>,
    /// How many blocks are complete.
    complete: usize,
}

/// A block that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// What follows its signature is another one.
    SignedThinking,
    ToolUse,
}

impl MessageWriter {
    /// `id` is that of the message, `msg_…`.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.into(), open: None, complete: 0 }
    }

    /// What an event is in the stream: one event for a piece of the answer, up to three where a block begins or the answer
    /// ends.
    #[must_use]
    pub fn on(&mut self, event: AnswerEvent) -> Vec<MessageEvent> {
        match event {
            AnswerEvent::Started { model, usage, .. } => vec![MessageEvent::MessageStart {
                message: Message {
                    id: Arc::clone(&self.id),
                    r#type: "message",
                    role: "assistant",
                    model,
                    content: Vec::new(),
                    stop_reason: None,
                    stop_sequence: None,
                    usage: self::usage(usage),
                },
            }],
            AnswerEvent::Text(text) => {
                let empty = || ContentBlock::Text { text: String::new() };
                self.piece(&[Open::Text], empty, BlockDelta::TextDelta { text })
            }
            AnswerEvent::Reasoning(thinking) => {
                self.piece(&[Open::Thinking], no_thinking, BlockDelta::ThinkingDelta { thinking })
            }
            AnswerEvent::Signature(signature) => {
                let delta = BlockDelta::SignatureDelta { signature };
                let events = self.piece(&[Open::Thinking, Open::SignedThinking], no_thinking, delta);
                self.open = Some(Open::SignedThinking);
                events
            }
            AnswerEvent::ToolCall { id, name } => {
                let mut events = self.close();
                let block = ContentBlock::ToolUse { id, name, input: Input::Object(serde_json::Map::new()) };
                events.push(self.begin(Open::ToolUse, block));
                events
            }
            AnswerEvent::ToolArguments(partial_json) => {
                // They follow the beginning of their call, so there is nothing to begin.
                let delta = BlockDelta::InputJsonDelta { partial_json };
                vec![MessageEvent::ContentBlockDelta { index: self.complete, delta }]
            }
            AnswerEvent::Ended(end) => self.end(end),
        }
    }

    /// A piece of a block of one of the `fit` kinds; of a new one of the first kind where none of them is open.
    fn piece(
        &mut self,
        fit: &[Open],
        empty: impl FnOnce() -> ContentBlock,
        delta: BlockDelta,
    ) -> Vec<MessageEvent> {
        let mut events = Vec::with_capacity(1);
        if let (Some(kind), false) = (fit.first(), self.open.is_some_and(|open| fit.contains(&open))) {
            events = self.close();
            events.push(self.begin(*kind, empty()));
        }
        events.push(MessageEvent::ContentBlockDelta { index: self.complete, delta });
        events
    }

    fn begin(&mut self, kind: Open, content_block: ContentBlock) -> MessageEvent {
        self.open = Some(kind);
        MessageEvent::ContentBlockStart { index: self.complete, content_block }
    }

    fn close(&mut self) -> Vec<MessageEvent> {
        if self.open.take().is_none() {
            return Vec::new();
        }
        self.complete += 1;
        vec![MessageEvent::ContentBlockStop { index: self.complete - 1 }]
    }

    fn end(&mut self, end: AnswerEnd) -> Vec<MessageEvent> {
        let mut events = self.close();
        let output_tokens_details = Some(OutputTokens { thinking_tokens: end.usage.thinking });
        events.push(MessageEvent::MessageDelta {
            delta: MessageEnd { stop_reason: stop_reason(end.reason), stop_sequence: end.stop_sequence },
            usage: Usage { output_tokens_details, ..usage(end.usage) },
        });
        events.push(MessageEvent::MessageStop);
        events
    }
}

fn no_thinking() -> ContentBlock {
    ContentBlock::Thinking { thinking: String::new(), signature: String::new() }
}

/// Folds the events of a stream into the message.
#[derive(Debug, Default)]
pub struct MessageFold {
    message: Option<Message>,
    /// The JSON of the arguments of the call that is being written.
    arguments: String,
    complete: bool,
}

impl MessageFold {
    /// Takes the next event.
    pub fn push(&mut self, event: MessageEvent) {
        let Some(message) = &mut self.message else {
            if let MessageEvent::MessageStart { message } = event {
                self.message = Some(message);
            }
            return;
        };
        match event {
            MessageEvent::MessageStart { .. } => {}
            MessageEvent::ContentBlockStart { content_block, .. } => message.content.push(content_block),
            MessageEvent::ContentBlockDelta { delta, .. } => {
                match (message.content.last_mut(), delta) {
                    (Some(ContentBlock::Text { text }), BlockDelta::TextDelta { text: piece }) => {
                        text.push_str(&piece);
                    }
                    (
                        Some(ContentBlock::Thinking { thinking, .. }),
                        BlockDelta::ThinkingDelta { thinking: piece },
                    ) => {
                        thinking.push_str(&piece);
                    }
                    (
                        Some(ContentBlock::Thinking { signature, .. }),
                        BlockDelta::SignatureDelta { signature: piece },
                    ) => {
                        signature.push_str(&piece);
                    }
                    (Some(ContentBlock::ToolUse { .. }), BlockDelta::InputJsonDelta { partial_json }) => {
                        self.arguments.push_str(&partial_json);
                    }
                    // The writer begins a block before each piece.
                    _ => {}
                }
            }
            MessageEvent::ContentBlockStop { .. } => {
                let arguments = std::mem::take(&mut self.arguments);
                if let Some(ContentBlock::ToolUse { input, .. }) = message.content.last_mut() {
                    *input = serde_json::from_str(&arguments).map_or(Input::Raw(arguments), Input::Object);
                }
            }
            MessageEvent::MessageDelta { delta, usage } => {
                message.stop_reason = Some(delta.stop_reason);
                message.stop_sequence = delta.stop_sequence;
                message.usage = usage;
            }
            MessageEvent::MessageStop => self.complete = true,
        }
    }

    /// The message; `None` when the events did not end as they should.
    #[must_use]
    pub fn finish(self) -> Option<Message> {
        self.message.filter(|_| self.complete)
    }
}

/// Anthropic's own words for it.
fn stop_reason(reason: StopReason) -> String {
    let word = match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolUse => "tool_use",
        StopReason::PauseTurn => "pause_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextWindow => "model_context_window_exceeded",
        StopReason::Refusal => "refusal",
        StopReason::Unknown(reason) => return reason,
    };
    word.to_owned()
}

fn usage(usage: answer::Usage) -> Usage {
    Usage {
        input_tokens: usage.input,
        cache_creation_input_tokens: usage.cache_creation,
        cache_read_input_tokens: usage.cache_read,
        output_tokens: usage.output,
        output_tokens_details: None,
    }
}

#[cfg(test)]
mod tests;
