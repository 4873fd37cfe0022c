//! A running CLI: the one file that starts, bounds and ends child processes.
#![expect(clippy::disallowed_types, reason = "this is the file that starts processes")]

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{Signal as ChildSignals, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::budget::Share;
use super::command_line::CommandLine;
use super::credential::Credential;
use super::launcher::{self, Launch};
use super::line_reader::LineReader;
use super::memory;
use super::running::Listed;
use super::sandbox;

/// How long the last words of a process that has ended may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Said of a process that was killed, and not by Couplet. Nobody tells why; this is why it usually is.
const KILLED: &str = "killed by signal 9, as the system does when memory runs out; the server's operator can look into the \
                      kernel's log, and lower COUPLET_MEMORY_BUDGET";

/// How much of the end of a process's stderr is kept, in bytes. The rest is read and dropped.
const STDERR_TAIL: usize = 4 * 1024;

/// How long a process at rest may take to end by itself once its stdin is closed (measured: 0.1 s at most).
const END_BY_ITSELF: Duration = Duration::from_secs(1);

/// How long a process in the middle of an answer may take to end after an interrupt (measured: 0.07 s). Together with
/// the time to notice it must stay under the second within which a client that left must have stopped the model.
const END_AFTER_INTERRUPT: Duration = Duration::from_millis(500);

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

/// A running CLI. Dropped, it takes its whole process group with it.
#[derive(Debug)]
pub struct CliProcess {
    group: RunningGroup,
    stdin: Option<ChildStdin>,
    stdout: LineReader<ChildStdout>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    /// Reads its stderr.
    stderr_reader: JoinHandle<()>,
    /// Whether its end was noticed while its output was read.
    is_over: bool,
    /// The memory it takes, given back after its end.
    share: Option<Share>,
    is_confined: bool,
}

impl CliProcess {
    fn new(mut group: RunningGroup, is_confined: bool) -> io::Result<Self> {
        let missing = || io::Error::other("a pipe of the process is missing");
        let stdout = group.child.stdout.take().ok_or_else(missing)?;
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let drain: ChildStderr = group.child.stderr.take().ok_or_else(missing)?;
        // Ends by itself when the process group is gone.
        let stderr_reader = tokio::spawn(keep_tail(drain, Arc::clone(&stderr)));
        Ok(Self {
            stdin: group.child.stdin.take(),
            stdout: LineReader::new(stdout),
            stderr,
            stderr_reader,
            group,
            is_over: false,
            share: None,
            is_confined,
        })
    }

    /// Takes this share of the memory for processes, until it has ended.
    pub fn takes(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// Looks how much memory it really takes, for the budget.
    pub fn measure(&mut self) {
        let id = self.id();
        if let Some(share) = &mut self.share {
            share.set(memory::of_process(id));
        }
    }

    /// The CLI's process id, which is its group's too.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.group.id.as_raw_pid()
    }

    /// Writes to the CLI's stdin.
    ///
    /// # Errors
    /// When the CLI no longer reads.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(bytes).await?;
        stdin.flush().await
    }

    /// The next line of the CLI's stdout; see [`LineReader::next_line`]. What the CLI wrote before its end is read to the
    /// end; what it has started does not keep the output open any longer than it lives itself.
    ///
    /// # Errors
    /// When reading fails or a line is too long.
    pub async fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let is_line = loop {
            if self.is_over {
                // What has left the group may hold the output open for ever. What was written before is there by now.
                let rest = tokio::time::timeout(LAST_WORDS, self.stdout.next_line()).await;
                break rest.unwrap_or(Ok(None))?.is_some();
            }
            let has_ended = tokio::select! {
                biased;
                line = self.stdout.next_line() => break line?.is_some(),
                () = some_death(&mut self.group.deaths) => self.group.has_ended(),
            };
            if has_ended {
                self.kill();
                self.is_over = true;
            }
        };
        Ok(is_line.then(|| self.stdout.current()))
    }

    /// Goes on to the next line if it was read already; see [`LineReader::take_buffered`].
    ///
    /// # Errors
    /// When it is too long.
    pub fn take_buffered_line(&mut self) -> io::Result<bool> {
        self.stdout.take_buffered()
    }

    /// The line that was read last.
    #[must_use]
    pub fn current_line(&self) -> &[u8] {
        self.stdout.current()
    }

    /// The end of what the process said on stderr, to the last word where its group has ended. It may quote its input: for
    /// a log that must be asked for by name only, except after [`launcher::CANNOT_EXECUTE`], when it is the launcher's own
    /// sentence.
    pub async fn stderr_tail(&mut self) -> String {
        if !self.stderr_reader.is_finished() {
            // Its end is known by its stdout, which may be read first.
            let _ = tokio::time::timeout(LAST_WORDS, &mut self.stderr_reader).await;
        }
        let mut tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).trim().to_owned()
    }

    /// Kills the group at once, without waiting for its end.
    pub fn kill(&mut self) {
        self.group.kill();
    }

    /// Kills the group and waits for the process's end.
    pub async fn kill_and_wait(mut self) -> Option<ExitStatus> {
        self.kill();
        self.group.child.wait().await.ok()
    }

    /// Lets a process at rest end by itself, and kills it when it does not.
    pub async fn end(self) {
        self.end_within(END_BY_ITSELF).await;
    }

    /// Lets an interrupted process end by itself, and kills it when it does not.
    pub async fn end_interrupted(self) {
        self.end_within(END_AFTER_INTERRUPT).await;
    }

    async fn end_within(mut self, time: Duration) {
        self.stdin = None;
        let ended = async {
            // A process that still writes must not be stopped by a full pipe.
            while let Ok(Some(_)) = self.next_line().await {}
            self.group.ended().await;
        };
        let _ = tokio::time::timeout(time, ended).await;
        self.kill_and_wait().await;
    }

    /// Waits for the end of a process whose output has ended, killing what is left of it and of its group.
    pub async fn reap(&mut self) -> String {
        let by_itself = tokio::time::timeout(Duration::from_millis(200), self.group.ended()).await.is_ok();
        self.kill();
        match self.group.child.wait().await {
            Ok(status) if status.signal() != Some(Signal::KILL.as_raw()) => status.to_string(),
            Ok(_) if by_itself => KILLED.to_owned(),
            Ok(_) => "its output ended before it did".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// The error that a launcher which could not become the CLI said on stderr.
    #[must_use]
    pub fn not_executed(&self, said: &str) -> io::Error {
        not_executed(said, self.is_confined)
    }

    /// What to say to an operator whose confined CLI ended with this on stderr, if it was refused something.
    #[must_use]
    pub fn hint(&self, said: &str) -> Option<&'static str> {
        sandbox::hint(said).filter(|_| self.is_confined)
    }

    /// Whether the process ended because the launcher could not become the CLI.
    #[must_use]
    pub fn could_not_execute(&mut self) -> bool {
        let status = self.group.child.try_wait().ok().flatten();
        status.and_then(|status| status.code()) == Some(i32::from(launcher::CANNOT_EXECUTE))
    }
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

/// Reads a stream to its end and keeps the last [`STDERR_TAIL`] bytes.
async fn keep_tail(mut stream: impl AsyncRead + Unpin, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = [0_u8; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..read]);
        let excess = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..excess);
    }
}
