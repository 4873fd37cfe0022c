//! Why a turn failed.

use std::time::SystemTime;

use super::shaping::Unmet;

/// Why a turn failed. Free of HTTP: one table turns it into what a client sees
/// ([`translate::failure`](crate::translate::failure)).
#[derive(Debug, thiserror::Error)]
pub enum TurnFailure {
    /// The CLI could not be started.
    #[error("the Claude Code CLI could not be started: {0}")]
    Start(#[source] std::io::Error),
    /// All places are taken and the queue is full, or the wait in it was too long.
    #[error("too many requests at once")]
    Busy,
    /// The server is about to stop.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Whoever asked may not ask any more.
    #[error("the key was revoked, or has expired")]
    CallerEnded,
    /// The sign-in was ended: the CLI is not asked any more with this credential.
    #[error("the sign-in to Claude was ended")]
    SignedOut,
    /// No event of the answer came in time.
    #[error("the model did not begin to answer within {seconds} s")]
    FirstFrameTimeout {
        /// The deadline that passed.
        seconds: u64,
    },
    /// The answer stopped in the middle for too long.
    #[error("the answer was silent for {seconds} s")]
    IdleTimeout {
        /// The deadline that passed.
        seconds: u64,
    },
    /// The answer took too long as a whole.
    #[error("the answer took longer than {seconds} s")]
    TotalTimeout {
        /// The deadline that passed.
        seconds: u64,
    },
    /// The client read too slowly.
    #[error("the client did not read the answer for {seconds} s")]
    SlowReader {
        /// The deadline that passed.
        seconds: u64,
    },
    /// The CLI's output ended, or its input broke, before the turn's result.
    #[error("the Claude Code CLI ended before its answer was complete ({status})")]
    Crashed {
        /// How it ended, as `exit status: 1`.
        status: String,
    },
    /// The CLI wrote something Couplet cannot go on from.
    #[error("the Claude Code CLI said something unexpected: {0}")]
    Protocol(String),
    /// The CLI only estimates how many tokens the turn would be.
    #[error("the tokens could not be counted: {0}")]
    NotCounted(&'static str),
    /// The CLI left tools out: it takes their schemas for wrong.
    #[error("the Claude Code CLI does not take the tools {names:?}")]
    ToolsNotTaken {
        /// The tools.
        names: Vec<String>,
    },
    /// The answer is not what was asked for.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// The CLI does not take the schema of the answer as that of a tool's arguments.
    #[error("the Claude Code CLI does not take the schema of the answer")]
    SchemaNotTaken,
    /// The model's answer broke off after a part of it was already passed on.
    #[error("the connection to the model broke in the middle of the answer")]
    BrokenOff,
    /// The subscription's usage limit is reached.
    #[error("the usage limit is reached: {sentence}")]
    UsageLimit {
        /// When the limit is lifted, where that is known.
        resets_at: Option<SystemTime>,
        /// The CLI's sentence about it.
        sentence: String,
    },
    /// The API refused or failed.
    #[error("the model's API failed ({status:?}): {sentence}")]
    Api {
        /// The HTTP status of the API, where it answered at all.
        status: Option<u16>,
        /// What kind of failure it is.
        kind: ApiFailureKind,
        /// The CLI's sentence about it.
        sentence: String,
    },
}

/// What kind of failure of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFailureKind {
    /// The credential is missing, wrong or expired.
    Authentication,
    /// The credential is good, but not for this.
    Permission,
    /// The model is not known.
    ModelNotFound,
    /// The conversation does not fit the model's context.
    PromptTooLong,
    /// The request is larger than the API takes.
    RequestTooLarge,
    /// The API found something wrong in the request.
    InvalidRequest,
    /// Too many requests at this moment; not the subscription's limit.
    RateLimited,
    /// The request would take extra usage that the account does not have: a long context, or certain models. Other requests
    /// may still be answered.
    ExtraUsage,
    /// The API is overloaded.
    Overloaded,
    /// The API could not be reached, or the connection was lost.
    Unreachable,
    /// The API failed.
    Server,
}

impl TurnFailure {
    /// The same, with what the CLI or the API said passed through `told`: they may quote what must not be seen.
    #[must_use]
    pub fn retold(self, told: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Start(error) if error.kind() == std::io::ErrorKind::Other => {
                Self::Start(std::io::Error::other(told(&error.to_string())))
            }
            Self::Protocol(said) => Self::Protocol(told(&said)),
            Self::UsageLimit { resets_at, sentence } => {
                Self::UsageLimit { resets_at, sentence: told(&sentence) }
            }
            Self::Api { status, kind, sentence } => Self::Api { status, kind, sentence: told(&sentence) },
            other => other,
        }
    }

