//! Frames written to the CLI's stdin, one JSON object a line.

mod content;
mod settings;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use content::MessageIn;
pub use settings::{changed_settings, flag_settings};

use super::prompt_cache::CacheTtl;
use super::tool_server::{self, WaitingCall};
use super::warm::profile::{Prepared, Profile};
use crate::turn::{AssistantBlock, Effort, Message, ResultBlock, Turn, UserBlock};

/// A question, a control request or a piece of history on its way into the CLI.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FrameIn<'a> {
    /// Asks the CLI to do something; it answers with a control response of the same id.
    ControlRequest {
        /// Chosen by the sender, unique in the process.
        request_id: String,
        /// What to do.
        request: ControlRequest<'a>,
    },
    /// Answers a control request of the CLI.
    ControlResponse {
        /// The answer.
        response: ControlAnswer<'a>,
    },
    /// A user turn: a question, or with `should_query: false` a piece of history.
    User {
        /// The turn itself.
        message: MessageIn<'a>,
        /// Always null: no subagent speaks here.
        parent_tool_use_id: Option<()>,
        /// Left empty: the CLI knows its session.
        session_id: &'static str,
        /// Present and false where the turn is history only; the CLI answers with an empty `result`.
        #[serde(rename = "shouldQuery", skip_serializing_if = "Option::is_none")]
        should_query: Option<bool>,
        /// Always true: the text is delivered as written, with no look for commands and file mentions in it. Not
        /// documented; seen to work on 2.1.270 and 2.1.329, unknown to 2.1.197. See `user_content` for the second lock.
        client_composed: bool,
    },
    /// An assistant turn of the history. It is appended at once, while user frames queue: it may be written only after
    /// the `result` of the user frame before it.
    Assistant {
        /// The turn itself.
        message: MessageIn<'a>,
        /// Always null.
        parent_tool_use_id: Option<()>,
        /// Left empty.
        session_id: &'static str,
    },
}

/// What a control request asks for.
#[derive(Debug, Serialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub enum ControlRequest<'a> {
    /// The first frame of a process. Without `systemPrompt` the CLI would send its own long one; an empty one sends none.
    Initialize {
        /// The system prompt.
        #[serde(rename = "systemPrompt")]
        system_prompt: &'a str,
        /// The servers of tools that Couplet has for it; see [`super::tool_server`].
        #[serde(rename = "sdkMcpServers", skip_serializing_if = "<[_]>::is_empty")]
        servers: &'a [&'static str],
    },
    /// Settings for the requests from now on.
    ApplyFlagSettings {
        /// See [`flag_settings`].
        settings: Value,
    },
    /// How much the model thinks at most, where it has such a budget; 0 turns thinking off, where it allows that. Models that
    /// think as they see fit (measured: all that the CLI lists) do not mind. The CLI keeps it below `max_tokens`.
    SetMaxThinkingTokens {
        /// Tokens.
        max_thinking_tokens: u32,
    },
    /// Tells the tokens in the conversation, part by part.
    GetContextUsage {
        /// How they are found.
        detail: ContextDetail,
    },
    /// Ends the running answer.
    Interrupt,
    /// A message to a server of tools, as if it came from that server.
    McpMessage {
        /// The server.
        server_name: &'static str,
        /// The message.
        message: Notification,
    },
}

/// How the CLI finds the number of tokens. Releases before 2.1.270 do not know the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextDetail {
    /// It estimates them.
    Summary,
    /// It asks the API, and estimates without a word what the API does not tell.
    Full,
}

/// A JSON-RPC message without an answer.
#[derive(Debug, Serialize)]
pub struct Notification {
    jsonrpc: &'static str,
    method: &'static str,
}

impl ControlRequest<'_> {
    /// Changes no setting.
    #[must_use]
    pub fn no_settings() -> Self {
        Self::ApplyFlagSettings { settings: Value::Object(serde_json::Map::new()) }
    }

    /// Says that the tools are others now; the CLI then asks for them.
    #[must_use]
    pub fn tools_changed() -> Self {
        let message = Notification { jsonrpc: "2.0", method: "notifications/tools/list_changed" };
        Self::McpMessage { server_name: tool_server::NAME, message }
    }
}

/// The answer to a control request of the CLI.
#[derive(Debug, Serialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub enum ControlAnswer<'a> {
    /// It is not done.
    Error {
        /// The request.
        request_id: &'a str,
        /// Why.
        error: &'static str,
    },
    /// It is done.
    Success {
        /// The request.
        request_id: &'a str,
        /// What it asked for.
        response: McpResponse<'a>,
    },
}

/// What a server of tools says.
#[derive(Debug, Serialize)]
pub struct McpResponse<'a> {
    mcp_response: McpMessage<'a>,
}

