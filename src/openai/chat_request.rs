//! The request of `POST /v1/chat/completions`.
//!
//! The types hold the fields that are honoured or refused; what they do not hold is accepted, ignored and reported.
//! Message parts are flat on purpose: tagged and untagged enums of serde lose the path of an error.

use std::fmt;

use async_openai::types::chat::{ReasoningEffort, Role};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;

/// A chat completion request, as far as Couplet reads it.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    /// The model's id, or an alias.
    pub model: String,
    /// The conversation, at least one message.
    pub messages: Vec<ChatMessage>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// What a stream holds beside the answer.
    pub stream_options: Option<StreamOptions>,
    /// The largest number of tokens of the answer, reasoning included.
    pub max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    pub max_tokens: Option<u32>,
    /// Up to four texts that end the answer.
    pub stop: Option<OneOrMany>,
    /// 0 to 2; Claude's scale ends at 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How hard the model thinks.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// How many answers.
    pub n: Option<u32>,
    /// Functions the model may call.
    pub tools: Option<Vec<Value>>,
    /// Which of them it must call.
    pub tool_choice: Option<Value>,
    /// The older form of `tools`.
    pub functions: Option<Vec<Value>>,
    /// The older form of `tool_choice`.
    pub function_call: Option<Value>,
    /// The form of the answer's text.
    pub response_format: Option<ResponseFormat>,
    /// What the answer may consist of.
    pub modalities: Option<Vec<String>>,
    /// How spoken answers should sound.
    pub audio: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    pub include_usage: Option<bool>,
}

/// `response_format`.
#[derive(Debug, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    pub r#type: String,
}

/// One message of any role.
#[derive(Debug, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said; assistant messages may have none.
    pub content: Option<Content>,
    /// The calls an assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The older form of `tool_calls`.
    pub function_call: Option<Value>,
    /// What an assistant said when it declined.
    pub refusal: Option<String>,
}

/// A text, or a list of parts.
#[derive(Debug)]
pub enum Content {
    /// The short form.
    Text(String),
    /// The long form.
    Parts(Vec<ContentPart>),
}

/// One part of a message's content. Only the field that belongs to its type matters.
#[derive(Debug, Deserialize)]
pub struct ContentPart {
    /// `text`, `refusal`, `image_url`, `input_audio` or `file`.
    pub r#type: String,
    /// The text of a `text` part.
    pub text: Option<String>,
    /// The text of a `refusal` part.
    pub refusal: Option<String>,
    /// The image of an `image_url` part.
    pub image_url: Option<ImageUrl>,
    /// The file of a `file` part.
    pub file: Option<FilePart>,
}

/// `image_url`. Its `detail` has no meaning to Claude, so it is not read and reported as ignored.
#[derive(Debug, Deserialize)]
pub struct ImageUrl {
    /// A `data:` or `https:` URL.
    pub url: String,
}

/// `file`.
#[derive(Debug, Deserialize)]
pub struct FilePart {
    /// The file, as a `data:` URL or as base64.
    pub file_data: Option<String>,
    /// The id of an uploaded file.
    pub file_id: Option<String>,
    /// The file's name.
    pub filename: Option<String>,
}

/// A call of a function in the history.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    /// The id its result refers to.
    pub id: String,
    /// Absent or `function`.
    pub r#type: Option<String>,
    /// What was called.
    pub function: Option<FunctionCall>,
}

/// Name and arguments of a call.
#[derive(Debug, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// The arguments, a JSON object as text.
    pub arguments: Option<String>,
}

/// `stop`: one text or several.
#[derive(Debug)]
pub enum OneOrMany {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Visits a string or a list; written by hand so that an error inside the list keeps its path.
struct StringOrList<T> {
    expecting: &'static str,
    from_text: fn(String) -> T,
}

/// A type whose list form holds `Item`s.
trait FromList: Sized {
    type Item: for<'de> Deserialize<'de>;
    fn from_list(items: Vec<Self::Item>) -> Self;
}

impl FromList for Content {
    type Item = ContentPart;
    fn from_list(items: Vec<ContentPart>) -> Self {
        Self::Parts(items)
    }
}

impl FromList for OneOrMany {
    type Item = String;
    fn from_list(items: Vec<String>) -> Self {
        Self::Many(items)
    }
}

impl<'de, T: FromList> Visitor<'de> for StringOrList<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok((self.from_text)(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<T, E> {
        Ok((self.from_text)(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(T::from_list)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrList {
            expecting: "a string or a list of parts",
            from_text: Content::Text,
        })
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrList {
            expecting: "a string or a list of strings",
            from_text: OneOrMany::One,
        })
    }
}
