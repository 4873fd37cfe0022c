//! Processes that wait for a question of any conversation: started, set up and warmed up before they are needed.
//!
//! - [`profile`]: what a process is set up with.
//! - [`demand`]: which should wait, from what was asked for. Pure.
//! - `prepare`: one process, from its start until somebody takes it.
//! - `keeper`: starts what is missing and ends what is too much.
//! - [`pools`]: what bounds those of all tenants.
//!
//! [`WarmProcesses`] is what turns take processes from.

pub mod demand;
mod keeper;
pub mod pools;
mod prepare;
pub mod profile;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::Share;
use super::catalog::Catalog;
use super::conversation_key::ProfileKey;
use super::failure::TurnFailure;
use super::handover::{Claim, Claimed, handover};
use super::installed::{Installed, Starting};
use super::machine::Machine;
use super::session::Session;
use super::supply::ProcessSupply;
use crate::turn::Turn;
pub use demand::Floor;
use demand::{Bounds, Demand};
use pools::WaitingPlace;
use profile::{Prepared, Profile};

/// How long a process may take to be handed over: at most it has a blank question to finish first, which takes 0.05 s.
const HANDED_OVER: Duration = Duration::from_secs(2);

/// How many processes wait, and how long.
#[derive(Debug, Clone, Copy)]
pub struct WarmLimits {
    /// How many wait at least.
    pub min: usize,
    /// How many wait at most. With 0 each turn has a process started for it.
    pub max: usize,
    /// How long more than `min` wait after the last burst that needed them.
    pub idle: Duration,
    /// How long one waits before it is replaced.
    pub max_age: Duration,
}

/// The processes that wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WarmProcesses {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: WarmLimits,
    supply: Arc<ProcessSupply>,
    /// Its memory, what is kept on it, and the pools of others.
    machine: Machine,
    catalog: Arc<Catalog>,
    state: Mutex<State>,
    /// A process can be taken that could not be before.
    came: Notify,
    /// What should wait may be something else than what does.
    changed: Notify,
    tasks: TaskTracker,
    drain: CancellationToken,
}

#[derive(Debug)]
struct State {
    entries: Vec<Entry>,
    last_id: u64,
    demand: Demand,
    failures: keeper::Failures,
}

/// A process that waits, or will.
#[derive(Debug)]
struct Entry {
    id: u64,
    /// What it is set up with; `None` for nothing.
    profile: Option<Arc<Profile>>,
    phase: Phase,
    since: Instant,
    claim: Claim<Warm>,
    #[expect(dead_code, reason = "held, not read")]
    place: WaitingPlace,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It waits for its turn to be started.
    Planned,
    /// It was started.
    Starting,
    /// It waits.
    Ready,
}

/// A process that nobody has asked anything in.
#[derive(Debug)]
pub struct Warm {
    /// The process.
    pub session: Session,
    /// What it is set up with.
    pub prepared: Prepared,
    /// Held as long as it is being started.
    pub starting: Option<Starting>,
    /// Whether it was started for the turn at hand.
    pub is_new: bool,
}

/// How many processes wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WarmCount {
    /// Not yet: they are being started.
    pub starting: usize,
    /// For anything.
    pub generic: usize,
    /// For a system prompt.
    pub prepared: usize,
}

/// A turn of which the client has seen nothing yet. While there is one, nothing is started in the background.
#[derive(Debug)]
pub struct Urgent(watch::Sender<usize>);

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.send_modify(|turns| *turns -= 1);
    }
}

impl WarmProcesses {
    /// Nothing waits yet; see [`WarmProcesses::keep`]. `floor` says when the least that `limits` name wait.
    #[must_use]
    pub fn new(
        limits: WarmLimits,
        floor: Floor,
        machine: Machine,
        supply: Arc<ProcessSupply>,
        catalog: Arc<Catalog>,
        tasks: TaskTracker,
        drain: CancellationToken,
    ) -> Self {
        let cap = limits.max.min(machine.pools.most());
        let bounds = Bounds { floor: limits.min.min(cap), cap, memory: limits.idle };
        let demand = Demand::new(bounds, floor, Instant::now());
        let state = Mutex::new(State {
            entries: Vec::new(),
            last_id: 0,
            demand,
            failures: keeper::Failures::default(),
        });
        let (came, changed) = (Notify::new(), Notify::new());
        let inner = Inner { limits, supply, machine, catalog, state, came, changed, tasks, drain };
        let inner = Arc::new(inner);
        inner.machine.pools.join(&inner);
        Self { inner }
    }

    /// Tells that a client waits for the first word of an answer.
    #[must_use]
    pub fn urgent(&self) -> Urgent {
        self.inner.lock().demand.note_use(Instant::now());
        self.inner.machine.pools.urgent()
    }

    /// A process for the turn: the one that is furthest on the way to it, or a new one. `patience` is for the memory it
    /// takes, which others may have to give back first.
    ///
    /// # Errors
    /// [`TurnFailure::Start`] when none can be started, [`TurnFailure::Busy`] when there is no memory for one.
    pub async fn take(&self, key: ProfileKey, turn: &Turn, patience: Duration) -> Result<Warm, TurnFailure> {
        let inner = &self.inner;
        if inner.limits.max > 0 {
            inner.lock().demand.note(Instant::now(), key, turn);
            inner.changed.notify_one();
        }
        let allowed = self.allowed(patience);
        let mut allowed = std::pin::pin!(allowed);
        loop {
            // Before the look, so that none that comes after it is missed.
            let mut came = std::pin::pin!(inner.came.notified());
            came.as_mut().enable();
            if let Some(warm) = self.claim(key).await {
                return Ok(warm);
            }
            tokio::select! {
                biased;
                allowed = &mut allowed => {
                    let (starting, share) = allowed?;
                    return self.start(starting, share).await;
                }
                () = came => {}
            }
        }
    }

