//! One turn in one process: set up, lay the history down, ask, and pass the answer on.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::answer::{AnswerEvent, AnswerReader, Progress};
use super::catalog::Catalog;
use super::failure::TurnFailure;
use super::frame_in;
use super::frame_out::Frame;
use super::session::Session;
use crate::turn::Turn;

/// How long a turn may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the start to the first event of the answer: start-up, set-up and history included.
    pub first_frame: Duration,
    /// Between two frames of the answer. The API's pings are not passed on by the CLI, so long thinking is silent.
    pub idle: Duration,
    /// The whole turn.
    pub total: Duration,
}

/// What is to be done with the process of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It is at rest and may end by itself.
    AtRest,
    /// It is in the middle of something: interrupt it.
    Busy,
    /// It was killed, or is of no use.
    Kill,
}

/// Passes events to the reader of the answer.
#[derive(Debug)]
pub struct Sink {
    events: mpsc::Sender<Result<AnswerEvent, TurnFailure>>,
    /// Room kept for a failure, so that a reader that is behind learns of it too, and nobody has to wait for him.
    last_word: Option<mpsc::OwnedPermit<Result<AnswerEvent, TurnFailure>>>,
}

impl Sink {
    /// A sink that writes to `events`, a channel with nothing in it yet. It keeps one of its places for a failure.
    #[must_use]
    pub fn new(events: mpsc::Sender<Result<AnswerEvent, TurnFailure>>) -> Self {
        let last_word = events.clone().try_reserve_owned().ok();
        Self { events, last_word }
    }

    /// Ends when the reader is gone.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    /// Passes an event on, and waits while the reader is behind: that slows the CLI down by its full pipe.
    async fn pass(&self, event: AnswerEvent, patience: Duration) -> Result<(), Stop> {
        match self.events.send_timeout(Ok(event), patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stop::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(Stop::Failed(TurnFailure::SlowReader { seconds: patience.as_secs() }))
            }
        }
    }

    /// Passes a failure on, behind what the reader has not read yet. The first one counts.
    pub fn fail(&mut self, failure: TurnFailure) {
        if let Some(room) = self.last_word.take() {
            room.send(Err(failure));
        }
    }
}

/// Why a turn stops early.
#[derive(Debug)]
pub enum Stop {
    /// The client went away.
    Gone,
    /// It failed.
    Failed(TurnFailure),
}

impl From<TurnFailure> for Stop {
    fn from(failure: TurnFailure) -> Self {
        Self::Failed(failure)
    }
}

/// Makes a fresh process ready for the turn and asks its question.
///
/// Everything up to the first piece of history is written at once: the CLI takes control requests and user frames in
/// their order. Then each user turn of the history must be confirmed before the assistant turn behind it is written,
/// because the CLI appends that at once.
///
/// # Errors
/// When the CLI declines or ends; deadlines are the caller's.
pub async fn ask(session: &mut Session, turn: &Turn, catalog: &Catalog) -> Result<(), TurnFailure> {
    for frame in frame_in::of_turn(turn) {
        session.queue(&frame)?;
        if frame.is_confirmed() {
            session.flush().await?;
            settle(session, catalog).await?;
            confirm(session).await?;
        }
    }
    session.flush().await?;
    settle(session, catalog).await
}

/// Waits for the answers to the set-up, of which one lists the models.
async fn settle(session: &mut Session, catalog: &Catalog) -> Result<(), TurnFailure> {
    session.settle(|body| catalog.learn_models(body)).await
}

/// Waits until a user turn of the history is taken.
async fn confirm(session: &mut Session) -> Result<(), TurnFailure> {
    loop {
        match session.next().await? {
            Frame::Result(result) if result.is_error => {
                let sentence = result.result.unwrap_or_default();
                return Err(TurnFailure::Protocol(format!("the history was not taken: {sentence}")));
            }
            Frame::Result(_) => return Ok(()),
            Frame::ControlRequest { request_id } => {
                let request_id = request_id.into_owned();
                session.decline(&request_id).await?;
            }
            _ => {}
        }
    }
}

/// Passes the answer on until it ends.
///
/// # Errors
/// When the client goes away, a deadline passes or the turn fails. The second value says what state the process is in.
pub async fn relay(
    session: &mut Session,
    sink: &Sink,
    deadlines: Deadlines,
    started: Instant,
    catalog: &Catalog,
) -> (Afterwards, Result<(), Stop>) {
    let mut reader = AnswerReader::default();
    let mut deadline = started + deadlines.first_frame;
    let mut answering = false;
    loop {
        let read = tokio::select! {
            biased;
            read = timeout_at(deadline, session.next()) => read,
            () = sink.closed() => return (Afterwards::Busy, Err(Stop::Gone)),
        };
        let frame = match read {
            Ok(Ok(frame)) => frame,
            Ok(Err(failure)) => return (Afterwards::Kill, Err(failure.into())),
            Err(_elapsed) if answering => {
                let failure = TurnFailure::IdleTimeout { seconds: deadlines.idle.as_secs() };
                return (Afterwards::Kill, Err(failure.into()));
            }
            Err(_elapsed) => {
                let failure = TurnFailure::FirstFrameTimeout { seconds: deadlines.first_frame.as_secs() };
                return (Afterwards::Kill, Err(failure.into()));
            }
        };
        if let Frame::ControlRequest { request_id } = &frame {
            let request_id = request_id.clone().into_owned();
            if let Err(failure) = session.decline(&request_id).await {
                return (Afterwards::Kill, Err(failure.into()));
            }
            continue;
        }
        if matches!(frame, Frame::Event(_)) {
            answering = true;
        }
        if answering {
            deadline = Instant::now() + deadlines.idle;
        }
        let progress = match reader.on(frame) {
            Ok(progress) => progress,
            // After an error result the process is at rest; in all other cases it is in the middle of something.
            Err(failure @ (TurnFailure::Api { .. } | TurnFailure::UsageLimit { .. })) => {
                return (Afterwards::AtRest, Err(failure.into()));
            }
            Err(failure) => return (Afterwards::Kill, Err(failure.into())),
        };
        let passed = match progress {
            Progress::Silent => Ok(()),
            Progress::Event(event) => sink.pass(event, deadlines.idle).await,
            Progress::Events(events) => pass_all(sink, events, deadlines.idle).await,
            Progress::Complete(end) => {
                catalog.learn_sizes(reader.take_model_usage());
                return (Afterwards::AtRest, sink.pass(AnswerEvent::Ended(end), deadlines.idle).await);
            }
            Progress::CompleteAndStop(end) => {
                // At once: within 3 ms the CLI would send a request of its own. An interrupt, or SIGTERM, comes too
                // late for that, and the process holds turns that the client will not replay, so it is of no use.
                session.kill();
                return (Afterwards::Kill, sink.pass(AnswerEvent::Ended(end), deadlines.idle).await);
            }
        };
        if let Err(stop) = passed {
            return (Afterwards::Busy, Err(stop));
        }
    }
}

async fn pass_all(sink: &Sink, events: Vec<AnswerEvent>, patience: Duration) -> Result<(), Stop> {
    for event in events {
        sink.pass(event, patience).await?;
    }
    Ok(())
}
