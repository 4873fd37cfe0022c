//! Processes that wait with a conversation in them: live ones for what the user says next, parked ones for the results of
//! their calls.
//!
//! Each is watched by a task of its own, which reads what it writes, and ends it when its time is over, when it goes on or
//! ends by itself, when there are too many, or with the server. Who comes with the key gets it, and nobody else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::conversation::Conversation;
use super::conversation_key::ConversationKey;
use super::handover::{Claim, Claimed, handover, watch};

/// How long, and how many.
#[derive(Debug, Clone, Copy)]
pub struct KeepLimits {
    /// How long a live process waits for what the user says next.
    pub live: Duration,
    /// How long a parked process waits for the results of its calls.
    pub parked: Duration,
    /// How many wait at most.
    pub processes: usize,
}

/// The processes that wait, the oldest first, as one owner sees them: he finds his own alone, while the bounds are for those
/// of all owners. Cheap to clone; a clone is the same owner's.
#[derive(Debug, Clone)]
pub struct Kept {
    waiting: Arc<Mutex<Waiting>>,
    owner: u64,
    limits: KeepLimits,
    budget: Budget,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    last_id: u64,
    last_owner: u64,
}

#[derive(Debug)]
struct Entry {
    id: EntryId,
    owner: u64,
    key: ConversationKey,
    parked: bool,
    claim: Claim<Conversation>,
}

/// Names a process that waits, as long as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId(u64);

/// How many processes wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptCount {
    /// For the user.
    pub live: usize,
    /// For the results of calls.
    pub parked: usize,
}

/// Watches over one process that waits. To be run until its end.
#[derive(Debug)]
pub struct Watch {
    kept: Kept,
    id: EntryId,
    conversation: Conversation,
    claimed: Claimed<Conversation>,
}

impl Kept {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: KeepLimits, budget: Budget) -> Self {
        Self { waiting: Arc::default(), owner: 0, limits, budget }
    }

    /// The same for another owner: nothing that one of them keeps is found by the other.
    #[must_use]
    pub fn of_another(&self) -> Self {
        let mut waiting = self.lock();
        waiting.last_owner += 1;
        Self { owner: waiting.last_owner, ..self.clone() }
    }

    /// Keeps a conversation, and ends the oldest one that there is no more place for. The watch must be run. Gives the
    /// conversation back where none is kept.
    ///
    /// # Errors
    /// The conversation.
    pub fn keep(&self, key: ConversationKey, conversation: Conversation) -> Result<Watch, Box<Conversation>> {
        if self.limits.processes == 0 || self.patience(&conversation).is_zero() {
            return Err(Box::new(conversation));
        }
        let (claim, claimed) = handover();
        let mut waiting = self.lock();
        waiting.last_id += 1;
        let id = EntryId(waiting.last_id);
        let (owner, parked) = (self.owner, conversation.is_parked());
        waiting.entries.push_back(Entry { id, owner, key, parked, claim });
        while waiting.entries.len() > self.limits.processes {
            waiting.entries.pop_front();
        }
        Ok(Watch { kept: self.clone(), id, conversation, claimed })
    }

    /// The conversation with this key, if one waits, and still does when it is asked for.
    pub async fn take(&self, key: ConversationKey) -> Option<Conversation> {
        // The youngest: it has the best chance to live.
        let entry = {
            let mut waiting = self.lock();
            let is_it = |entry: &Entry| entry.owner == self.owner && entry.key == key;
            let place = waiting.entries.iter().rposition(is_it)?;
            waiting.entries.remove(place)?
        };
        entry.claim.take().await
    }

    /// Ends the process, if it still waits.
    pub fn discard(&self, id: EntryId) {
        self.lock().entries.retain(|entry| entry.id != id);
    }

    /// Ends the one that has waited longest, whoever's it is; `false` where none waits.
    #[must_use]
    pub fn give_up_oldest(&self) -> bool {
        self.lock().entries.pop_front().is_some()
    }

    /// Ends the one that has waited longest for the user, whoever's it is; `false` where none does.
    #[must_use]
    pub fn give_up_oldest_live(&self) -> bool {
        let mut waiting = self.lock();
        let oldest = waiting.entries.iter().position(|entry| !entry.parked);
        oldest.and_then(|place| waiting.entries.remove(place)).is_some()
    }

    /// How many of the owner's wait.
    #[must_use]
    pub fn count(&self) -> KeptCount {
        let waiting = self.lock();
        let own = waiting.entries.iter().filter(|entry| entry.owner == self.owner);
        let parked = own.clone().filter(|entry| entry.parked).count();
        KeptCount { live: own.count() - parked, parked }
    }

    fn patience(&self, conversation: &Conversation) -> Duration {
        if conversation.is_parked() { self.limits.parked } else { self.limits.live }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Names the process.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Waits until the conversation is claimed, and hands it over, or until it need not wait any longer: then it is
    /// returned, to be ended.
    pub async fn run(self, drain: &CancellationToken) -> Option<Conversation> {
        let Self { kept, id, mut conversation, mut claimed } = self;
        let until = Instant::now() + kept.patience(&conversation);
        // Processes grow with what is said in them.
        conversation.session().measure();
        if kept.budget.is_exceeded() && kept.give_up_oldest() {
            tracing::debug!("processes have grown beyond the memory for them; the oldest that waits ends");
        }
        let claimant = watch(conversation.session(), &mut claimed, until, drain).await;
        kept.discard(id);
        match claimant {
            // Who claimed it may have left meanwhile.
            Some(claimant) => claimant.give(conversation).err(),
            None => Some(conversation),
        }
    }
}
