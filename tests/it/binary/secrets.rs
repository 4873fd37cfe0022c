//! What must not get out: the credential, keys, and what people say.

use std::fs;
use std::time::Duration;

use rstest::rstest;

use crate::support::app::{TOKEN, ask};
use crate::support::couplet_process::CoupletProcess;
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Report, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, fixture, play};

const SAID: &str = "prompt-canary-4711";
const ANSWERED: &str = "answer-canary-4712";
const KEY: &str = "key-canary-4713";

/// A CLI that answers well, complains, fails and crashes, by what it is asked; it quotes its input on stderr.
fn talkative() -> FakeCli {
    let complain = Step::Complain(format!("what is {SAID}?"));
    let half = Step::Frames(vec![message_start("msg_1"), text(ANSWERED)]);
    let refused = Step::Replay { file: fixture("error-401"), frames: usize::MAX, half: false };
    let nonsense = Step::Bytes(format!("{{\"type\":\"{ANSWERED}\"\nnot JSON: {ANSWERED}\n").into_bytes());
    let plays = vec![
        play("crash", [complain.clone(), half.clone(), Step::Exit(1)]),
        play("refuse", [complain.clone(), refused]),
        play("half", [complain.clone(), half, nonsense.clone(), Step::Die]),
        play("", [complain, nonsense, Step::Answer(ANSWERED.to_owned())]),
    ];
    FakeCli::new(&Script { plays, ..Script::default() })
}

/// Asks in all the ways that end differently, well and badly; what the client read.
async fn ask_around(couplet: &CoupletProcess) -> String {
    let mut read = String::new();
    for how in ["well", "crash", "refuse", "half"] {
        let mut question = ask(&format!("{how} {SAID}"));
        question["messages"].as_array_mut().expect("messages").extend([
            serde_json::json!({"role": "assistant", "content": format!("as I said: {ANSWERED}")}),
            serde_json::json!({"role": "user", "content": format!("{how}: {SAID}")}),
        ]);
        for stream in [true, false] {
            question["stream"] = stream.into();
            let answer = couplet.request(&question).bearer_auth(KEY).send().await.expect("an answer");
            // A stream that breaks off is one of the ways.
            read.push_str(&answer.text().await.unwrap_or_default());
        }
    }
    let wrong = couplet.request(&ask(SAID)).bearer_auth("another-key").send().await.expect("an answer");
    assert_eq!(wrong.status(), 401);
    let mut malformed = ask(SAID);
    malformed["messages"][0]["role"] = SAID.into();
    let refused = couplet.request(&malformed).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(refused.status(), 400);
    read
}

#[rstest]
#[case::at_the_default_level(None)]
#[case::at_the_level_trace(Some("trace"))]
#[tokio::test]
async fn no_secret_and_nothing_that_was_said_is_in_the_log(#[case] level: Option<&str>) {
    let fake = talkative();
    let mut variables = vec![("COUPLET_API_KEYS", KEY)];
    variables.extend(level.map(|level| ("COUPLET_LOG", level)));
    let couplet = CoupletProcess::start(&fake, &variables).await;
    let read = ask_around(&couplet).await;
    assert!(read.contains(ANSWERED), "it was answered: {read}");
    let log = couplet.running.said();
    assert!(log.matches("/v1/chat/completions").count() >= 8, "there is a log: {log}");
    for secret in [TOKEN, "canary-of-the-tests", KEY] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
        assert!(!read.contains(secret), "{secret} is in an answer: {read}");
    }
    for private in [SAID, ANSWERED] {
        assert!(!log.contains(private), "{private} is in the log: {log}");
    }
}

#[tokio::test]
async fn the_credential_reaches_the_cli_by_a_descriptor_and_by_nothing_else() {
    let fake = talkative();
    let couplet = CoupletProcess::start(&fake, &[]).await;
    fake.follow(&Script { plays: vec![play("", [Step::Hang])], ..Script::default() });
    let question = ask(SAID);
    let asked = async {
        let waited = eventually(Duration::from_secs(10), "the CLI is asked", || {
            !fake.reports().is_empty() && fake.heard().contains(SAID)
        });
        waited.await;
        fake.report()
    };
    let Report { process_id, arguments, environment, credential } = tokio::select! {
        answer = couplet.answer(&question) => panic!("no answer was to come, but {answer:?}"),
        report = asked => report,
    };
    assert_eq!(credential.as_deref(), Some(TOKEN));
    let of_the_system = ["cmdline", "environ"].map(|what| {
        String::from_utf8_lossy(&fs::read(format!("/proc/{process_id}/{what}")).expect("it lives"))
            .into_owned()
    });
    let shown = [arguments.join(" "), environment.join("\n")];
    for text in shown.iter().chain(&of_the_system) {
        assert!(text.len() > 100, "something is there: {text}");
        for canary in [TOKEN, "canary-of-the-tests", SAID] {
            assert!(!text.contains(canary), "{canary} is in {text}");
        }
    }
    assert!(
        environment.iter().any(|variable| variable.starts_with("CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR="))
    );
    assert!(!environment.iter().any(|variable| variable.starts_with("CLAUDE_CODE_OAUTH_TOKEN=")));
    // What came before the credential's own line would be the CLI's.
    assert!(!fake.heard().contains(TOKEN) && fake.heard().starts_with(r#"{"type":"control_request""#));
}

#[tokio::test]
async fn what_the_cli_says_on_stderr_is_logged_where_it_is_asked_for_by_name() {
    let fake = talkative();
    let couplet = CoupletProcess::start(&fake, &[("COUPLET_LOG", "info,couplet::cli_stderr=debug")]).await;
    let (status, _) = couplet.answer(&ask("crash")).await;
    assert_eq!(status, 502);
    let told = format!("what is {SAID}?");
    eventually(Duration::from_secs(10), "the log holds it", || couplet.running.said().contains(&told)).await;
}
