//! What a process can be set up with before anybody asks in it.

use crate::claude::conversation_key::ProfileKey;
use crate::turn::{Tool, Turn};

/// A system prompt, the tools with it, and the model that was last asked so.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Scope, system prompt and tools, by their hash.
    pub key: ProfileKey,
    /// The system prompt.
    pub system: String,
    /// The tools.
    pub tools: Vec<Tool>,
    /// The model. It can still be changed without a trace, at the price of some milliseconds.
    pub model: String,
}

impl Profile {
    /// The profile of a turn.
    #[must_use]
    pub fn of(key: ProfileKey, turn: &Turn) -> Self {
        Self { key, system: turn.system.clone(), tools: turn.tools.clone(), model: turn.model.clone() }
    }

    /// Neither system prompt nor tools, nor a model: the same for all scopes.
    #[must_use]
    pub fn empty() -> Self {
        let (system, tools, model) = (String::new(), Vec::new(), String::new());
        Self { key: ProfileKey::empty(), system, tools, model }
    }

    /// The profile of a turn, where it takes no more than so many bytes.
    #[must_use]
    pub fn within(limit: usize, key: ProfileKey, turn: &Turn) -> Option<Self> {
        let texts = |tool: &Tool| tool.name.len() + tool.description.len();
        let schema =
            |tool: &Tool| serde_json::to_string(&tool.schema).map_or(usize::MAX, |schema| schema.len());
        let mut size = turn.system.len();
        // The schemas last: they cost the most to look at.
        for of_tool in [&texts as &dyn Fn(&Tool) -> usize, &schema] {
            size = turn.tools.iter().map(of_tool).fold(size, usize::saturating_add);
            if size > limit {
                return None;
            }
        }
        Some(Self::of(key, turn))
    }
}

/// What a process has been set up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// With nothing yet.
    Not,
    /// With the system prompt of the turn to come.
    For {
        /// The model that was set.
        model: String,
        /// Whether it has the tools of the turn to come too; otherwise it has none, and can be given them.
        has_tools: bool,
    },
}
