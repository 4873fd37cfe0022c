//! A running CLI that is talked to.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use super::{RunningGroup, STDERR_TAIL, not_executed, some_death};
use crate::claude::budget::Share;
use crate::claude::line_reader::LineReader;
use crate::claude::{launcher, memory, sandbox};

/// How long the last words of a process that has ended may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Said of a process that was killed, and not by Couplet. Nobody tells why; this is why it usually is.
const KILLED: &str = "killed by signal 9, as the system does when memory runs out; the server's operator can look into the \
                      kernel's log, and lower COUPLET_MEMORY_BUDGET";

/// How long a process at rest may take to end by itself once its stdin is closed (measured: 0.1 s at most).
const END_BY_ITSELF: Duration = Duration::from_secs(1);

/// How long a process in the middle of an answer may take to end after an interrupt (measured: 0.07 s). Together with
/// the time to notice it must stay under the second within which a client that left must have stopped the model.
const END_AFTER_INTERRUPT: Duration = Duration::from_millis(500);

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
    pub(super) fn new(mut group: RunningGroup, is_confined: bool) -> io::Result<Self> {
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
