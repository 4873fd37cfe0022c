//! What `POST /v1/completions` answers. Chunks of a stream and the whole answer have one form.

use async_openai::types::chat::{CompletionUsage, FinishReason};
use serde::Serialize;

use super::chat_answer::AnswerHead;

/// A chunk, or a whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextCompletion {
    /// `cmpl-…`, `text_completion`, time and model: the same in every chunk.
    #[serde(flatten)]
    pub head: AnswerHead,
    /// One choice in a chunk, none in that of the usage; all of them in the whole answer.
    pub choices: Vec<TextChoice>,
    /// The tokens of all answers. In chunks absent unless asked for; then null in every one but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<CompletionUsage>>,
}

/// One answer, or what a chunk adds to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextChoice {
    /// The text.
    pub text: String,
    /// Which of the answers: those to the first prompt come first.
    pub index: u32,
    /// Always null: Claude gives no probabilities.
    pub logprobs: Option<()>,
    /// Why the answer ended, once it has.
    pub finish_reason: Option<FinishReason>,
}
