//! Commands of the CLI that change nothing, for the server's operator: an allow-list. Nothing that anybody sends ever becomes
//! an argument.
//!
//! Seen with release 2.1.329, without a terminal: `auth status` writes JSON, offline, with exit status 1 where nobody is signed
//! in; `doctor` writes plain text and ends within 2 s. What the CLI says of itself here is what it says to a chat process: the
//! owner's own settings and logins are not looked at.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Claude;
use super::account::CredentialOrigin;
use super::failure::TurnFailure;
use super::process::OutputBounds;

/// How much of what a command says is kept, and how long it may take.
const BOUNDS: OutputBounds = OutputBounds { bytes: 64 * 1024, time: Duration::from_secs(20) };

/// How long what the CLI said of its sign-in is good for: whoever has a key may ask.
const FRESH: Duration = Duration::from_secs(30);

/// A command that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CliCommand {
    /// Its version.
    Version,
    /// Who is signed in.
    AuthStatus,
    /// What it finds about its own installation.
    Doctor,
}

/// What a command said.
#[derive(Debug)]
pub struct CommandOutput {
    /// Its exit status; `None` if it was killed.
    pub exit_code: Option<i32>,
    /// The beginning of its stdout, without secrets.
    pub stdout: String,
    /// The beginning of its stderr, without secrets.
    pub stderr: String,
    /// Whether more was said.
    pub is_cut: bool,
    /// Whether it ended by itself, within 20 s.
    pub in_time: bool,
    /// How long it took.
    pub took: Duration,
}

/// What is known of the commands that were run.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// One at a time.
    running: Mutex<()>,
    /// What the CLI said of its sign-in, and when.
    auth_status: Mutex<Option<(Instant, Option<Value>)>>,
}

impl CliCommand {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Version, Self::AuthStatus, Self::Doctor];

    /// The one of that name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::AuthStatus => "auth status",
            Self::Doctor => "doctor",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Version => &["--version"],
            Self::AuthStatus => &["auth", "status"],
            Self::Doctor => &["doctor"],
        }
    }
}

impl Claude {
    /// Runs a command, once no other runs.
    ///
    /// # Errors
    /// When it cannot be started, or there is no CLI that has it; when the sign-in was ended, or the server is about to stop.
    pub async fn run_command(&self, command: CliCommand) -> Result<CommandOutput, TurnFailure> {
        let inner = &self.inner;
        if !inner.supply.is_real() && command != CliCommand::Version {
            let message = "the built-in stand-in for the Claude Code CLI has no such command";
            return Err(TurnFailure::Start(std::io::Error::other(message)));
        }
        tokio::select! {
            biased;
            () = inner.account.signed_out() => Err(TurnFailure::SignedOut),
            () = inner.drain.cancelled() => Err(TurnFailure::ShuttingDown),
            // Dropping it kills the process.
            output = self.run_alone(command) => output,
        }
    }

    async fn run_alone(&self, command: CliCommand) -> Result<CommandOutput, TurnFailure> {
        let inner = &self.inner;
        let _one_at_a_time = inner.commands.running.lock().await;
        let begun = Instant::now();
        let output = inner.supply.run(command.arguments(), BOUNDS).await?;
        let told = |bytes: &[u8]| inner.supply.credential().redact(&String::from_utf8_lossy(bytes));
        Ok(CommandOutput {
            exit_code: output.exit_code,
            stdout: told(&output.stdout),
            stderr: told(&output.stderr),
            is_cut: output.is_cut,
            in_time: output.in_time,
            took: begun.elapsed(),
        })
    }

    /// What the CLI says of its sign-in, which may be half a minute old; `None` where it does not, or nobody is signed in.
    pub async fn cli_auth_status(&self) -> Option<Value> {
        let is_made_up = *self.inner.account.origin() == CredentialOrigin::MadeUp;
        if is_made_up || self.inner.account.expect_signed_in().is_err() {
            return None;
        }
        let mut known = self.inner.commands.auth_status.lock().await;
        if let Some((_, said)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return said.clone();
        }
        let output = self.run_command(CliCommand::AuthStatus).await.ok()?;
        let said = serde_json::from_str(&output.stdout).ok();
        *known = Some((Instant::now(), said.clone()));
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_names_are_commands() {
        for command in CliCommand::ALL {
            assert_eq!(CliCommand::named(command.name()), Some(command));
        }
        let hostile = [
            "",
            "--version",
            "--version; id",
            "doctor --x",
            " doctor",
            "Doctor",
            "auth",
            "auth status\n",
            "auth logout",
        ];
        for name in hostile {
            assert_eq!(CliCommand::named(name), None, "{name:?}");
        }
    }
}