    /// What the log is told: nothing that the CLI, the API or the model said, for that may quote what somebody asked.
    #[must_use]
    pub fn for_log(&self) -> String {
        match self {
            Self::Protocol(_) => "the Claude Code CLI said something unexpected".to_owned(),
            Self::ToolsNotTaken { names } => {
                format!("the Claude Code CLI does not take {} tools", names.len())
            }
            Self::Unmet(_) => "the answer is not what was asked for".to_owned(),
            Self::UsageLimit { .. } => "the usage limit is reached".to_owned(),
            Self::Api { status, .. } => format!("the model's API failed ({status:?}): {}", self.kind()),
            other => other.to_string(),
        }
    }

    /// A short name for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting_down",
            Self::CallerEnded => "caller_ended",
            Self::SignedOut => "signed_out",
            Self::FirstFrameTimeout { .. } => "first_frame_timeout",
            Self::IdleTimeout { .. } => "idle_timeout",
            Self::TotalTimeout { .. } => "total_timeout",
            Self::SlowReader { .. } => "slow_reader",
            Self::Crashed { .. } => "crashed",
            Self::Protocol(_) => "protocol",
            Self::NotCounted(_) => "not_counted",
            Self::ToolsNotTaken { .. } => "tools_not_taken",
            Self::Unmet(Unmet::NotCalled) => "not_called",
            Self::Unmet(Unmet::Json(_) | Unmet::OtherText) => "not_of_the_form",
            Self::SchemaNotTaken => "schema_not_taken",
            Self::BrokenOff => "broken_off",
            Self::UsageLimit { .. } => "usage_limit",
            Self::Api { kind, .. } => match kind {
                ApiFailureKind::Authentication => "api_authentication",
                ApiFailureKind::Permission => "api_permission",
                ApiFailureKind::ModelNotFound => "api_model_not_found",
                ApiFailureKind::PromptTooLong => "api_prompt_too_long",
                ApiFailureKind::RequestTooLarge => "api_request_too_large",
                ApiFailureKind::InvalidRequest => "api_invalid_request",
                ApiFailureKind::RateLimited => "api_rate_limited",
                ApiFailureKind::ExtraUsage => "api_extra_usage",
                ApiFailureKind::Overloaded => "api_overloaded",
                ApiFailureKind::Unreachable => "api_unreachable",
                ApiFailureKind::Server => "api_server",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "canary";

    fn quoting() -> [TurnFailure; 4] {
        let sentence = || SAID.to_owned();
        [
            TurnFailure::Protocol(sentence()),
            TurnFailure::UsageLimit { resets_at: None, sentence: sentence() },
            TurnFailure::Api {
                status: Some(400),
                kind: ApiFailureKind::InvalidRequest,
                sentence: sentence(),
            },
            TurnFailure::ToolsNotTaken { names: vec![sentence()] },
        ]
    }

    #[test]
    fn the_log_is_told_nothing_that_others_said() {
        for failure in quoting() {
            assert!(failure.to_string().contains(SAID), "{failure}");
            assert!(!failure.for_log().contains(SAID), "{}", failure.for_log());
        }
        let silent = TurnFailure::IdleTimeout { seconds: 7 };
        assert_eq!(silent.for_log(), silent.to_string());
    }

    #[test]
    fn what_the_cli_and_the_api_said_is_retold() {
        let [protocol, limit, api, _] = quoting();
        let started = TurnFailure::Start(std::io::Error::other(SAID));
        for failure in [protocol, limit, api, started] {
            let retold = failure.retold(|said| said.replace(SAID, "[gone]")).to_string();
            assert!(retold.contains("[gone]") && !retold.contains(SAID), "{retold}");
        }
    }
}
