//! Frames in and out of one CLI process.

use std::sync::atomic::{AtomicU64, Ordering};

use super::failure::TurnFailure;
use super::frame_in::{ControlRequest, FrameIn};
use super::frame_out::{self, Frame};
use super::process::CliProcess;

/// Frames of unknown kind, and lines that were no frames, since the start of the program.
static UNKNOWN_FRAMES: AtomicU64 = AtomicU64::new(0);

/// The target of what the CLI says on stderr. It may quote its input, so the log is without it unless it is named.
pub const CLI_STDERR: &str = "couplet::cli_stderr";

/// How many frames of unknown kind, and lines that were no frames, were skipped since the start of the program.
#[must_use]
pub fn unknown_frames() -> u64 {
    UNKNOWN_FRAMES.load(Ordering::Relaxed)
}

/// A CLI process that frames are exchanged with.
#[derive(Debug)]
pub struct Session {
    process: CliProcess,
    /// Lines waiting to be written together.
    outbox: Vec<u8>,
    /// Ids of control requests that are not answered yet. Answers may come in another order.
    unanswered: Vec<String>,
    requests: u64,
}

impl Session {
    /// A session with a process that was just started.
    #[must_use]
    pub fn new(process: CliProcess) -> Self {
        Self { process, outbox: Vec::new(), unanswered: Vec::new(), requests: 0 }
    }

    /// Puts a frame behind those that wait to be written. [`Session::settle`] waits for the answers to control requests.
    ///
    /// # Errors
    /// When the frame cannot be written as JSON, which would be a defect of Couplet.
    pub fn queue(&mut self, frame: &FrameIn<'_>) -> Result<(), TurnFailure> {
        if let FrameIn::ControlRequest { request_id, .. } = frame {
            self.unanswered.push(request_id.clone());
        }
        frame.write_to(&mut self.outbox).map_err(|error| TurnFailure::Protocol(error.to_string()))
    }

    /// Queues a control request, with an id of the session's own.
    ///
    /// # Errors
    /// As [`Session::queue`].
    pub fn queue_control(&mut self, request: ControlRequest<'_>) -> Result<(), TurnFailure> {
        self.requests += 1;
        let request_id = format!("couplet-{}", self.requests);
        self.queue(&FrameIn::ControlRequest { request_id, request })
    }

    /// Writes what is queued, in one piece.
    ///
    /// # Errors
    /// [`TurnFailure::Crashed`] when the CLI no longer reads.
    pub async fn flush(&mut self) -> Result<(), TurnFailure> {
        let written = self.process.write(&self.outbox).await;
        self.outbox.clear();
        self.outbox.shrink_to(64 * 1024);
        match written {
            Ok(()) => Ok(()),
            Err(_broken_pipe) => Err(self.crashed().await),
        }
    }

    /// The next frame. Lines that are no frames come as [`Frame::Unknown`], counted.
    ///
    /// # Errors
    /// [`TurnFailure::Crashed`] at the end of the output, [`TurnFailure::Protocol`] for a line beyond the limit.
    pub async fn next(&mut self) -> Result<Frame<'_>, TurnFailure> {
        // Two looks at one outcome: a borrowed line cannot be returned from one arm while another needs `self`.
        enum Read {
            Line,
            End,
            Failed(std::io::Error),
        }
        let read = match self.process.next_line().await {
            Ok(Some(_)) => Read::Line,
            Ok(None) => Read::End,
            Err(error) => Read::Failed(error),
        };
        match read {
            Read::Line => {}
            Read::End => return Err(self.crashed().await),
            Read::Failed(error) => return Err(TurnFailure::Protocol(error.to_string())),
        }
        let frame = frame_out::parse(self.process.current_line()).unwrap_or_else(|not_a_frame| {
            tracing::debug!(%not_a_frame, "skipped a line of the Claude Code CLI");
            Frame::Unknown
        });
        if matches!(frame, Frame::Unknown) {
            UNKNOWN_FRAMES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(frame)
    }

    /// Reads until every control request sent so far is answered, and hands the body of each answer to `seen`.
    ///
    /// # Errors
    /// When the CLI declines one, or as [`Session::next`].
    pub async fn settle(&mut self, mut seen: impl FnMut(&str)) -> Result<(), TurnFailure> {
        while !self.unanswered.is_empty() {
            match self.next().await? {
                Frame::ControlResponse(answer) => {
                    if let Some(error) = answer.error {
                        return Err(TurnFailure::Protocol(format!(
                            "a control request was declined: {error}"
                        )));
                    }
                    if let Some(body) = answer.response {
                        seen(body.get());
                    }
                    let answered = answer.request_id.into_owned();
                    self.unanswered.retain(|request| *request != answered);
                }
                Frame::ControlRequest { request_id } => {
                    let request_id = request_id.into_owned();
                    self.decline(&request_id).await?;
                }
                Frame::Result(result) if result.is_error => {
                    let sentence = result.result.unwrap_or_default();
                    return Err(TurnFailure::Protocol(format!("a control request failed: {sentence}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Declines a control request of the CLI.
    ///
    /// # Errors
    /// As [`Session::flush`].
    pub async fn decline(&mut self, request_id: &str) -> Result<(), TurnFailure> {
        self.queue(&FrameIn::decline(request_id))?;
        self.flush().await
    }

    /// The CLI's process id.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.process.id()
    }

    /// The process, to be ended.
    #[must_use]
    pub fn into_process(self) -> CliProcess {
        self.process
    }

    /// Kills the process group at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Interrupts the running answer and lets the process end, by force if it must be.
    pub async fn interrupt_and_end(mut self) {
        let interrupted = match self.queue_control(ControlRequest::Interrupt) {
            Ok(()) => tokio::time::timeout(std::time::Duration::from_millis(100), self.flush()).await.is_ok(),
            Err(_) => false,
        };
        if interrupted {
            self.process.end_interrupted().await;
        } else {
            self.process.kill_and_wait().await;
        }
    }

    async fn crashed(&mut self) -> TurnFailure {
        let status = self.process.reap().await;
        let stderr = self.process.stderr_tail();
        if self.process.could_not_execute() {
            return TurnFailure::Start(std::io::Error::other(stderr));
        }
        tracing::debug!(%status, "the Claude Code CLI ended early");
        tracing::debug!(target: CLI_STDERR, stderr, "what it said on stderr");
        TurnFailure::Crashed { status }
    }
}
