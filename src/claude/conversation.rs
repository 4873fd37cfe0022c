//! The conversation that lives in one process: set up, lay the history down, ask, pass the answer on, go on.

mod relay;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::catalog::Catalog;
use super::failure::TurnFailure;
use super::frame_in::{self, ControlRequest, FrameIn};
use super::frame_out::{Event, Frame};
use super::parked::{self, OpenCall};
use super::prompt_cache::CacheTtl;
use super::session::{Asked, Session, went_on};
use super::warm::profile::Prepared;
use crate::turn::{AssistantBlock, Parameters, Turn};

/// How long the CLI may take to ask for the calls of an answer that has ended (measured: some milliseconds).
const CALLS_COME: Duration = Duration::from_secs(2);

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

impl Deadlines {
    /// The failure when a frame does not come in time.
    fn passed(self, answering: bool) -> TurnFailure {
        if answering {
            TurnFailure::IdleTimeout { seconds: self.idle.as_secs() }
        } else {
            TurnFailure::FirstFrameTimeout { seconds: self.first_frame.as_secs() }
        }
    }
}

/// What is to be done with the process of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Afterwards {
    /// It holds what the client will send back, this answer of the model included, and can go on from there.
    Keep(Vec<AssistantBlock>),
    /// It is at rest and may end by itself.
    AtRest,
    /// It is in the middle of something: interrupt it.
    Busy,
    /// It was killed, or is of no use.
    Kill,
}

/// A process and the conversation in it.
#[derive(Debug)]
pub struct Conversation {
    session: Session,
    /// What the process was told last.
    parameters: Parameters,
    /// The calls that wait for their results, in their order. None in a conversation that waits for the user.
    open_calls: Vec<OpenCall>,
}

impl Conversation {
    /// Makes a process ready for the turn, as far as it is not, and asks its question.
    ///
    /// Everything up to the first piece of history is written at once: the CLI takes control requests and user frames in
    /// their order. Only the tools it must know before. Then each user turn of the history must be confirmed before the
    /// assistant turn behind it is written, because the CLI appends that at once.
    ///
    /// `mark` is for the end of the history, so that Anthropic's cache finds it the next time.
    ///
    /// # Errors
    /// When the CLI declines or ends; deadlines are the caller's.
    pub async fn begin(
        session: &mut Session,
        prepared: &Prepared,
        turn: &Turn,
        mark: Option<CacheTtl>,
        catalog: &Catalog,
    ) -> Result<(), TurnFailure> {
        Self::lay_down(session, prepared, turn, mark, catalog).await?;
        session.queue(&FrameIn::question(&turn.question))?;
        session.flush().await?;
        settle(session, catalog).await
    }

    /// Lays the question down behind the history, as a piece of it that nobody answers.
    ///
    /// # Errors
    /// As [`Conversation::begin`].
    pub async fn begin_unasked(
        session: &mut Session,
        prepared: &Prepared,
        turn: &Turn,
        catalog: &Catalog,
    ) -> Result<(), TurnFailure> {
        Self::lay_down(session, prepared, turn, None, catalog).await?;
        session.queue(&FrameIn::history_user(&turn.question))?;
        session.flush().await?;
        settle(session, catalog).await?;
        confirm(session).await
    }

    /// Sets the process up, and lays the history down.
    async fn lay_down(
        session: &mut Session,
        prepared: &Prepared,
        turn: &Turn,
        mark: Option<CacheTtl>,
        catalog: &Catalog,
    ) -> Result<(), TurnFailure> {
        let must_settle = match prepared {
            Prepared::Not => {
                session.offer(&turn.tools);
                !turn.tools.is_empty()
            }
            Prepared::For { has_tools: false, .. } if !turn.tools.is_empty() => {
                session.offer_instead(&turn.tools)?;
                true
            }
            // It may have been taken before its set-up was over.
            Prepared::For { .. } => !session.is_settled(),
        };
        for request in frame_in::set_up(turn, prepared, session.tools().names()) {
            session.queue_control(request)?;
        }
        if must_settle {
            session.flush().await?;
            settle(session, catalog).await?;
        }
        for frame in frame_in::history(turn, mark) {
            session.queue(&frame)?;
            if frame.is_confirmed() {
                session.flush().await?;
                settle(session, catalog).await?;
                confirm(session).await?;
            }
        }
        Ok(())
    }

