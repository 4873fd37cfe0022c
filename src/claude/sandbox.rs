//! What a process of the CLI may touch at all: on Linux the launcher confines it with Landlock before it becomes the CLI.
//!
//! What Couplet tells the CLI (no tools, no attachments, `--restricted`) is a matter of the CLI's own code. This is the
//! kernel's, and holds even where that code is wrong: whatever the CLI is talked into, there is nothing for it to read, run
//! or reach but what it needs to be a chat model.
//!
//! - `rules`, pure: which files and ports a process gets, by its command line.
//! - `program`: what a program needs to be executed: its interpreter and the folder of its libraries.
//! - `enforce`: has the kernel enforce the rules.
//! - `calls`: has it refuse system calls that lead past them.
//!
//! What neither can do, and so is not done: names and sizes of files can be looked up (`stat`), and UDP is open.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod enforce;
#[cfg(target_os = "linux")]
mod program;
mod rules;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::LazyLock;

pub use rules::{Rules, TEMPORARY};

/// The setting that [`SandboxMode`] is of.
pub const SETTING: &str = "COUPLET_SANDBOX";

/// Whether processes of the CLI are confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// As far as the kernel can.
    Auto,
    /// At least as to files and system calls; where the kernel cannot, nothing is started.
    Require,
    /// Not at all.
    #[default]
    Off,
}

/// How processes of the CLI are confined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Whether they are.
    pub mode: SandboxMode,
    /// What they may use beside what all of them may.
    pub more: Vec<MorePath>,
}

impl SandboxSettings {
    /// Those that hold where nothing else is said.
    #[must_use]
    pub fn auto() -> Self {
        Self { mode: SandboxMode::Auto, more: Vec::new() }
    }

    /// Whether a process is to be confined: not where the kernel cannot and need not.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        match self.mode {
            SandboxMode::Off => false,
            SandboxMode::Require => true,
            SandboxMode::Auto => matches!(Support::of_this_kernel(), Support::Landlock { .. }),
        }
    }
}

impl fmt::Display for SandboxSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mode, Support::of_this_kernel()) {
            (SandboxMode::Off, _) => write!(f, "off, by {SETTING}"),
            (_, support @ Support::Landlock { .. }) => {
                write!(f, "{support}")?;
                f.write_str(if support.is_partial() { " (a newer kernel does more)" } else { "" })
            }
            (_, Support::Missing(why)) => write!(f, "none: {why}"),
        }
    }
}

/// Whose the CLI's configuration folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configuration {
    /// Couplet's: the CLI reads it, and leaves nothing there that the next process would obey.
    Couplets,
    /// The owner's, with a login that the CLI renews.
    Owners,
}

/// A file or folder that the CLI may use too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePath {
    /// The path.
    pub path: PathBuf,
    /// Whether it may be written as well as read and executed.
    pub is_writable: bool,
}

/// What the kernel can confine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// Landlock.
    Landlock {
        /// The version of its interface, 1 and more.
        abi: u32,
        /// Whether there are filters of system calls too.
        refuses_calls: bool,
    },
    /// Nothing, and why.
    Missing(&'static str),
}

impl Support {
    /// What Landlock can confine, and since which ABI.
    const BY_LANDLOCK: [(u32, &'static str); 3] = [(1, "files"), (4, "network"), (6, "signals")];

    /// What the kernel that this program runs on can; asked once.
    #[must_use]
    pub fn of_this_kernel() -> &'static Self {
        static SUPPORT: LazyLock<Support> = LazyLock::new(ask_kernel);
        &SUPPORT
    }

    /// What is confined: files from ABI 1 on, TCP from 4 on, signals and sockets without a path from 6 on; and what goes past
    /// Landlock, if system calls can be refused.
    #[must_use]
    pub fn confines(&self) -> Vec<&'static str> {
        let Self::Landlock { abi, refuses_calls } = *self else { return Vec::new() };
        let by_landlock = Self::BY_LANDLOCK.into_iter().filter(|(first, _)| abi >= *first);
        by_landlock.map(|(_, what)| what).chain(refuses_calls.then_some("system calls")).collect()
    }

    /// Whether there is more than this kernel does.
    fn is_partial(&self) -> bool {
        self.confines().len() <= Self::BY_LANDLOCK.len()
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Landlock { abi, .. } => write!(f, "Landlock ABI {abi}: {}", self.confines().join(", ")),
            Self::Missing(why) => f.write_str(why),
        }
    }
}

