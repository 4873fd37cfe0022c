//! What a process can be set up with before anybody asks in it.

use crate::claude::conversation_key::ProfileKey;
use crate::turn::{Tool, Turn};

/// A system prompt, the tools with it, and the model that was last asked so.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Tenant, system prompt and tools, by their hash.
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

    /// Neither system prompt nor tools, nor a model: the same for all tenants.
    #[must_use]
    pub fn empty() -> Self {
        let (system, tools, model) = (String::new(), Vec::new(), String::new());
        Self { key: ProfileKey::empty(), system, tools, model }
    }

    /// Bytes it takes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let of_tool = |tool: &Tool| {
            let schema = serde_json::to_string(&tool.schema).map_or(0, |schema| schema.len());
            tool.name.len() + tool.description.len() + schema
        };
        self.system.len() + self.tools.iter().map(of_tool).sum::<usize>()
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
