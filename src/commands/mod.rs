//! The commands of the binary, a file each.

mod config;
mod doctor;
mod healthcheck;
mod keys;
mod login;
mod record;
mod serve;
mod signals;
mod upstream;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use couplet::claude::sandbox::SandboxSettings;
use couplet::config::{ServeArguments, Settings, Surroundings, find_cli};

/// Exit status for settings that cannot be used.
const UNUSABLE: u8 = 2;

/// Speaks the OpenAI API and answers through the official Claude Code CLI.
#[derive(Debug, Parser)]
// A flag before a command would be taken for the server's, and do nothing.
#[command(name = "couplet", version, about, args_conflicts_with_subcommands = true)]
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
    /// Show the settings that count and where they come from; exit status 2 says that they cannot be used.
    Config(Box<config::ConfigArguments>),
    /// Check whether the installed Claude Code CLI still behaves as Couplet needs it. It is run against a scripted API: no
    /// account is used.
    Doctor(doctor::DoctorArguments),
    /// Ask a running server whether it is ready: exit status 0 or 1. For containers and process managers.
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Make, list and revoke the keys that open the server.
    Keys(keys::KeysArguments),
    /// Get a token with `claude setup-token` and keep it for the server, in a file only you can read. A token can be given
    /// on stdin as well.
    Login,
    /// Record dialogues with the installed Claude Code CLI for the tests of Couplet itself.
    #[command(hide = true)]
    Record(record::RecordArguments),
    /// Run a scripted Messages API on loopback: give the CLI its address in `ANTHROPIC_BASE_URL` and try things without
    /// an account. Prompts script it with [[…]] directives; see the documentation of `couplet::upstream`.
    Upstream(upstream::UpstreamArguments),
}

impl Arguments {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            None => serve::run(&self.serve),
            Some(Command::Serve(arguments)) => serve::run(&arguments),
            Some(Command::Config(arguments)) => config::run(&arguments),
            Some(Command::Doctor(arguments)) => doctor::run(arguments),
            Some(Command::Healthcheck(arguments)) => healthcheck::run(&arguments),
            Some(Command::Keys(arguments)) => keys::run(arguments),
            Some(Command::Login) => login::run(),
            Some(Command::Record(arguments)) => record::run(arguments),
            Some(Command::Upstream(arguments)) => upstream::run(&arguments),
        }
    }
}

/// The Claude Code CLI: the one of a flag, of the settings, or the first that is found.
fn installed_cli(flag: Option<PathBuf>) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    if let Some(path) = flag {
        return Ok(path);
    }
    let around = Surroundings::of_this_process();
    let configured = Settings::load(&ServeArguments::default(), &around)?.settings.claude_cli_path;
    configured.or_else(|| find_cli(&around)).ok_or_else(|| {
        "The Claude Code CLI is not found. Install it with `npm install -g @anthropic-ai/claude-code`, or name it in \
         CLAUDE_CLI_PATH."
            .into()
    })
}

/// How processes of the CLI are to be confined, by the settings.
fn sandbox() -> Result<SandboxSettings, Box<dyn std::error::Error + Send + Sync>> {
    let settings = Settings::load(&ServeArguments::default(), &Surroundings::of_this_process())?.settings;
    Ok(SandboxSettings { mode: settings.sandbox, more: settings.sandbox_paths })
}

/// Runs `work` to its end; an error is told on stderr.
fn in_runtime(work: impl Future<Output = std::io::Result<()>>) -> ExitCode {
    // Where the system has no threads left, tokio panics.
    let build = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let no_threads = |_panic| std::io::Error::other("The system lets this process start no threads.");
    let runtime = std::panic::catch_unwind(build).map_err(no_threads).flatten();
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
fn complain(error: &dyn std::error::Error) -> ExitCode {
    // The one sentence the user must see, whatever the log's level; if he is gone, that is no reason to panic.
    let _ = writeln!(std::io::stderr(), "couplet: {error}");
    ExitCode::from(UNUSABLE)
}
