//! `couplet doctor` on the pinned release, and on others when asked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::command::{Ended, run};
use crate::support::real_cli::{pinned_version, real_cli, release};

/// Releases from June to November 2026 that Couplet is to fit.
pub(super) const OLDER: [&str; 5] = ["2.1.197", "2.1.240", "2.1.270", "2.1.300", "2.1.315"];

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");

fn doctor(cli: &Path, arguments: &[&str]) -> Ended {
    let cli = cli.to_str().expect("UTF-8");
    let arguments: Vec<&str> =
        ["doctor", "--claude-cli-path", cli].into_iter().chain(arguments.iter().copied()).collect();
    run(Path::new(env!("CARGO_BIN_EXE_couplet")), &arguments, &[], None, Duration::from_secs(400))
        .expect("it starts")
}

fn report(cli: &Path) -> Value {
    let said = doctor(cli, &["--json"]);
    serde_json::from_str(&said.stdout).expect("JSON")
}

#[test]
fn the_pinned_release_is_healthy() {
    let Some(cli) = real_cli() else { return };
    let report = report(&cli);
    assert_eq!(report["version"], pinned_version());
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.len() >= 20 && findings.iter().all(|finding| finding["ok"] == true), "{report:#}");
}

#[test]
fn a_program_that_is_not_the_cli_cannot_be_examined() {
    let said = doctor(Path::new("/bin/true"), &[]);
    assert!(!said.success && said.how.contains('2') && said.stderr.contains("/bin/true"), "{said}");
}

/// Takes some minutes and 2 GB of disk: `cargo nextest run --run-ignored only -E 'test(every_supported_release)'`. With
/// `COUPLET_UPDATE_DOCS=1` it renews docs/compatibility.md.
#[test]
#[ignore = "installs five more releases of the CLI"]
fn every_supported_release_is_what_the_table_in_docs_says() {
    let Some(pinned) = real_cli() else { return };
    let mut clis: Vec<PathBuf> = OLDER.iter().map(|version| release(version)).collect();
    clis.push(pinned);
    let reports: Vec<Value> = clis.iter().map(|cli| report(cli)).collect();
    let document = std::fs::read_to_string(TABLE).expect("docs/compatibility.md");
    // What follows the table is written by hand.
    let by_hand = document.find("\n# Clients\n").map_or("", |start| &document[start..]);
    let made = table(&reports) + by_hand;
    if std::env::var_os("COUPLET_UPDATE_DOCS").is_some() {
        std::fs::write(TABLE, &made).expect("written");
    }
    assert_eq!(document, made);
}

fn table(reports: &[Value]) -> String {
    let mut table =
        "# Releases of the Claude Code CLI\n\nWhat `couplet doctor` finds on each. Made by the test \
        `every_supported_release_is_what_the_table_in_docs_says` (see there how to renew it).\n\n| needed |"
            .to_owned();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for report in reports {
        write!(table, " {} |", text(&report["version"])).expect("a string takes it");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(reports.len()));
    table.push('\n');
    let checks = reports[0]["findings"].as_array().expect("findings");
    for (row, check) in checks.iter().enumerate() {
        write!(table, "| {} |", text(&check["needs"])).expect("a string takes it");
        for report in reports {
            let finding = &report["findings"][row];
            let seen = if finding["name"] == "switches" { text(&finding["seen"]) } else { "ok".to_owned() };
            let failed = || format!("fails: {}", text(&finding["seen"]));
            write!(table, " {} |", if finding["ok"] == true { seen } else { failed() })
                .expect("a string takes it");
        }
        table.push('\n');
    }
    table
}
