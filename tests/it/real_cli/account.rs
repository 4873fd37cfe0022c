//! The account behind the real CLI: what it says of limits, of who is signed in, and of itself.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use couplet::claude::account::CredentialOrigin;
use couplet::claude::credential::Credential;
use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::{ADMIN_KEY, Builder, Streamed, TOKEN, TestApp, ask, said};
use crate::support::fault_table::{Asked, Class};
use crate::support::real_cli::{pinned_version, real_cli};
use crate::support::seen::{self, Seen};

/// In place of half a minute.
const SOON: Duration = Duration::from_millis(300);

/// A directive for one of the headers about the subscription's limits.
fn header(name: &str, value: &str) -> String {
    format!("[[header anthropic-ratelimit-unified-{name} {value}]]")
}

/// The five-hour window is used up, for an hour from now on.
fn used_up() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let reset = (now.as_secs() + 3600).to_string();
    let headers = [
        ("status", "rejected"),
        ("reset", &reset),
        ("representative-claim", "five_hour"),
        ("5h-status", "rejected"),
        ("5h-utilization", "1.02"),
        ("5h-reset", &reset),
    ];
    headers.map(|(name, value)| header(name, value)).concat()
}

async fn status(app: &TestApp) -> Value {
    app.get("/auth/status").send().await.expect("an answer").json().await.expect("JSON")
}

async fn run(app: &TestApp, command: &str) -> Value {
    let response = app
        .post("/admin/cli")
        .bearer_auth(ADMIN_KEY)
        .json(&json!({"command": command}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

#[tokio::test]
async fn what_extra_usage_pays_for_is_answered_and_shown() {
    let Some(app) = app().await else { return };
    let extra = [header("overage-status", "allowed_warning"), header("overage-in-use", "true")].concat();
    for _ in 0..2 {
        let prompt = format!("[[words 1]][[limits off]]{}{extra}", used_up());
        assert_eq!(said(&app.answer(&ask(&prompt)).await), "w0");
    }
    let limit = &status(&app).await["usage_limit"];
    assert_eq!(
        (&limit["status"], &limit["extra_usage"]["in_use"]),
        (&json!("warning"), &json!(true)),
        "{limit}"
    );
    assert_eq!(limit["extra_usage"]["status"], "allowed_warning");
    assert_eq!(
        (&limit["windows"][0]["name"], &limit["windows"][0]["utilization"]),
        (&json!("five_hour"), &json!(1.02))
    );
    assert_eq!(app.health().await["usage_limit"], "warning");
}

#[tokio::test]
async fn a_warning_is_shown_with_its_window() {
    let Some(app) = app().await else { return };
    assert_eq!(
        said(&app.answer(&ask("[[limits allowed_warning 0.95 600 seven_day]][[words 1]]")).await),
        "w0"
    );
    let limit = &status(&app).await["usage_limit"];
    assert_eq!(
        (&limit["status"], &limit["windows"][0]["name"]),
        (&json!("warning"), &json!("seven_day")),
        "{limit}"
    );
}

#[rstest]
#[case::with_a_reset(used_up(), true)]
#[case::without_a_reset([header("status", "rejected"), header("representative-claim", "seven_day")].concat(), false)]
#[tokio::test]
async fn a_rejection_holds_until_a_request_that_looks_is_answered(
    #[case] headers: String,
    #[case] has_reset: bool,
) {
    let Some(cli) = real_cli() else { return };
    let app = Builder::new(&cli).await.with(|config| config.claude.account.probe_every = SOON).start().await;
    let rejected = format!("[[err 429 rate_limit_error no more]]{headers}");
    let response = app.chat(&ask(&rejected)).await;
    assert_eq!(response.headers().contains_key("retry-after"), has_reset);
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answer["error"]["code"], "insufficient_quota", "{answer}");
    let asked = app.upstream.log().model_count();
    let refused = app.answer(&ask("[[words 1]]")).await;
    assert_eq!((refused.0, &refused.1["error"]["message"]), (429, &answer["error"]["message"]));
    assert_eq!(app.upstream.log().model_count(), asked);
    assert_eq!(app.health().await["usage_limit"], "rejected");
    tokio::time::sleep(SOON).await;
    assert_eq!(said(&app.answer(&ask("[[words 1]]")).await), "w0");
    assert_eq!(said(&app.answer(&ask("[[words 1]]")).await), "w0");
    assert_eq!(app.health().await["usage_limit"], "ok");
}

#[tokio::test]
async fn a_limit_of_one_model_is_none_of_another() {
    let Some(app) = app().await else { return };
    let headers = [
        header("status", "rejected"),
        header("reset", "4000000000"),
        header("representative-claim", "seven_day_opus"),
    ];
    let of = |model: &str, prompt: &str| json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
    let rejected = format!("[[err 429 rate_limit_error no more]]{}", headers.concat());
    let (status, answer) = app.answer(&of("claude-opus-5-5", &rejected)).await;
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(status == 429 && message.starts_with("You've hit your Opus limit · resets "), "{answer}");
    assert_eq!(app.answer(&of("claude-opus-5-5", "[[words 1]]")).await.0, 429);
    assert_eq!(said(&app.answer(&of("claude-sonnet-5-5", "[[words 1]]")).await), "w0");
}

/// Sentences of Anthropic's API about extra usage and its policies, as it was seen to say them.
#[rstest]
#[case(
    "400 invalid_request_error",
    "You're out of extra usage. Add more at claude.ai/settings/usage and keep going.",
    400
)]
#[case(
    "400 invalid_request_error",
    "Third-party apps now draw from your extra usage, not your plan limits. Ask your workspace admin to add more and keep going.",
    400
)]
#[case("400 invalid_request_error", "This organization has been disabled.", 400)]
#[case(
    "403 permission_error",
    "This credential is only authorized for use with Claude Code and cannot be used for other API requests.",
    403
)]
#[case("401 authentication_error", "OAuth token has been revoked.", 401)]
#[tokio::test]
async fn the_api_s_sentence_reaches_the_client_word_for_word(
    #[case] error: &str,
    #[case] sentence: &str,
    #[case] status: u16,
) {
    let Some(app) = app().await else { return };
    let (got, answer) = app.answer(&ask(&format!("[[err {error} {sentence}]]"))).await;
    assert_eq!(got, status, "{answer}");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|message| message.contains(sentence)),
        "{answer}"
    );
}

