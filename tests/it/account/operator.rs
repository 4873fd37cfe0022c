//! Commands of the CLI for the operator.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use super::{PATIENCE, told};
use crate::support::app::{ADMIN_KEY, TOKEN, TestApp};
use crate::support::fake_cli::FakeCli;
use crate::support::fake_cli::script::{Script, Step};

async fn run(app: &TestApp, body: &Value) -> (u16, Value) {
    let response = app.post("/admin/cli").bearer_auth(ADMIN_KEY).json(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// A CLI that does this as a doctor.
fn doctor(steps: Vec<Step>) -> FakeCli {
    FakeCli::new(&Script { commands: [("doctor".to_owned(), steps)].into(), ..Script::default() })
}

#[rstest]
#[case(json!({"command": "--version; id"}))]
#[case(json!({"command": "doctor --x"}))]
#[case(json!({"command": "doctor\n"}))]
#[case(json!({"command": "auth logout"}))]
#[case(json!({"command": "auth"}))]
#[case(json!({"command": "DOCTOR"}))]
#[case(json!({"command": ["doctor"]}))]
#[case(json!({"command": {"doctor": 1}}))]
#[case(json!({"command": null}))]
#[case(json!({"command": 1}))]
#[case(json!({}))]
#[tokio::test]
async fn what_is_not_on_the_list_is_refused_with_the_list(#[case] body: Value) {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    let (status, answer) = run(&app, &body).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("command")), "{answer}");
    let message = answer["error"]["message"].as_str().expect("a message");
    for allowed in ["\"version\"", "\"auth status\"", "\"doctor\""] {
        assert!(message.contains(allowed), "{message}");
    }
    assert!(fake.reports().is_empty(), "nothing was run");
}

#[rstest]
#[case(json!({"command": "doctor", "arguments": ["--x"]}), 400, "arguments")]
#[case(json!({"command": "doctor", "tenant": "nobody"}), 404, "tenant")]
#[case(json!({"command": "doctor", "tenant": {}}), 400, "tenant")]
#[tokio::test]
async fn what_else_is_wrong_is_named(#[case] body: Value, #[case] status: u16, #[case] param: &str) {
    let fake = FakeCli::new(&Script::default());
    let (got, answer) = run(&fake.app().await, &body).await;
    assert_eq!((got, &answer["error"]["param"]), (status, &json!(param)), "{answer}");
    assert!(fake.reports().is_empty(), "nothing was run");
}

#[tokio::test]
async fn a_command_gets_what_a_chat_process_gets_and_its_output_no_secret() {
    let steps = vec![
        Step::Bytes(format!("all is well, {TOKEN} too\n\nreally").into_bytes()),
        Step::Complain(format!("but {TOKEN}")),
        Step::Exit(3),
    ];
    let fake = doctor(steps);
    let app = fake.app().await;
    let (status, answer) = run(&app, &json!({"command": "doctor", "tenant": "default"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["stdout"], "all is well, [redacted] too\n\nreally");
    assert_eq!(answer["stderr"], "but [redacted]\n");
    assert_eq!(
        (&answer["exit_code"], &answer["truncated"], &answer["timed_out"]),
        (&json!(3), &json!(false), &json!(false))
    );
    assert!(answer["duration_ms"].is_u64());
    let report = fake.report();
    assert_eq!(report.arguments[1..], ["doctor"]);
    assert_eq!(report.credential.as_deref(), Some(TOKEN), "by a descriptor");
    assert!(!report.environment.join("\n").contains(TOKEN) && !report.arguments.concat().contains(TOKEN));
    let has = |name: &str| report.environment.iter().any(|variable| variable.starts_with(name));
    assert!(
        has("CLAUDE_CONFIG_DIR=") && has("DISABLE_TELEMETRY=1") && !has("CARGO"),
        "{:?}",
        report.environment
    );
    assert_eq!(fake.heard(), "", "its stdin is closed");
}

#[tokio::test]
async fn a_flood_is_cut_and_what_a_command_starts_does_not_hold_it_up() {
    let steps =
        vec![Step::StartChild { keeps_output: true }, Step::FloodStdout { bytes: 1_000_000, line: 80 }];
    let fake = doctor(steps);
    let app = fake.app().await;
    let begun = Instant::now();
    let (_, answer) = run(&app, &json!({"command": "doctor"})).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!((&answer["truncated"], &answer["exit_code"]), (&json!(true), &json!(0)));
    assert_eq!(answer["stdout"].as_str().map(str::len), Some(64 * 1024));
    fake.gone_within(PATIENCE).await;
}

#[tokio::test]
async fn a_command_ends_with_whoever_asked_for_it() {
    let fake = doctor(vec![Step::Hang]);
    let app = fake.app().await;
    let order = json!({"command": "doctor"});
    let request = app
        .post("/admin/cli")
        .bearer_auth(ADMIN_KEY)
        .json(&order)
        .timeout(Duration::from_secs(1))
        .send()
        .await;
    assert!(request.is_err_and(|error| error.is_timeout()));
    fake.gone_within(PATIENCE).await;
}

#[tokio::test]
async fn commands_run_one_at_a_time() {
    let fake = doctor(vec![Step::Sleep { milliseconds: 300 }]);
    let app = fake.app().await;
    let order = json!({"command": "doctor"});
    let mut runs = std::pin::pin!(futures_util::future::join(run(&app, &order), run(&app, &order)));
    let mut most = 0;
    let answers = loop {
        tokio::select! {
            answers = &mut runs => break answers,
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(fake.living().len()),
        }
    };
    assert_eq!((answers.0.0, answers.1.0, most), (200, 200, 1));
}

#[tokio::test]
async fn the_version_is_told() {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    let version = told(&app, "/version").await;
    assert_eq!(
        version,
        json!({"version": env!("CARGO_PKG_VERSION"), "claude_cli_version": "2.1.329", "mode": "live"})
    );
    let (_, answer) = run(&app, &json!({"command": "version"})).await;
    assert_eq!(answer["stdout"], "2.1.329 (Claude Code)\n");
}

#[tokio::test]
async fn all_of_these_routes_ask_for_the_key() {
    let fake = FakeCli::new(&Script::default());
    let builder = crate::support::app::Builder::new(&crate::support::fake_cli::program()).await;
    let base_url = fake.base_url();
    let app = builder
        .with_keys(&["key"])
        .with(|config| config.claude.process.base_url = Some(base_url))
        .start()
        .await;
    for path in ["/auth/status", "/auth/login-instructions", "/version"] {
        assert_eq!(app.get(path).send().await.expect("an answer").status(), 401, "{path}");
    }
    for path in ["/auth/logout", "/admin/cli"] {
        assert_eq!(
            app.post(path).bearer_auth("key").send().await.expect("an answer").status(),
            401,
            "{path}"
        );
    }
    assert!(fake.reports().is_empty());
}
