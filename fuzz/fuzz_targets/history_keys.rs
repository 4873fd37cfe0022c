//! Two conversations have the same key exactly where they say the same.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use couplet::claude::conversation_key::ConversationKey;
use couplet::scope::Scope;
use couplet::turn::{
    AssistantBlock, Effort, ImageFormat, Media, Message, Parameters, ResultBlock, Tool, Turn, UserBlock,
};
use couplet_fuzz::json::{MadeUpObject, objects_say_the_same};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Clone, Arbitrary)]
struct Conversation {
    credential: String,
    caller: Option<(String, String)>,
    model: String,
    system: String,
    tools: Vec<(String, String, MadeUpObject)>,
    is_without_thinking: bool,
    budget: Option<u32>,
    history: Vec<MadeUpMessage>,
}

#[derive(Debug, Clone, Arbitrary)]
enum MadeUpMessage {
    User(Vec<Said>),
    Assistant(Vec<Spoken>),
}

#[derive(Debug, Clone, Arbitrary)]
enum Said {
    Text(String),
    Media(MadeUpMedia),
    Result { call_id: String, content: Vec<Result<String, MadeUpMedia>>, is_error: bool },
}

#[derive(Debug, Clone, Arbitrary)]
enum MadeUpMedia {
    Image { is_png: bool, bytes: Vec<u8> },
    Url(String),
    Pdf { title: Option<String>, bytes: Vec<u8> },
    Text { title: Option<String>, text: String },
}

#[derive(Debug, Clone, Arbitrary)]
enum Spoken {
    Text(String),
    Call { id: String, name: String, input: MadeUpObject },
}

/// A place where the second conversation is not as the first, and how.
#[derive(Debug, Arbitrary)]
enum Change {
    Nothing,
    Another(Conversation),
    Credential(String),
    Model(String),
    System(String),
    /// The same tools in another order.
    ToolsTurned,
    Truncated(u8),
    Swapped(u8, u8),
    Replaced(u8, MadeUpMessage),
    /// The last character of one message's text begins the next one's.
    TextMoved(u8),
    /// Arguments in another order.
    ArgumentsTurned,
}

impl Conversation {
    fn changed(&self, change: Change) -> Self {
        let mut changed = self.clone();
        let count = changed.history.len().max(1);
        let at = |index: u8| usize::from(index) % count;
        match change {
            Change::Another(another) => changed = another,
            Change::Credential(credential) => changed.credential = credential,
            Change::Model(model) => changed.model = model,
            Change::System(system) => changed.system = system,
            Change::ToolsTurned => changed.tools.reverse(),
            Change::Truncated(index) => changed.history.truncate(at(index)),
            Change::Swapped(a, b) if !changed.history.is_empty() => changed.history.swap(at(a), at(b)),
            Change::Replaced(index, message) if !changed.history.is_empty() => {
                changed.history[at(index)] = message;
            }
            Change::TextMoved(index) => move_text(&mut changed.history, at(index)),
            Change::ArgumentsTurned => turn_arguments(&mut changed.history),
            Change::Nothing | Change::Swapped(..) | Change::Replaced(..) => {}
        }
        changed
    }

    fn turn(&self) -> Turn {
        let tool = |(name, description, schema): &(String, String, MadeUpObject)| Tool {
            name: name.clone(),
            description: description.clone(),
            schema: schema.0.clone(),
        };
        let effort = self.is_without_thinking.then_some(Effort::Off);
        Turn {
            model: self.model.clone(),
            system: self.system.clone(),
            history: self.history.iter().map(MadeUpMessage::message).collect(),
            question: vec![UserBlock::Text("q".to_owned())],
            tools: self.tools.iter().map(tool).collect(),
            parameters: Parameters { effort, thinking_budget: self.budget, ..Parameters::default() },
        }
    }

    fn scope(&self) -> Scope {
        match &self.caller {
            None => Scope::anyone(),
            Some((tenant, caller)) => Scope::of_caller(tenant, caller),
        }
    }