/// The CLI puts these in its own words.
#[rstest]
#[case(
    "[[err 429 rate_limit_error Extra usage is required for long context requests.]]".to_owned(),
    "API Error: Usage credits required for 1M context · turn on usage credits at \
     https://claude.ai/settings/usage?from=cc_cli_limit_message (they take effect in a new session), or use --model to switch \
     to standard context",
    429
)]
#[case(
    "[[err 403 permission_error OAuth authentication is currently not allowed for this organization.]]".to_owned(),
    "Your organization has disabled Claude subscription access for Claude Code · Use an Anthropic API key instead, or ask your \
     admin to enable access",
    403
)]
#[case(
    format!(
        "[[err 429 rate_limit_error no]]{}{}{}",
        used_up(),
        header("overage-status", "rejected"),
        header("overage-disabled-reason", "org_level_disabled_until")
    ),
    "You've hit your org's monthly spend limit · ask your admin to raise it at https://claude.ai/admin-settings/usage · your \
     5-hour limit resets ",
    429
)]
#[tokio::test]
async fn the_cli_s_sentence_reaches_the_client_word_for_word(
    #[case] prompt: String,
    #[case] sentence: &str,
    #[case] status: u16,
) {
    let Some(app) = app().await else { return };
    let response = app.chat(&ask(&prompt)).await;
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["x-should-retry"], "false");
    let answer: Value = response.json().await.expect("JSON");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|message| message.starts_with(sentence)),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_that_would_take_extra_usage_closes_nothing() {
    let Some(app) = app().await else { return };
    let prompt = "[[err 429 rate_limit_error Extra usage is required for long context requests.]]";
    assert_eq!(app.answer(&ask(prompt)).await.0, 429);
    assert_eq!(app.health().await["usage_limit"], "ok");
    assert_eq!(said(&app.answer(&ask("[[words 1]]")).await), "w0");
}

#[tokio::test]
async fn a_credential_that_is_refused_is_told_of_and_not_tried_again_at_once() {
    let Some(cli) = real_cli() else { return };
    let app =
        Builder::new(&cli).await.with(|config| config.claude.account.probe_every = SOON * 10).start().await;
    let (refused, answer) =
        app.answer(&ask("[[err 401 authentication_error OAuth token has expired.]]")).await;
    assert_eq!(refused, 401, "{answer}");
    let asked = app.upstream.log().model_count();
    let mut seen = Seen::default();
    for _ in 0..5 {
        let again = app.answer(&ask("[[words 1]]")).await;
        assert_eq!((again.0, &again.1), (401, &answer));
        seen.note(seen::of_whole(&again));
    }
    let fault = "requests after the real CLI was told that the token has expired: the API is not asked again";
    seen.tell(Class::Account, fault, Asked::NotStreaming);
    assert_eq!(app.upstream.log().model_count(), asked);
    let told = status(&app).await;
    assert_eq!(
        (&told["logged_in"], &told["last_failure"]["kind"]),
        (&json!(false), &json!("api_authentication"))
    );
    tokio::time::sleep(SOON * 10).await;
    assert_eq!(said(&app.answer(&ask("[[words 1]]")).await), "w0");
    assert_eq!(status(&app).await["logged_in"], true);
}

