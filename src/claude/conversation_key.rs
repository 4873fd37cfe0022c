//! What a conversation is known by: a hash of everything that was said in it, to whom, and by whom.
//!
//! A process that holds a conversation is found again by this key alone, so nothing but the identical conversation of the
//! same scope may have the same one. Each message is hashed together with the key before it, every field with its length,
//! so that no two conversations are written alike.
//!
//! The model, and whether and how much it thinks, are part of the key, because a living process cannot change them without a
//! trace (see [`super::frame_in::changed_settings`]). The other parameters are set for each turn.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::scope::Scope;
use crate::turn::{AssistantBlock, Effort, Media, Message, ResultBlock, Turn, UserBlock};

/// The key of a conversation, from its beginning to some message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConversationKey([u8; 32]);

/// What a value is, before the value itself: values of different kinds never look alike.
#[derive(Clone, Copy)]
enum Kind {
    Prompt,
    Profile,
    Conversation,
    UserMessage,
    AssistantMessage,
    Text,
    ToolResult,
    ToolFailure,
    ToolUse,
    Image,
    ImageUrl,
    Pdf,
    TextFile,
}

/// What a conversation is set up with, and for whom: scope, credential, system prompt, tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileKey {
    /// Without the tools.
    prompt: [u8; 32],
    whole: [u8; 32],
}

impl ProfileKey {
    /// The key of what a turn is set up with. `credential` tells who is signed in, without being a secret.
    #[must_use]
    pub fn of(scope: &Scope, credential: &str, turn: &Turn) -> Self {
        let mut hash = Hasher::new(Kind::Prompt);
        // An empty one tells nothing of anybody.
        if !turn.system.is_empty() {
            hash.field(scope.as_bytes());
            hash.field(credential.as_bytes());
            hash.field(turn.system.as_bytes());
        }
        let prompt = hash.finish();
        let mut hash = Hasher::new(Kind::Profile);
        hash.field(&prompt);
        hash.field(scope.as_bytes());
        hash.field(credential.as_bytes());
        hash.number(turn.tools.len() as u64);
        for tool in &turn.tools {
            hash.field(tool.name.as_bytes());
            hash.field(tool.description.as_bytes());
            // In the client's own order: that is the order in which the model reads it.
            hash.json(&tool.schema);
        }
        Self { prompt, whole: hash.finish() }
    }

    /// Of a process that is set up with neither system prompt nor tools, for whoever comes. No turn has this key.
    #[must_use]
    pub fn empty() -> Self {
        let prompt = Hasher::new(Kind::Prompt).finish();
        Self { prompt, whole: Hasher::new(Kind::Profile).finish() }
    }

    /// Whether the other one has the same system prompt, for the same scope and credential.
    #[must_use]
    pub fn has_prompt_of(&self, other: &Self) -> bool {
        self.prompt == other.prompt
    }
}

impl ConversationKey {
    /// The key of what was said before the question of `turn`.
    ///
    /// `credential` tells who is signed in, without being a secret.
    #[must_use]
    pub fn of_history(scope: &Scope, credential: &str, turn: &Turn) -> Self {
        Self::of_history_with(&ProfileKey::of(scope, credential, turn), turn)
    }

    /// The same, with what the conversation is set up with hashed before.
    #[must_use]
    pub fn of_history_with(profile: &ProfileKey, turn: &Turn) -> Self {
        let mut hash = Hasher::new(Kind::Conversation);
        hash.field(&profile.whole);
        hash.field(turn.model.as_bytes());
        hash.number(u64::from(turn.parameters.effort == Some(Effort::Off)));
        hash.number(turn.parameters.thinking_budget.map_or(0, |tokens| u64::from(tokens) + 1));
        turn.history.iter().fold(Self(hash.finish()), |key, message| match message {
            Message::User(blocks) => key.then_user(blocks),
            Message::Assistant(blocks) => key.then_assistant(blocks),
        })
    }

    /// The key after another message of the user or of tools.
    #[must_use]
    pub fn then_user(self, blocks: &[UserBlock]) -> Self {
        let mut hash = self.next(Kind::UserMessage, blocks.len());
        for block in blocks {
            match block {
                UserBlock::Text(text) => hash.text(text),
                UserBlock::Media(media) => hash.media(media),
                UserBlock::ToolResult { call_id, content, is_error } => {
                    hash.kind(if *is_error { Kind::ToolFailure } else { Kind::ToolResult });
                    hash.field(call_id.as_bytes());
                    hash.number(content.len() as u64);
                    for block in content {
                        match block {
                            ResultBlock::Text(text) => hash.text(text),
                            ResultBlock::Media(media) => hash.media(media),
                        }
                    }
                }
            }
        }
        Self(hash.finish())
    }

    /// The key after another message of the model. Arguments are compared by what they say, since a client that parsed
    /// them may write them in another way.
    #[must_use]
    pub fn then_assistant(self, blocks: &[AssistantBlock]) -> Self {
        let mut hash = self.next(Kind::AssistantMessage, blocks.len());
        for block in blocks {
            match block {
                AssistantBlock::Text(text) => hash.text(text),
                AssistantBlock::ToolUse { id, name, input } => {
                    hash.kind(Kind::ToolUse);
                    hash.field(id.as_bytes());
                    hash.field(name.as_bytes());
                    hash.json(&canonical_object(input));
                }
            }
        }
        Self(hash.finish())
    }

    fn next(self, kind: Kind, blocks: usize) -> Hasher {
        let mut hash = Hasher::new(kind);
        hash.field(&self.0);
        hash.number(blocks as u64);
        hash
    }
}

struct Hasher(Sha256);

impl Hasher {
    fn new(kind: Kind) -> Self {
        let mut hash = Self(Sha256::new());
        hash.kind(kind);
        hash
    }

    fn kind(&mut self, kind: Kind) {
        self.0.update([kind as u8]);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.kind(Kind::Text);
        self.field(text.as_bytes());
    }

    fn json(&mut self, object: &Map<String, Value>) {
        self.field(serde_json::to_string(object).unwrap_or_default().as_bytes());
    }

    fn media(&mut self, media: &Media) {
        match media {
            Media::Image { format, bytes } => {
                self.kind(Kind::Image);
                self.field(format.media_type().as_bytes());
                self.field(bytes);
            }
            Media::ImageUrl(url) => {
                self.kind(Kind::ImageUrl);
                self.field(url.as_bytes());
            }
            Media::Pdf { title, bytes } => {
                self.kind(Kind::Pdf);
                self.title(title.as_deref());
                self.field(bytes);
            }
            Media::Text { title, text } => {
                self.kind(Kind::TextFile);
                self.title(title.as_deref());
                self.field(text.as_bytes());
            }
        }
    }

    fn title(&mut self, title: Option<&str>) {
        self.number(u64::from(title.is_some()));
        self.field(title.unwrap_or_default().as_bytes());
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The same object with its keys in order and whole numbers without a fraction.
pub(super) fn canonical_object(object: &Map<String, Value>) -> Map<String, Value> {
    let mut entries: Vec<_> = object.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries.into_iter().collect()
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(canonical_object(object)),
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Number(number) => canonical_number(number),
        other => other.clone(),
    }
}

/// JavaScript writes `1.0` as `1`.
fn canonical_number(number: &serde_json::Number) -> Value {
    /// Beyond this a float has no room for every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            let whole = float as i64;
            whole.into()
        }
        _ => Value::Number(number.clone()),
    }
}

#[cfg(test)]
mod tests;
