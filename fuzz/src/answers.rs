//! Answers of the model, made up of bytes: any texts, in an order in which the model can give them.

use arbitrary::{Arbitrary, Result, Unstructured};
use couplet::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};

use crate::json::MadeUpObject;

/// An answer.
#[derive(Debug, Clone, Arbitrary)]
pub struct MadeUpAnswer {
    model: String,
    usage: MadeUpUsage,
    pieces: Vec<Piece>,
    end: End,
    stop_sequence: Option<String>,
}

/// Of what the model says.
#[derive(Debug, Clone, Arbitrary)]
pub enum Piece {
    /// A piece of text.
    Text(String),
    /// A piece of thinking.
    Reasoning(String),
    /// What thinking is signed with.
    Signature(String),
    /// A whole call.
    Call(Call),
}

/// A call.
#[derive(Debug, Clone, Arbitrary)]
pub struct Call {
    id: String,
    name: String,
    arguments: Arguments,
}

#[derive(Debug, Clone, Arbitrary)]
enum Arguments {
    /// Any text, in pieces.
    Text(Vec<String>),
    /// JSON, cut into two.
    Json { object: MadeUpObject, cut: u8 },
}

#[derive(Debug, Clone, Arbitrary)]
struct MadeUpUsage([u64; 5]);

#[derive(Debug, Clone, Arbitrary)]
enum End {
    Turn,
    StopSequence,
    ToolUse,
    PauseTurn,
    MaxTokens,
    ContextWindow,
    Refusal,
    Unknown(String),
}

impl MadeUpAnswer {
    /// Its events.
    #[must_use]
    pub fn events(&self) -> Vec<AnswerEvent> {
        let model = self.model.clone();
        let mut events = vec![AnswerEvent::Started { model, usage: self.usage.get(), unheeded: Vec::new() }];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => events.push(AnswerEvent::Text(text.clone())),
                Piece::Reasoning(text) => events.push(AnswerEvent::Reasoning(text.clone())),
                Piece::Signature(text) => events.push(AnswerEvent::Signature(text.clone())),
                Piece::Call(Call { id, name, arguments }) => {
                    events.push(AnswerEvent::ToolCall { id: id.clone(), name: name.clone() });
                    events.extend(arguments.pieces().into_iter().map(AnswerEvent::ToolArguments));
                }
            }
        }
        events.push(AnswerEvent::Ended(self.end()));
        events
    }

    fn end(&self) -> AnswerEnd {
        let reason = match &self.end {
            End::Turn => StopReason::EndTurn,
            End::StopSequence => StopReason::StopSequence,
            End::ToolUse => StopReason::ToolUse,
            End::PauseTurn => StopReason::PauseTurn,
            End::MaxTokens => StopReason::MaxTokens,
            End::ContextWindow => StopReason::ContextWindow,
            End::Refusal => StopReason::Refusal,
            End::Unknown(word) => StopReason::Unknown(word.clone()),
        };
        AnswerEnd { reason, stop_sequence: self.stop_sequence.clone(), usage: self.usage.get() }
    }
}

impl Arguments {
    /// In pieces, none of them empty, and at least one.
    fn pieces(&self) -> Vec<String> {
        let pieces: Vec<String> = match self {
            Self::Text(pieces) => pieces.clone(),
            Self::Json { object: MadeUpObject(object), cut } => {
                let json = serde_json::to_string(object).unwrap_or_default();
                let (first, second) =
                    json.split_at(json.ceil_char_boundary(usize::from(*cut).min(json.len())));
                vec![first.to_owned(), second.to_owned()]
            }
        };
        let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        if pieces.is_empty() { vec!["{}".to_owned()] } else { pieces }
    }
}

impl MadeUpUsage {
    fn get(&self) -> Usage {
        let [input, cache_creation, cache_read, output, thinking] = self.0;
        Usage { input, cache_creation, cache_read, output, thinking }
    }
}

/// A text of any characters, lone surrogates apart: also those that bytes seldom make.
#[derive(Debug, Clone)]
pub struct AnyText(pub String);

impl<'a> Arbitrary<'a> for AnyText {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        let count = from.int_in_range(0..=40)?;
        (0..count).map(|_| char::arbitrary(from)).collect::<Result<_>>().map(Self)
    }
}
