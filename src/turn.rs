//! The neutral middle: what is asked of the model, whichever endpoint it came from.

use serde_json::{Map, Value};

/// One question to the model with everything that was said before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The model, as the CLI is to be told (an alias or a full id).
    pub model: String,
    /// The system prompt; empty where the client gave none.
    pub system: String,
    /// The turns before the question: user and assistant in alternation, as far as the client's were.
    pub history: Vec<Message>,
    /// The question: the blocks of the last user turn, at least one.
    pub question: Vec<UserBlock>,
    /// How the model should answer.
    pub parameters: Parameters,
}

/// One turn of the history.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Said by the user or by tools, never empty.
    User(Vec<UserBlock>),
    /// Said by the model, never empty.
    Assistant(Vec<AssistantBlock>),
}

/// A piece of a user turn.
#[derive(Debug, Clone, PartialEq)]
pub enum UserBlock {
    /// Text with something in it.
    Text(String),
    /// What a tool answered to the call of that id.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// The result's text.
        text: String,
    },
}

/// A piece of an assistant turn.
#[derive(Debug, Clone, PartialEq)]
pub enum AssistantBlock {
    /// Text with something in it.
    Text(String),
    /// A call of a tool.
    ToolUse {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments.
        input: Map<String, Value>,
    },
}

/// Whether a text holds nothing but white space, in any of the senses that matter on its way: Unicode's, and that of
/// JavaScript's `trim`, which the CLI uses and which counts the byte order mark too. Such a text never reaches the model.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c == '\u{feff}')
}

/// How the model should answer. Absent means the model's own default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    /// The largest number of tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer, each with something else than white space in it.
    pub stop: Vec<String>,
    /// 0 to 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How hard the model thinks.
    pub effort: Option<Effort>,
}

/// How hard the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Not at all, where the model allows that; else as little as it can.
    Off,
    /// The CLI's `low`.
    Low,
    /// The CLI's `medium`.
    Medium,
    /// The CLI's `high`.
    High,
    /// The CLI's `xhigh`.
    Xhigh,
    /// The CLI's `max`.
    Max,
}

impl Effort {
    /// The words for the efforts, those of OpenAI's `reasoning_effort`.
    pub const NAMES: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

    /// The effort of that name. Claude has nothing below `low` but `none`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::Off,
            "minimal" | "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Xhigh,
            "max" => Self::Max,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}
