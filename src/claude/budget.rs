//! One budget of memory for all processes, whatever they do: starting, waiting, at work, on their way out.
//!
//! A process takes its share before it is started and gives it back when it has ended, so together they never plan for more
//! than there is. A share is what a process is expected to take, and later what it was seen to take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Memory for processes. Cheap to clone; the clones are one budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u64,
    /// What a process is expected to take.
    typical: u64,
    used: AtomicU64,
    freed: Notify,
    /// How many wait for room.
    waiting: AtomicUsize,
    /// Processes that were told to end for them, and have not.
    ending: AtomicUsize,
}

/// A process's part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// `limit` bytes for all processes, of which one is expected to take `typical`.
    #[must_use]
    pub fn new(limit: u64, typical: u64) -> Self {
        let (used, freed) = (AtomicU64::new(0), Notify::new());
        let (waiting, ending) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Account { limit, typical: typical.max(1), used, freed, waiting, ending }))
    }

    /// How many processes it is enough for; one at least, or nothing could ever be answered.
    #[must_use]
    pub fn processes(&self) -> usize {
        usize::try_from(self.0.limit / self.0.typical).unwrap_or(usize::MAX).max(1)
    }

    /// Bytes there are for processes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes that processes take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Acquire)
    }

    /// Whether processes have grown beyond it.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.used() > self.0.limit
    }

    /// The share of one more process, if there is room for it.
    #[must_use]
    pub fn try_reserve(&self) -> Option<Share> {
        let bytes = self.0.typical;
        let fits = |used: u64| {
            let after = used.saturating_add(bytes);
            (used == 0 || after <= self.0.limit).then_some(after)
        };
        self.0.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Share { budget: self.clone(), bytes })
    }

    /// The share of one more process, as soon as there is room. `make_room` ends a process that is needed less, if there is
    /// one. No more end at a time than there are that wait, or each that ends would cost the others one more. `None` where no
    /// room was found within `patience`.
    pub async fn reserve(&self, patience: Duration, make_room: impl Fn() -> bool) -> Option<Share> {
        /// How long a process that was told to end may take for it, before one more is told to.
        const ENDING: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + patience;
        let waiting = Waiting::begin(&self.0.waiting);
        loop {
            // Before the look, so that nothing that is freed after it is missed.
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if let Some(share) = self.try_reserve() {
                return Some(share);
            }
            let is_ending = self.0.ending.load(Ordering::Acquire) >= waiting.number() || {
                let was_told = make_room();
                if was_told {
                    self.0.ending.fetch_add(1, Ordering::AcqRel);
                }
                was_told
            };
            let until = if is_ending { deadline.min(Instant::now() + ENDING) } else { deadline };
            if timeout_at(until, freed).await.is_err() {
                if Instant::now() >= deadline {
                    return None;
                }
                // One that was told to does not end, or was counted in error.
                self.0.note_ended();
            }
        }
    }
}

impl Account {
    /// A process has ended, perhaps one that was told to.
    fn note_ended(&self) {
        let one_less = |ending: usize| ending.checked_sub(1);
        // There may have been none.
        let _ = self.ending.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
    }
}

/// One that waits for room, counted as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }

    /// How many wait, this one included.
    fn number(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Share {
    /// Corrects it to what the process was seen to take. That is a fact, not a wish: the budget may be exceeded by it.
    pub fn set(&mut self, bytes: u64) {
        let used = &self.budget.0.used;
        if bytes >= self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
            self.budget.0.freed.notify_waiters();
        }
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.0.note_ended();
        self.budget.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_it_and_come_back() {
        let budget = Budget::new(350, 100);
        assert_eq!(budget.processes(), 3);
        let mut shares: Vec<_> = std::iter::from_fn(|| budget.try_reserve()).collect();
        assert_eq!((shares.len(), budget.used()), (3, 300));
        shares.pop();
        assert_eq!(budget.used(), 200);
        assert!(budget.try_reserve().is_some());
    }

    #[test]
    fn what_a_process_is_seen_to_take_counts() {
        let budget = Budget::new(350, 100);
        let mut share = budget.try_reserve().unwrap();
        share.set(400);
        assert!(budget.is_exceeded());
        assert!(budget.try_reserve().is_none());
        share.set(10);
        assert_eq!(budget.used(), 10);
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn there_is_always_room_for_one() {
        let budget = Budget::new(1, 100);
        assert_eq!(budget.processes(), 1);
        let share = budget.try_reserve();
        assert!(share.is_some() && budget.try_reserve().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_made_by_ending_what_is_needed_less() {
        let budget = Budget::new(100, 100);
        let idle = std::sync::Mutex::new(budget.try_reserve());
        let end_it = || {
            let idle = idle.lock().unwrap().take();
            let is_there = idle.is_some();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(idle);
            });
            is_there
        };
        let begun = Instant::now();
        let share = budget.reserve(Duration::from_secs(30), end_it).await;
        assert_eq!((share.is_some(), begun.elapsed()), (true, Duration::from_millis(50)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_ended_than_are_waited_for() {
        let budget = Budget::new(1000, 100);
        let idle: Vec<_> = std::iter::from_fn(|| budget.try_reserve()).collect();
        let idle = std::sync::Mutex::new(idle);
        let end_one = || {
            let mut idle = idle.lock().unwrap();
            let (share, ended_before) = (idle.pop(), 10 - idle.len() as u64);
            let is_there = share.is_some();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(10 * ended_before)).await;
                drop(share);
            });
            is_there
        };
        let herd = (0..4).map(|_| budget.reserve(Duration::from_secs(30), end_one));
        let shares = futures_util::future::join_all(herd).await;
        assert!(shares.iter().all(Option::is_some));
        assert_eq!(idle.lock().unwrap().len(), 6, "four of ten were needed");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_told_to_end_and_does_not_is_not_waited_for_for_ever() {
        let budget = Budget::new(200, 100);
        let stubborn = budget.try_reserve();
        let idle = std::sync::Mutex::new(vec![budget.try_reserve()]);
        let told = AtomicUsize::new(0);
        let tell = || match told.fetch_add(1, Ordering::AcqRel) {
            0 => true,
            _ => idle.lock().unwrap().pop().is_some(),
        };
        assert!(budget.reserve(Duration::from_secs(30), tell).await.is_some());
        drop(stubborn);
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_the_wait_ends() {
        let budget = Budget::new(100, 100);
        let _held = budget.try_reserve();
        let begun = Instant::now();
        assert!(budget.reserve(Duration::from_secs(3), || false).await.is_none());
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
