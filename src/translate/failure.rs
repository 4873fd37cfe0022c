//! The one table that turns a failed turn into an error of OpenAI's API.

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;

use crate::claude::failure::{ApiFailureKind, TurnFailure};
use crate::claude::shaping::Unmet;
use crate::claude::shortage::Shortage;
use crate::openai::error::ApiError;

/// What a client should wait where the reason will pass soon.
const SOON: Duration = Duration::from_secs(2);

/// The longest wait that a client is asked to sit through and try again by itself.
const SIT_THROUGH: Duration = Duration::from_secs(60);

/// What the client reads about a failed turn. `now` is for the time until a usage limit is lifted.
#[must_use]
pub fn api_error(failure: &TurnFailure, now: SystemTime) -> ApiError {
    let server = |status, message: String| ApiError::new(status, "server_error", message);
    match failure {
        TurnFailure::Start(error) => server(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{} {}", sentence(&failure.to_string()), way_out(Shortage::of(error))),
        )
        .with_code("cli_unavailable")
        .worth_a_retry(Some(SOON)),
        TurnFailure::Busy => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "The server is busy with other requests. Try again shortly.",
        )
        .with_code("rate_limit_exceeded")
        .worth_a_retry(Some(SOON)),
        TurnFailure::ShuttingDown => {
            server(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.".to_owned())
                .with_code("shutting_down")
                .worth_a_retry(Some(SOON))
        }
        TurnFailure::CallerEnded => {
            let message = "The API key was revoked, or has expired.";
            ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
                .with_code("invalid_api_key")
        }
        TurnFailure::SignedOut => {
            let message = "This server's sign-in to Claude was ended by its operator. To sign in anew, run `couplet login` (or \
                           set another credential) and restart Couplet; GET /auth/login-instructions has the steps.";
            ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message).with_code("signed_out")
        }
        TurnFailure::FirstFrameTimeout { .. }
        | TurnFailure::IdleTimeout { .. }
        | TurnFailure::TotalTimeout { .. }
        | TurnFailure::SlowReader { .. } => {
            server(StatusCode::GATEWAY_TIMEOUT, sentence(&failure.to_string())).with_code("timeout")
        }
        TurnFailure::Crashed { .. } | TurnFailure::BrokenOff => {
            server(StatusCode::BAD_GATEWAY, sentence(&failure.to_string()))
                .with_code("upstream_broken")
                .worth_a_retry(None)
        }
        TurnFailure::Protocol(_) => {
            server(StatusCode::BAD_GATEWAY, sentence(&failure.to_string())).with_code("upstream_unexpected")
        }
        TurnFailure::NotCounted(_) => {
            server(StatusCode::BAD_GATEWAY, sentence(&failure.to_string())).with_code("not_counted")
        }
        TurnFailure::ToolsNotTaken { names } => {
            let message =
                format!("The parameters of these functions are no valid JSON Schema: {}.", names.join(", "));
            ApiError::invalid_request("tools", message).with_code("invalid_function_parameters")
        }
        TurnFailure::SchemaNotTaken => {
            let message = "The Claude Code CLI takes the schema for wrong, and the model does not take it as a form of text.";
            ApiError::invalid_request("response_format", message).with_code("invalid_schema")
        }
        TurnFailure::Unmet(Unmet::NotCalled) => {
            let message = "The model answered without the call that was demanded.";
            server(StatusCode::BAD_GATEWAY, message.to_owned()).with_code("tool_choice_unmet")
        }
        TurnFailure::Unmet(unmet @ (Unmet::Json(_) | Unmet::OtherText)) => {
            server(StatusCode::BAD_GATEWAY, sentence(&unmet.to_string()))
                .with_code("response_format_unmet")
                .worth_a_retry(None)
        }
        TurnFailure::UsageLimit { resets_at, sentence } => {
            let after = resets_at.and_then(|at| at.duration_since(now).ok());
            let message = format!(
                "{} The limit is that of the Claude subscription behind this server.",
                word_for_word(sentence)
            );
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)
                .with_code("insufficient_quota");
            // The true time until the reset is told, but a wait of hours is nothing for an SDK to sit through.
            ApiError {
                retry_after: after,
                retry_can_help: after.is_some_and(|after| after <= SIT_THROUGH),
                ..error
            }
        }
        TurnFailure::Api { kind, sentence, .. } => of_the_api(*kind, sentence),
    }
}

/// What can be done about a CLI that cannot be started.
fn way_out(shortage: Option<Shortage>) -> &'static str {
    match shortage {
        None => "The server's operator should check CLAUDE_CLI_PATH and the server's resources.",
        Some(Shortage::Descriptors) => {
            "All file descriptors that the server may open are taken. Its operator can raise that limit (`ulimit -n`, \
             LimitNOFILE in systemd)."
        }
        Some(Shortage::Processes) => {
            "No more processes and threads may be started. The server's operator can raise that limit (`ulimit -u`, TasksMax in \
             systemd, the pids limit of a container)."
        }
        Some(Shortage::Memory) => {
            "There is no memory left for one more process. The server's operator can lower COUPLET_MEMORY_BUDGET."
        }
        Some(Shortage::Disk) => "The disk is full. The server's operator should make room on it.",
    }
}

