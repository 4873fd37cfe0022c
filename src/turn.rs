//! The neutral middle: what is asked of the model, whichever endpoint it came from.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::answer_schema::AnswerSchema;

/// One question to the model with everything that was said before it.
///
/// `M` is what stands for an image or a document: a [`MediaSource`] as the client sent it, until [`crate::media`] has
/// made [`Media`] of it. Only a turn of the latter can be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn<M = Media> {
    /// The model, as the CLI is to be told (an alias or a full id).
    pub model: String,
    /// The system prompt; empty where the client gave none.
    pub system: String,
    /// The turns before the question: user and assistant in alternation, as far as the client's were.
    pub history: Vec<Message<M>>,
    /// The question: the blocks of the last user turn, at least one.
    pub question: Vec<UserBlock<M>>,
    /// What the model may call, in the client's order. (The CLI puts them in the order of their names.)
    pub tools: Vec<Tool>,
    /// How the model should answer.
    pub parameters: Parameters,
}

/// Something the model may call. The client runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name, of letters, digits, `_` and `-`.
    pub name: String,
    /// What it does; empty where the client did not say.
    pub description: String,
    /// The JSON Schema of its arguments, as the client wrote it.
    pub schema: Map<String, Value>,
}

/// One turn of the history.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<M = Media> {
    /// Said by the user or by tools, never empty.
    User(Vec<UserBlock<M>>),
    /// Said by the model, never empty.
    Assistant(Vec<AssistantBlock>),
}

/// A piece of a user turn.
#[derive(Debug, Clone, PartialEq)]
pub enum UserBlock<M = Media> {
    /// Text with something in it.
    Text(String),
    /// An image or a document.
    Media(M),
    /// What a tool answered to the call of that id.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// The result; none where the tool said nothing.
        content: Vec<ResultBlock<M>>,
        /// Whether the client says that the tool failed. OpenAI's wire has no word for that.
        is_error: bool,
    },
}

/// A piece of a tool's result.
#[derive(Debug, Clone, PartialEq)]
pub enum ResultBlock<M = Media> {
    /// Text; blank only where it is the whole result.
    Text(String),
    /// An image or a document.
    Media(M),
}

/// An image or a document as the model is to get it.
#[derive(Debug, Clone, PartialEq)]
pub enum Media {
    /// An image.
    Image {
        /// What the bytes are.
        format: ImageFormat,
        /// The file.
        bytes: Bytes,
    },
    /// An image that Anthropic is to fetch.
    ImageUrl(String),
    /// A PDF.
    Pdf {
        /// Its name, where the client gave one.
        title: Option<String>,
        /// The file.
        bytes: Bytes,
    },
    /// A text file, never blank.
    Text {
        /// Its name, where the client gave one.
        title: Option<String>,
        /// What it says.
        text: String,
    },
}

/// The kinds of images that Anthropic's API takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
}

impl ImageFormat {
    /// As `image/png`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

/// An image or a document as the client sent it: nobody has looked into it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSource {
    /// The field of the request it came in, for errors: `messages[1].content[0].image_url.url`.
    pub field: String,
    /// What the client called it.
    pub declared: Declared,
    /// The thing itself.
    pub data: MediaData,
}

/// What a client calls a part. What it is shows in its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// An image.
    Image,
    /// A file.
    File {
        /// Its name.
        name: Option<String>,
    },
}

/// Where the bytes of a part are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaData {
    /// In or behind a URL: `data:` or `https:`, if it is well formed.
    Url(String),
    /// Here, as base64 if it is well formed.
    Base64(String),
    /// Here, as the text it is.
    Text(String),
}

impl<M> Turn<M> {
    /// The same turn with other media, made of this one's in their order.
    pub fn map_media<N>(self, mut make: impl FnMut(M) -> N) -> Turn<N> {
        let make = &mut make;
        let history = self.history.into_iter().map(|message| match message {
            Message::User(blocks) => Message::User(map_blocks(blocks, make)),
            Message::Assistant(blocks) => Message::Assistant(blocks),
        });
        Turn {
            model: self.model,
            system: self.system,
            history: history.collect(),
            question: map_blocks(self.question, make),
            tools: self.tools,
            parameters: self.parameters,
        }
    }
}

fn map_blocks<M, N>(blocks: Vec<UserBlock<M>>, make: &mut impl FnMut(M) -> N) -> Vec<UserBlock<N>> {
    let mut mapped = Vec::with_capacity(blocks.len());
    for block in blocks {
        mapped.push(match block {
            UserBlock::Text(text) => UserBlock::Text(text),
            UserBlock::Media(media) => UserBlock::Media(make(media)),
            UserBlock::ToolResult { call_id, content, is_error } => {
                let content = content.into_iter().map(|block| match block {
                    ResultBlock::Text(text) => ResultBlock::Text(text),
                    ResultBlock::Media(media) => ResultBlock::Media(make(media)),
                });
                UserBlock::ToolResult { call_id, content: content.collect(), is_error }
            }
        });
    }
    mapped
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
    /// Texts that end the answer and are not part of it, none of them empty.
    pub stop: Vec<String>,
    /// 0 to 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are considered.
    pub top_k: Option<u32>,
    /// How hard the model thinks.
    pub effort: Option<Effort>,
    /// How many tokens it may think, for models that have such a budget.
    pub thinking_budget: Option<u32>,
    /// Whether it may call tools.
    pub tool_choice: ToolChoice,
    /// How many it may call in one answer.
    pub calls: CallsPerAnswer,
    /// What the text of the answer must be, where it is not free: JSON of this schema.
    pub format: Option<AnswerSchema>,
    /// Whether nothing will be said after the answer, so that its process need not be kept for that.
    pub is_last: bool,
}

/// Whether the model may call tools. All but [`ToolChoice::Auto`] make sense only where there are tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// It may not, though it sees them.
    None,
    /// It must call at least one.
    Any,
    /// It must call the one of that name.
    Tool(String),
}

impl ToolChoice {
    /// Whether a call must be made.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        matches!(self, Self::Any | Self::Tool(_))
    }
}

/// A parameter that some models take and others refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// [`Parameters::temperature`].
    Temperature,
    /// [`Parameters::top_p`].
    TopP,
    /// [`Parameters::top_k`].
    TopK,
    /// [`Parameters::effort`].
    Effort,
    /// [`Parameters::calls`].
    Calls,
}

/// How many tools the model may call in one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallsPerAnswer {
    /// As many as it likes.
    #[default]
    Any,
    /// One at most.
    One,
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
