//! What is told of the sign-in, and its end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use couplet::claude::account::CredentialOrigin;
use couplet::claude::credential::Credential;
use serde_json::{Value, json};

use super::{PATIENCE, refusing, token_has_expired, told};
use crate::support::app::{ADMIN_KEY, Streamed, TOKEN, TestApp, ask, said};
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

async fn log_out(app: &TestApp, body: Option<&Value>) -> (u16, Value) {
    let request = app.post("/auth/logout").bearer_auth(ADMIN_KEY);
    let request = if let Some(body) = body { request.json(body) } else { request };
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// A CLI that says this to `auth status`.
fn that_says(status: &str) -> FakeCli {
    let commands = [("auth status".to_owned(), vec![Step::Bytes(status.into())])].into();
    FakeCli::new(&Script { commands, ..Script::default() })
}

#[tokio::test]
async fn the_status_tells_what_the_cli_says_and_no_secret() {
    let fake = that_says(&json!({"loggedIn": true, "authMethod": "oauth_token", "token": TOKEN}).to_string());
    let app = fake.app().await;
    let status = told(&app, "/auth/status").await;
    assert_eq!(
        (&status["tenant"], &status["mode"], &status["logged_in"], &status["auth_method"]),
        (&json!("default"), &json!("live"), &json!(true), &json!("oauth_token"))
    );
    assert_eq!(status["cli"], json!({"loggedIn": true, "authMethod": "oauth_token", "token": "[redacted]"}));
    assert_eq!(status["last_failure"], Value::Null);
    // Whoever has a key may ask as often as he likes.
    for _ in 0..5 {
        assert_eq!(told(&app, "/auth/status").await["cli"], status["cli"]);
    }
    assert_eq!(fake.reports().len(), 1);
}

#[tokio::test]
async fn a_cli_that_says_nothing_usable_leaves_the_rest_as_it_is() {
    for said in ["", "not JSON", r#"{"loggedIn": fal"#] {
        let status = told(&that_says(said).app().await, "/auth/status").await;
        assert_eq!((&status["cli"], &status["logged_in"]), (&Value::Null, &json!(true)), "{said}");
    }
    let status = told(&that_says(r#"{"loggedIn": false}"#).app().await, "/auth/status").await;
    assert_eq!(status["logged_in"], false);
}

#[tokio::test]
async fn a_credential_that_is_not_taken_is_told_of() {
    let fake = refusing("", token_has_expired());
    let app = fake.app().await;
    let mut seen = Seen::default();
    for stream in [false, true] {
        let mut question = ask("hi");
        question["stream"] = stream.into();
        let refused = Streamed::read(app.chat(&question).await).await;
        let told = refused.error().expect("an error")["message"].as_str().expect("a message");
        assert!(told.contains("OAuth token has expired.") && told.contains("claude setup-token"), "{told}");
        assert_eq!(refused.status, 401);
        seen.note(format!("{} with the way out in its message", seen::of_answer(&refused)));
    }
    let fault = "the token has expired: /auth/status says so";
    seen.tell(Class::Account, fault, Asked::Either);
    let status = told(&app, "/auth/status").await;
    assert_eq!(
        (&status["logged_in"], &status["last_failure"]["kind"]),
        (&json!(false), &json!("api_authentication"))
    );
    let message = status["last_failure"]["message"].as_str().expect("a message");
    assert_eq!(message, "Failed to authenticate. API Error: 401 OAuth token has expired.");
    assert!(status["last_failure"]["at"].as_u64() > Some(1_700_000_000));
}

#[tokio::test]
async fn the_instructions_are_those_of_the_credential() {
    let fake = FakeCli::new(&Script::default());
    let told_with = async |credential: Credential| {
        let app = fake.app_with(|config| config.claude.process.credential = credential).await;
        let instructions = told(&app, "/auth/login-instructions").await;
        assert_eq!(instructions["tenant"], "default");
        assert!(instructions["steps"].as_array().is_some_and(|steps| steps.len() > 1));
        instructions["text"].as_str().expect("a text").to_owned()
    };
    assert!(told_with(Credential::OauthToken(TOKEN.into())).await.contains("claude setup-token"));
    let folder = fake.file("config");
    assert!(told_with(Credential::ConfigDir(folder)).await.contains("claude auth login"));
}

/// Writes a token as `couplet login` does.
fn keep(path: &Path, token: &str) {
    std::fs::write(path, format!("{token}\n")).expect("a token");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
}

#[tokio::test]
async fn a_logout_ends_open_answers_at_once_deletes_the_kept_token_and_is_final() {
    let fake = FakeCli::new(&Script::default());
    let begins = vec![message_start("msg_1"), text("and so")];
    let steps = [Step::Frames(begins), Step::MakeFile(fake.file("begun")), Step::Hang];
    fake.follow(&Script { plays: vec![play("endless", steps)], ..Script::default() });
    let token = fake.file("token");
    keep(&token, TOKEN);
    let app = fake
        .app_with(|config| {
            config.claude.account.origin = CredentialOrigin::Kept(token.clone());
            config.claude.keep.processes = 4;
        })
        .await;
    // One that waits for its next turn, and one in the middle of an answer.
    assert_eq!(said(&app.answer(&ask("hi")).await), "fine");
    let mut endless = ask("endless");
    endless["stream"] = json!(true);
    let open = app.chat(&endless).await;
    eventually(PATIENCE, "it has begun", || fake.file("begun").exists()).await;
    assert_eq!(fake.living().len(), 2);

    let begun = Instant::now();
    let (status, done) = log_out(&app, None).await;
    assert_eq!(
        (status, &done["tenant"], &done["credential_removed"]),
        (200, &json!("default"), &json!(true))
    );
    let open = Streamed::read(open).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(open.contents(), ["and so"]);
    let error = open.error().expect("an error");
    assert_eq!((&error["type"], &error["code"]), (&json!("authentication_error"), &json!("signed_out")));
    let fault = "the operator signs out in mid-answer: the answer ends within 1 s";
    seen::tell(Class::Account, fault, Asked::Streaming, seen::of_answer(&open));
    fake.gone_within(Duration::from_secs(2)).await;
    assert!(!token.exists());

    fake.forget_reports();
    let mut seen = Seen::default();
    for _ in 0..3 {
        let (status, answer) = app.answer(&ask("hi")).await;
        assert_eq!((status, &answer["error"]["code"]), (401, &json!("signed_out")));
        assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains("couplet login")));
        seen.note(format!("{} with the way out in its message", seen::of_whole(&(status, answer))));
    }
    seen.tell(
        Class::Account,
        "requests after the sign-in was ended: no process is started",
        Asked::NotStreaming,
    );
    assert_eq!(app.get("/v1/models").send().await.expect("an answer").status(), 401);
    let status = told(&app, "/auth/status").await;
    assert_eq!((&status["logged_in"], &status["cli"]), (&json!(false), &Value::Null));
    assert!(fake.reports().is_empty(), "no process was started");
}

#[tokio::test]
async fn a_token_that_couplet_cannot_take_away_is_said_to_be_there_still() {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    let (status, done) = log_out(&app, Some(&json!({"tenant": "default"}))).await;
    assert_eq!((status, &done["credential_removed"]), (200, &json!(false)));
    assert!(
        done["message"].as_str().is_some_and(|message| message.contains("CLAUDE_CODE_OAUTH_TOKEN")),
        "{done}"
    );
    assert!(!done.to_string().contains(TOKEN));
}

#[tokio::test]
async fn a_login_of_the_cli_s_own_is_ended_by_the_cli() {
    let commands = [("auth logout".to_owned(), vec![Step::Bytes(b"Successfully logged out.\n".to_vec())])];
    let fake = FakeCli::new(&Script { commands: commands.into(), ..Script::default() });
    let folder = fake.file("config");
    let own_login = |config: &mut couplet::config::Config| {
        config.claude.process.credential = Credential::ConfigDir(folder.clone());
        config.claude.account.origin = CredentialOrigin::Setting("COUPLET_CLAUDE_CONFIG_DIR".to_owned());
    };
    let app = fake.app_with(own_login).await;
    let (_, done) = log_out(&app, None).await;
    assert_eq!(done["credential_removed"], true);
    assert!(
        done["message"].as_str().is_some_and(|message| message.contains("Successfully logged out.")),
        "{done}"
    );
    let report = fake.report();
    assert_eq!(report.arguments[1..], ["auth", "logout"]);
    assert!(report.environment.contains(&format!("CLAUDE_CONFIG_DIR={}", folder.display())));
}

#[tokio::test]
async fn a_logout_is_done_to_its_end_though_whoever_asked_for_it_went_away() {
    let fake = FakeCli::new(&Script::default());
    let [begun, left, done] = ["begun", "left", "done"].map(|name| fake.file(name));
    let steps = vec![
        Step::MakeFile(begun.clone()),
        Step::AwaitFile(left.clone()),
        Step::MakeFile(done.clone()),
        Step::Bytes(b"Successfully logged out.\n".to_vec()),
    ];
    let commands = [("auth logout".to_owned(), steps)].into();
    fake.follow(&Script { commands, ..Script::default() });
    let folder = fake.file("config");
    let app = fake
        .app_with(|config: &mut couplet::config::Config| {
            config.claude.process.credential = Credential::ConfigDir(folder.clone());
            config.claude.account.origin = CredentialOrigin::Setting("COUPLET_CLAUDE_CONFIG_DIR".to_owned());
        })
        .await;
    let asked = tokio::spawn(app.post("/auth/logout").bearer_auth(ADMIN_KEY).send());
    eventually(PATIENCE, "the CLI is asked", || begun.exists()).await;
    asked.abort();
    // The server learns of it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    std::fs::write(&left, "").expect("a file");
    eventually(PATIENCE, "the login is ended", || done.exists()).await;
}

/// The server goes on, for other tenants: it does not say that it stops.
#[tokio::test]
async fn who_is_still_sending_a_question_at_a_logout_is_told_of_that() {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    let (send, pieces) = tokio::sync::mpsc::channel::<std::io::Result<String>>(1);
    let body = futures_util::stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let request = app.post("/v1/chat/completions").header("content-type", "application/json");
    let asked = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    let question = ask("hello").to_string();
    let (first, rest) = question.split_at(10);
    send.send(Ok(first.to_owned())).await.expect("it is read");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(log_out(&app, None).await.0, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    send.send(Ok(rest.to_owned())).await.expect("it is read");
    drop(send);
    let answer = asked.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Value>().await.expect("JSON")["error"]["code"], "signed_out");
}

#[tokio::test]
async fn a_logout_that_is_not_understood_ends_nothing() {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    for (body, status) in [
        (json!({"tenant": "nobody"}), 404),
        (json!({"tenant": "../default"}), 404),
        (json!({"tenant": ["default"]}), 400),
        (json!({"tennant": "nobody"}), 400),
        (json!([]), 400),
    ] {
        assert_eq!(log_out(&app, Some(&body)).await.0, status, "{body}");
    }
    assert_eq!(said(&app.answer(&ask("hi")).await), "fine");
}
