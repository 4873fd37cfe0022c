//! Tests with Python clients, the official `openai` package above all.

use std::time::Duration;

use crate::support::app::Builder;
use crate::support::python::{REQUIREMENTS, python, run_script};
use crate::support::real_cli::real_cli;

#[test]
fn the_installed_openai_package_is_the_pinned_one() {
    let Some(python) = python() else { return };
    let pinned =
        REQUIREMENTS.lines().find_map(|line| line.strip_prefix("openai==")).expect("openai is pinned");
    let said = run_script(&python, "say_version.py", &["openai"], &[], Duration::from_secs(60));
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

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_chats_through_the_real_cli() {
    let (Some(python), Some(cli)) = (python(), real_cli()) else { return };
    let app = Builder::new(&cli).await.start().await;
    let url = app.url.clone();
    let said = tokio::task::spawn_blocking(move || {
        run_script(&python, "chat.py", &[&url], &[], Duration::from_secs(150))
    });
    let said = said.await.expect("the script succeeds");
    assert_eq!(said.matches(" ok\n").count(), 7, "{said}");
}
