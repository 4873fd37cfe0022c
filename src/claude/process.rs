//! Processes of the CLI: the one file that starts, bounds and ends them. What is said to one that goes on is in [`cli`].
#![expect(clippy::disallowed_types, reason = "this is the file that starts processes")]

pub mod cli;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{Signal as ChildSignals, SignalKind, signal};
use tokio::sync::oneshot;

use super::command_line::CommandLine;
use super::credential::Credential;
use super::launcher::{self, Launch};
use super::running::Listed;
use super::sandbox;

pub use cli::CliProcess;

/// How much of the end of a process's stderr is kept, in bytes. The rest is read and dropped.
const STDERR_TAIL: usize = 4 * 1024;

/// Starts processes, all from one thread.
///
/// The parent-death signal that the launcher asks for comes when the *thread* that started it ends, so processes may
/// not be started from threads of the runtime's changing pool.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: std::sync::mpsc::Sender<Order>,
    /// The program that has the launcher in it.
    launcher: PathBuf,
}

#[derive(Debug)]
struct Order {
    command: Command,
    deaths: ChildSignals,
    reply: oneshot::Sender<io::Result<RunningGroup>>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime, which then watches the children. `launcher` is a
    /// program that knows [`launcher::SUBCOMMAND`]: [`own_program`], except in tests.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(launcher: PathBuf) -> io::Result<Self> {
        let (orders, inbox) = std::sync::mpsc::channel::<Order>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("couplet-spawner".to_owned()).spawn(move || {
            let _in_runtime = runtime.enter();
            for Order { mut command, deaths, reply } in inbox {
                let started = command.spawn().and_then(|child| RunningGroup::new(child, deaths));
                // Nobody waits any more: the process, killed on drop, goes with the reply.
                let _ = reply.send(started);
            }
        })?;
        Ok(Self { orders, launcher })
    }

    /// Starts a CLI by way of the launcher and hands it the credential.
    ///
    /// # Errors
    /// When the launcher cannot be started: no memory, no processes or descriptors left. A CLI that cannot be executed
    /// shows later, as the end of its output with [`launcher::CANNOT_EXECUTE`].
    pub async fn spawn(&self, line: &CommandLine, credential: &Credential) -> io::Result<CliProcess> {
        let group = self.launch(line, credential).await?;
        let mut process = CliProcess::new(group, line.rules.is_some())?;
        if let Some(secret) = credential.secret() {
            // A launcher that died already shows by the end of its output, with its reason.
            let _ = process.write(&[secret.expose_secret().as_bytes(), b"\n"].concat()).await;
        }
        Ok(process)
    }

    /// Runs a CLI to its end, by way of the launcher, with the credential and nothing else on its stdin. Dropping the future
    /// kills it.
    ///
    /// # Errors
    /// As [`Spawner::spawn`], and when the launcher cannot become the CLI.
    pub async fn run(
        &self,
        line: &CommandLine,
        credential: &Credential,
        bounds: OutputBounds,
    ) -> io::Result<Output> {
        let mut process = self.launch(line, credential).await?;
        let missing = || io::Error::other("a pipe of the process is missing");
        let stdin = process.child.stdin.take().ok_or_else(missing)?;
        let stdout = process.child.stdout.take().ok_or_else(missing)?;
        let stderr = process.child.stderr.take().ok_or_else(missing)?;
        let (mut out, mut err) = (Head::default(), Head::default());
        let talk = async {
            write_secret(stdin, credential).await;
            tokio::join!(
                keep_head(stdout, &mut out, bounds.bytes),
                keep_head(stderr, &mut err, bounds.bytes)
            );
        };
        let end = async {
            process.ended().await;
            // What it has started must not hold its output open.
            process.kill();
        };
        let in_time = tokio::time::timeout(bounds.time, async { tokio::join!(talk, end) }).await.is_ok();
        process.kill();
        let status = process.child.wait().await?;
        if status.code() == Some(i32::from(launcher::CANNOT_EXECUTE)) {
            return Err(not_executed(&String::from_utf8_lossy(&err.bytes), line.rules.is_some()));
        }
        let is_cut = out.is_cut || err.is_cut;
        Ok(Output { exit_code: status.code(), stdout: out.bytes, stderr: err.bytes, is_cut, in_time })
    }

    async fn launch(&self, line: &CommandLine, credential: &Credential) -> io::Result<RunningGroup> {
        let mut command = launching(&self.launcher, line, Some(std::process::id()), credential);
        command.stdin(Stdio::piped());
        // Before the process is there, so that its end cannot be missed.
        let deaths = signal(SignalKind::child())?;
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.orders.send(Order { command, deaths, reply }).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// The command that starts a CLI by way of the launcher, with its output piped.
fn launching(launcher: &Path, line: &CommandLine, parent: Option<u32>, credential: &Credential) -> Command {
    let launch = Launch {
        parent,
        credential_variable: credential.descriptor_variable(),
        rules: line.rules.as_ref().map(Cow::Borrowed),
        program: line.program.as_os_str(),
        arguments: &line.arguments,
    };
    let mut command = Command::new(launcher);
    command
        .arg0("couplet")
        .args(launch.to_arguments())
        .env_clear()
        .envs(line.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&line.work)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: it is ended as a whole, and a Ctrl-C in the terminal is the server's alone.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// How much of the output of a process is kept, and how long it may run.
#[derive(Debug, Clone, Copy)]
pub struct OutputBounds {
    /// Bytes of its stdout, and of its stderr; the rest is read and dropped.
    pub bytes: usize,
    /// Then it is killed.
    pub time: Duration,
}

/// What a process said that was run to its end.
#[derive(Debug)]
pub struct Output {
    /// Its exit status; `None` if it was killed.
    pub exit_code: Option<i32>,
    /// The beginning of its stdout.
    pub stdout: Vec<u8>,
    /// The beginning of its stderr.
    pub stderr: Vec<u8>,
    /// Whether more was said.
    pub is_cut: bool,
    /// Whether it ended by itself.
    pub in_time: bool,
}

/// The path of this program. On Linux the link of the running program itself, which works even when the file was
/// replaced by an upgrade meanwhile.
///
/// # Errors
/// When the system does not tell.
pub fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Runs a CLI without a credential by way of `launcher`, and reads what it says, up to 256 KiB. It may outlive this program
/// by the 10 s it has: it is started from whichever thread this is called on.
///
/// # Errors
/// When it cannot be started, fails or takes longer than 10 s.
pub async fn output_of(launcher: &Path, line: &CommandLine) -> io::Result<String> {
    const LIMIT: usize = 256 * 1024;
    let deaths = signal(SignalKind::child())?;
    let child = launching(launcher, line, None, &Credential::Missing).stdin(Stdio::null()).spawn()?;
    let mut process = RunningGroup::new(child, deaths)?;
    let missing = || io::Error::other("a pipe of the process is missing");
    let stdout = process.child.stdout.take().ok_or_else(missing)?;
    let stderr = process.child.stderr.take().ok_or_else(missing)?;
    let (mut out, mut err) = (Head::default(), Head::default());
    let finished = async {
        tokio::join!(keep_head(stdout, &mut out, LIMIT), keep_head(stderr, &mut err, STDERR_TAIL));
        process.child.wait().await
    };
    let status = tokio::time::timeout(Duration::from_secs(10), finished)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s"))??;
    if status.code() == Some(i32::from(launcher::CANNOT_EXECUTE)) {
        return Err(not_executed(&String::from_utf8_lossy(&err.bytes), line.rules.is_some()));
    }
    if !status.success() {
        return Err(io::Error::other(format!("{status}")));
    }
    Ok(String::from_utf8_lossy(&out.bytes).into_owned())
}

/// Runs `program` with `arguments` in the user's own terminal and environment, and waits for its end. It is not confined:
/// whoever signs in needs a browser, and does so before there is a server that anybody could ask anything.
///
/// # Errors
/// When it cannot be started.
pub async fn run_in_terminal(program: &Path, arguments: &[&str]) -> io::Result<ExitStatus> {
    Command::new(program).args(arguments).status().await
}

/// A child of this program and what it has started. Dropped, it is killed as a whole.
#[derive(Debug)]
struct RunningGroup {
    child: Child,
    /// The child's id, which is its group's too.
    id: Pid,
    _listed: Listed,
    /// Tells that some child of this program has ended.
    deaths: ChildSignals,
}

impl RunningGroup {
    fn new(child: Child, deaths: ChildSignals) -> io::Result<Self> {
        let gone = || io::Error::other("the process is gone");
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).ok_or_else(gone)?;
        Ok(Self { child, id, _listed: Listed::new(id), deaths })
    }

    fn kill(&mut self) {
        // As long as the child was not waited for, the id cannot belong to anyone else.
        if self.child.id().is_some() {
            let _ = rustix::process::kill_process_group(self.id, Signal::KILL);
        }
    }

    /// Ready when the process has ended. It is not waited for: its id, which is its group's, stays its own until the
    /// rest of the group is killed.
    async fn ended(&mut self) {
        while !self.has_ended() {
            some_death(&mut self.deaths).await;
        }
    }

    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.child.id().is_none() || !matches!(waitid(WaitId::Pid(self.id), look), Ok(None))
    }
}

