//! The pools of all tenants together: no more processes wait than the machine has room for, and what runs short is shared out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::{Inner, Urgent, WarmProcesses};

/// The pools of one machine. Cheap to clone; the clones are one.
#[derive(Debug, Clone)]
pub struct Pools(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pools: Mutex<Vec<Weak<Inner>>>,
    /// How many processes wait, or will.
    taken: AtomicUsize,
    most: usize,
    /// Turns that the client has seen nothing of yet.
    urgent: watch::Sender<usize>,
}

/// A place among the processes that wait; free again when dropped.
#[derive(Debug)]
pub(super) struct WaitingPlace(Arc<Shared>);

impl Pools {
    /// None yet. `most` processes wait in all of them together.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let (urgent, _) = watch::channel(0);
        Self(Arc::new(Shared { pools: Mutex::default(), taken: AtomicUsize::new(0), most, urgent }))
    }

    /// How many processes wait at most, in all pools together.
    #[must_use]
    pub fn most(&self) -> usize {
        self.0.most
    }

    pub(super) fn join(&self, pool: &Arc<Inner>) {
        let mut pools = self.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Tells that a client, whoever's, waits for the first word of an answer.
    pub(super) fn urgent(&self) -> Urgent {
        self.0.urgent.send_modify(|turns| *turns += 1);
        Urgent(self.0.urgent.clone())
    }

    /// How many such clients there are.
    pub(super) fn urgencies(&self) -> watch::Receiver<usize> {
        self.0.urgent.subscribe()
    }

    /// A place for one more process that waits, if there is one.
    pub(super) fn take_place(&self) -> Option<WaitingPlace> {
        let within = |taken: usize| (taken < self.0.most).then_some(taken + 1);
        self.0.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).ok()?;
        Some(WaitingPlace(Arc::clone(&self.0)))
    }

    /// Ends a process of the pool in which most wait, if they are more than `least`; `false` where that cannot be. No pool may
    /// be locked.
    pub(super) fn give_up_one_of_more_than(&self, least: usize) -> bool {
        let pools: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let waiting = |inner: &Arc<Inner>| inner.lock().entries.len();
        let counted = pools.into_iter().map(|inner| (waiting(&inner), inner));
        let mut counted: Vec<_> = counted.filter(|(waiting, _)| *waiting > least).collect();
        counted.sort_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        counted.into_iter().any(|(_, inner)| WarmProcesses { inner }.give_up_one())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Inner>>> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_places_than_that_and_they_come_back() {
        let pools = Pools::new(2);
        let (one, two) = (pools.take_place(), pools.clone().take_place());
        assert!(one.is_some() && two.is_some() && pools.take_place().is_none());
        drop(one);
        assert!(pools.take_place().is_some());
    }
}