fn of_the_api(kind: ApiFailureKind, sentence: &str) -> ApiError {
    let invalid = |status| ApiError::new(status, "invalid_request_error", sentence);
    let server = |status| ApiError::new(status, "server_error", sentence);
    match kind {
        ApiFailureKind::Authentication => ApiError::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            format!(
                "Couplet's own sign-in to Claude failed. {} Make a new token with `claude setup-token`, set it \
                 as CLAUDE_CODE_OAUTH_TOKEN (a tenant's goes into its own file, which COUPLET_TENANTS names) and restart Couplet.",
                word_for_word(sentence)
            ),
        )
        .with_code("invalid_api_key"),
        ApiFailureKind::Permission => {
            ApiError::new(StatusCode::FORBIDDEN, "permission_error", sentence).with_code("permission_denied")
        }
        ApiFailureKind::ModelNotFound => {
            let message = "The model is not known to Claude, or this account has no access to it.";
            ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
                .with_code("model_not_found")
                .with_param("model")
        }
        ApiFailureKind::PromptTooLong => {
            invalid(StatusCode::BAD_REQUEST).with_code("context_length_exceeded").with_param("messages")
        }
        ApiFailureKind::RequestTooLarge => {
            invalid(StatusCode::PAYLOAD_TOO_LARGE).with_code("request_too_large").with_param("messages")
        }
        ApiFailureKind::InvalidRequest => invalid(StatusCode::BAD_REQUEST),
        ApiFailureKind::RateLimited => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", sentence)
                .with_code("rate_limit_exceeded")
                .worth_a_retry(Some(SOON))
        }
        ApiFailureKind::ExtraUsage => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", sentence)
                .with_code("insufficient_quota")
        }
        ApiFailureKind::Overloaded => server(StatusCode::SERVICE_UNAVAILABLE)
            .with_code("overloaded")
            .worth_a_retry(Some(SOON)),
        ApiFailureKind::Unreachable => {
            server(StatusCode::BAD_GATEWAY).with_code("upstream_unreachable").worth_a_retry(None)
        }
        ApiFailureKind::Server => {
            server(StatusCode::INTERNAL_SERVER_ERROR).with_code("upstream_error").worth_a_retry(None)
        }
    }
}

/// A message as a sentence: capital first, full stop last.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    let mut sentence: String = first.chain(letters).collect();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

/// What the CLI or the API says, with a full stop for what follows, and otherwise as it is.
fn word_for_word(said: &str) -> String {
    let ends = said.ends_with(['.', '!', '?']);
    if ends { said.to_owned() } else { format!("{said}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(kind: ApiFailureKind) -> TurnFailure {
        TurnFailure::Api { status: None, kind, sentence: "says the CLI".to_owned() }
    }

    #[test]
    fn every_failure_has_its_error() {
        let now = SystemTime::UNIX_EPOCH;
        let failures = [
            TurnFailure::Start(std::io::Error::other("no such file")),
            TurnFailure::Start(rustix::io::Errno::MFILE.into()),
            TurnFailure::Start(rustix::io::Errno::AGAIN.into()),
            TurnFailure::Start(rustix::io::Errno::NOMEM.into()),
            TurnFailure::Start(rustix::io::Errno::NOSPC.into()),
            TurnFailure::Busy,
            TurnFailure::ShuttingDown,
            TurnFailure::CallerEnded,
            TurnFailure::SignedOut,
            TurnFailure::FirstFrameTimeout { seconds: 120 },
            TurnFailure::IdleTimeout { seconds: 300 },
            TurnFailure::TotalTimeout { seconds: 1800 },
            TurnFailure::SlowReader { seconds: 300 },
            TurnFailure::Crashed { status: "exit status: 1".to_owned() },
            TurnFailure::Protocol("odd".to_owned()),
            TurnFailure::BrokenOff,
            TurnFailure::NotCounted("nobody knows"),
            TurnFailure::UsageLimit {
                resets_at: Some(now + Duration::from_secs(5000)),
                sentence: "used up".to_owned(),
            },
            TurnFailure::UsageLimit { resets_at: None, sentence: "used up".to_owned() },
            api(ApiFailureKind::Authentication),
            api(ApiFailureKind::Permission),
            api(ApiFailureKind::ModelNotFound),
            api(ApiFailureKind::PromptTooLong),
            api(ApiFailureKind::RequestTooLarge),
            api(ApiFailureKind::InvalidRequest),
            api(ApiFailureKind::RateLimited),
            api(ApiFailureKind::ExtraUsage),
            api(ApiFailureKind::Overloaded),
            api(ApiFailureKind::Unreachable),
            api(ApiFailureKind::Server),
        ];
        let rows: Vec<String> = failures
            .iter()
            .map(|failure| {
                let error = api_error(failure, now);
                let ApiError { status, kind, code, param, message, retry_after, retry_can_help } = error;
                format!(
                    "{}: {} {kind} {code:?} param {param:?} retry {retry_can_help} after {retry_after:?}\n    {message}",
                    failure.kind(),
                    status.as_u16()
                )
            })
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
