//! Chunks as JSON. One piece of an answer's text differs from the next in its text only, so all but that is serialised
//! once for many.

use crate::claude::answer::AnswerEvent;
use crate::openai::chat_answer::ChatChunk;

/// A chunk, to be written as JSON.
#[derive(Debug)]
pub enum ChunkJson<'a> {
    /// As a whole.
    Whole(&'a ChatChunk),
    /// One of many pieces, with its text.
    Piece(&'a PieceForm, &'a str),
}

impl ChunkJson<'_> {
    /// Appends the JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which would be a defect of Couplet.
    pub fn write_to(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Whole(chunk) => serde_json::to_writer(out, chunk),
            Self::Piece(form, text) => {
                out.extend_from_slice(&form.before);
                serde_json::to_writer(&mut *out, text)?;
                out.extend_from_slice(&form.after);
                Ok(())
            }
        }
    }
}

/// What is written around the text of the pieces of one kind.
#[derive(Debug)]
pub struct PieceForm {
    kind: PieceKind,
    before: Box<[u8]>,
    after: Box<[u8]>,
}

/// The pieces of which there are many in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Of its text.
    Text,
    /// Of the summary of the model's thinking.
    Reasoning,
    /// Of the arguments of a call.
    ToolArguments,
}

impl PieceForm {
    /// The form, taken from the chunk of an empty piece; `None` if it holds none of that kind.
    #[must_use]
    pub fn of(kind: PieceKind, empty: &ChatChunk) -> Option<Self> {
        let field = match kind {
            PieceKind::Text => "\"content\":",
            PieceKind::Reasoning => "\"reasoning_content\":",
            PieceKind::ToolArguments => "\"arguments\":",
        };
        let json = serde_json::to_string(empty).ok()?;
        // It is the field: within a string the quotes would be escaped.
        let text = json.find(&format!("{field}\"\""))? + field.len();
        let (before, after) = json.as_bytes().split_at(text);
        Some(Self { kind, before: before.into(), after: after[2..].into() })
    }

    /// Which pieces have this form.
    #[must_use]
    pub fn kind(&self) -> PieceKind {
        self.kind
    }
}

impl PieceKind {
    /// The kind and the text of an event that is a piece.
    #[must_use]
    pub fn of(event: &AnswerEvent) -> Option<(Self, &str)> {
        match event {
            AnswerEvent::Text(text) => Some((Self::Text, text)),
            AnswerEvent::Reasoning(text) => Some((Self::Reasoning, text)),
            AnswerEvent::ToolArguments(json) => Some((Self::ToolArguments, json)),
            AnswerEvent::Started { .. }
            | AnswerEvent::Signature(_)
            | AnswerEvent::ToolCall { .. }
            | AnswerEvent::Ended(_) => None,
        }
    }

    /// The event of a piece without text.
    #[must_use]
    pub fn empty(self) -> AnswerEvent {
        match self {
            Self::Text => AnswerEvent::Text(String::new()),
            Self::Reasoning => AnswerEvent::Reasoning(String::new()),
            Self::ToolArguments => AnswerEvent::ToolArguments(String::new()),
        }
    }
}
