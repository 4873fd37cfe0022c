//! Processes that wait with a conversation in them: live ones for what the user says next, parked ones for the results of
//! their calls.
//!
//! Each is watched by a task of its own, which reads what it writes, and ends it when its time is over, when it goes on or
//! ends by itself, when there are too many, or with the server. Who comes with the key gets it, and nobody else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conversation::Conversation;
use super::conversation_key::ConversationKey;
use super::memory;

/// How long, and how many.
#[derive(Debug, Clone, Copy)]
pub struct KeepLimits {
    /// How long a live process waits for what the user says next.
    pub live: Duration,
    /// How long a parked process waits for the results of its calls.
    pub parked: Duration,
    /// How many wait at most.
    pub processes: usize,
    /// Bytes of memory that they, and the processes at work, may hold together.
    pub memory: u64,
}

/// The processes that wait, the oldest first. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kept {
    waiting: Arc<Mutex<Waiting>>,
    limits: KeepLimits,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    last_id: u64,
}

#[derive(Debug)]
struct Entry {
    id: EntryId,
    key: ConversationKey,
    /// Bytes of memory.
    size: u64,
    parked: bool,
    /// Asks the task for the conversation. Dropped, it tells the task to end the process.
    claim: oneshot::Sender<oneshot::Sender<Conversation>>,
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
    claim: oneshot::Receiver<oneshot::Sender<Conversation>>,
}

impl Kept {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: KeepLimits) -> Self {
        Self { waiting: Arc::default(), limits }
    }

    /// Keeps a conversation that takes `size` bytes of memory, and ends the oldest ones that there is no more room for.
    /// The watch must be run. Gives the conversation back where there is no room even for it alone.
    ///
    /// # Errors
    /// The conversation.
    pub fn keep(
        &self,
        key: ConversationKey,
        conversation: Conversation,
        size: u64,
    ) -> Result<Watch, Box<Conversation>> {
        if self.limits.processes == 0 || size > self.limits.memory || self.patience(&conversation).is_zero() {
            return Err(Box::new(conversation));
        }
        let (claim, claimed) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.last_id += 1;
        let id = EntryId(waiting.last_id);
        waiting.entries.push_back(Entry { id, key, size, parked: conversation.is_parked(), claim });
        while waiting.entries.len() > self.limits.processes || waiting.size() > self.limits.memory {
            waiting.entries.pop_front();
        }
        Ok(Watch { kept: self.clone(), id, conversation, claim: claimed })
    }

    /// The conversation with this key, if one waits, and still does when it is asked for.
    pub async fn take(&self, key: ConversationKey) -> Option<Conversation> {
        // The youngest: it has the best chance to live.
        let entry = {
            let mut waiting = self.lock();
            let place = waiting.entries.iter().rposition(|entry| entry.key == key)?;
            waiting.entries.remove(place)?
        };
        let (reply, conversation) = oneshot::channel();
        entry.claim.send(reply).ok()?;
        conversation.await.ok()
    }

    /// Ends the process, if it still waits.
    pub fn discard(&self, id: EntryId) {
        self.lock().entries.retain(|entry| entry.id != id);
    }

    /// Ends those that have waited longest, until there is memory for so many processes at work beside the rest.
    pub fn make_room(&self, at_work: usize) {
        let at_work = memory::OF_A_PROCESS.saturating_mul(at_work as u64);
        let mut waiting = self.lock();
        while waiting.size().saturating_add(at_work) > self.limits.memory
            && waiting.entries.pop_front().is_some()
        {}
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> KeptCount {
        let waiting = self.lock();
        let parked = waiting.entries.iter().filter(|entry| entry.parked).count();
        KeptCount { live: waiting.entries.len() - parked, parked }
    }

    fn patience(&self, conversation: &Conversation) -> Duration {
        if conversation.is_parked() { self.limits.parked } else { self.limits.live }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Bytes of memory.
    fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
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
        let Self { kept, id, mut conversation, mut claim } = self;
        let end = Instant::now() + kept.patience(&conversation);
        let claimed = loop {
            let asked = tokio::select! {
                biased;
                claimed = &mut claim => break claimed.ok(),
                () = tokio::time::sleep_until(end) => break None,
                () = drain.cancelled() => break None,
                asked = conversation.at_rest() => asked,
            };
            // Whoever claims it meanwhile waits: it must not be left in the middle of a line.
            let served = match asked {
                Ok(asked) => tokio::select! {
                    biased;
                    served = conversation.serve(asked) => served,
                    () = drain.cancelled() => break None,
                },
                Err(failure) => Err(failure),
            };
            if let Err(failure) = served {
                tracing::debug!(%failure, "a process that waited is of no more use");
                break None;
            }
        };
        kept.discard(id);
        match claimed {
            // Who claimed it may have left meanwhile.
            Some(reply) => reply.send(conversation).err(),
            None => Some(conversation),
        }
    }
}
