//! Keeps as many processes waiting as there should be: starts what is missing, ends what is too much or too old.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::demand::Plan;
use super::profile::Profile;
use super::{Entry, Phase, State, WarmProcesses, prepare};
use crate::claude::account::Account;
use crate::claude::conversation_key::ProfileKey;

/// How often it looks without being told to: for processes that grow old, and bursts that are long past.
const LOOK: Duration = Duration::from_secs(5);

/// How long a start waits at most for turns that the client has seen nothing of yet. With more requests than that all the
/// time, what is started here is taken by them at once.
const CALM: Duration = Duration::from_secs(2);

/// The first wait after a process could not be started; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is to be done next.
enum Step {
    Start { profile: Option<Arc<Profile>>, for_floor: bool },
    End,
    Nothing,
}

/// How often in a row processes came to nothing.
#[derive(Debug, Default)]
pub(super) struct Failures {
    number: u32,
    not_before: Option<Instant>,
}

impl Failures {
    fn note(&mut self, now: Instant) {
        if self.must_wait(now) {
            // It was started together with one that came to nothing already.
            return;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.number.min(6)).min(LONGEST_WAIT);
        self.number += 1;
        self.not_before = Some(now + wait);
    }

    fn must_wait(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }
}

impl WarmProcesses {
    /// Keeps processes waiting until the server drains, and starts none while nothing could be asked in them. To be run as long
    /// as it serves.
    pub async fn keep(self, account: Arc<Account>) {
        let inner = &self.inner;
        if inner.limits.max == 0 {
            return;
        }
        let can_prepare = tokio::select! {
            can_prepare = self.when_installed() => can_prepare,
            () = inner.drain.cancelled() => return,
        };
        inner.lock().demand.allow_prepared(can_prepare);
        loop {
            let mut urgent = inner.machine.pools.urgencies();
            tokio::select! {
                () = inner.drain.cancelled() => break,
                _ = timeout(CALM, urgent.wait_for(|turns| *turns == 0)) => {}
            }
            while !inner.drain.is_cancelled() && self.step(Instant::now(), !account.is_closed()) {}
            tokio::select! {
                () = inner.drain.cancelled() => break,
                () = inner.changed.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        // Each is ended by its task.
        inner.lock().entries.clear();
    }

    /// Whether the installed CLI can be set up ahead, once there is one.
    async fn when_installed(&self) -> bool {
        loop {
            // The failure is told where somebody asks for a process.
            if let Ok(installed) = self.inner.supply.starter().installed().await {
                return installed.can_be_prepared();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does what is due most; `false` when nothing is.
    fn step(&self, now: Instant, may_start: bool) -> bool {
        let inner = &self.inner;
        let mut state = inner.lock();
        let bounds = state.demand.bounds();
        match state.next_step(now, inner.limits.max_age) {
            Step::Start { .. } if !may_start => false,
            Step::Start { profile, for_floor } => {
                let pools = &inner.machine.pools;
                let Some(place) = pools.take_place() else {
                    let have = state.entries.len();
                    drop(state);
                    // One of a pool that has more than this one will have: so all come to the same, and stay there.
                    return pools.give_up_one_of_more_than(have + 1);
                };
                let (id, claimed) = state.add(profile.clone(), Phase::Planned, now, place);
                let waiting = state.entries.len();
                drop(state);
                if waiting > bounds.floor {
                    tracing::debug!(waiting, "one more process is to wait, after the last burst of requests");
                }
                inner.tasks.spawn(prepare::start(Arc::clone(inner), id, profile, claimed, for_floor));
                true
            }
            Step::End => true,
            Step::Nothing => false,
        }
    }
}

impl State {
    fn next_step(&mut self, now: Instant, max_age: Duration) -> Step {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.phase < Phase::Ready || now - entry.since < max_age);
        if self.entries.len() < before {
            return Step::End;
        }
        let plan = self.demand.plan(now);
        let have = self.entries.len();
        let kinds = self.kinds(&plan);
        let most_missing = kinds.iter().max_by_key(|kind| kind.missing()).filter(|kind| kind.missing() > 0);
        let surplus = kinds.iter().min_by_key(|kind| kind.missing()).filter(|kind| kind.missing() < 0);
        let is_replaced = have == plan.total() && most_missing.is_some_and(|kind| kind.have == 0);
        if (have > plan.total() || is_replaced)
            && let Some(surplus) = surplus
        {
            let is_it = |entry: &Entry| entry.phase == Phase::Ready && entry.key() == surplus.key();
            // The first is the oldest.
            let place = self.entries.iter().position(is_it);
            return place.map_or(Step::Nothing, |place| {
                self.entries.remove(place);
                Step::End
            });
        }
        // One at a time: a request that comes meanwhile finds a core, and may take the one that is on its way.
        let is_starting = self.entries.iter().any(|entry| entry.phase < Phase::Ready);
        if have >= plan.total() || is_starting || self.failures.must_wait(now) {
            return Step::Nothing;
        }
        match most_missing {
            Some(kind) => {
                let for_floor = have < self.demand.bounds().floor;
                Step::Start { profile: kind.profile.clone(), for_floor }
            }
            None => Step::Nothing,
        }
    }

    /// What waits and what should, by kind; those asked for most first from behind, and the generic ones first.
    fn kinds(&self, plan: &Plan) -> Vec<Kind> {
        let mut kinds = vec![Kind { profile: None, have: 0, should: plan.generic }];
        let planned = plan.prepared.iter().rev();
        kinds.extend(planned.map(|(profile, should)| Kind {
            profile: Some(Arc::clone(profile)),
            have: 0,
            should: *should,
        }));
        for entry in &self.entries {
            match kinds.iter_mut().find(|kind| kind.key() == entry.key()) {
                Some(kind) => kind.have += 1,
                None => kinds.push(Kind { profile: entry.profile.clone(), have: 1, should: 0 }),
            }
        }
        kinds
    }

    /// A process could not be started, or ended soon after.
    pub(super) fn note_failure(&mut self, now: Instant) {
        self.failures.note(now);
    }

    /// A process was taken, or has waited for long.
    pub(super) fn note_success(&mut self) {
        self.failures = Failures::default();
    }
}

/// The processes that are set up alike.
struct Kind {
    profile: Option<Arc<Profile>>,
    have: usize,
    should: usize,
}

impl Kind {
    fn key(&self) -> Option<ProfileKey> {
        self.profile.as_ref().map(|profile| profile.key)
    }

    fn missing(&self) -> isize {
        self.should.cast_signed() - self.have.cast_signed()
    }
}
