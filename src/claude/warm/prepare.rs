//! One process that waits, from its start until somebody takes it or it is of no more use.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::profile::{Prepared, Profile};
use super::{HANDED_OVER, Inner, Phase, Warm};
use crate::claude::budget::Share;
use crate::claude::failure::TurnFailure;
use crate::claude::frame_in::{self, ControlRequest, FrameIn};
use crate::claude::handover::{Claimant, Claimed, watch};
use crate::claude::session::{CLI_STDERR, Heard, Session};
use crate::claude::starts::Starting;

/// How long a process may take until it waits. Half a second is usual; on a busy machine it is more.
const PATIENCE: Duration = Duration::from_secs(30);

/// One that has waited less than this when it ends was no good from the start.
const SOON: Duration = Duration::from_secs(10);

/// How long to wait for the memory of a process that takes its place from another.
const MAKING_ROOM: Duration = Duration::from_secs(3);

/// Why a process does not wait any longer.
enum End {
    /// Somebody has it.
    Taken,
    /// It is not needed any more.
    Unneeded,
    /// It ended by itself, or could not be had for want of memory.
    Lost,
    /// It did not work.
    Failed(TurnFailure),
}

/// Starts a process, sets it up and lets it wait.
pub(super) async fn start(
    inner: Arc<Inner>,
    id: u64,
    profile: Option<Arc<Profile>>,
    mut claimed: Claimed<Warm>,
    for_floor: bool,
) {
    let begun = Instant::now();
    let end = match allowed(&inner, &mut claimed, for_floor).await {
        Some((starting, share)) => match inner.supply.start(share).await {
            Ok(session) => {
                let (profile, starting) = (profile.clone(), Some(starting));
                let waiting = Waiting { inner: &inner, id, session, profile, claimed, starting };
                waiting.run(true).await
            }
            Err(failure) => End::Failed(failure),
        },
        None => End::Unneeded,
    };
    inner.finish(id, profile.as_deref(), end, begun);
}

/// Lets a process wait that is set up for the profile already.
pub(super) async fn adopt(
    inner: Arc<Inner>,
    id: u64,
    profile: Arc<Profile>,
    claimed: Claimed<Warm>,
    session: Session,
) {
    let begun = Instant::now();
    let profile = Some(profile);
    let waiting = Waiting { inner: &inner, id, session, profile, claimed, starting: None };
    let end = waiting.run(false).await;
    inner.finish(id, None, end, begun);
}

/// Memory for a process, and a place among those that are being started; `None` where it is not needed any more, or cannot
/// be had.
async fn allowed(
    inner: &Arc<Inner>,
    claimed: &mut Claimed<Warm>,
    for_floor: bool,
) -> Option<(Starting, Share)> {
    let may_start = async {
        let starting = inner.supply.starter().may_start_ahead().await.ok()?;
        let (budget, kept) = (&inner.machine.budget, &inner.machine.kept);
        let share = match budget.try_reserve() {
            // A new conversation must not have to wait for a start only because so many old ones are kept.
            None if for_floor => budget.reserve(MAKING_ROOM, || kept.give_up_oldest_live()).await,
            share => share,
        };
        Some((starting, share?))
    };
    tokio::select! {
        allowed = may_start => allowed,
        _unneeded = claimed.claimant() => None,
        () = inner.drain.cancelled() => None,
    }
}

struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    id: u64,
    session: Session,
    profile: Option<Arc<Profile>>,
    claimed: Claimed<Warm>,
    starting: Option<Starting>,
}

