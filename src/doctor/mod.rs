//! `couplet doctor`: does the installed CLI still behave as Couplet needs it?
//!
//! What Couplet relies on is documented nowhere, so each release may change it. Every check runs the CLI against the
//! scripted API and tells in a line what was seen.
//!
//! - `laboratory`: the CLI, the scripted API and folders of their own.
//! - `basics`, `fidelity`, `demands`, `media`, `tools`, `conversations`, `endings`: the checks.

mod basics;
mod conversations;
mod demands;
mod endings;
mod fidelity;
mod laboratory;
mod media;
mod tools;

use std::path::PathBuf;
use std::pin::Pin;

use serde::Serialize;

use laboratory::Laboratory;

use crate::claude::sandbox::SandboxSettings;

/// What a check saw, or what was wrong.
type Finding = Result<String, String>;

/// A check under way.
type Running<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

/// One behaviour that Couplet relies on.
struct Check {
    name: &'static str,
    /// What must hold.
    needs: &'static str,
    run: for<'a> fn(&'a Laboratory) -> Running<'a>,
}

/// What the doctor found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The CLI that was examined.
    pub cli: PathBuf,
    /// Its version, as `2.1.329`.
    pub version: String,
    /// What its processes are confined to, or why they are not, and what to do about it.
    pub sandbox: String,
    /// One for each check, in order.
    pub findings: Vec<Examined>,
}

/// The outcome of one check.
#[derive(Debug, Serialize)]
pub struct Examined {
    /// The check.
    pub name: &'static str,
    /// What must hold.
    pub needs: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was seen.
    pub seen: String,
}

impl Report {
    /// Whether Couplet fits this CLI.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|examined| examined.ok)
    }
}

/// Examines the CLI at `cli`. `launcher` is a program that knows the launcher's subcommand: this one.
///
/// # Errors
/// When it cannot be run at all, or the scripted API cannot be started.
pub async fn examine(cli: PathBuf, launcher: PathBuf, sandbox: SandboxSettings) -> std::io::Result<Report> {
    let confined = sandbox.to_string();
    let laboratory = Laboratory::open(cli.clone(), launcher, sandbox).await?;
    let version = laboratory.version().await?;
    let mut findings = Vec::new();
    let checks = [
        &basics::CHECKS[..],
        &fidelity::CHECKS,
        &demands::CHECKS,
        &media::CHECKS,
        &tools::CHECKS,
        &conversations::CHECKS,
        &endings::CHECKS,
    ];
    for Check { name, needs, run } in checks.into_iter().flatten() {
        let finding = run(&laboratory).await;
        let ok = finding.is_ok();
        let seen = finding.unwrap_or_else(|problem| problem);
        findings.push(Examined { name, needs, ok, seen });
    }
    laboratory.close().await;
    Ok(Report { cli, version, sandbox: confined, findings })
}
