//! What `POST /v1/chat/completions` answers: chunks of a stream, or their fold.
//!
//! The types are Couplet's own because clients read `reasoning_content`, and because `content`, `refusal`, `logprobs`
//! and (when asked for) `usage` must be present even when they are null.

use std::sync::Arc;

use async_openai::types::chat::{
    ChatCompletionMessageToolCallChunk, CompletionUsage, FinishReason, FunctionCall, FunctionCallStream,
    FunctionType, Role,
};
use serde::Serialize;

/// What all chunks of one answer, and the answer itself, have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerHead {
    /// `chatcmpl-…`, the same in every chunk.
    pub id: Arc<str>,
    /// `chat.completion.chunk` or `chat.completion`.
    pub object: &'static str,
    /// Unix time in seconds, the same in every chunk.
    pub created: u64,
    /// The model that answers, as it names itself.
    pub model: Arc<str>,
    /// The program behind the answer.
    pub system_fingerprint: &'static str,
}

/// One chunk of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatChunk {
    /// What all chunks share.
    #[serde(flatten)]
    pub head: AnswerHead,
    /// One choice, or none in the chunk that tells the usage.
    pub choices: Vec<ChunkChoice>,
    /// Absent unless asked for; then null in every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<CompletionUsage>>,
}

/// The choice of a chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChunkChoice {
    /// Which of the answers.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// Why the answer ended, in its last chunk.
    pub finish_reason: Option<FinishReason>,
    /// Always null: Claude gives no probabilities.
    pub logprobs: Option<()>,
}

/// What a chunk adds to the message.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Delta {
    /// `assistant`, once per stream: openai-python joins repeated ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// A piece of the answer's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A piece of the summary of the model's thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Why the model declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The beginning of a call, with its id, type and name, or a piece of its arguments. `index` counts the calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ChatCompletionMessageToolCallChunk>,
    /// The same in the older form, which has one call and no id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCallStream>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatCompletion {
    /// Id, time and model.
    #[serde(flatten)]
    pub head: AnswerHead,
    /// The answers, as many as `n`.
    pub choices: Vec<Choice>,
    /// The tokens of all answers.
    pub usage: CompletionUsage,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Which of the answers.
    pub index: u32,
    /// What the model said.
    pub message: AnswerMessage,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Always null.
    pub logprobs: Option<()>,
}

/// The message of an answer. `content` and `refusal` are always present.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: Role,
    /// The text; null where there is none, but a refusal or calls.
    pub content: Option<String>,
    /// Why the model declined, where it did.
    pub refusal: Option<String>,
    /// The summary of the model's thinking, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The calls, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call, in the older form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// The id that its result must refer to.
    pub id: String,
    /// `function`.
    pub r#type: FunctionType,
    /// What is called, and with what.
    pub function: FunctionCall,
}
