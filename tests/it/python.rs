//! Tests with Python clients, the official `openai` and `anthropic` packages above all.

use std::path::Path;
use std::time::Duration;

use couplet::claude::account::CredentialOrigin;
use couplet::claude::command_line::CliProgram;
use couplet::config::Config;
use couplet::upstream::{Reply, Upstream};
use rstest::rstest;

use crate::support::app::{ADMIN_KEY, Builder};
use crate::support::python::{REQUIREMENTS, python, run_script};
use crate::support::real_cli::real_cli;
use crate::support::server::Server;

#[rstest]
#[case("openai")]
#[case("anthropic")]
fn the_installed_package_is_the_pinned_one(#[case] package: &str) {
    let Some(python) = python() else { return };
    let version = |line: &'static str| line.strip_prefix(package)?.strip_prefix("==");
    let pinned = REQUIREMENTS.lines().find_map(version).expect("it is pinned");
    let said = run_script(&python, "say_version.py", &[package], &[], Duration::from_secs(60));
    assert_eq!(said.trim(), pinned);
}

#[test]
fn a_script_gets_its_arguments_and_environment() {
    let Some(python) = python() else { return };
    let said = run_script(&python, "echo.py", &["a b", "\u{e9}"], &[("X", "y=z")], Duration::from_secs(60));
    assert_eq!(said.trim(), r#"[["a b", "\u00e9"], "y=z"]"#);
}

#[test]
#[should_panic(expected = "told on stderr")]
fn a_script_that_fails_shows_what_it_said() {
    let Some(python) = python() else { panic!("left out; told on stderr") };
    run_script(&python, "echo.py", &["--fail"], &[], Duration::from_secs(60));
}

#[test]
#[should_panic(expected = "did not end within")]
fn a_script_that_hangs_is_ended() {
    let Some(python) = python() else { panic!("left out; did not end within") };
    run_script(&python, "echo.py", &["--hang"], &[], Duration::from_millis(300));
}

/// Runs a script against Couplet with the real CLI, its scripted API being `told` first; what the script printed, or
/// `None` where such tests are left out.
async fn behind_couplet(
    script: &'static str,
    limit: Duration,
    told: impl FnOnce(&Upstream),
) -> Option<String> {
    behind_couplet_with(script, &[], limit, told).await
}

/// The same with more arguments.
async fn behind_couplet_with(
    script: &'static str,
    arguments: &[&'static str],
    limit: Duration,
    told: impl FnOnce(&Upstream),
) -> Option<String> {
    let (python, cli) = (python()?, real_cli()?);
    // As in a demo: a credential that is refused on command is not taken for one that is over, and other requests are asked.
    let as_made_up = |config: &mut Config| config.claude.account.origin = CredentialOrigin::MadeUp;
    let app = Builder::new(&cli).await.with(as_made_up).start().await;
    told(&app.upstream);
    let url = app.url.clone();
    let arguments = arguments.to_vec();
    let said = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = [url.as_str()].into_iter().chain(arguments).collect();
        run_script(&python, script, &arguments, &[], limit)
    });
    Some(said.await.expect("the script succeeds"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_chats_through_the_real_cli() {
    let said = behind_couplet("chat.py", Duration::from_secs(150), Upstream::be_strict).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == 7), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_runs_tool_loops_through_the_real_cli() {
    let said = behind_couplet("tools.py", Duration::from_secs(150), Upstream::be_strict).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == 10), "{said:?}");
}

/// An API that takes everything, one that has no form of answers, one that keeps to all of Anthropic's rules, and one that
/// has neither forms nor forced calls: then words ask for them.
const APIS: [fn(&Upstream); 4] = [
    |_| {},
    |upstream| {
        upstream.refuse("output_config.format", "output_config.format: Extra inputs are not permitted");
    },
    Upstream::be_strict,
    |upstream| {
        upstream.be_strict();
        upstream.refuse("output_config.format", "");
    },
];

#[rstest]
#[case::accepted(0, "")]
#[case::no_form(1, "")]
#[case::strict(2, "temperature")]
#[case::no_form_and_no_force(3, "temperature")]
#[tokio::test(flavor = "multi_thread")]
async fn the_official_packages_get_answers_in_a_form(
    #[case] api: usize,
    #[case] ignored: &'static str,
    #[values(("structured.py", 9), ("messages_structured.py", 5))] (script, steps): (&'static str, usize),
) {
    let said = behind_couplet_with(script, &[ignored], Duration::from_secs(120), APIS[api]).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == steps), "{said:?}");
}

