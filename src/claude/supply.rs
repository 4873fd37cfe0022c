//! Starts processes, and ends them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::budget::Share;
use super::command_line::{self, CliProgram, CommandLine, Folders};
use super::credential::Credential;
use super::failure::TurnFailure;
use super::features::{self, CliFeatures};
use super::process::{self, CliProcess, Output, OutputBounds, Spawner};
use super::prompt_cache::CacheTtl;
use super::session::Session;

/// What every process has in common.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The CLI.
    pub program: CliProgram,
    /// A program that knows the launcher's subcommand: this one.
    pub launcher: PathBuf,
    /// Who is signed in.
    pub credential: Credential,
    /// The folder for what the CLI keeps.
    pub state_dir: PathBuf,
    /// Where the CLI finds Anthropic's API, if not at its own default.
    pub base_url: Option<String>,
    /// Variables of Couplet's own environment that the CLI gets too.
    pub passed_through: Vec<(OsString, OsString)>,
    /// The version of the CLI, where it was asked already.
    pub version: Option<String>,
}

impl CliProgram {
    /// What it says to one argument, such as `--version`.
    ///
    /// # Errors
    /// When it cannot be started or fails; the message names the program and the argument.
    pub async fn say(&self, argument: &str) -> std::io::Result<String> {
        let arguments: Vec<&str> = self.subcommand().into_iter().chain([argument]).collect();
        process::output_of(self.path(), &arguments).await.map_err(|error| {
            std::io::Error::new(error.kind(), format!("`{} {argument}`: {error}", self.path().display()))
        })
    }

    /// Its version, as `2.1.329`.
    ///
    /// # Errors
    /// When it does not say one: then it is not the CLI.
    pub async fn version(&self) -> std::io::Result<String> {
        let said = self.say("--version").await?;
        let not_the_cli =
            || std::io::Error::other(format!("{} is not the Claude Code CLI", self.path().display()));
        features::version(&said).map(ToOwned::to_owned).ok_or_else(not_the_cli)
    }
}

/// A place among the processes that are being started. To be held until the process has said its first word.
#[derive(Debug)]
pub struct Starting(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Starts processes.
#[derive(Debug)]
pub struct ProcessSupply {
    settings: ProcessSettings,
    credential_name: String,
    folders: Folders,
    spawner: Spawner,
    /// Starts at a time: a start keeps a core busy for some 0.65 s, more at once only make each slower.
    starts: Arc<Semaphore>,
    version: OnceCell<String>,
    installed: OnceCell<Installed>,
}

/// What is known of the installed CLI.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its version, as `2.1.329`.
    pub version: String,
    command_line: CommandLine,
}

impl Installed {
    /// Whether it can be set up before there is a turn; see [`features::can_be_prepared`].
    #[must_use]
    pub fn can_be_prepared(&self) -> bool {
        features::can_be_prepared(&self.version)
    }
}

