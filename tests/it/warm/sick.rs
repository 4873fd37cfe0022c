//! Processes that come to nothing before anybody has asked them anything.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use couplet::claude::command_line::CliProgram;
use couplet::claude::sandbox::SandboxMode;
use couplet::config::Config;
use rstest::rstest;
use serde_json::json;

use super::{PATIENCE, app, app_with, question, recital, wait_for, waiting};
use crate::support::app::TestApp;
use crate::support::fake_cli::script::{OnControl, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};

/// Within this a process is gone after its end was decided.
const SOON: Duration = Duration::from_secs(2);

/// Within this a server stops that nobody waits for.
const STOPS: Duration = Duration::from_secs(5);

fn script() -> Script {
    Script { plays: vec![play("", vec![Step::Recite("fine".to_owned())])], ..Script::default() }
}

async fn one_is_being_started(app: &TestApp) {
    let begun = Instant::now();
    while app.health().await["processes"]["starting"] != 1 {
        assert!(begun.elapsed() < PATIENCE, "{}", app.health().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[rstest]
#[case::that_is_not_read(Script { at_start: vec![Step::Hang], ..script() })]
#[case::whose_blank_question_is_not_answered(Script { at_blank: vec![Step::Hang], ..script() })]
#[tokio::test]
async fn a_server_stops_at_once_in_the_middle_of_a_set_up(#[case] sick: Script) {
    let fake = FakeCli::new(&script());
    let mut app = app_with(&fake, waiting(2, 2), |config| config.shutdown_grace = PATIENCE).await;
    wait_for(&app, (2, 0)).await;
    fake.follow(&sick);
    // More than a pipe holds.
    recital(&app, &question(Some(&"be brief ".repeat(30_000)), &[])).await;
    one_is_being_started(&app).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    app.shut_down().await;
    assert!(begun.elapsed() < STOPS, "{:?}", begun.elapsed());
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn a_server_whose_cli_does_not_tell_its_version_stops_at_once() {
    let fake = FakeCli::new(&script());
    let program = fake.file("cli");
    std::fs::write(&program, "#!/bin/sh\nexec /bin/sleep 30\n").expect("a program");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("a program");
    let mut app = app_with(&fake, waiting(2, 2), |config| {
        config.shutdown_grace = PATIENCE;
        config.claude.process.program = CliProgram::Installed(program);
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    app.shut_down().await;
    assert!(begun.elapsed() < STOPS, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_that_does_not_answer_its_blank_question_ends_with_the_patience_of_who_claims_it() {
    let fake = FakeCli::new(&script());
    let asked = fake.file("asked");
    let at_blank = vec![Step::MakeFile(asked.clone()), Step::Hang];
    fake.follow(&Script { at_blank, ..script() });
    let app = app(&fake, waiting(2, 2)).await;
    wait_for(&app, (2, 0)).await;
    let request = question(Some("be brief"), &[]);
    recital(&app, &request).await;
    eventually(PATIENCE, "one is asked a blank question", || asked.exists()).await;
    recital(&app, &request).await;
    eventually(PATIENCE, "only the one that hangs lives", || fake.living().len() == 1).await;
    let hangs = fake.living()[0];
    assert_ne!(recital(&app, &request).await.process_id, hangs);
    // It holds memory, and a place among those that are being started.
    eventually(SOON, "it is gone", || !fake.living().contains(&hangs)).await;
}

#[tokio::test]
async fn a_cli_that_ends_as_soon_as_it_waits_is_tried_less_and_less_often() {
    let ready = json!({"type": "control_response", "response": {"subtype": "success", "request_id": "couplet-1", "response": {}}});
    let ends = vec![Step::Frames(vec![ready]), Step::Exit(1)];
    // Each is ready when the one before it was seen to end.
    let at_start = vec![Step::Sleep { milliseconds: 200 }];
    let controls = [("apply_flag_settings".to_owned(), OnControl::After(ends))].into();
    let fake = FakeCli::new(&Script { at_start, controls, ..script() });
    let app = app(&fake, waiting(3, 8)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let tries = fake.reports().len();
    assert!((1..=5).contains(&tries), "{tries} tries in 3 s");
    fake.follow(&script());
    wait_for(&app, (3, 0)).await;
}

#[tokio::test]
async fn a_profile_that_cannot_be_set_up_takes_no_place_from_others() {
    let fake = FakeCli::new(&script());
    let app = app(&fake, waiting(3, 3)).await;
    wait_for(&app, (3, 0)).await;
    let controls = [("initialize".to_owned(), OnControl::Decline("no such tool".to_owned()))].into();
    fake.follow(&Script { controls, ..script() });
    recital(&app, &question(Some("be brief"), &["f"])).await;
    wait_for(&app, (3, 0)).await;
}

#[tokio::test]
async fn a_process_that_does_not_tell_the_models_leaves_no_note() {
    let controls = [("initialize".to_owned(), OnControl::Decline("not today".to_owned()))].into();
    let fake = FakeCli::new(&Script { controls, ..script() });
    // Only a process that is not confined can make one.
    let unconfined = |config: &mut Config| config.claude.process.sandbox.mode = SandboxMode::Off;
    let app = app_with(&fake, waiting(0, 0), unconfined).await;
    let answer = app.get("/v1/models").send().await.expect("an answer");
    assert!(answer.status().is_server_error(), "{}", answer.status());
    fake.gone_within(SOON).await;
    let of_credentials = std::fs::read_dir(app.state.path().join("state/claude")).expect("folders");
    let notes: HashSet<_> = of_credentials
        .flat_map(|folder| {
            std::fs::read_dir(folder.expect("a folder").path().join("config/sessions")).expect("a folder")
        })
        .map(|note| note.expect("a note").path())
        .collect();
    assert!(notes.is_empty(), "notes of sessions are left: {notes:?}");
}