    /// A process that is started for the turn, whatever waits.
    ///
    /// # Errors
    /// As [`WarmProcesses::take`].
    pub async fn take_new(&self, patience: Duration) -> Result<Warm, TurnFailure> {
        let (starting, share) = self.allowed(patience).await?;
        self.start(starting, share).await
    }

    /// Lets a process wait that was set up with neither system prompt nor tools. Gives it back where none may wait.
    ///
    /// # Errors
    /// The process.
    pub async fn adopt(&self, session: Session) -> Result<(), Box<Session>> {
        let inner = &self.inner;
        let prepares = inner.supply.starter().installed().await.is_ok_and(Installed::can_be_prepared);
        let (mut state, now) = (inner.lock(), Instant::now());
        if !prepares || state.entries.len() >= state.demand.bounds().cap {
            return Err(Box::new(session));
        }
        let Some(place) = inner.machine.pools.take_place() else { return Err(Box::new(session)) };
        state.demand.note_use(now);
        let profile = Arc::new(Profile::empty());
        let (id, claimed) = state.add(Some(Arc::clone(&profile)), Phase::Starting, now, place);
        inner.tasks.spawn(prepare::adopt(Arc::clone(inner), id, profile, claimed, session));
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> WarmCount {
        let state = self.inner.lock();
        let ready = |entry: &&Entry| entry.phase == Phase::Ready;
        let generic = state.entries.iter().filter(ready).filter(|entry| entry.profile.is_none()).count();
        let all = state.entries.iter().filter(ready).count();
        WarmCount { starting: state.entries.len() - all, generic, prepared: all - generic }
    }

    /// Memory for a process, and a place among those that are being started.
    async fn allowed(&self, patience: Duration) -> Result<(Starting, Share), TurnFailure> {
        let machine = &self.inner.machine;
        let starting = self.inner.supply.starter().may_start().await?;
        // What nobody has said anything in yet first, the tenant's own before those of others.
        let make_room = || {
            self.give_up_one() || machine.pools.give_up_one_of_more_than(0) || machine.kept.give_up_oldest()
        };
        let share = machine.budget.reserve(patience, make_room).await.ok_or(TurnFailure::Busy)?;
        Ok((starting, share))
    }

    async fn start(&self, starting: Starting, share: Share) -> Result<Warm, TurnFailure> {
        let session = self.inner.supply.start(share).await?;
        Ok(Warm { session, prepared: Prepared::Not, starting: Some(starting), is_new: true })
    }

    /// The waiting process that is furthest on the way to the turn, if there is one.
    async fn claim(&self, key: ProfileKey) -> Option<Warm> {
        loop {
            let entry = {
                let mut state = self.inner.lock();
                let usable = state.entries.iter().enumerate().filter(|(_, entry)| entry.is_usable_for(key));
                let (place, _) = usable.max_by_key(|(_, entry)| entry.rank(key))?;
                state.entries.remove(place)
            };
            self.inner.changed.notify_one();
            let of = entry.key();
            if let Ok(Some(mut warm)) = timeout(HANDED_OVER, entry.claim.take()).await {
                if let Prepared::For { has_tools, .. } = &mut warm.prepared {
                    *has_tools = of == Some(key);
                }
                return Some(warm);
            }
            // It was lost meanwhile, or hangs.
        }
    }

    /// Ends the process that waits and is needed least; `false` where none waits.
    fn give_up_one(&self) -> bool {
        let mut state = self.inner.lock();
        // The youngest for something other than what is asked now: the others have a use of their own.
        let started = state.entries.iter().enumerate().filter(|(_, entry)| entry.phase > Phase::Planned);
        let least = started.max_by_key(|(_, entry)| (entry.profile.is_some(), entry.since));
        let Some(place) = least.map(|(place, _)| place) else { return false };
        state.entries.remove(place);
        true
    }
}

impl State {
    /// Puts a process on the list: its number there, and the end of its claim that its task holds.
    fn add(
        &mut self,
        profile: Option<Arc<Profile>>,
        phase: Phase,
        since: Instant,
        place: WaitingPlace,
    ) -> (u64, Claimed<Warm>) {
        let (claim, claimed) = handover();
        self.last_id += 1;
        self.entries.push(Entry { id: self.last_id, profile, phase, since, claim, place });
        (self.last_id, claimed)
    }
}

impl Entry {
    /// What it is set up with, by its key.
    fn key(&self) -> Option<ProfileKey> {
        self.profile.as_ref().map(|profile| profile.key)
    }

    fn is_usable_for(&self, key: ProfileKey) -> bool {
        let is_fit = match &self.profile {
            None => true,
            Some(profile) => {
                profile.key == key || (profile.tools.is_empty() && profile.key.has_prompt_of(&key))
            }
        };
        is_fit && self.phase > Phase::Planned
    }

    /// Better ones are greater: those that wait before those on their way, the more is done the better, the oldest first.
    fn rank(&self, key: ProfileKey) -> (Phase, u8, std::cmp::Reverse<Instant>) {
        let fit = match &self.profile {
            Some(profile) if profile.key == key => 2,
            Some(_) => 1,
            None => 0,
        };
        (self.phase, fit, std::cmp::Reverse(self.since))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
