//! The model objects of `/v1/models`.

use serde::Serialize;

/// One model: OpenAI's fields, and the sizes that routers and chat UIs look for where they are known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// OpenAI's own fields.
    #[serde(flatten)]
    pub base: async_openai::types::models::Model,
    /// A name for people (shown by `Open WebUI`).
    pub name: String,
    /// The number of tokens that prompt and answer may have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// The largest number of tokens of one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
}

/// The answer of `GET /v1/models`.
#[derive(Debug, Serialize)]
pub struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

impl From<Vec<Model>> for ModelList {
    fn from(data: Vec<Model>) -> Self {
        Self { object: "list", data }
    }
}