impl ProcessSupply {
    /// Makes the folders and the thread that processes are started from.
    ///
    /// # Errors
    /// When a folder cannot be made or the thread cannot be started.
    pub fn new(mut settings: ProcessSettings) -> std::io::Result<Self> {
        settings.program = settings.program.anywhere();
        let credential_name = settings.credential.folder_name();
        let own = settings.state_dir.join("claude").join(&credential_name);
        let config = match &settings.credential {
            Credential::ConfigDir(folder) => folder.clone(),
            Credential::OauthToken(_) | Credential::ApiKey(_) => own.join("config"),
        };
        let folders = Folders { home: own.join("home"), config, work: settings.state_dir.join("empty") };
        for folder in [&folders.home, &folders.config, &folders.work] {
            make_private(folder)?;
        }
        let version = OnceCell::new_with(settings.version.clone());
        let spawner = Spawner::start(settings.launcher.clone())?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            settings,
            credential_name,
            folders,
            spawner,
            starts: Arc::new(Semaphore::new(cores)),
            version,
            installed: OnceCell::new(),
        })
    }

    /// Tells credentials apart without telling them.
    #[must_use]
    pub fn credential_name(&self) -> &str {
        &self.credential_name
    }

    /// A place among the processes that are being started, first come, first served.
    ///
    /// # Errors
    /// Never, as long as the server runs.
    pub async fn may_start(&self) -> Result<Starting, TurnFailure> {
        let starts = Arc::clone(&self.starts);
        starts.acquire_owned().await.map(Starting).map_err(|_closed| TurnFailure::ShuttingDown)
    }

    /// Starts a process, whatever there is of memory, and however many are being started.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when there is none to be had.
    pub async fn start_process(&self) -> Result<CliProcess, TurnFailure> {
        let installed = self.installed().await?;
        let process = self.spawner.spawn(&installed.command_line, &self.settings.credential).await;
        let process = process.map_err(TurnFailure::Start)?;
        tracing::debug!(pid = process.id(), "started a process of the Claude Code CLI");
        Ok(process)
    }

    /// Starts a process that takes this share of the memory.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when there is none to be had.
    pub async fn start(&self, share: Share) -> Result<Session, TurnFailure> {
        let mut process = self.start_process().await?;
        process.takes(share);
        Ok(Session::new(process))
    }

    /// Runs the CLI with these arguments to its end, with the credential, the folders and the environment that chat processes
    /// have.
    ///
    /// # Errors
    /// As [`ProcessSupply::start_process`].
    pub async fn run(&self, arguments: &[&str], bounds: OutputBounds) -> Result<Output, TurnFailure> {
        let installed = self.installed().await?;
        let arguments = self.settings.program.subcommand().into_iter().chain(arguments.iter().copied());
        let line = CommandLine {
            arguments: arguments.map(OsString::from).collect(),
            ..installed.command_line.clone()
        };
        let _starting = self.may_start().await?;
        self.spawner.run(&line, &self.settings.credential, bounds).await.map_err(TurnFailure::Start)
    }

    /// Who is signed in.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.settings.credential
    }

    /// Whether it is the real CLI that is run.
    #[must_use]
    pub fn is_real(&self) -> bool {
        matches!(self.settings.program, CliProgram::Installed(_))
    }

    /// Lets a process at rest end.
    pub async fn end(&self, session: Session) {
        let id = session.process_id();
        session.into_process().end().await;
        self.forget(id);
    }

    /// Kills a process.
    pub async fn kill(&self, session: Session) {
        let id = session.process_id();
        session.into_process().kill_and_wait().await;
        self.forget(id);
    }

    /// Interrupts the answer of a process and lets it end.
    pub async fn interrupt(&self, session: Session) {
        let id = session.process_id();
        session.interrupt_and_end().await;
        self.forget(id);
    }

    /// The version of the installed CLI, asked once it is first needed: that takes 10 ms.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when the CLI does not answer; the next call asks again.
    pub async fn version(&self) -> Result<&str, TurnFailure> {
        let version = self.version.get_or_try_init(|| self.settings.program.version()).await;
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
        let program = &self.settings.program;
        let help = async { program.say("--help").await.map_err(TurnFailure::Start) };
        let (version, help) = tokio::try_join!(self.version(), help)?;
        let command_line = command_line::chat_process(
            program,
            CliFeatures::from_help(&help),
            &self.folders,
            CacheTtl::of(&self.settings.credential),
            self.settings.base_url.as_deref(),
            &self.settings.passed_through,
        );
        match program {
            CliProgram::Installed(path) => {
                tracing::info!(version, path = %path.display(), "found the Claude Code CLI");
            }
            CliProgram::StandIn { .. } => {
                tracing::info!("the built-in stand-in takes the place of the Claude Code CLI");
            }
        }
        Ok(Installed { version: version.to_owned(), command_line })
    }

    /// Removes the note that the CLI keeps of a running session: whichever way a process was meant to end, it may have been
    /// killed, and could not do so itself. Ids of processes come back; their notes should not.
    fn forget(&self, process_id: i32) {
        let note = self.folders.config.join("sessions").join(format!("{process_id}.json"));
        // One system call. Handed to a thread, a thousand processes that end at once would take hundreds of threads for it.
        let _ = std::fs::remove_file(note);
    }
}

/// Makes a folder, with its parents, that only its owner may look into.
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        std::io::Error::new(error.kind(), format!("the folder {} cannot be made: {error}", folder.display()))
    })
}
