//! What is said in a frame, in the form of Anthropic's API.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::super::prompt_cache::{CacheControl, CacheTtl};
use crate::turn::{AssistantBlock, Media, ResultBlock, UserBlock, is_blank};

/// `message` of a user or assistant frame.
#[derive(Debug, Serialize)]
pub struct MessageIn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    role: &'static str,
    content: ContentIn<'a>,
}

impl<'a> MessageIn<'a> {
    /// What the user or tools say.
    pub(super) fn user(blocks: &'a [UserBlock]) -> Self {
        Self { id: None, role: "user", content: user_content(blocks) }
    }

    /// Nothing but white space.
    pub(super) fn blank() -> Self {
        Self { id: None, role: "user", content: ContentIn::Text(" ") }
    }

    /// What the model said. Releases up to 2.1.240 take messages without an id for parts of one, and put all calls of the
    /// history into the first of them; the id goes no further than the CLI.
    pub(super) fn assistant(id: String, blocks: &'a [AssistantBlock]) -> Self {
        let mut written = Vec::with_capacity(blocks.len());
        for block in blocks {
            match block {
                // The CLI leaves a turn of exactly this text out; cut in two it is kept.
                AssistantBlock::Text(text) if text == "(no content)" => {
                    written.extend([BlockIn::text("(no "), BlockIn::text("content)")]);
                }
                AssistantBlock::Text(text) => written.push(BlockIn::text(text)),
                AssistantBlock::ToolUse { id, name, input } => {
                    written.push(BlockIn::ToolUse { id, name, input });
                }
            }
        }
        Self { id: Some(id), role: "assistant", content: ContentIn::Blocks(written) }
    }
}

impl MessageIn<'_> {
    /// Marks the last block that can carry it; `false` where none can.
    pub(super) fn take_mark(&mut self, ttl: CacheTtl) -> bool {
        if let ContentIn::Text(text) = self.content {
            self.content = ContentIn::Blocks(vec![BlockIn::text(text)]);
        }
        let ContentIn::Blocks(blocks) = &mut self.content else { return false };
        let mark = blocks.iter_mut().rev().find_map(BlockIn::mark);
        mark.map(|mark| *mark = Some(ttl.into())).is_some()
    }
}

/// The result of a call, in the form of MCP.
#[derive(Debug, Serialize)]
pub(super) struct CallResult<'a> {
    content: Vec<McpBlock<'a>>,
    #[serde(rename = "isError", skip_serializing_if = "is_false")]
    is_error: bool,
}

impl<'a> CallResult<'a> {
    /// Texts and images; nothing else arrives at the model as it was (see [`super::super::parked`]).
    pub(super) fn new(blocks: &'a [ResultBlock], is_error: bool) -> Self {
        let content = blocks.iter().filter_map(|block| match block {
            ResultBlock::Text(text) => Some(McpBlock::Text { text }),
            ResultBlock::Media(Media::Image { format, bytes }) => {
                Some(McpBlock::Image { data: Base64(bytes), media_type: format.media_type() })
            }
            ResultBlock::Media(_) => None,
        });
        Self { content: content.collect(), is_error }
    }
}

/// A piece of a result, in the form of MCP.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum McpBlock<'a> {
    Text {
        text: &'a str,
    },
    Image {
        data: Base64<'a>,
        #[serde(rename = "mimeType")]
        media_type: &'static str,
    },
}

/// A plain text, or blocks.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ContentIn<'a> {
    Text(&'a str),
    Blocks(Vec<BlockIn<'a>>),
}

/// A content block as Anthropic's API has it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockIn<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a serde_json::Map<String, Value>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: ContentIn<'a>,
        #[serde(skip_serializing_if = "is_false")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: SourceIn<'a>,
    },
    Document {
        source: SourceIn<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

impl<'a> BlockIn<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text { text, cache_control: None }
    }

    /// Where the block's mark for the prompt cache stands, if it can carry one: the CLI drops it from calls and images,
    /// and the API refuses it on blank texts.
    fn mark(&mut self) -> Option<&mut Option<CacheControl>> {
        match self {
            Self::Text { text, cache_control } if !is_blank(text) => Some(cache_control),
            Self::ToolResult { cache_control, .. } | Self::Document { cache_control, .. } => {
                Some(cache_control)
            }
            Self::Text { .. } | Self::ToolUse { .. } | Self::Image { .. } => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Where the bytes of an image or document are.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SourceIn<'a> {
    Base64 { media_type: &'static str, data: Base64<'a> },
    Text { media_type: &'static str, data: &'a str },
    Url { url: &'a str },
}

/// Bytes that are written as base64, with no copy of it in between.
#[derive(Debug)]
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// The content of a user turn, byte for byte what the client sent.
///
/// A text block that begins with `/` would be taken for a command of the CLI, in the history too, where nothing else
/// forbids that. Cut into two blocks it arrives as it was: the model reads a turn's text blocks as one text.
fn user_content(blocks: &[UserBlock]) -> ContentIn<'_> {
    if let [UserBlock::Text(text)] = blocks
        && command_slash(text).is_none()
    {
        return ContentIn::Text(text);
    }
    let mut written = Vec::with_capacity(blocks.len() + 1);
    for block in blocks {
        match block {
            UserBlock::Text(text) => match command_slash(text) {
                Some(end) => {
                    let (slash, rest) = text.split_at(end);
                    written.extend([BlockIn::text(slash), BlockIn::text(rest)]);
                }
                None => written.push(BlockIn::text(text)),
            },
            UserBlock::Media(media) => written.push(media_block(media)),
            UserBlock::ToolResult { call_id, content, is_error } => {
                written.push(BlockIn::ToolResult {
                    tool_use_id: call_id,
                    content: result_content(content),
                    is_error: *is_error,
                    cache_control: None,
                });
            }
        }
    }
    ContentIn::Blocks(written)
}

/// What a tool said, in the form in which the CLI itself writes the result of a call that was parked, so that the model
/// (and its prompt cache) sees no difference: blocks, and a plain text only where there is nothing in it.
fn result_content(blocks: &[ResultBlock]) -> ContentIn<'_> {
    match blocks {
        [] => ContentIn::Text(""),
        [ResultBlock::Text(text)] if is_blank(text) => ContentIn::Text(text),
        blocks => ContentIn::Blocks(
            blocks
                .iter()
                .map(|block| match block {
                    ResultBlock::Text(text) => BlockIn::text(text),
                    ResultBlock::Media(media) => media_block(media),
                })
                .collect(),
        ),
    }
}

fn media_block(media: &Media) -> BlockIn<'_> {
    match media {
        Media::Image { format, bytes } => {
            let data = Base64(bytes);
            BlockIn::Image { source: SourceIn::Base64 { media_type: format.media_type(), data } }
        }
        Media::ImageUrl(url) => BlockIn::Image { source: SourceIn::Url { url } },
        Media::Pdf { title, bytes } => {
            let source = SourceIn::Base64 { media_type: "application/pdf", data: Base64(bytes) };
            BlockIn::Document { source, title: title.as_deref(), cache_control: None }
        }
        Media::Text { title, text } => {
            let source = SourceIn::Text { media_type: "text/plain", data: text };
            BlockIn::Document { source, title: title.as_deref(), cache_control: None }
        }
    }
}

/// Where to cut a text that the CLI could take for a command: behind all of its leading slashes, so that neither block
/// looks like a command. The rest must hold something: a blank block would be dropped.
pub(super) fn command_slash(text: &str) -> Option<usize> {
    let rest = text.trim_start_matches('/');
    let end = text.len() - rest.len();
    (end > 0 && !is_blank(rest)).then_some(end)
}
