//! `couplet doctor`: examines the installed CLI.

use std::path::PathBuf;
use std::process::ExitCode;

use couplet::claude::process::own_program;
use couplet::doctor::{Report, examine};

use super::{complain, installed_cli, sandbox};

/// Arguments of `couplet doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArguments {
    /// The Claude Code CLI; without it `claude` is looked for in PATH and where its installers put it.
    #[arg(long)]
    claude_cli_path: Option<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Examines the CLI: exit status 0 if it fits, 1 if a check fails, 2 if it cannot be examined.
pub fn run(arguments: DoctorArguments) -> ExitCode {
    let (cli, sandbox) = match installed_cli(arguments.claude_cli_path).and_then(|cli| Ok((cli, sandbox()?)))
    {
        Ok(both) => both,
        Err(error) => return complain(&*error),
    };
    let examined = own_program().and_then(|launcher| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(examine(cli, launcher, sandbox))
    });
    match examined {
        Ok(report) => {
            print(&report, arguments.json);
            if report.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stdout, reason = "the findings are the command's output")]
fn print(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::json!(report));
        return;
    }
    println!("Claude Code CLI {} at {}", report.version, report.cli.display());
    println!("sandbox: {}\n", report.sandbox);
    for examined in &report.findings {
        println!("{:<4}  {:<14}  {}", if examined.ok { "ok" } else { "FAIL" }, examined.name, examined.seen);
        if !examined.ok {
            println!("{:<22}needed: {}", "", examined.needs);
        }
    }
    let failed = report.findings.iter().filter(|examined| !examined.ok).count();
    println!("\n{} checks, {failed} failed", report.findings.len());
}
