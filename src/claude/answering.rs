//! One turn, from the queue to the end of its process, or to the next turn in it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::answer::{AnswerEnd, AnswerEvent};
use super::conversation::{Afterwards, Conversation};
use super::conversation_key::ConversationKey;
use super::failure::TurnFailure;
use super::kept::EntryId;
use super::prompt_cache::{self, CacheTtl};
use super::session::Session;
use super::sink::{Sink, Stop};
use super::{Inner, memory};
use crate::tenant::Tenant;
use crate::turn::Turn;

/// What is left of a turn: its process, if it had one, and what is to be done with that.
struct Outcome {
    process: Option<Process>,
    end: Result<AnswerEnd, Stop>,
}

/// A process after its turn.
enum Process {
    /// In a conversation.
    Conversing(Conversation, Afterwards),
    /// Before it came to that.
    Unasked(Session),
}

impl Outcome {
    fn nothing(stop: impl Into<Stop>) -> Self {
        Self { process: None, end: Err(stop.into()) }
    }

    fn unasked(session: Session, stop: impl Into<Stop>) -> Self {
        Self { process: Some(Process::Unasked(session)), end: Err(stop.into()) }
    }
}

impl Inner {
    /// One turn.
    pub(super) async fn run(self: Arc<Self>, tenant: Tenant, turn: &Turn, sink: &mut Sink) {
        let place = tokio::select! {
            biased;
            place = self.admit() => place,
            () = sink.closed() => return,
        };
        let _place: OwnedSemaphorePermit = match place {
            Ok(place) => place,
            Err(failure) => return sink.fail(failure),
        };
        let history = ConversationKey::of_history(&tenant, self.supply.credential_name(), turn);
        let Outcome { process, end } = self.converse(history, turn, sink, Instant::now()).await;
        match end {
            Ok(end) => {
                // First, since the next turn may come as soon as the client has read the end of this one.
                let (kept, rest) = self.keep(history, turn, process);
                let passed = sink.pass(AnswerEvent::Ended(end), self.deadlines.idle).await;
                if let (Err(_), Some(id)) = (passed, kept) {
                    self.kept.discard(id);
                }
                self.dispose(rest).await;
            }
            Err(stop) => {
                if let Stop::Failed(failure) = stop {
                    self.remember_limit(&failure);
                    sink.fail(failure);
                }
                self.dispose(process).await;
            }
        }
    }

    async fn admit(&self) -> Result<OwnedSemaphorePermit, TurnFailure> {
        self.check_limit()?;
        self.admission.enter().await
    }

    /// Asks in the process that holds the conversation, if one waits, else in a fresh one.
    async fn converse(
        &self,
        history: ConversationKey,
        turn: &Turn,
        sink: &mut Sink,
        started: Instant,
    ) -> Outcome {
        if let Some(kept) = self.kept.take(history).await {
            tracing::debug!(pid = kept.process_id(), "the conversation goes on in its process");
            let outcome = self.go_on(kept, turn, sink, started).await;
            // A process may end, or be of no use any more, while it waits; nobody has noticed yet.
            let is_lost = matches!(
                outcome.end,
                Err(Stop::Failed(TurnFailure::Crashed { .. } | TurnFailure::Protocol(_)))
            );
            if !is_lost || sink.has_passed() {
                return outcome;
            }
            tracing::debug!("its process was lost; the conversation is laid down afresh");
            self.dispose(outcome.process).await;
        }
        self.begin_marked(turn, sink, started).await
    }

    /// Asks in a fresh process, with a mark for the prompt cache behind the history. Where the API refuses it, once more
    /// without.
    async fn begin_marked(&self, turn: &Turn, sink: &mut Sink, started: Instant) -> Outcome {
        let mark = self.marks.next().filter(|_| !turn.history.is_empty());
        let outcome = self.begin(turn, mark, sink, started).await;
        let Err(Stop::Failed(failure)) = &outcome.end else { return outcome };
        if mark.is_none() || sink.has_passed() || !prompt_cache::is_refusal(failure) {
            return outcome;
        }
        self.dispose(outcome.process).await;
        let outcome = self.begin(turn, None, sink, started).await;
        // Otherwise it was about something of the client's that only sounds like it.
        if outcome.end.is_ok() || sink.has_passed() {
            self.marks.note_refusal();
        }
        outcome
    }