impl Waiting<'_> {
    async fn run(mut self, is_new: bool) -> End {
        let claimant = match timeout(PATIENCE, self.make_ready(is_new)).await {
            Ok(Ok(Some(claimant))) => claimant,
            Ok(Ok(None)) => {
                self.starting = None;
                self.session.measure();
                self.inner.has_come(self.id, Phase::Ready);
                let until = Instant::now() + self.inner.limits.max_age * 2;
                let drain = &self.inner.drain;
                watch(&mut self.session, &mut self.claimed, until, drain).await
            }
            Ok(Err(failure)) => return self.give_up(End::Failed(failure)).await,
            Err(_elapsed) => {
                let seconds = PATIENCE.as_secs();
                return self.give_up(End::Failed(TurnFailure::FirstFrameTimeout { seconds })).await;
            }
        };
        let Some(claimant) = claimant else { return self.give_up(End::Unneeded).await };
        self.hand_over(claimant).await
    }

    /// Sets the process up and warms it up. Ends early with who claims it meanwhile, or with `None` inside when nobody will.
    async fn make_ready(&mut self, is_new: bool) -> Result<Option<Option<Claimant<Warm>>>, TurnFailure> {
        let inner = self.inner;
        if is_new {
            // The CLI may not read, and a profile is more than a pipe holds.
            tokio::select! {
                biased;
                is_set_up = self.set_up() => is_set_up?,
                () = inner.drain.cancelled() => return Ok(Some(None)),
            }
            inner.has_come(self.id, Phase::Starting);
            while !self.session.is_settled() {
                let heard = tokio::select! {
                    biased;
                    claimant = self.claimed.claimant() => return Ok(Some(claimant)),
                    () = self.inner.drain.cancelled() => return Ok(Some(None)),
                    heard = self.session.hear(|body| self.inner.catalog.learn_models(body)) => heard?,
                };
                self.answer(heard).await?;
            }
        }
        if self.profile.is_none() {
            return Ok(None);
        }
        // The first turn of a process takes several times what later ones do. One with a blank question, which the CLI answers
        // itself and forgets, is the first instead.
        self.session.queue(&FrameIn::blank_question())?;
        self.session.flush().await?;
        let asked = Instant::now();
        let mut claimant = None;
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.session.hear(|_| {}) => heard?,
                // Whoever claims it waits for the end of that turn.
                came = self.claimed.claimant(), if claimant.is_none() => match came {
                    None => return Ok(Some(None)),
                    came => { claimant = came; continue }
                },
                () = left(&mut claimant) => {
                    return if asked.elapsed() < HANDED_OVER { Ok(Some(None)) } else { Err(unanswered()) };
                }
                () = inner.drain.cancelled() => return Ok(Some(None)),
            };
            match heard {
                Heard::Result => return Ok(claimant.map(Some)),
                heard => self.answer(heard).await?,
            }
        }
    }

    async fn set_up(&mut self) -> Result<(), TurnFailure> {
        match &self.profile {
            Some(profile) => {
                self.session.offer_ahead(&profile.tools);
                for request in frame_in::set_up_ahead(profile, self.session.tools().names()) {
                    self.session.queue_control(request)?;
                }
            }
            // Says nothing, but its answer tells that the process has started.
            None => self.session.queue_control(ControlRequest::no_settings())?,
        }
        self.session.flush().await
    }

    async fn answer(&mut self, heard: Heard) -> Result<(), TurnFailure> {
        match heard {
            Heard::Asked(asked) => self.session.serve(asked).await,
            Heard::Nothing => Ok(()),
            Heard::Result | Heard::Conversation => Err(crate::claude::session::went_on()),
        }
    }

    async fn hand_over(self, claimant: Claimant<Warm>) -> End {
        if self.starting.is_none() {
            // It was of use.
            self.inner.lock().note_success();
        }
        let prepared = match &self.profile {
            None => Prepared::Not,
            Some(profile) => Prepared::For { model: profile.model.clone(), has_tools: true },
        };
        let warm = Warm { session: self.session, prepared, starting: self.starting, is_new: false };
        if let Err(warm) = claimant.give(warm) {
            // Who claimed it has left.
            self.inner.supply.end(warm.session).await;
        }
        End::Taken
    }

    async fn give_up(self, end: End) -> End {
        // At once, so that nobody claims it, and another can be started.
        let end = self.inner.forget(self.id, end);
        drop(self.starting);
        match end {
            End::Failed(_) => self.inner.supply.kill(self.session).await,
            End::Taken | End::Unneeded | End::Lost => self.inner.supply.end(self.session).await,
        }
        end
    }
}

/// Ready when the claimant, if there is one, has left.
async fn left(claimant: &mut Option<Claimant<Warm>>) {
    match claimant {
        Some(claimant) => claimant.left().await,
        None => std::future::pending().await,
    }
}

fn unanswered() -> TurnFailure {
    TurnFailure::Protocol("a blank question is not answered".to_owned())
}

impl Inner {
    /// The process has got so far.
    fn has_come(&self, id: u64, phase: Phase) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == id) {
            (entry.phase, entry.since) = (phase, Instant::now());
        }
        drop(state);
        self.came.notify_waiters();
        if phase == Phase::Ready {
            self.changed.notify_one();
        }
    }

    /// Takes it off the list. If nobody else has done so, it was needed still.
    fn forget(&self, id: u64, end: End) -> End {
        let mut state = self.lock();
        let before = state.entries.len();
        state.entries.retain(|entry| entry.id != id);
        match end {
            End::Unneeded if state.entries.len() < before => End::Lost,
            end => end,
        }
    }

    fn finish(&self, id: u64, profile: Option<&Profile>, end: End, begun: Instant) {
        let end = self.forget(id, end);
        let now = Instant::now();
        let was_short = now - begun < SOON.min(self.limits.max_age);
        match end {
            End::Failed(failure) => {
                // It was told a system prompt, which it may quote.
                let told = failure.for_log();
                tracing::warn!(
                    failure = told,
                    "a process of the Claude Code CLI that was to wait did not start"
                );
                tracing::debug!(target: CLI_STDERR, %failure, "what it said");
                let mut state = self.lock();
                state.note_failure(now);
                // Others would have to wait for it for ever.
                if let Some(profile) = profile {
                    state.demand.give_up(profile.key);
                }
            }
            // Not at once again.
            End::Lost if was_short && !self.drain.is_cancelled() => self.lock().note_failure(now),
            // That it waits says nothing yet: it may end as soon as it does.
            End::Lost => self.lock().note_success(),
            End::Taken | End::Unneeded => {}
        }
        self.changed.notify_one();
    }
}
