//! `/auth`: the sign-in to Claude behind the asker's key. Nothing here tells a secret.

use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Asker;
use super::{App, Mode, operator};
use crate::claude::account::AccountFailure;
use crate::claude::credential::Credential;
use crate::claude::sign_out::Fate;
use crate::claude::subscription::SubscriptionState;
use crate::openai::error::ApiError;

/// How long the CLI may take to say who is signed in; the rest is told without.
const CLI_SAYS: Duration = Duration::from_secs(5);

/// The routes for whoever has a key.
pub fn router() -> Router<App> {
    Router::new().route("/auth/status", get(status)).route("/auth/login-instructions", get(instructions))
}

/// The routes for the operator.
pub fn operator_router() -> Router<App> {
    Router::new().route("/auth/logout", post(logout))
}

async fn status(State(app): State<App>, Extension(asker): Extension<Asker>) -> Json<Value> {
    let Asker { caller, claude } = asker;
    let cli = tokio::time::timeout(CLI_SAYS, claude.cli_auth_status()).await.ok().flatten();
    let account = claude.account();
    let denied = cli.as_ref().is_some_and(|cli| cli["loggedIn"] == false);
    let is_signed_in = account.expect_signed_in().is_ok() && !account.is_unauthenticated();
    Json(json!({
        "tenant": caller.tenant.as_str(),
        "mode": app.http.mode.as_str(),
        "logged_in": app.http.mode == Mode::Live && is_signed_in && !denied,
        "auth_method": auth_method(app.http.mode, claude.credential()),
        "cli": cli,
        "last_failure": account.last_failure().as_ref().map(failure),
        "usage_limit": usage_limit(&claude.subscription()),
    }))
}

fn auth_method(mode: Mode, credential: &Credential) -> &'static str {
    match (mode, credential) {
        (Mode::Demo, _) => "demo",
        (Mode::Live, Credential::OauthToken(_)) => "oauth_token",
        (Mode::Live, Credential::ApiKey(_)) => "api_key",
        (Mode::Live, Credential::ConfigDir(_)) => "config_dir",
        (Mode::Live, Credential::Missing) => "none",
    }
}

fn failure(failure: &AccountFailure) -> Value {
    json!({"kind": failure.kind, "message": failure.message, "at": unix_seconds(failure.at)})
}

