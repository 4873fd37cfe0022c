//! What `POST /v1/messages` answers: the events of a stream, or the message they make.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

/// One event of a streamed answer. Its `type` is also the name of the server-sent event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageEvent {
    /// The answer begins: a message without content.
    MessageStart {
        /// The message.
        message: Message,
    },
    /// A block begins.
    ContentBlockStart {
        /// Its place.
        index: usize,
        /// The block, empty.
        content_block: ContentBlock,
    },
    /// A piece of a block.
    ContentBlockDelta {
        /// The block's place.
        index: usize,
        /// The piece.
        delta: BlockDelta,
    },
    /// A block is complete.
    ContentBlockStop {
        /// Its place.
        index: usize,
    },
    /// The model stopped.
    MessageDelta {
        /// Why.
        delta: MessageEnd,
        /// All tokens used.
        usage: Usage,
    },
    /// The answer is complete.
    MessageStop,
}

impl MessageEvent {
    /// The name of the server-sent event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }
}

/// A piece of a block.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockDelta {
    /// Of a text.
    TextDelta {
        /// The piece.
        text: String,
    },
    /// Of the summary of the model's thinking.
    ThinkingDelta {
        /// The piece.
        thinking: String,
    },
    /// What the thinking is signed with, whole.
    SignatureDelta {
        /// The signature.
        signature: String,
    },
    /// Of the JSON of a call's arguments.
    InputJsonDelta {
        /// The piece.
        partial_json: String,
    },
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageEnd {
    /// The model's own word for it.
    pub stop_reason: String,
    /// The text that ended the answer, where one did.
    pub stop_sequence: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// `msg_…`.
    pub id: Arc<str>,
    /// Always `message`.
    pub r#type: &'static str,
    /// Always `assistant`.
    pub role: &'static str,
    /// The model that answers, as it names itself.
    pub model: String,
    /// What it says.
    pub content: Vec<ContentBlock>,
    /// Why it stopped; null at the beginning of a stream.
    pub stop_reason: Option<String>,
    /// The text that ended the answer, where one did.
    pub stop_sequence: Option<String>,
    /// The tokens.
    pub usage: Usage,
}

/// A block of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought, in short.
    Thinking {
        /// The summary; empty where the model shows none.
        thinking: String,
        /// What it is signed with; empty where it is not. Clients expect the field.
        signature: String,
    },
    /// A call of a tool.
    ToolUse {
        /// The id that its result must refer to.
        id: String,
        /// The tool.
        name: String,
        /// The arguments.
        input: Input,
    },
}

/// The arguments of a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Input {
    /// As they should be.
    Object(Map<String, Value>),
    /// Where the model wrote something that is no JSON object: as it wrote it.
    Raw(String),
}

/// The tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Uncached tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the prompt written to the cache.
    pub cache_creation_input_tokens: u64,
    /// Tokens of the prompt read from the cache.
    pub cache_read_input_tokens: u64,
    /// Tokens of the answer, thinking included.
    pub output_tokens: u64,
    /// How many of them are what; told at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokens>,
}

/// What the tokens of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputTokens {
    /// Thinking.
    pub thinking_tokens: u64,
}

/// The answer of `POST /v1/messages/count_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TokenCount {
    /// The tokens of the prompt.
    pub input_tokens: u64,
}
