//! Where the events of an answer go, and why a turn stops before its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::answer::AnswerEvent;
use super::failure::TurnFailure;
use super::shaping::Unfit;
use super::warm::Urgent;

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
    origin: Arc<OriginCell>,
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
    #[must_use]
    pub fn new(events: mpsc::Sender<Result<AnswerEvent, TurnFailure>>) -> Self {
        let last_word = events.clone().try_reserve_owned().ok();
        Self { events, last_word, has_passed: false, urgent: None, origin: Arc::default() }
    }

    /// Holds this until the reader is given something.
    pub fn hold(&mut self, urgent: Urgent) {
        self.urgent = Some(urgent);
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
