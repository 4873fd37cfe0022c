//! What an answer consists of, as those read it who write it for a client.

use crate::claude::frame_out::UsageUpdate;
use crate::turn::Parameter;

/// A piece of an answer, in the order in which the model gave it.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// The model begins.
    Started {
        /// The model, as it names itself.
        model: String,
        /// What is known of the tokens so far: those of the prompt.
        usage: Usage,
        /// Parameters of the turn that the model refuses, and was therefore asked without.
        unheeded: Vec<Parameter>,
    },
    /// A piece of text.
    Text(String),
    /// A piece of the summary of the model's thinking.
    Reasoning(String),
    /// What Anthropic signs the thinking before it with.
    Signature(String),
    /// A call of a tool begins. Its arguments follow, before anything else does.
    ToolCall {
        /// The call's id, the model's own.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// A piece of the JSON of the arguments of the call that began last, never empty. A call has at least one: `{}`.
    ToolArguments(String),
    /// The model ended; nothing follows.
    Ended(AnswerEnd),
}

impl AnswerEvent {
    /// Whether it is the first that a client sees of a text, a thought or a call.
    #[must_use]
    pub fn is_delta(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Reasoning(_) | Self::ToolCall { .. })
    }
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerEnd {
    /// Why.
    pub reason: StopReason,
    /// The text that ended it, where one did.
    pub stop_sequence: Option<String>,
    /// The tokens of all messages of the answer together.
    pub usage: Usage,
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It was done.
    EndTurn,
    /// It wrote one of the stop sequences.
    StopSequence,
    /// It called tools.
    ToolUse,
    /// It paused a long turn; the CLI takes that for an end.
    PauseTurn,
    /// It used up the tokens allowed for the answer.
    MaxTokens,
    /// It filled its context window.
    ContextWindow,
    /// It declined.
    Refusal,
    /// A reason this version of Couplet does not know.
    Unknown(String),
}

/// Token counts, as the API gives them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Uncached tokens of the prompt.
    pub input: u64,
    /// Tokens of the prompt written to the cache.
    pub cache_creation: u64,
    /// Tokens of the prompt read from the cache.
    pub cache_read: u64,
    /// Tokens of the answer, thinking included.
    pub output: u64,
    /// Tokens spent on thinking.
    pub thinking: u64,
}

impl StopReason {
    /// Whether the model itself came to an end, so that a conversation can go on from there.
    #[must_use]
    pub fn is_of_the_model_s_own(&self) -> bool {
        matches!(self, Self::EndTurn | Self::StopSequence)
    }
}

impl Usage {
    pub(super) fn update(&mut self, update: UsageUpdate) {
        let replace = |count: &mut u64, value: Option<u64>| *count = value.unwrap_or(*count);
        replace(&mut self.input, update.input_tokens);
        replace(&mut self.cache_creation, update.cache_creation_input_tokens);
        replace(&mut self.cache_read, update.cache_read_input_tokens);
        replace(&mut self.output, update.output_tokens);
        replace(&mut self.thinking, update.output_tokens_details.and_then(|details| details.thinking_tokens));
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_creation: self.cache_creation.saturating_add(other.cache_creation),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            output: self.output.saturating_add(other.output),
            thinking: self.thinking.saturating_add(other.thinking),
        }
    }
}

impl From<&str> for StopReason {
    fn from(reason: &str) -> Self {
        match reason {
            "end_turn" => Self::EndTurn,
            "stop_sequence" => Self::StopSequence,
            "tool_use" => Self::ToolUse,
            "pause_turn" => Self::PauseTurn,
            "max_tokens" => Self::MaxTokens,
            "model_context_window_exceeded" => Self::ContextWindow,
            "refusal" => Self::Refusal,
            other => Self::Unknown(other.to_owned()),
        }
    }
}