/// A JSON-RPC message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum McpMessage<'a> {
    Plain(&'a Value),
    CallResult { jsonrpc: &'static str, id: &'a Value, result: content::CallResult<'a> },
}

impl<'a> FrameIn<'a> {
    /// A user turn that is history.
    #[must_use]
    pub fn history_user(blocks: &'a [UserBlock]) -> Self {
        Self::user(blocks, Some(false))
    }

    /// A user turn that the model is to answer.
    #[must_use]
    pub fn question(blocks: &'a [UserBlock]) -> Self {
        Self::user(blocks, None)
    }

    /// A question of nothing but white space, which releases from 2.1.240 on answer themselves, and forget.
    #[must_use]
    pub fn blank_question() -> Self {
        Self::user_message(MessageIn::blank(), None)
    }

    fn user(blocks: &'a [UserBlock], should_query: Option<bool>) -> Self {
        Self::user_message(MessageIn::user(blocks), should_query)
    }

    fn user_message(message: MessageIn<'a>, should_query: Option<bool>) -> Self {
        Self::User { message, parent_tool_use_id: None, session_id: "", should_query, client_composed: true }
    }

    /// An assistant turn of the history, the message of that place in it.
    #[must_use]
    pub fn history_assistant(place: usize, blocks: &'a [AssistantBlock]) -> Self {
        let message = MessageIn::assistant(format!("msg_history_{place}"), blocks);
        Self::Assistant { message, parent_tool_use_id: None, session_id: "" }
    }

    /// Marks the last block that can carry it; `false` where none can.
    fn take_mark(&mut self, ttl: CacheTtl) -> bool {
        match self {
            Self::User { message, .. } | Self::Assistant { message, .. } => message.take_mark(ttl),
            Self::ControlRequest { .. } | Self::ControlResponse { .. } => false,
        }
    }

    /// Declines a control request of the CLI that Couplet does not know, so that the CLI does not wait for it.
    #[must_use]
    pub fn decline(request_id: &'a str) -> Self {
        Self::ControlResponse {
            response: ControlAnswer::Error { request_id, error: "not supported by this host" },
        }
    }

    /// What a server of tools answers at once to the control request `request_id`.
    #[must_use]
    pub fn mcp_answer(request_id: &'a str, message: &'a Value) -> Self {
        Self::mcp_response(request_id, McpMessage::Plain(message))
    }

    /// The result of a call that waited.
    #[must_use]
    pub fn call_result(call: &'a WaitingCall, blocks: &'a [ResultBlock], is_error: bool) -> Self {
        let result = content::CallResult::new(blocks, is_error);
        Self::mcp_response(
            &call.request_id,
            McpMessage::CallResult { jsonrpc: "2.0", id: &call.rpc_id, result },
        )
    }

    fn mcp_response(request_id: &'a str, mcp_response: McpMessage<'a>) -> Self {
        let response = McpResponse { mcp_response };
        Self::ControlResponse { response: ControlAnswer::Success { request_id, response } }
    }

    /// Whether the CLI confirms the frame with an empty `result`: a user turn of the history.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::User { should_query: Some(false), .. })
    }

    /// Appends the frame as one line to `lines`.
    pub fn write_to(&self, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *lines, self)?;
        lines.push(b'\n');
        Ok(())
    }
}

/// What sets a process up for a turn, as far as it is not: system prompt, tools, model, parameters.
#[must_use]
pub fn set_up<'a>(
    turn: &'a Turn,
    prepared: &Prepared,
    servers: &'a [&'static str],
) -> Vec<ControlRequest<'a>> {
    let initialize = ControlRequest::Initialize { system_prompt: &turn.system, servers };
    let mut requests = Vec::with_capacity(3);
    let has_settings = match prepared {
        Prepared::Not => {
            requests.push(initialize);
            false
        }
        Prepared::For { model, .. } => settings::is_all(turn, model),
    };
    if !has_settings {
        requests.push(ControlRequest::ApplyFlagSettings { settings: flag_settings(turn) });
    }
    let budget = match turn.parameters.effort {
        // Models that always think do not mind.
        Some(Effort::Off) => Some(0),
        _ => turn.parameters.thinking_budget,
    };
    if let Some(max_thinking_tokens) = budget {
        requests.push(ControlRequest::SetMaxThinkingTokens { max_thinking_tokens });
    }
    requests
}

/// What sets a process up before there is a turn.
#[must_use]
pub fn set_up_ahead<'a>(profile: &'a Profile, servers: &'a [&'static str]) -> [ControlRequest<'a>; 2] {
    [
        ControlRequest::Initialize { system_prompt: &profile.system, servers },
        ControlRequest::ApplyFlagSettings { settings: settings::model_only(&profile.model) },
    ]
}

/// The turns before the question. The last of their blocks that can carry it gets `mark`: see [`super::prompt_cache`].
#[must_use]
pub fn history(turn: &Turn, mark: Option<CacheTtl>) -> Vec<FrameIn<'_>> {
    let frames = turn.history.iter().enumerate().map(|(place, message)| match message {
        Message::User(blocks) => FrameIn::history_user(blocks),
        Message::Assistant(blocks) => FrameIn::history_assistant(place, blocks),
    });
    let mut frames: Vec<_> = frames.collect();
    if let Some(ttl) = mark {
        // The first from the end that takes it is the only one.
        frames.iter_mut().rev().any(|frame| frame.take_mark(ttl));
    }
    frames
}

/// All frames of a turn in a fresh process, in their order: set-up, history, question. What the CLI asks in between
/// (see [`super::tool_server`]) is left out.
#[must_use]
pub fn of_turn(turn: &Turn, mark: Option<CacheTtl>) -> Vec<FrameIn<'_>> {
    let servers: &[_] = if turn.tools.is_empty() { &[] } else { &[tool_server::NAME] };
    let set_up = set_up(turn, &Prepared::Not, servers)
        .into_iter()
        .enumerate()
        .map(|(index, request)| FrameIn::ControlRequest { request_id: format!("setup-{index}"), request });
    set_up.chain(history(turn, mark)).chain([FrameIn::question(&turn.question)]).collect()
}
