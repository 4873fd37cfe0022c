//! `couplet __exec`: the last step before the CLI.
//!
//! Started in place of the CLI, it arranges what has to be arranged in the new process itself and becomes the CLI by
//! `exec`. It is a program of its own because the alternative (`pre_exec`) is unsafe code. In the new process it
//! - asks for a signal when the server dies, so that no CLI outlives a killed server (the stdin pipe alone is not
//!   enough: in the middle of an answer the CLI does not notice that it is closed);
//! - asks to be the one that ends when the system runs out of memory, rather than the server;
//! - reads the credential from the first line of its stdin and leaves it in a pipe for the CLI, so that it is in no
//!   environment, no argument and no file;
//! - confines itself ([`sandbox`]), which holds for the CLI and whatever it starts.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use super::memory;
use super::sandbox::{self, Rules};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "__exec";

/// Stands for "no credential follows on stdin".
const NO_CREDENTIAL: &str = "-";

/// Stands for "nobody's end is the end of it" and for "it is not confined".
const NONE: &str = "-";

/// Exit status when the CLI could not be executed; shells use it for the same.
pub const CANNOT_EXECUTE: u8 = 127;

/// The longest credential. A real one has some 110 bytes; a pipe takes this much without a reader.
const MAX_CREDENTIAL: usize = 8 * 1024;

/// What the launcher is told: by whom it is started, for which variable a credential follows, what it may touch, and what to
/// become. None of it is secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Launch<'a> {
    /// The server's process id, where its end is to be the end of the process. The thread that starts the process must then
    /// live as long.
    pub parent: Option<u32>,
    /// The environment variable that names the credential's descriptor to the CLI.
    pub credential_variable: Option<&'a str>,
    /// What the CLI is confined to, if it is.
    pub rules: Option<Cow<'a, Rules>>,
    /// The CLI.
    pub program: &'a OsStr,
    /// Its arguments.
    pub arguments: &'a [OsString],
}

impl Launch<'_> {
    /// The launcher's arguments, behind the program's name.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            SUBCOMMAND.into(),
            self.parent.map_or_else(|| NONE.to_owned(), |parent| parent.to_string()).into(),
            self.credential_variable.unwrap_or(NO_CREDENTIAL).into(),
        ];
        match self.rules.as_ref().map(|rules| rules.to_arguments()) {
            None => arguments.push(NONE.into()),
            Some(rules) => {
                arguments.push(rules.len().to_string().into());
                arguments.extend(rules);
            }
        }
        arguments.push(self.program.to_owned());
        arguments.extend_from_slice(self.arguments);
        arguments
    }

    /// Reads arguments made by [`Launch::to_arguments`], without the subcommand.
    fn from_arguments(arguments: &[OsString]) -> Option<Launch<'_>> {
        let [parent, variable, rules, rest @ ..] = arguments else { return None };
        let (parent, variable) = (parent.to_str()?, variable.to_str()?);
        let rules: Option<usize> = if rules == NONE { None } else { Some(rules.to_str()?.parse().ok()?) };
        let (own, rest) = rest.split_at_checked(rules.unwrap_or_default())?;
        let [program, arguments @ ..] = rest else { return None };
        Some(Launch {
            parent: if parent == NONE { None } else { Some(parent.parse().ok()?) },
            credential_variable: (variable != NO_CREDENTIAL).then_some(variable),
            rules: if rules.is_some() { Some(Cow::Owned(Rules::from_arguments(own)?)) } else { None },
            program,
            arguments,
        })
    }
}

/// Becomes the CLI. Returns only when that failed; then it has said why on stderr.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    let Some(launch) = Launch::from_arguments(arguments) else {
        return fail(&format!("`couplet {SUBCOMMAND}` is for Couplet itself"));
    };
    match become_cli(&launch) {
        Ok(never) => match never {},
        Err(error) => fail(&error.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "the server reads the launcher's stderr")]
fn fail(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::from(CANNOT_EXECUTE)
}

fn become_cli(launch: &Launch<'_>) -> io::Result<std::convert::Infallible> {
    if let Some(parent) = launch.parent {
        die_with(parent)?;
    }
    memory::be_ended_first();
    #[expect(clippy::disallowed_types, reason = "the launcher starts nothing: it becomes the CLI")]
    let mut command = std::process::Command::new(launch.program);
    command.args(launch.arguments);
    if let Some(variable) = launch.credential_variable {
        let credential = read_line_unbuffered()?;
        // Without CLOEXEC: the CLI inherits the read end. Once read, the credential is gone from it.
        let (read_end, write_end) = rustix::pipe::pipe_with(PipeFlags::empty())?;
        let written = rustix::io::write(&write_end, &credential)?;
        if written != credential.len() {
            return Err(io::Error::other("the credential is too long"));
        }
        drop(write_end);
        command.env(variable, read_end.as_raw_fd().to_string());
        let _inherited = read_end.into_raw_fd();
    }
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", launch.program.display()));
    if let Some(rules) = &launch.rules {
        sandbox::confine(rules, launch.program).map_err(named)?;
    }
    Err(named(command.exec()))
}

/// Asks the kernel to kill this process when the thread of the server that started it ends.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn die_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The server may have died before the line above.
    let now = rustix::process::getppid().map(Pid::as_raw_pid);
    if now == i32::try_from(parent).ok() { Ok(()) } else { Err(io::Error::other("the server is gone")) }
}

/// Other systems have no such signal; there the CLI ends when its stdin does.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn die_with(_parent: u32) -> io::Result<()> {
    Ok(())
}

/// Reads the first line of stdin and not a byte more: what follows is for the CLI.
fn read_line_unbuffered() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0_u8];
    loop {
        if rustix::io::read(rustix::stdio::stdin(), &mut byte)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no credential on stdin"));
        }
        match byte {
            [b'\n'] => return Ok(line),
            _ if line.len() == MAX_CREDENTIAL => return Err(io::Error::other("the credential is too long")),
            [byte] => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn arguments_survive_the_way_to_the_launcher() {
        let arguments = ["--tools".into(), String::new().into(), "-".into()];
        let rules = Rules {
            is_required: true,
            read: ["/a b", "/=,"].map(Into::into).into(),
            execute: [OsStr::from_bytes(b"/\xff").into()].into(),
            write: ["/w".into()].into(),
            connect: [443, 8080].into(),
        };
        let ways = [
            (Some(7), None, None),
            (None, Some("TOKEN_FD"), Some(Cow::Owned(Rules::default()))),
            (Some(7), Some("TOKEN_FD"), Some(Cow::Borrowed(&rules))),
        ];
        for (parent, credential_variable, rules) in ways {
            let launch = Launch {
                parent,
                credential_variable,
                rules,
                program: OsStr::new("/opt/c"),
                arguments: &arguments,
            };
            let written = launch.to_arguments();
            assert_eq!(written[0], SUBCOMMAND);
            assert_eq!(Launch::from_arguments(&written[1..]), Some(launch));
        }
        for wrong in [["x", "-", "-", "p"], ["-", "-", "2", "p"], ["-", "-", "1", "p"], ["-", "-", "-1", "p"]]
        {
            assert_eq!(Launch::from_arguments(&wrong.map(OsString::from)), None);
        }
    }
}
