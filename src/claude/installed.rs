//! The installed CLI: looked at once, and started from one thread, however many credentials there are.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::command_line::{CliProgram, CommandLine};
use super::credential::Credential;
use super::failure::TurnFailure;
use super::features::{self, CliFeatures};
use super::process::{self, CliProcess, Output, OutputBounds, Spawner};
use super::sandbox::{Configuration, Rules, SandboxMode, SandboxSettings};
use super::shortage;
use super::starts::{Starting, Starts};
use super::supply::ProcessSettings;

/// Asks a CLI about itself: without a credential, in no folder, and confined to what it takes to say it.
#[derive(Debug)]
pub struct Probe {
    program: CliProgram,
    launcher: PathBuf,
    sandbox: SandboxSettings,
    /// PATH, where it is set: a script finds its interpreter there.
    environment: Vec<(OsString, OsString)>,
}

impl Probe {
    /// One for the CLI of these settings.
    #[must_use]
    pub fn new(settings: &ProcessSettings) -> Self {
        Self {
            program: settings.program.clone().anywhere(),
            launcher: settings.launcher.clone(),
            sandbox: settings.sandbox.clone(),
            environment: settings.passed_through.iter().filter(|(name, _)| name == "PATH").cloned().collect(),
        }
    }

    /// What it says to one argument, such as `--version`.
    ///
    /// # Errors
    /// When it cannot be started or fails; the message names the program and the argument.
    pub async fn say(&self, argument: &str) -> std::io::Result<String> {
        let program = self.program.path();
        let line = CommandLine {
            program: program.to_owned(),
            arguments: self.program.subcommand().into_iter().chain([argument]).map(OsString::from).collect(),
            environment: self.environment.clone(),
            work: "/".into(),
            rules: self
                .sandbox
                .is_in_force()
                .then(|| Rules::of(&self.sandbox, None, &self.environment, Configuration::Couplets)),
        };
        process::output_of(&self.launcher, &line)
            .await
            .map_err(|error| shortage::about(format!("`{} {argument}`", program.display()), error))
    }

    /// Its version, as `2.1.329`.
    ///
    /// # Errors
    /// When it does not say one: then it is not the CLI.
    pub async fn version(&self) -> std::io::Result<String> {
        let said = self.say("--version").await?;
        let not_the_cli =
            || std::io::Error::other(format!("{} is not the Claude Code CLI", self.program.path().display()));
        features::version(&said).map(ToOwned::to_owned).ok_or_else(not_the_cli)
    }
}

/// What is known of the installed CLI.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its version, as `2.1.329`.
    pub version: String,
    /// Which of its switches it has.
    pub features: CliFeatures,
}

impl Installed {
    /// Whether it can be set up before there is a turn; see [`features::can_be_prepared`].
    #[must_use]
    pub fn can_be_prepared(&self) -> bool {
        features::can_be_prepared(&self.version)
    }
}

/// Starts the CLI, for whomever.
#[derive(Debug)]
pub struct Starter {
    probe: Probe,
    spawner: Spawner,
    /// Starts at a time: a start keeps a core busy for some 0.65 s, more at once only make each slower.
    starts: Starts,
    /// Of these, those that no turn waits for: one, or many pools that fill up would be in the way of the turns.
    ahead: Starts,
    version: OnceCell<String>,
    installed: OnceCell<Installed>,
}

impl Starter {
    /// Starts the thread that processes are started from.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(settings: &ProcessSettings) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            probe: Probe::new(settings),
            spawner: Spawner::start(settings.launcher.clone())?,
            starts: Starts::new(cores),
            ahead: Starts::new(1),
            version: OnceCell::new_with(settings.version.clone()),
            installed: OnceCell::new(),
        })
    }

    /// The CLI.
    #[must_use]
    pub fn program(&self) -> &CliProgram {
        &self.probe.program
    }

    /// Whether processes are confined.
    #[must_use]
    pub fn sandbox(&self) -> SandboxMode {
        self.probe.sandbox.mode
    }

    /// A place among the processes that are being started, first come, first served.
    ///
    /// # Errors
    /// Never, as long as the server runs.
    pub async fn may_start(&self) -> Result<Starting, TurnFailure> {
        self.starts.enter().await
    }

    /// The same for a process that no turn waits for.
    ///
    /// # Errors
    /// Never, as long as the server runs.
    pub async fn may_start_ahead(&self) -> Result<Starting, TurnFailure> {
        let ahead = self.ahead.enter().await?;
        Ok(self.starts.enter().await?.with(ahead))
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when there is none to be had.
    pub async fn start(
        &self,
        line: &CommandLine,
        credential: &Credential,
    ) -> Result<CliProcess, TurnFailure> {
        let process = self.spawner.spawn(line, credential).await.map_err(TurnFailure::Start)?;
        tracing::debug!(pid = process.id(), "started a process of the Claude Code CLI");
        Ok(process)
    }

    /// Runs a command of the CLI to its end.
    ///
    /// # Errors
    /// As [`Starter::start`].
    pub async fn run(
        &self,
        line: &CommandLine,
        credential: &Credential,
        bounds: OutputBounds,
    ) -> Result<Output, TurnFailure> {
        let _starting = self.may_start().await?;
        self.spawner.run(line, credential, bounds).await.map_err(TurnFailure::Start)
    }

    /// The version of the installed CLI, asked once it is first needed: that takes 10 ms.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when the CLI does not answer; the next call asks again.
    pub async fn version(&self) -> Result<&str, TurnFailure> {
        let version = self.version.get_or_try_init(|| self.probe.version()).await;
        version.map(String::as_str).map_err(TurnFailure::Start)
    }

    /// What is known of the installed CLI, looked up once it is first needed: that takes 130 ms.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when the CLI does not answer; the next call looks again.
    pub async fn installed(&self) -> Result<&Installed, TurnFailure> {
        self.installed.get_or_try_init(|| self.look()).await
    }

    async fn look(&self) -> Result<Installed, TurnFailure> {
        let help = async { self.probe.say("--help").await.map_err(TurnFailure::Start) };
        let (version, help) = tokio::try_join!(self.version(), help)?;
        match self.program() {
            CliProgram::Installed(path) => {
                tracing::info!(version, path = %path.display(), "found the Claude Code CLI");
            }
            CliProgram::StandIn { .. } => {
                tracing::info!("the built-in stand-in takes the place of the Claude Code CLI");
            }
        }
        Ok(Installed { version: version.to_owned(), features: CliFeatures::from_help(&help) })
    }
}