    /// The conversation in a process in which the turn was just asked.
    #[must_use]
    pub fn begun(session: Session, turn: &Turn) -> Self {
        Self { session, parameters: turn.parameters.clone(), open_calls: Vec::new() }
    }

    /// Whether the question of `turn` can be asked here as what comes next: anything of the user's where no calls are open,
    /// and otherwise their results, all of them and nothing else, with parameters that a turn can change on its way.
    #[must_use]
    pub fn can_go_on(&self, turn: &Turn) -> bool {
        if self.open_calls.is_empty() {
            !parked::holds_results(&turn.question)
        } else {
            parked::results(&self.open_calls, &turn.question).is_some()
                && parked::can_change(&self.parameters, &turn.parameters)
        }
    }

    /// Asks the question of a turn whose history is what was said here.
    ///
    /// # Errors
    /// When the process does not take it; deadlines are the caller's.
    pub async fn go_on(&mut self, turn: &Turn) -> Result<(), TurnFailure> {
        if let Some(settings) = frame_in::changed_settings(&self.parameters, turn) {
            self.session.queue_control(ControlRequest::ApplyFlagSettings { settings })?;
            self.parameters = turn.parameters.clone();
        }
        let calls = std::mem::take(&mut self.open_calls);
        if calls.is_empty() {
            self.session.queue(&FrameIn::question(&turn.question))?;
            return self.session.flush().await;
        }
        let unfit = || TurnFailure::Protocol("not the results of the calls that wait".to_owned());
        let results = parked::results(&calls, &turn.question).ok_or_else(unfit)?;
        self.calls_have_come(&calls).await?;
        let mut results = calls.iter().zip(results).peekable();
        while let Some((call, result)) = results.next() {
            self.session.queue_result(&call.id, result.content, result.is_error)?;
            self.session.flush().await?;
            // One after the other: the CLI writes results into the conversation in the order in which it happens to be done
            // with them.
            if results.peek().is_some() {
                self.result_is_taken(&call.id).await?;
            }
        }
        Ok(())
    }

    /// Waits until the CLI has asked for all calls, as the model made them.
    async fn calls_have_come(&mut self, calls: &[OpenCall]) -> Result<(), TurnFailure> {
        let changed =
            || TurnFailure::Protocol("the Claude Code CLI changed the arguments of a call".to_owned());
        let late = || TurnFailure::Protocol("the calls were not asked for".to_owned());
        let deadline = Instant::now() + CALLS_COME;
        for call in calls {
            while self.session.tools().waiting(&call.id).is_none() {
                let asked = timeout_at(deadline, self.session.at_rest()).await.map_err(|_| late())??;
                if let Some(asked) = asked {
                    self.session.serve(asked).await?;
                }
            }
            let waiting = self.session.tools().waiting(&call.id);
            waiting.filter(|waiting| call.is_same(waiting)).ok_or_else(changed)?;
        }
        Ok(())
    }

    async fn result_is_taken(&mut self, call: &str) -> Result<(), TurnFailure> {
        loop {
            match self.session.next().await? {
                Frame::ToolResults(taken) if taken.iter().any(|id| id == call) => return Ok(()),
                Frame::ControlRequest(request) => {
                    let asked = Asked::from(&request);
                    self.session.serve(asked).await?;
                }
                Frame::Event(Event::MessageStart { .. }) | Frame::Result(_) => return Err(went_on()),
                _ => {}
            }
        }
    }

    /// The session with its process.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Whether it waits for the results of calls.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        !self.open_calls.is_empty()
    }

    /// The id of its process.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.session.process_id()
    }

    /// The process, to be ended.
    #[must_use]
    pub fn into_session(self) -> Session {
        self.session
    }
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
                let sentence = result.sentence().unwrap_or_default();
                return Err(TurnFailure::Protocol(format!("the history was not taken: {sentence}")));
            }
            Frame::Result(_) => return Ok(()),
            Frame::ControlRequest(request) => {
                let asked = Asked::from(&request);
                session.serve(asked).await?;
            }
            _ => {}
        }
    }
}
