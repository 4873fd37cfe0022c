//! Starting a program and waiting for it, for at most so long.
#![expect(clippy::disallowed_types, reason = "the one file of the test kit that starts programs of its own")]

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

/// How a program ended and what it said. `Display` shows all of it.
#[derive(Debug)]
pub struct Ended {
    /// The program's name.
    pub program: String,
    /// Whether it ended by itself with exit code 0.
    pub success: bool,
    /// The exit code or signal, or that its time was up.
    pub how: String,
    /// What it wrote to its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// What it wrote to its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, how, stdout, stderr, .. } = self;
        write!(f, "{program} {how}\n--- its stdout\n{stdout}\n--- its stderr\n{stderr}\n---")
    }
}

/// Runs `program` in `folder` with `environment` added to this process's own, and kills it when `limit` is over.
///
/// Errors are those of starting it; a program that fails is an `Ended`.
pub fn run(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    folder: Option<&Path>,
    limit: Duration,
) -> io::Result<Ended> {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    wait(command, limit)
}

/// As [`run`], but the program gets `environment` and nothing else.
pub fn run_with_only(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> io::Result<Ended> {
    wait(with_only(program, arguments, environment), limit)
}

/// As [`run_with_only`], in `folder`.
pub fn run_in(
    folder: &Path,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> io::Result<Ended> {
    let mut command = with_only(program, arguments, environment);
    command.current_dir(folder);
    wait(command, limit)
}

/// A program that runs until it is told to end, or is dropped.
pub struct Running {
    child: Child,
    output: NamedTempFile,
}

impl Running {
    /// Starts `program` with `environment` and nothing else.
    pub fn start(program: &Path, arguments: &[&str], environment: &[(String, String)]) -> io::Result<Self> {
        Self::start_in(Path::new("."), program, arguments, environment)
    }

    /// The same, in `folder`.
    pub fn start_in(
        folder: &Path,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> io::Result<Self> {
        let output = NamedTempFile::new()?;
        let mut command = Command::new(program);
        command.current_dir(folder);
        command.args(arguments).env_clear().envs(environment.iter().cloned()).stdin(Stdio::null());
        // Both at the end of one file, as in a terminal.
        let end_of_file = || File::options().append(true).open(output.path());
        let child = command.stdout(end_of_file()?).stderr(end_of_file()?).spawn()?;
        Ok(Self { child, output })
    }

    /// The same, with a pipe for what it writes to stderr.
    pub fn start_piped(
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> io::Result<(Self, ChildStderr)> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment.iter().cloned()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Ok((Self { child, output: NamedTempFile::new()? }, stderr))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, to stdout and stderr.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(self.output.path()).expect("its output");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it was not waited for");
    }

    /// Whether it has ended, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`run_with_only`], with that text on its stdin.
pub fn run_with_stdin(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    text: &str,
    limit: Duration,
) -> io::Result<Ended> {
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(text.as_bytes())?;
    stdin.rewind()?;
    let mut command = with_only(program, arguments, environment);
    command.stdin(stdin);
    wait(command, limit)
}

/// The program with nothing on its stdin and `environment` alone.
fn with_only(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    command
}

fn wait(mut command: Command, limit: Duration) -> io::Result<Ended> {
    // Files instead of pipes: a child of the child that keeps them open cannot make us wait.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            break None;
        }
        sleep(Duration::from_millis(10));
    };
    Ok(Ended {
        program,
        success: status.is_some_and(|status| status.success()),
        how: status
            .map_or_else(|| format!("did not end within {limit:?}"), |status| format!("ended with {status}")),
        stdout: all_of(stdout)?,
        stderr: all_of(stderr)?,
    })
}

fn all_of(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