impl SandboxMode {
    /// What is confined on this machine.
    #[must_use]
    pub fn confines(self) -> Vec<&'static str> {
        if self == Self::Off { Vec::new() } else { Support::of_this_kernel().confines() }
    }

    /// Says once, at the start of a server, what is confined.
    ///
    /// # Errors
    /// When it is required and `support` has nothing of it.
    pub fn announce(self, support: &Support) -> io::Result<()> {
        match (self, support) {
            (Self::Off, _) => {
                tracing::warn!("processes of the Claude Code CLI are not confined: {SETTING} is off");
            }
            (Self::Require, Support::Landlock { refuses_calls: false, .. }) => {
                return Err(io::Error::other(format!(
                    "{SETTING} is `require`, but processes of the Claude Code CLI cannot be confined: this kernel has no filters \
                     of system calls (seccomp). Set it to `auto`, or use a kernel that has."
                )));
            }
            (_, support @ Support::Landlock { .. }) => {
                tracing::info!("processes of the Claude Code CLI are confined by {support}");
            }
            (Self::Auto, Support::Missing(why)) => tracing::warn!(
                "processes of the Claude Code CLI are not confined: {why}; what keeps prompts from doing anything is the \
                 CLI's own code alone"
            ),
            (Self::Require, Support::Missing(why)) => {
                return Err(io::Error::other(format!(
                    "{SETTING} is `require`, but processes of the Claude Code CLI cannot be confined: {why}. Set it to \
                     `auto`, or use a kernel of 5.13 or later with Landlock switched on."
                )));
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn ask_kernel() -> Support {
    enforce::ask_kernel()
}

#[cfg(not(target_os = "linux"))]
fn ask_kernel() -> Support {
    Support::Missing("there is no Landlock but on Linux")
}

/// Confines this process, which is about to become `program`, and everything it will start.
///
/// # Errors
/// When that is required and cannot be done, or the rules cannot be made.
#[cfg(target_os = "linux")]
pub fn confine(rules: &Rules, program: &std::ffi::OsStr) -> io::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let limits = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let needed =
        program::needs(program, &path).with(Rules { read: program::cgroups(&limits), ..Rules::default() });
    enforce::confine(&rules.clone().with(needed))
}

/// Other systems have no Landlock.
///
/// # Errors
/// When it is required.
#[cfg(not(target_os = "linux"))]
pub fn confine(rules: &Rules, _program: &std::ffi::OsStr) -> io::Result<()> {
    if rules.is_required { Err(io::Error::other("there is no Landlock but on Linux")) } else { Ok(()) }
}

/// What is to be said to whoever sees a confined process fail with this sentence.
#[must_use]
pub fn hint(sentence: &str) -> Option<&'static str> {
    let is_refusal = ["ermission denied", "EACCES", "EPERM", "not permitted"];
    is_refusal.iter().any(|word| sentence.contains(word)).then_some(
        "it may be the sandbox that refuses this: COUPLET_SANDBOX_PATHS names what the CLI may use too, and \
         COUPLET_SANDBOX=off starts it unconfined",
    )
}

/// The environment of a process, as the rules read it.
type Environment = [(OsString, OsString)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_left_out_and_said() {
        for (abi, said) in [
            (1, "Landlock ABI 1: files"),
            (3, "Landlock ABI 3: files"),
            (4, "Landlock ABI 4: files, network"),
            (7, "Landlock ABI 7: files, network, signals"),
        ] {
            let alone = Support::Landlock { abi, refuses_calls: false };
            assert_eq!(alone.to_string(), said);
            assert!(alone.is_partial(), "{said}");
            let with_filter = Support::Landlock { abi, refuses_calls: true };
            assert_eq!(with_filter.to_string(), format!("{said}, system calls"));
            assert_eq!(with_filter.is_partial(), abi < 6);
        }
        assert!(Support::Missing("no").confines().is_empty());
        assert!(SandboxMode::Off.confines().is_empty());
    }

    #[test]
    fn only_who_requires_it_does_without_a_server_where_the_kernel_has_none() {
        let missing = Support::Missing("there is none");
        assert!(SandboxMode::Auto.announce(&missing).is_ok() && SandboxMode::Off.announce(&missing).is_ok());
        let refusal = SandboxMode::Require.announce(&missing).unwrap_err().to_string();
        assert!(refusal.contains("COUPLET_SANDBOX") && refusal.contains("there is none"), "{refusal}");
        let files_alone = |refuses_calls| Support::Landlock { abi: 1, refuses_calls };
        assert!(SandboxMode::Require.announce(&files_alone(true)).is_ok());
        assert!(SandboxMode::Require.announce(&files_alone(false)).is_err(), "no process would start");
        assert!(SandboxMode::Auto.announce(&files_alone(false)).is_ok());
    }

    #[test]
    fn only_a_refusal_is_put_down_to_the_sandbox() {
        assert!(hint("/opt/claude: Permission denied (os error 13)").is_some());
        assert!(hint("libx.so: cannot open shared object file: Permission denied").is_some());
        assert!(hint("/opt/claude: No such file or directory").is_none());
    }
}
