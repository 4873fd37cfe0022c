//! The commands of the binary, a file each.

mod doctor;
mod healthcheck;
mod serve;
mod upstream;

use std::process::ExitCode;

use clap::Parser;
use couplet::config::ServeArguments;

/// Exit status for settings that cannot be used.
const UNUSABLE: u8 = 2;

/// Speaks the OpenAI API and answers through the official Claude Code CLI.
#[derive(Debug, Parser)]
#[command(name = "couplet", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the server (the same as no command).
    Serve(Box<ServeArguments>),
    /// Check whether the installed Claude Code CLI still behaves as Couplet needs it. It is run against a scripted API: no
    /// account is used.
    Doctor(doctor::DoctorArguments),
    /// Ask a running server whether it is ready: exit status 0 or 1. For containers and process managers.
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Run a scripted Messages API on loopback: give the CLI its address in `ANTHROPIC_BASE_URL` and try things without
    /// an account. Prompts script it with [[…]] directives; see the documentation of `couplet::upstream`.
    Upstream(upstream::UpstreamArguments),
}

impl Arguments {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            None => serve::run(self.serve),
            Some(Command::Serve(arguments)) => serve::run(*arguments),
            Some(Command::Doctor(arguments)) => doctor::run(arguments),
            Some(Command::Healthcheck(arguments)) => healthcheck::run(&arguments),
            Some(Command::Upstream(arguments)) => upstream::run(&arguments),
        }
    }
}

/// Runs `work` to its end; an error is told on stderr.
fn in_runtime(work: impl Future<Output = std::io::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// Ready when the process is asked to end: SIGTERM by process managers, SIGINT by Ctrl-C.
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Says why a command cannot do its work.
#[expect(clippy::print_stderr, reason = "the one sentence the user must see, whatever the log's level")]
fn complain(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("couplet: {error}");
    ExitCode::from(UNUSABLE)
}
