//! How many turns run at once, and how many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::TurnFailure;

/// Places for turns and a bounded queue in front of them.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    number: usize,
    waiting: AtomicUsize,
    queue_size: usize,
    patience: Duration,
}

impl Admission {
    /// `places` turns at once; `queue_size` more may wait, for so long.
    #[must_use]
    pub fn new(places: usize, queue_size: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            number: places,
            waiting: AtomicUsize::new(0),
            queue_size,
            patience,
        }
    }

    /// Takes a place, waiting for one if the queue has room. The place is free again when the permit is dropped.
    ///
    /// # Errors
    /// [`TurnFailure::Busy`] when the queue is full or the wait too long.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit, TurnFailure> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, self.queue_size).ok_or(TurnFailure::Busy)?;
        match tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(TurnFailure::ShuttingDown),
            Err(_elapsed) => Err(TurnFailure::Busy),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.number
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken_places(&self) -> usize {
        self.number - self.free_places()
    }

    /// How many turns wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// How many places are free.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }
}

/// One that waits, counted as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let within = |waiting: usize| (waiting < limit).then_some(waiting + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_free_place_admits() {
        let admission = Arc::new(Admission::new(1, 1, Duration::from_secs(30)));
        let first = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(drop) }
        });
        while admission.waiting.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(admission.enter().await, Err(TurnFailure::Busy)));
        drop(first);
        assert!(second.await.unwrap().is_ok());
        assert_eq!((admission.free_places(), admission.waiting.load(Ordering::Acquire)), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_sent_away() {
        let admission = Admission::new(1, 5, Duration::from_secs(30));
        let _held = admission.enter().await.unwrap();
        assert!(matches!(admission.enter().await, Err(TurnFailure::Busy)));
        assert_eq!(admission.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn one_that_stops_waiting_leaves_the_queue() {
        let admission = Admission::new(1, 1, Duration::from_secs(30));
        let _held = admission.enter().await.unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(10), admission.enter()).await;
        assert!(given_up.is_err());
        assert_eq!(admission.waiting.load(Ordering::Acquire), 0);
    }
}