impl Drop for RunningGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The error that a launcher said on stderr.
fn not_executed(said: &str, is_confined: bool) -> io::Error {
    let said = said.trim();
    let hint = sandbox::hint(said).filter(|_| is_confined).map(|hint| format!(" ({hint})"));
    io::Error::other(format!("{said}{}", hint.unwrap_or_default()))
}

/// Writes the credential's line, if it has one, and closes stdin.
async fn write_secret(mut stdin: ChildStdin, credential: &Credential) {
    if let Some(secret) = credential.secret() {
        // A launcher that died already shows by its exit status.
        let _ = stdin.write_all(&[secret.expose_secret().as_bytes(), b"\n"].concat()).await;
    }
}

/// The beginning of a stream.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    is_cut: bool,
}

/// Reads a stream to its end and keeps the first `most` bytes.
async fn keep_head(mut stream: impl AsyncRead + Unpin, head: &mut Head, most: usize) {
    let mut buffer = vec![0_u8; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let kept = read.min(most - head.bytes.len());
        head.bytes.extend_from_slice(&buffer[..kept]);
        head.is_cut |= kept < read;
    }
}

/// Ready when some child of this program has ended.
async fn some_death(deaths: &mut ChildSignals) {
    if deaths.recv().await.is_none() {
        // Not without the runtime's end.
        std::future::pending::<()>().await;
    }
}