    /// Asks in a process that holds the conversation.
    async fn go_on(&self, mut kept: Conversation, turn: &Turn, sink: &mut Sink, started: Instant) -> Outcome {
        let first_frame = started + self.deadlines.first_frame;
        if !kept.can_go_on(turn) {
            // It waits for something that will not come: the conversation went on in another way.
            let unfit = TurnFailure::Protocol("not the results of the calls that wait".to_owned());
            return Outcome {
                process: Some(Process::Conversing(kept, Afterwards::Kill)),
                end: Err(unfit.into()),
            };
        }
        let asked = tokio::select! {
            biased;
            asked = timeout_at(first_frame, kept.go_on(turn)) => match asked {
                Ok(asked) => asked.map_err(Stop::from),
                Err(_elapsed) => Err(self.late()),
            },
            () = sink.closed() => Err(Stop::Gone),
        };
        match asked {
            Ok(()) => self.relay(kept, turn, sink, started).await,
            Err(stop) => {
                Outcome { process: Some(Process::Conversing(kept, Afterwards::Kill)), end: Err(stop) }
            }
        }
    }

    /// Lays the conversation down in a fresh process and asks there.
    async fn begin(&self, turn: &Turn, mark: Option<CacheTtl>, sink: &mut Sink, started: Instant) -> Outcome {
        self.kept.make_room(self.admission.taken_places());
        let first_frame = started + self.deadlines.first_frame;
        let taken = tokio::select! {
            biased;
            taken = timeout_at(first_frame, self.supply.take()) => taken,
            () = sink.closed() => return Outcome::nothing(Stop::Gone),
        };
        let (process, starting) = match taken {
            Ok(Ok(taken)) => taken,
            Ok(Err(failure)) => return Outcome::nothing(failure),
            Err(_elapsed) => return Outcome::nothing(self.late()),
        };
        let mut session = Session::new(process);
        let begin = Conversation::begin(&mut session, turn, mark, &self.catalog);
        let asked = tokio::select! {
            biased;
            asked = timeout_at(first_frame, begin) => asked,
            () = sink.closed() => return Outcome::unasked(session, Stop::Gone),
        };
        drop(starting);
        match asked {
            Ok(Ok(())) => self.relay(Conversation::begun(session, turn), turn, sink, started).await,
            Ok(Err(failure)) => Outcome::unasked(session, failure),
            Err(_elapsed) => Outcome::unasked(session, self.late()),
        }
    }

    async fn relay(
        &self,
        mut conversation: Conversation,
        turn: &Turn,
        sink: &mut Sink,
        started: Instant,
    ) -> Outcome {
        let relay = conversation.relay(turn, sink, self.deadlines, started, &self.catalog);
        let (afterwards, end) = match timeout_at(started + self.deadlines.total, relay).await {
            Ok(relayed) => relayed,
            Err(_elapsed) => {
                let failure = TurnFailure::TotalTimeout { seconds: self.deadlines.total.as_secs() };
                (Afterwards::Kill, Err(failure.into()))
            }
        };
        Outcome { process: Some(Process::Conversing(conversation, afterwards)), end }
    }

    fn late(&self) -> Stop {
        Stop::Failed(TurnFailure::FirstFrameTimeout { seconds: self.deadlines.first_frame.as_secs() })
    }

    /// Keeps a process that can go on for its next turn. Gives back what is to be ended.
    fn keep(
        self: &Arc<Self>,
        history: ConversationKey,
        turn: &Turn,
        process: Option<Process>,
    ) -> (Option<EntryId>, Option<Process>) {
        let (conversation, said) = match process {
            Some(Process::Conversing(conversation, Afterwards::Keep(said))) => (conversation, said),
            other => return (None, other),
        };
        let key = history.then_user(&turn.question).then_assistant(&said);
        let size = memory::of_process(conversation.process_id());
        match self.kept.keep(key, conversation, size) {
            Ok(watch) => {
                let id = watch.id();
                let inner = Arc::clone(self);
                self.tasks.spawn(async move {
                    if let Some(conversation) = watch.run(&inner.drain).await {
                        inner.dispose(Some(Process::Conversing(conversation, Afterwards::AtRest))).await;
                    }
                });
                (Some(id), None)
            }
            Err(conversation) => (None, Some(Process::Conversing(*conversation, Afterwards::AtRest))),
        }
    }

    async fn dispose(&self, process: Option<Process>) {
        let (session, afterwards) = match process {
            None => return,
            Some(Process::Unasked(session)) => (session, Afterwards::Kill),
            // The CLI must not take the end of its input for the end of the call.
            Some(Process::Conversing(conversation, _)) if conversation.is_parked() => {
                (conversation.into_session(), Afterwards::Kill)
            }
            Some(Process::Conversing(conversation, afterwards)) => (conversation.into_session(), afterwards),
        };
        let id = session.process_id();
        match afterwards {
            Afterwards::Keep(_) | Afterwards::AtRest => session.into_process().end().await,
            Afterwards::Busy => session.interrupt_and_end().await,
            Afterwards::Kill => {
                session.into_process().kill_and_wait().await;
            }
        }
        // Whichever way was meant, it may have been killed in the end.
        self.supply.forget(id).await;
    }
}
