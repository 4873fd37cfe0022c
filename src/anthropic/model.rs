//! The model objects of `/v1/models` as clients of Anthropic's API read them.

use serde::Serialize;

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// Always `model`.
    pub r#type: &'static str,
    /// Its id, or an alias.
    pub id: String,
    /// A name for people.
    pub display_name: String,
    /// When it was made, as far as that is known: RFC 3339.
    pub created_at: &'static str,
    /// Whether it is still there; what the CLI lists is.
    pub lifecycle: &'static str,
    /// The number of tokens that prompt and answer may have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<u64>,
    /// The largest number of tokens of one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

/// A page of models: all there are.
#[derive(Debug, Serialize)]
pub struct ModelList {
    data: Vec<Model>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

impl From<Vec<Model>> for ModelList {
    fn from(data: Vec<Model>) -> Self {
        let id = |model: Option<&Model>| model.map(|model| model.id.clone());
        Self { first_id: id(data.first()), last_id: id(data.last()), has_more: false, data }
    }
}
