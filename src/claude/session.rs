//! Frames in and out of one CLI process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::failure::TurnFailure;
use super::frame_in::{ControlRequest, FrameIn};
use super::frame_out::{self, Event, Frame};
use super::process::CliProcess;
use super::tool_server::{Reply, ToolServer, WaitingCall};
use crate::turn::{ResultBlock, Tool};

/// Frames of unknown kind, and lines that were no frames, since the start of the program.
static UNKNOWN_FRAMES: AtomicU64 = AtomicU64::new(0);

/// The target of what the CLI says on stderr. It may quote its input, so the log is without it unless it is named.
pub const CLI_STDERR: &str = "couplet::cli_stderr";

/// How long the CLI may take to read the answer to something it asked. Its pipe has room for hundreds of such answers, so
/// one that takes longer does not read at all.
const ANSWER_IS_READ: Duration = Duration::from_secs(2);

/// How long the CLI may take to ask for its tools after it was set up (measured: it begins before it answers `initialize`).
/// 2.1.197 asks when it gets its first user frame, and not before.
const GREETING_COMES: Duration = Duration::from_secs(1);

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
    tools: ToolServer,
}

/// A control request of the CLI, apart from the line it came in.
#[derive(Debug)]
pub struct Asked {
    request_id: String,
    /// The message to the server of the tools; everything else is declined.
    message: Option<String>,
}

/// What a process says while no answer is under way.
#[derive(Debug)]
pub enum Heard {
    /// It asks for something; see [`Session::serve`].
    Asked(Asked),
    /// A turn ended well: the CLI's own, or a piece of history.
    Result,
    /// An answer of the model, or results of tools, in the conversation.
    Conversation,
    /// Nothing that matters.
    Nothing,
}

impl From<&frame_out::ControlRequest<'_>> for Asked {
    fn from(request: &frame_out::ControlRequest<'_>) -> Self {
        let message = request.message.filter(|_| request.subtype == "mcp_message");
        Self {
            request_id: request.request_id.clone().into_owned(),
            message: message.map(|message| message.get().to_owned()),
        }
    }
}

impl Session {
    /// A session with a process that was just started.
    #[must_use]
    pub fn new(process: CliProcess) -> Self {
        let tools = ToolServer::default();
        Self { process, outbox: Vec::new(), unanswered: Vec::new(), requests: 0, tools }
    }

    /// Has these tools for the CLI, once it is told of their server.
    pub fn offer(&mut self, tools: &[Tool]) {
        self.tools = ToolServer::new(tools.to_vec());
    }

    /// Has these tools for the CLI, be they none, and more later; see [`Session::offer_instead`].
    pub fn offer_ahead(&mut self, tools: &[Tool]) {
        self.tools = ToolServer::declared(tools.to_vec());
    }

    /// Has these tools in place of none, and tells the CLI to ask for them. [`Session::settle`] waits until it has.
    ///
    /// # Errors
    /// As [`Session::queue`].
    pub fn offer_instead(&mut self, tools: &[Tool]) -> Result<(), TurnFailure> {
        self.tools.replace(tools.to_vec());
        self.queue_control(ControlRequest::tools_changed())
    }

    /// The tools, and the calls that wait.
    #[must_use]
    pub fn tools(&self) -> &ToolServer {
        &self.tools
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
        Ok(self.current_frame())
    }

