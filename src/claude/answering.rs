//! One turn, from the queue to the end of its process, or to the next turn in it.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::account::AccountUse;
use super::admission::Place;
use super::answer::{AnswerEnd, AnswerEvent};
use super::attempts::{Attempts, Next};
use super::conversation::{Afterwards, Conversation};
use super::conversation_key::{ConversationKey, ProfileKey};
use super::failure::TurnFailure;
use super::kept::EntryId;
use super::prompt_cache::{self, CacheTtl};
use super::session::Session;
use super::shaping::Shaping;
use super::sink::{ProcessOrigin, Sink, Stop};
use super::steps::Step;
use super::warm::Warm;
use super::warm::profile::Prepared;
use crate::scope::Scope;
use crate::turn::Turn;

/// A turn that is to be answered.
struct Asking<'a> {
    /// As it is put to the model.
    turn: &'a Turn,
    /// What becomes of the answer.
    shaping: &'a Shaping,
    /// What it is set up with.
    profile: ProfileKey,
    /// What was said before its question.
    history: ConversationKey,
    started: Instant,
    /// When the turn must be over, however often it is put.
    ends: Instant,
}

/// Where a fresh process comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// One that waits, if there is one.
    Waiting,
    /// One that is started for the turn.
    New,
}

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
    pub(super) async fn run(self: Arc<Self>, scope: Scope, turn: &Turn, sink: &mut Sink) {
        sink.come_to(Step::Queue);
        let place = tokio::select! {
            biased;
            place = self.admit(turn) => place,
            () = sink.closed() => return,
        };
        let (_place, account): (Place, _) = match place {
            Ok(admitted) => admitted,
            Err(failure) => return sink.fail(failure),
        };
        sink.uses(account);
        sink.hold(self.warm.urgent());
        let ends = Instant::now() + self.deadlines.total;
        let mut attempts = Attempts::new(&self.refusals, turn);
        loop {
            let rendition = attempts.rendition();
            let turn = &*rendition.turn;
            let profile = ProfileKey::of(&scope, self.supply.credential_name(), turn);
            let history = ConversationKey::of_history_with(&profile, turn);
            let shaping = &rendition.shaping;
            let asking = Asking { turn, shaping, profile, history, started: Instant::now(), ends };
            let Outcome { process, end } = self.converse(&asking, attempts.is_first(), sink).await;
            let end = match attempts.next(&rendition, end, sink.has_passed()) {
                Next::Again => {
                    self.dispose(process).await;
                    continue;
                }
                Next::End(end) => end,
            };
            sink.end_steps();
            let (kept, rest) = match &end {
                // Before the end is passed on: the next turn may come as soon as the client has read it.
                Ok(_) if !rendition.is_reworded && !turn.parameters.is_last => {
                    self.keep(history, turn, process)
                }
                _ => (None, process),
            };
            match end {
                Ok(end) => {
                    let passed = sink.pass(AnswerEvent::Ended(end), self.deadlines.idle).await;
                    if let (Err(_), Some(id)) = (passed, kept) {
                        self.kept.discard(id);
                    }
                }
                Err(Stop::Failed(failure)) => sink.fail(self.told(failure)),
                Err(Stop::Unfit(unfit)) => sink.fail(unfit.unmet.into()),
                Err(Stop::Gone) => {}
            }
            return self.dispose(rest).await;
        }
    }

    /// A failure as others read it: without the credential, should the CLI or the API have quoted it.
    pub(super) fn told(&self, failure: TurnFailure) -> TurnFailure {
        failure.retold(|said| self.supply.credential().redact(said))
    }

    /// A place for the turn, and the use of the account for it. Where the account refuses, nobody waits for a place.
    async fn admit(&self, turn: &Turn) -> Result<(Place, AccountUse), TurnFailure> {
        let account = self.account.enter(&turn.model)?;
        let place = tokio::select! {
            biased;
            failure = account.refused() => return Err(failure),
            place = self.admission.enter() => place?,
        };
        Ok((place, account))
    }

    /// Asks in the process that holds the conversation, if one waits, else in a fresh one. What is put once more goes to a
    /// fresh one always.
    async fn converse(&self, asking: &Asking<'_>, is_first: bool, sink: &mut Sink) -> Outcome {
        sink.come_to(Step::Claim);
        if is_first && let Some(kept) = self.kept.take(asking.history).await {
            tracing::debug!(pid = kept.process_id(), "the conversation goes on in its process");
            sink.come_to(Step::LayDown);
            sink.comes_from(if kept.is_parked() { ProcessOrigin::Parked } else { ProcessOrigin::Live });
            let outcome = self.go_on(kept, asking, sink).await;
            if !was_lost(&outcome, sink) {
                return outcome;
            }
            tracing::debug!("its process was lost; the conversation is laid down afresh");
            self.dispose(outcome.process).await;
        }
        self.begin_marked(asking, sink).await
    }

    /// Asks in a fresh process, with a mark for the prompt cache behind the history. Where the API refuses it, once more
    /// without.
    async fn begin_marked(&self, asking: &Asking<'_>, sink: &mut Sink) -> Outcome {
        let mark = self.marks.next().filter(|_| !asking.turn.history.is_empty());
        let outcome = self.begin(asking, mark, sink).await;
        let Err(Stop::Failed(failure)) = &outcome.end else { return outcome };
        if mark.is_none() || sink.has_passed() || !prompt_cache::is_refusal(failure) {
            return outcome;
        }
        self.dispose(outcome.process).await;
        let outcome = self.begin(asking, None, sink).await;
        // Otherwise it was about something of the client's that only sounds like it.
        if outcome.end.is_ok() || sink.has_passed() {
            self.marks.note_refusal();
        }
        outcome
    }

    /// Asks in a process that holds the conversation.
    async fn go_on(&self, mut kept: Conversation, asking: &Asking<'_>, sink: &mut Sink) -> Outcome {
        let first_frame = asking.started + self.deadlines.first_frame;
        if !kept.can_go_on(asking.turn) {
            // It waits for something that will not come: the conversation went on in another way.
            let unfit = TurnFailure::Protocol("not the results of the calls that wait".to_owned());
            return Outcome {
                process: Some(Process::Conversing(kept, Afterwards::Kill)),
                end: Err(unfit.into()),
            };
        }
        let asked = tokio::select! {
            biased;
            asked = timeout_at(first_frame, kept.go_on(asking.turn)) => match asked {
                Ok(asked) => asked.map_err(Stop::from),
                Err(_elapsed) => Err(self.late()),
            },
            () = sink.closed() => Err(Stop::Gone),
        };
        match asked {
            Ok(()) => self.relay(kept, asking, sink).await,
            Err(stop) => {
                Outcome { process: Some(Process::Conversing(kept, Afterwards::Kill)), end: Err(stop) }
            }
        }
    }

    /// Lays the conversation down in a fresh process and asks there: in one that waits, or where that was lost, in a new one.
    async fn begin(&self, asking: &Asking<'_>, mark: Option<CacheTtl>, sink: &mut Sink) -> Outcome {
        let (outcome, source) = self.begin_in(Source::Waiting, asking, mark, sink).await;
        if source == Source::New || !was_lost(&outcome, sink) {
            return outcome;
        }
        tracing::debug!("the process that waited was lost; a new one is started");
        self.dispose(outcome.process).await;
        self.begin_in(Source::New, asking, mark, sink).await.0
    }

    async fn begin_in(
        &self,
        source: Source,
        asking: &Asking<'_>,
        mark: Option<CacheTtl>,
        sink: &mut Sink,
    ) -> (Outcome, Source) {
        let first_frame = asking.started + self.deadlines.first_frame;
        sink.come_to(Step::Claim);
        let take = async {
            match source {
                Source::Waiting => self.warm.take(asking.profile, asking.turn, self.patience).await,
                Source::New => self.warm.take_new(self.patience).await,
            }
        };
        let taken = tokio::select! {
            biased;
            taken = timeout_at(first_frame, take) => taken,
            () = sink.closed() => return (Outcome::nothing(Stop::Gone), Source::New),
        };
        let Warm { mut session, prepared, starting, is_new } = match taken {
            Ok(Ok(warm)) => warm,
            Ok(Err(failure)) => return (Outcome::nothing(failure), Source::New),
            Err(_elapsed) => return (Outcome::nothing(self.late()), Source::New),
        };
        let origin = match (is_new, &prepared) {
            (true, _) => ProcessOrigin::Started,
            (false, Prepared::Not) => ProcessOrigin::Generic,
            (false, Prepared::For { .. }) => ProcessOrigin::Prepared,
        };
        tracing::debug!(
            pid = session.process_id(),
            origin = origin.as_str(),
            "the conversation is laid down"
        );
        sink.come_to(Step::LayDown);
        sink.comes_from(origin);
        let source = if is_new { Source::New } else { Source::Waiting };
        let begin = Conversation::begin(&mut session, &prepared, asking.turn, mark, &self.catalog);
        let asked = tokio::select! {
            biased;
            asked = timeout_at(first_frame, begin) => asked,
            () = sink.closed() => return (Outcome::unasked(session, Stop::Gone), source),
        };
        drop(starting);
        let outcome = match asked {
            Ok(Ok(())) => self.relay(Conversation::begun(session, asking.turn), asking, sink).await,
            Ok(Err(failure)) => Outcome::unasked(session, failure),
            Err(_elapsed) => Outcome::unasked(session, self.late()),
        };
        (outcome, source)
    }

    async fn relay(&self, mut conversation: Conversation, asking: &Asking<'_>, sink: &mut Sink) -> Outcome {
        let Asking { turn, shaping, started, .. } = *asking;
        sink.come_to(Step::FirstDelta);
        let relay = conversation.relay(turn, shaping, sink, self.deadlines, started, &self.catalog);
        let (afterwards, end) = match timeout_at(asking.ends, relay).await {
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
        match self.kept.keep(key, conversation) {
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
        match afterwards {
            Afterwards::Keep(_) | Afterwards::AtRest => self.supply.end(session).await,
            Afterwards::Busy => self.supply.interrupt(session).await,
            Afterwards::Kill => self.supply.kill(session).await,
        }
    }
}

/// Whether it came to nothing because a process that had waited ended, or was of no use any more, and nobody had noticed yet;
/// and the client has seen nothing of that.
fn was_lost(outcome: &Outcome, sink: &Sink) -> bool {
    let is_lost =
        matches!(outcome.end, Err(Stop::Failed(TurnFailure::Crashed { .. } | TurnFailure::Protocol(_))));
    is_lost && !sink.has_passed()
}