fn usage_limit(state: &SubscriptionState) -> Value {
    let time = |at: Option<SystemTime>| at.map(unix_seconds);
    let windows: Vec<Value> = state
        .windows
        .iter()
        .map(|window| {
            json!({
                "name": window.name,
                "utilization": window.utilization,
                "resets_at": time(window.resets_at),
            })
        })
        .collect();
    let extra = &state.extra_usage;
    json!({
        "status": state.standing.as_str(),
        "resets_at": time(state.resets_at),
        "windows": windows,
        "extra_usage": {
            "in_use": extra.in_use,
            "status": extra.status,
            "resets_at": time(extra.resets_at),
            "disabled_reason": extra.disabled_reason,
        },
        "last_rejection": state.last_rejection.as_ref().map(|rejection| json!({
            "message": rejection.sentence,
            "resets_at": time(rejection.resets_at),
            "at": unix_seconds(rejection.at),
        })),
    })
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

async fn instructions(State(app): State<App>, Extension(asker): Extension<Asker>) -> Json<Value> {
    let Asker { caller, claude } = asker;
    let steps = steps(app.http.mode, claude.credential());
    let numbered = steps.iter().enumerate().map(|(number, step)| format!("{}. {step}\n", number + 1));
    let text: String = numbered.collect();
    Json(json!({"tenant": caller.tenant.as_str(), "steps": steps, "text": text}))
}

/// How to sign in, on the machine where Couplet runs.
fn steps(mode: Mode, credential: &Credential) -> Vec<String> {
    let steps: &[&str] = match (mode, credential) {
        (Mode::Demo, _) => &[
            "Install the Claude Code CLI where Couplet runs: `npm install -g @anthropic-ai/claude-code`.",
            "Run `couplet login` there: it runs `claude setup-token`, which opens a page to sign in to your subscription, and \
             keeps the token in a file only you can read. (Or set CLAUDE_CODE_OAUTH_TOKEN, its _FILE form, or \
             ANTHROPIC_API_KEY.)",
            "Restart Couplet. GET /auth/status then says `\"mode\": \"live\"`.",
        ],
        (Mode::Live, Credential::OauthToken(_) | Credential::Missing) => &[
            "On a machine with a browser run `claude setup-token` and sign in to the subscription of this tenant's owner. It \
             prints a token that begins with sk-ant-oat and is good for a year.",
            "Put the token where this tenant's came from: `couplet login` asks for it and keeps it; or set it as \
             CLAUDE_CODE_OAUTH_TOKEN, or in the file that its _FILE form names.",
            "Restart Couplet, and look at GET /auth/status.",
        ],
        (Mode::Live, Credential::ApiKey(_)) => &[
            "Make an API key in Anthropic's console: https://platform.claude.com/settings/keys.",
            "Put it where this tenant's came from: ANTHROPIC_API_KEY, or the file that its _FILE form names.",
            "Restart Couplet, and look at GET /auth/status.",
        ],
        (Mode::Live, Credential::ConfigDir(_)) => {
            return vec![
                "Where Couplet runs, and as its user, run `CLAUDE_CONFIG_DIR=<the folder in COUPLET_CLAUDE_CONFIG_DIR> claude \
                 auth login` and follow it."
                    .to_owned(),
                "Restart Couplet, and look at GET /auth/status.".to_owned(),
            ];
        }
    };
    steps.iter().map(|step| (*step).to_owned()).collect()
}

#[derive(Debug, Default, Deserialize)]
struct Order {
    tenant: Option<String>,
}

async fn logout(State(app): State<App>, request: Request) -> Result<Json<Value>, ApiError> {
    let order: Order = operator::order(request).await?;
    let (name, claude) = operator::tenant(&app, order.tenant.as_deref())?;
    let claude = claude.clone();
    // To its end, though the client may go away: a login that is half ended would be in use again after the next start.
    let ended = tokio::spawn(async move { claude.sign_out().await }).await;
    let fate = ended.unwrap_or_else(|error| Fate::NotLoggedOut(error.to_string()));
    let (is_removed, message) = told(&fate);
    Ok(Json(json!({
        "tenant": name.as_str(),
        "logged_out": true,
        "credential_removed": is_removed,
        "message": message,
    })))
}

/// Whether the credential is gone from this machine, and what the operator has to know.
fn told(fate: &Fate) -> (bool, String) {
    const REVOKE: &str =
        "Anthropic still takes it until it is revoked at https://claude.ai/settings/claude-code.";
    const ANEW: &str = "To sign in anew, see GET /auth/login-instructions, and restart Couplet.";
    let (is_removed, what) = match fate {
        Fate::Deleted(path) => (true, format!("The token in {} was deleted. {REVOKE}", path.display())),
        Fate::ReplacedBefore(path) => (
            false,
            format!(
                "{} holds another token than the one that was in use, and was left as it is. {REVOKE}",
                path.display()
            ),
        ),
        Fate::NotDeleted(path, error) => {
            (false, format!("{} could not be deleted: {error}. Delete it yourself. {REVOKE}", path.display()))
        }
        Fate::LoggedOut(said) => (true, format!("The Claude Code CLI ended its login, and said: {said}")),
        Fate::NotLoggedOut(said) => {
            let way = "Run `claude auth logout` yourself, with CLAUDE_CONFIG_DIR set to the tenant's folder.";
            (false, format!("The Claude Code CLI could not end its login: {said} {way}"))
        }
        Fate::Elsewhere(setting) => (
            false,
            format!(
                "The credential comes from {setting} (or its _FILE form), which Couplet cannot change: remove it there, or \
                 the next start uses it again. {REVOKE}"
            ),
        ),
        Fate::MadeUp => (false, "There was no credential: this is a demo.".to_owned()),
    };
    (is_removed, format!("No request is asked with this sign-in any more. {what} {ANEW}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_those_of_the_credential() {
        let live = |credential: Credential| steps(Mode::Live, &credential).join("\n");
        assert!(live(Credential::OauthToken("t".into())).contains("claude setup-token"));
        assert!(live(Credential::ApiKey("k".into())).contains("ANTHROPIC_API_KEY"));
        assert!(live(Credential::ConfigDir("/x".into())).contains("claude auth login"));
        assert!(steps(Mode::Demo, &Credential::OauthToken("t".into()))[1].contains("couplet login"));
    }

    #[test]
    fn a_credential_that_is_still_there_is_never_said_to_be_gone() {
        let path = || "/state/token".into();
        for (fate, is_gone) in [
            (Fate::Deleted(path()), true),
            (Fate::ReplacedBefore(path()), false),
            (Fate::NotDeleted(path(), std::io::Error::other("no")), false),
            (Fate::LoggedOut("Successfully logged out".to_owned()), true),
            (Fate::NotLoggedOut("no".to_owned()), false),
            (Fate::Elsewhere("ANTHROPIC_API_KEY".to_owned()), false),
            (Fate::MadeUp, false),
        ] {
            let (told, message) = told(&fate);
            assert_eq!(told, is_gone, "{message}");
            assert!(message.contains("restart Couplet"), "{message}");
        }
    }
}
