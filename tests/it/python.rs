//! Tests with Python clients, the official `openai` package above all.

use std::time::Duration;

use crate::support::python::{REQUIREMENTS, python, run_script};

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
