//! Where the events of an answer go and are read, and why a turn stops before its end.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use super::account::AccountUse;
use super::answer::AnswerEvent;
use super::failure::TurnFailure;
use super::frame_out::{Event, Frame};
use super::shaping::Unfit;
use super::steps::{Step, Steps};
use super::warm::Urgent;

/// Events of one answer that may wait for their reader. Then the CLI is slowed down.
const EVENTS_IN_FLIGHT: usize = 256;

/// The two ends of an answer: where its events go, and where they are read.
#[must_use]
pub fn answer() -> (Sink, Answer) {
    // One place more, for a failure.
    let (sender, events) = mpsc::channel(EVENTS_IN_FLIGHT + 1);
    let sink = Sink::new(sender);
    let origin = sink.origin();
    (sink, Answer { events, origin })
}

/// An answer on its way. Dropped, it interrupts the model.
#[derive(Debug)]
pub struct Answer {
    events: mpsc::Receiver<Result<AnswerEvent, TurnFailure>>,
    origin: Arc<OriginCell>,
}

impl Answer {
    /// The next event. After [`AnswerEvent::Ended`] or an error nothing follows; an answer that just breaks off ends
    /// with an error too.
    ///
    /// # Errors
    /// When the turn failed.
    pub async fn next(&mut self) -> Result<AnswerEvent, TurnFailure> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same for a reader of several answers: it is woken by whichever has something new.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<AnswerEvent, TurnFailure>> {
        let broken = || Err(TurnFailure::Protocol("the turn ended without a word".to_owned()));
        self.events.poll_recv(context).map(|event| event.unwrap_or_else(broken))
    }

    /// An answer made of these events, for tests of its readers.
    #[cfg(test)]
    pub(crate) fn of_events(events: mpsc::Receiver<Result<AnswerEvent, TurnFailure>>) -> Self {
        Self { events, origin: Arc::default() }
    }

    /// Which process answers; known when the first event comes.
    #[must_use]
    pub fn origin(&self) -> Arc<OriginCell> {
        Arc::clone(&self.origin)
    }
}

/// Passes events to the reader of the answer.
#[derive(Debug)]
pub struct Sink {
    events: mpsc::Sender<Result<AnswerEvent, TurnFailure>>,
    /// Room kept for a failure, so that a reader that is behind learns of it too, and nobody has to wait for him.
    last_word: Option<mpsc::OwnedPermit<Result<AnswerEvent, TurnFailure>>>,
    /// Whether the reader was given anything.
    has_passed: bool,
    /// Held until then.
    urgent: Option<Urgent>,
    /// Is told what the answer says of the account.
    account: Option<AccountUse>,
    origin: Arc<OriginCell>,
    steps: Steps,
}

/// Which process answers a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessOrigin {
    /// The one that holds the conversation.
    Live,
    /// The one that waits for the results of its calls.
    Parked,
    /// One that was set up for the system prompt ahead.
    Prepared,
    /// One that waited for anything.
    Generic,
    /// One that was started for the turn.
    Started,
}

impl ProcessOrigin {
    /// Its name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Parked => "parked",
            Self::Prepared => "prepared",
            Self::Generic => "generic",
            Self::Started => "started",
        }
    }
}

/// Which process answers, as soon as that is known.
#[derive(Debug, Default)]
pub struct OriginCell(Mutex<Option<ProcessOrigin>>);

impl OriginCell {
    /// Which process answers.
    #[must_use]
    pub fn get(&self) -> Option<ProcessOrigin> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// A sink that writes to `events`, a channel with nothing in it yet. It keeps one of its places for a failure.
    fn new(events: mpsc::Sender<Result<AnswerEvent, TurnFailure>>) -> Self {
        let last_word = events.clone().try_reserve_owned().ok();
        Self {
            events,
            last_word,
            has_passed: false,
            urgent: None,
            account: None,
            origin: Arc::default(),
            steps: Steps::new(),
        }
    }

    /// Holds this until the reader is given something.
    pub fn hold(&mut self, urgent: Urgent) {
        self.urgent = Some(urgent);
    }

    /// Tells that use of the account what becomes of the turn.
    pub fn uses(&mut self, account: AccountUse) {
        self.account = Some(account);
    }

    /// Notes what a frame of the answer says of the account.
    pub fn note(&mut self, frame: &Frame<'_>) {
        match (&mut self.account, frame) {
            (Some(account), Frame::RateLimit(limit)) => account.heard(limit),
            (Some(account), Frame::Event(Event::MessageStart { .. })) => account.answered(),
            _ => {}
        }
    }

    /// Notes which process answers.
    pub fn comes_from(&self, origin: ProcessOrigin) {
        *self.origin.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    /// Where to read which process answers.
    #[must_use]
    pub fn origin(&self) -> Arc<OriginCell> {
        Arc::clone(&self.origin)
    }

    /// The turn has come to this step.
    pub fn come_to(&mut self, step: Step) {
        self.steps.come_to(step);
    }

    /// The turn has come to its last step; only its end is still to be passed on.
    pub fn end_steps(&mut self) {
        self.steps.end();
    }

    /// Ends when the reader is gone.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    /// Passes an event on, and waits while the reader is behind: that slows the CLI down by its full pipe.
    ///
    /// # Errors
    /// When he is gone, or does not read for so long.
    pub async fn pass(&mut self, event: AnswerEvent, patience: Duration) -> Result<(), Stop> {
        self.has_passed = true;
        self.urgent = None;
        if event.is_delta() {
            self.steps.note_delta();
        }
        // Nearly always there is room, and no deadline to be set.
        let event = match self.events.try_send(Ok(event)) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => event,
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stop::Gone),
        };
        match self.events.send_timeout(event, patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stop::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(Stop::Failed(TurnFailure::SlowReader { seconds: patience.as_secs() }))
            }
        }
    }

    /// Passes events on, one after the other.
    ///
    /// # Errors
    /// As [`Sink::pass`].
    pub async fn pass_all(&mut self, events: Vec<AnswerEvent>, patience: Duration) -> Result<(), Stop> {
        for event in events {
            self.pass(event, patience).await?;
        }
        Ok(())
    }

    /// Whether the reader was given anything of the answer. Until then the turn may be begun anew.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.has_passed
    }

    /// Passes a failure on, behind what the reader has not read yet. The first one counts.
    pub fn fail(&mut self, failure: TurnFailure) {
        // Before the reader knows: what he asks next is to be refused already.
        if let Some(account) = self.account.take() {
            account.failed(&failure);
        }
        self.steps.end();
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
    /// It is not what was asked for.
    Unfit(Box<Unfit>),
}

impl From<Unfit> for Stop {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(Box::new(unfit))
    }
}

impl From<TurnFailure> for Stop {
    fn from(failure: TurnFailure) -> Self {
        Self::Failed(failure)
    }
}