    fn key(&self) -> ConversationKey {
        ConversationKey::of_history(&self.scope(), &self.credential, &self.turn())
    }
}

impl MadeUpMessage {
    fn message(&self) -> Message {
        match self {
            Self::User(said) => Message::User(said.iter().map(Said::block).collect()),
            Self::Assistant(spoken) => Message::Assistant(spoken.iter().map(Spoken::block).collect()),
        }
    }
}

impl Said {
    fn block(&self) -> UserBlock {
        match self {
            Self::Text(text) => UserBlock::Text(text.clone()),
            Self::Media(media) => UserBlock::Media(media.media()),
            Self::Result { call_id, content, is_error } => UserBlock::ToolResult {
                call_id: call_id.clone(),
                content: content
                    .iter()
                    .map(|block| match block {
                        Ok(text) => ResultBlock::Text(text.clone()),
                        Err(media) => ResultBlock::Media(media.media()),
                    })
                    .collect(),
                is_error: *is_error,
            },
        }
    }
}

impl MadeUpMedia {
    fn media(&self) -> Media {
        match self.clone() {
            Self::Image { is_png, bytes } => {
                let format = if is_png { ImageFormat::Png } else { ImageFormat::Jpeg };
                Media::Image { format, bytes: Bytes::from(bytes) }
            }
            Self::Url(url) => Media::ImageUrl(url),
            Self::Pdf { title, bytes } => Media::Pdf { title, bytes: Bytes::from(bytes) },
            Self::Text { title, text } => Media::Text { title, text },
        }
    }
}

impl Spoken {
    fn block(&self) -> AssistantBlock {
        match self.clone() {
            Self::Text(text) => AssistantBlock::Text(text),
            Self::Call { id, name, input } => AssistantBlock::ToolUse { id, name, input: input.0 },
        }
    }
}

fn move_text(history: &mut [MadeUpMessage], at: usize) {
    let Some(MadeUpMessage::User(said)) = history.get_mut(at) else { return };
    if let [Said::Text(first), Said::Text(second), ..] = &mut said[..]
        && let Some(last) = first.pop()
    {
        second.insert(0, last);
    }
}

fn turn_arguments(history: &mut [MadeUpMessage]) {
    for message in history {
        let MadeUpMessage::Assistant(spoken) = message else { continue };
        for block in spoken {
            if let Spoken::Call { input, .. } = block {
                input.0 = std::mem::take(&mut input.0).into_iter().rev().collect();
            }
        }
    }
}

fn say_the_same(a: &Conversation, b: &Conversation) -> bool {
    let (x, y) = (a.turn(), b.turn());
    // What a schema says in another order it says in another way to the model.
    let schemas = |turn: &Turn| {
        turn.tools.iter().map(|tool| serde_json::json!(tool.schema).to_string()).collect::<Vec<_>>()
    };
    a.credential == b.credential
        && a.caller == b.caller
        && x.model == y.model
        && x.system == y.system
        && x.parameters == y.parameters
        && x.tools == y.tools
        && schemas(&x) == schemas(&y)
        && x.history.len() == y.history.len()
        && x.history.iter().zip(&y.history).all(|(a, b)| messages_say_the_same(a, b))
}

fn messages_say_the_same(a: &Message, b: &Message) -> bool {
    match (a, b) {
        (Message::Assistant(a), Message::Assistant(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|blocks| match blocks {
                    (
                        AssistantBlock::ToolUse { id, name, input },
                        AssistantBlock::ToolUse { id: other_id, name: other_name, input: other_input },
                    ) => id == other_id && name == other_name && objects_say_the_same(input, other_input),
                    (a, b) => a == b,
                })
        }
        (a, b) => a == b,
    }
}

fuzz_target!(|input: (Conversation, Change)| {
    let (first, change) = input;
    let second = first.changed(change);
    assert_eq!(first.key() == second.key(), say_the_same(&first, &second), "{first:#?} {second:#?}");
});