#[rstest]
#[case::accepted(0)]
#[case::no_form(1)]
#[case::strict(2)]
#[case::no_form_and_no_force(3)]
#[tokio::test(flavor = "multi_thread")]
async fn agents_of_pydantic_ai_get_their_output(#[case] api: usize) {
    let said = behind_couplet("pydantic_ai_agent.py", Duration::from_secs(120), APIS[api]).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == 5), "{said:?}");
}

#[rstest]
#[case::accepted(0)]
#[case::no_form(1)]
#[case::strict(2)]
#[case::no_form_and_no_force(3)]
#[tokio::test(flavor = "multi_thread")]
async fn langchain_gets_structured_output(#[case] api: usize) {
    let said = behind_couplet("langchain_structured.py", Duration::from_secs(120), APIS[api]).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == 4), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_completes_texts_and_asks_for_several_answers() {
    let said = behind_couplet("completions.py", Duration::from_secs(150), |_| {}).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == 7), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_package_speaks_its_own_api_to_the_real_cli() {
    let said = behind_couplet("messages.py", Duration::from_secs(150), |_| {}).await;
    assert!(said.as_ref().is_none_or(|said| said.matches(" ok\n").count() == 9), "{said:?}");
}

#[test]
fn the_document_keeps_to_openapi() {
    let Some(python) = python() else { return };
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi/openapi.json");
    let said = run_script(&python, "openapi.py", &[document], &[], Duration::from_secs(60));
    assert_eq!(said, "valid ok\n");
}

/// The demo answers whatever it is asked. `COUPLET_EXPLORE` is a number of requests made up for each operation, beside those
/// that schemathesis derives from the schemas one by one.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_that_is_not_as_the_document_says() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    let keys = [("COUPLET_API_KEYS", "key"), ("COUPLET_ADMIN_KEY", "admin")];
    let server = Server::start(&[("PATH", &*path), keys[0], keys[1]]).await;
    let url = server.url.clone();
    let examples = std::env::var("COUPLET_EXPLORE").unwrap_or_else(|_| "10".to_owned());
    // The operator's last: one of these ends the sign-in.
    let runs: [&[&str]; 3] =
        [&["key"], &["admin", "/admin/cli", "/admin/usage", "/metrics"], &["admin", "/auth/logout"]];
    let said = tokio::task::spawn_blocking(move || {
        runs.map(|run| {
            let arguments = [&[&*url, run[0], &path, &examples, "2026"], &run[1..]].concat();
            run_script(&python, "openapi.py", &arguments, &[], Duration::from_secs(540))
        })
    });
    for said in said.await.expect("it succeeds") {
        assert!(said.contains("No issues found"), "{said}");
    }
    let log = server.stop().await;
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_finds_a_chat_model_in_couplet() {
    let told = |upstream: &Upstream| upstream.set_default(Reply::agent());
    let said = behind_couplet("langchain_chat.py", Duration::from_secs(200), told).await;
    assert!(said.as_ref().is_none_or(|said| said.contains("47 passed, 3 skipped")), "{said:?}");
}

/// No model is needed for it, so the stand-in answers.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_own_parser_reads_the_metrics() {
    let Some(python) = python() else { return };
    let stand_in = CliProgram::StandIn {
        path: env!("CARGO_BIN_EXE_couplet").into(),
        subcommand: couplet::stand_in::SUBCOMMAND,
    };
    let builder = Builder::new(Path::new("unused")).await;
    let app = builder.with(|config| config.claude.process.program = stand_in).start().await;
    let url = app.url.clone();
    let run = move || run_script(&python, "metrics.py", &[&url, ADMIN_KEY], &[], Duration::from_secs(60));
    let said = tokio::task::spawn_blocking(run).await.expect("the script succeeds");
    assert_eq!(said.matches(" ok\n").count(), 4, "{said}");
}
