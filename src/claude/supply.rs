//! Starts processes for one credential, and ends them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::budget::Share;
use super::command_line::{self, CliProgram, CommandLine, Folders};
use super::credential::Credential;
use super::device;
use super::failure::TurnFailure;
use super::installed::Starter;
use super::process::{CliProcess, Output, OutputBounds};
use super::prompt_cache::CacheTtl;
use super::sandbox::{Configuration, SandboxSettings};
use super::session::Session;

/// Folders in its home, on Linux and on macOS, in which the CLI keeps notes of what it calls: the names of tools, and word for
/// word what tools say that failed (`mcp-logs-…`; seen on 2.1.329, which has no switch for it).
const NOTES_OF_CALLS: [&str; 2] = [".cache/claude-cli-nodejs", "Library/Caches/claude-cli-nodejs"];

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
    /// How processes are confined.
    pub sandbox: SandboxSettings,
    /// The version of the CLI, where it was asked already.
    pub version: Option<String>,
}

/// Starts processes.
#[derive(Debug)]
pub struct ProcessSupply {
    settings: ProcessSettings,
    credential_name: String,
    folders: Folders,
    /// Where the CLI looks for its folder of temporary files, if it is confined.
    temporary: PathBuf,
    starter: Arc<Starter>,
    configuration: Configuration,
    command_line: OnceCell<CommandLine>,
}

impl ProcessSupply {
    /// Makes the folders and the thread that processes are started from.
    ///
    /// # Errors
    /// When a folder cannot be made or the thread cannot be started.
    pub fn new(settings: ProcessSettings) -> std::io::Result<Self> {
        let starter = Arc::new(Starter::new(&settings)?);
        Self::by(starter, settings, None)
    }

    /// Makes the folders. Processes are started by `starter`, which may start those of others too. With an `owner`'s name the
    /// folders are that owner's alone, whatever the credential.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn by(
        starter: Arc<Starter>,
        settings: ProcessSettings,
        owner: Option<&str>,
    ) -> std::io::Result<Self> {
        let of_credential = settings.credential.folder_name();
        let (all, credential_name) = (
            settings.state_dir.join("claude"),
            match owner {
                None => of_credential.clone(),
                Some(owner) => format!("{owner}/{of_credential}"),
            },
        );
        let own = owner.map_or_else(|| all.clone(), |owner| all.join("tenants").join(owner));
        let own = own.join(of_credential);
        let (config, configuration) = match &settings.credential {
            // Processes run elsewhere.
            Credential::ConfigDir(folder) => (std::path::absolute(folder)?, Configuration::Owners),
            Credential::OauthToken(_) | Credential::ApiKey(_) | Credential::Missing => {
                (own.join("config"), Configuration::Couplets)
            }
        };
        let folders = Folders { home: own.join("home"), config, work: settings.state_dir.join("empty") };
        let temporary = own.join("tmp");
        // It makes its own in there, which it may not where it is confined.
        let own_temporary = temporary.join(format!("claude-{}", rustix::process::getuid().as_raw()));
        for folder in [&folders.home, &folders.config, &folders.work, &own_temporary] {
            make_private(folder)?;
        }
        bar_notes_of_calls(&folders.home)?;
        if configuration == Configuration::Couplets {
            device::name_in(&folders.config)?;
        }
        let command_line = OnceCell::new();
        Ok(Self { settings, credential_name, folders, temporary, starter, configuration, command_line })
    }

    /// Tells credentials apart without telling them.
    #[must_use]
    pub fn credential_name(&self) -> &str {
        &self.credential_name
    }

    /// What starts its processes, and knows the installed CLI.
    #[must_use]
    pub fn starter(&self) -> &Starter {
        &self.starter
    }

    /// Starts a process, whatever there is of memory, and however many are being started.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when there is none to be had.
    pub async fn start_process(&self) -> Result<CliProcess, TurnFailure> {
        let line = self.command_line.get_or_try_init(|| self.command_line()).await?;
        self.starter.start(line, &self.settings.credential).await
    }

    async fn command_line(&self) -> Result<CommandLine, TurnFailure> {
        let installed = self.starter.installed().await?;
        let line = command_line::chat_process(
            self.starter.program(),
            installed.features,
            &self.folders,
            CacheTtl::of(&self.settings.credential),
            self.settings.base_url.as_deref(),
            &self.settings.passed_through,
        );
        let sandbox = &self.settings.sandbox;
        Ok(if sandbox.is_in_force() {
            line.confined(sandbox, &self.temporary, self.configuration)
        } else {
            line
        })
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
        let arguments = self.starter.program().subcommand().into_iter().chain(arguments.iter().copied());
        let of_chats = self.command_line.get_or_try_init(|| self.command_line()).await?;
        let line = CommandLine { arguments: arguments.map(OsString::from).collect(), ..of_chats.clone() };
        self.starter.run(&line, &self.settings.credential, bounds).await
    }

    /// Who is signed in.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.settings.credential
    }

    /// Whether it is the real CLI that is run.
    #[must_use]
    pub fn is_real(&self) -> bool {
        matches!(self.starter.program(), CliProgram::Installed(_))
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

/// Puts files where the CLI would make the folders of [`NOTES_OF_CALLS`]: it goes on without its notes. Those that were made
/// before are removed.
fn bar_notes_of_calls(home: &Path) -> std::io::Result<()> {
    use std::io::ErrorKind;
    const WHY: &str =
        "In this place the Claude Code CLI would write down what tools say. Couplet keeps nothing of that.\n";
    for notes in NOTES_OF_CALLS.map(|place| home.join(place)) {
        if notes.is_file() {
            continue;
        }
        match std::fs::remove_dir_all(&notes) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        notes.parent().map_or(Ok(()), make_private)?;
        std::fs::write(&notes, WHY)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_calls_are_removed_and_cannot_be_made_again() {
        let home = tempfile::tempdir().unwrap();
        let notes = home.path().join(NOTES_OF_CALLS[0]);
        std::fs::create_dir_all(notes.join("mcp-logs-couplet")).unwrap();
        std::fs::write(notes.join("mcp-logs-couplet/1.jsonl"), "said").unwrap();
        for _ in 0..2 {
            bar_notes_of_calls(home.path()).unwrap();
            for place in NOTES_OF_CALLS {
                assert!(std::fs::create_dir_all(home.path().join(place).join("mcp-logs-couplet")).is_err());
            }
        }
    }
}