    /// The next frame if all of it was read already, so that nothing has to be waited for.
    ///
    /// # Errors
    /// [`TurnFailure::Protocol`] for a line beyond the limit.
    pub fn next_buffered(&mut self) -> Result<Option<Frame<'_>>, TurnFailure> {
        match self.process.take_buffered_line() {
            Ok(true) => Ok(Some(self.current_frame())),
            Ok(false) => Ok(None),
            Err(error) => Err(TurnFailure::Protocol(error.to_string())),
        }
    }

    /// What the line says that was read last.
    fn current_frame(&self) -> Frame<'_> {
        let frame = frame_out::parse(self.process.current_line()).unwrap_or_else(|not_a_frame| {
            tracing::debug!(%not_a_frame, "skipped a line of the Claude Code CLI");
            Frame::Unknown
        });
        if matches!(frame, Frame::Unknown) {
            UNKNOWN_FRAMES.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    /// Reads one frame of a process with no answer under way, and hands the body of the answer to a control request to
    /// `seen`. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the CLI declines a control request or a turn failed, or as [`Session::next`].
    pub async fn hear(&mut self, mut seen: impl FnMut(&str)) -> Result<Heard, TurnFailure> {
        match self.next().await? {
            Frame::ControlResponse(answer) => {
                if let Some(error) = answer.error {
                    return Err(declined(&error));
                }
                if let Some(body) = answer.response {
                    seen(body.get());
                }
                let answered = answer.request_id.into_owned();
                self.note_answered(&answered);
                Ok(Heard::Nothing)
            }
            Frame::ControlRequest(request) => Ok(Heard::Asked(Asked::from(&request))),
            Frame::Result(result) if result.is_error => {
                let sentence = result.sentence().unwrap_or_default();
                Err(TurnFailure::Protocol(format!("a control request failed: {sentence}")))
            }
            Frame::Result(_) => Ok(Heard::Result),
            Frame::Event(Event::MessageStart { .. }) | Frame::ToolResults(_) => Ok(Heard::Conversation),
            _ => Ok(Heard::Nothing),
        }
    }

    /// Reads one frame of a process that waits; what it asks for, if anything, is for [`Session::serve`]. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When it no longer waits: it has ended, or goes on by itself.
    pub async fn at_rest(&mut self) -> Result<Option<Asked>, TurnFailure> {
        match self.hear(|_| {}).await? {
            Heard::Asked(asked) => Ok(Some(asked)),
            Heard::Nothing => Ok(None),
            // A parked turn has no end, and at the end of a live one its result was read.
            Heard::Result | Heard::Conversation => Err(went_on()),
        }
    }

    /// Whether every control request sent so far is answered and the CLI knows the tools.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unanswered.is_empty() && self.tools.is_ready()
    }

    /// Reads until every control request sent so far is answered and the CLI knows the tools, or waits for a user frame to
    /// ask for them, and hands the body of each answer to `seen`.
    ///
    /// # Errors
    /// When the CLI declines one, or as [`Session::next`].
    pub async fn settle(&mut self, mut seen: impl FnMut(&str)) -> Result<(), TurnFailure> {
        while !self.is_settled() {
            let heard = if self.unanswered.is_empty() && !self.tools.is_greeted() {
                let Ok(heard) = timeout(GREETING_COMES, self.hear(&mut seen)).await else { return Ok(()) };
                heard?
            } else {
                self.hear(&mut seen).await?
            };
            if let Heard::Asked(asked) = heard {
                self.serve(asked).await?;
            }
        }
        Ok(())
    }

    /// Notes that a control request was answered.
    pub fn note_answered(&mut self, request_id: &str) {
        self.unanswered.retain(|request| *request != request_id);
    }

    /// Does what the CLI asks for, or declines it. A call of a tool stays unanswered; see [`Session::queue_result`].
    ///
    /// # Errors
    /// As [`Session::flush`], and when the CLI asks without ever reading an answer: nobody would notice otherwise, as it is
    /// served where nothing else is waited for.
    pub async fn serve(&mut self, asked: Asked) -> Result<(), TurnFailure> {
        let Asked { request_id, message } = asked;
        match message.map(|message| self.tools.on(&request_id, &message)) {
            Some(Ok(Reply::Later)) => return Ok(()),
            Some(Ok(Reply::Now(answer))) => self.queue(&FrameIn::mcp_answer(&request_id, &answer))?,
            Some(Err(_)) | None => self.queue(&FrameIn::decline(&request_id))?,
        }
        let unread = |_elapsed| TurnFailure::Protocol("the Claude Code CLI does not read".to_owned());
        timeout(ANSWER_IS_READ, self.flush()).await.map_err(unread)?
    }

    /// Queues the result of a call that waits.
    ///
    /// # Errors
    /// When the call does not wait.
    pub fn queue_result(
        &mut self,
        call_id: &str,
        result: &[ResultBlock],
        is_error: bool,
    ) -> Result<(), TurnFailure> {
        let no_call = || TurnFailure::Protocol("a result for a call that does not wait".to_owned());
        let call: WaitingCall = self.tools.take(call_id).ok_or_else(no_call)?;
        self.queue(&FrameIn::call_result(&call, result, is_error))
    }

    /// The CLI's process id.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.process.id()
    }

    /// Looks how much memory the process takes, for the budget.
    pub fn measure(&mut self) {
        self.process.measure();
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
            Ok(()) => timeout(Duration::from_millis(100), self.flush()).await.is_ok(),
            Err(_) => false,
        };
        if interrupted {
            self.process.end_interrupted().await;
        } else {
            self.process.kill_and_wait().await;
        }
    }

    /// Waits for the process's end after its output has ended, and tells of it.
    async fn crashed(&mut self) -> TurnFailure {
        let status = self.process.reap().await;
        let stderr = self.process.stderr_tail().await;
        if self.process.could_not_execute() {
            return TurnFailure::Start(self.process.not_executed(&stderr));
        }
        if let Some(hint) = self.process.hint(&stderr) {
            tracing::warn!("the Claude Code CLI ended early, and was refused something: {hint}");
        }
        tracing::debug!(%status, "the Claude Code CLI ended early");
        tracing::debug!(target: CLI_STDERR, stderr, "what it said on stderr");
        TurnFailure::Crashed { status }
    }
}

/// The failure of a process that should wait and did not.
#[must_use]
pub fn went_on() -> TurnFailure {
    TurnFailure::Protocol("the Claude Code CLI went on by itself".to_owned())
}

/// The failure that a declined control request is.
#[must_use]
pub fn declined(error: &str) -> TurnFailure {
    TurnFailure::Protocol(format!("a control request was declined: {error}"))
}
