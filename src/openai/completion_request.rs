//! The request of `POST /v1/completions`.
//!
//! As with [`super::chat_request`], what the type does not hold is accepted, ignored and reported.

use serde::Deserialize;
use serde_json::Value;

use super::chat_request::StreamOptions;
use super::text_or::TextOrList;

/// A text completion request, as far as Couplet reads it.
#[derive(Debug, Deserialize)]
pub struct CompletionRequest {
    /// The model's id, or an alias.
    pub model: String,
    /// The text to be continued, or several. OpenAI takes lists of tokens too, which are refused by name.
    pub prompt: TextOrList<Value>,
    /// What comes behind the text that is asked for.
    pub suffix: Option<String>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// What a stream holds beside the answer.
    pub stream_options: Option<StreamOptions>,
    /// The largest number of tokens of each answer. Where it is absent, the model's own limit counts and not OpenAI's 16.
    pub max_tokens: Option<u32>,
    /// 0 to 2; Claude's scale ends at 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How many answers to each prompt.
    pub n: Option<u32>,
    /// How many answers the best `n` are taken of; only the same number makes sense without probabilities.
    pub best_of: Option<u32>,
    /// Up to four texts that end the answer.
    pub stop: Option<TextOrList<String>>,
    /// Whether each answer begins with its prompt.
    pub echo: Option<bool>,
}