#[tokio::test]
async fn the_cli_says_who_is_signed_in() {
    let Some(cli) = real_cli() else { return };
    for (credential, method) in [
        (Credential::OauthToken(TOKEN.into()), "oauth_token"),
        (Credential::ApiKey("sk-ant-api03-canary".into()), "api_key"),
    ] {
        let app = Builder::new(&cli)
            .await
            .with(|config| config.claude.process.credential = credential)
            .start()
            .await;
        let told = status(&app).await;
        assert_eq!((&told["auth_method"], &told["logged_in"]), (&json!(method), &json!(true)));
        assert_eq!(
            (&told["cli"]["loggedIn"], &told["cli"]["authMethod"]),
            (&json!(true), &json!(method)),
            "{told}"
        );
        assert!(!told.to_string().contains("canary"));
    }
}

#[tokio::test]
async fn without_a_login_the_way_out_is_told_and_the_api_is_not_asked() {
    let Some(cli) = real_cli() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = Seen::default();
    for stream in [false, true] {
        let login = Credential::ConfigDir(folder.path().to_owned());
        let app =
            Builder::new(&cli).await.with(|config| config.claude.process.credential = login).start().await;
        for _ in 0..3 {
            let mut question = ask("[[words 1]]");
            question["stream"] = json!(stream);
            let refused = Streamed::read(app.chat(&question).await).await;
            let told = refused.error().expect("an error")["message"].as_str().expect("a message");
            assert!(
                refused.status == 401 && told.contains("claude setup-token"),
                "{} {told}",
                refused.status
            );
            seen.note(format!("{} with the way out in its message", seen::of_answer(&refused)));
        }
        assert_eq!(app.upstream.log().model_count(), 0);
        assert_eq!(status(&app).await["logged_in"], false);
    }
    seen.tell(
        Class::Account,
        "the real CLI has no login: /auth/status says so, the API is not asked",
        Asked::Either,
    );
}

#[tokio::test]
async fn harmless_commands_work_without_a_terminal_and_tell_no_secret() {
    let Some(app) = app().await else { return };
    let version = run(&app, "version").await;
    assert_eq!(version["stdout"], format!("{} (Claude Code)\n", pinned_version()));
    let auth = run(&app, "auth status").await;
    let said: Value = serde_json::from_str(auth["stdout"].as_str().expect("text")).expect("JSON");
    assert_eq!((&said["loggedIn"], &auth["exit_code"]), (&json!(true), &json!(0)), "{auth}");
    let doctor = run(&app, "doctor").await;
    let text = doctor["stdout"].as_str().expect("text");
    assert!(text.contains("Claude Code doctor") && text.contains(&pinned_version()), "{doctor}");
    assert_eq!((&doctor["exit_code"], &doctor["timed_out"]), (&json!(0), &json!(false)), "{doctor}");
    for answer in [version, auth, doctor] {
        assert!(!answer.to_string().contains(TOKEN));
    }
    assert_eq!(app.upstream.log().model_count(), 0);
}

#[tokio::test]
async fn a_logout_ends_the_cli_s_own_login() {
    let Some(cli) = real_cli() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let login = folder.path().join(".credentials.json");
    let tokens = json!({"claudeAiOauth": {
        "accessToken": "sk-ant-oat01-canary", "refreshToken": "sk-ant-ort01-canary", "expiresAt": 4_000_000_000_000_u64,
        "scopes": ["user:inference", "user:profile"], "subscriptionType": "max",
    }});
    std::fs::write(&login, tokens.to_string()).expect("a login");
    std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let config_dir = folder.path().to_owned();
    let app = Builder::new(&cli)
        .await
        .with(|config| {
            config.claude.process.credential = Credential::ConfigDir(config_dir);
            config.claude.account.origin = CredentialOrigin::Setting("COUPLET_CLAUDE_CONFIG_DIR".to_owned());
            // It would tell Anthropic: no proxy listens there.
            config.claude.process.passed_through.push(("HTTPS_PROXY".into(), "http://127.0.0.1:9".into()));
        })
        .start()
        .await;
    let told = status(&app).await;
    assert_eq!((&told["auth_method"], &told["logged_in"]), (&json!("config_dir"), &json!(true)), "{told}");
    let done: Value = app
        .post("/auth/logout")
        .bearer_auth(ADMIN_KEY)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(done["credential_removed"], true, "{done}");
    assert!(!login.exists());
    assert!(!done.to_string().contains("canary"));
    assert_eq!(app.answer(&ask("hi")).await.0, 401);
}
