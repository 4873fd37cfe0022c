//! How many turns run at once, and how many wait: of one tenant, and in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::failure::TurnFailure;

/// Places for turns and a bounded queue in front of them.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    number: usize,
    waiting: AtomicUsize,
    queue_size: usize,
}

/// What lets the turns of one tenant in: a place of its own, then one of all. Whoever waits for a place of all holds one of his
/// tenant's, so no tenant can fill the queue of all with more turns than may run at once.
#[derive(Debug)]
pub struct Admission {
    own: Places,
    all: Arc<Places>,
    patience: Duration,
    working: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
}

/// A turn's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    // That of all first: a turn of another tenant may wait for it.
    _of_all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _working: Counted,
}

impl Places {
    /// `number` turns at once; `queue_size` more may wait.
    #[must_use]
    pub fn new(number: usize, queue_size: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), number, waiting: AtomicUsize::new(0), queue_size }
    }

    /// How many there are.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    async fn enter(&self, until: Instant) -> Result<OwnedSemaphorePermit, TurnFailure> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, self.queue_size).ok_or(TurnFailure::Busy)?;
        match timeout_at(until, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(TurnFailure::ShuttingDown),
            Err(_elapsed) => Err(TurnFailure::Busy),
        }
    }
}

impl Admission {
    /// `own` turns of a tenant at once, and no more in all than `all` has places; they may wait for so long.
    #[must_use]
    pub fn new(own: usize, all: Arc<Places>, patience: Duration) -> Self {
        let own = Places::new(own.min(all.number), all.queue_size);
        Self { own, all, patience, working: Arc::default(), waiting: Arc::default() }
    }

    /// Takes a place, waiting for one if the queues have room. The place is free again when it is dropped.
    ///
    /// # Errors
    /// [`TurnFailure::Busy`] when a queue is full or the wait too long.
    pub async fn enter(&self) -> Result<Place, TurnFailure> {
        let until = Instant::now() + self.patience;
        let _waiting = Counted::begin(&self.waiting);
        let own = self.own.enter(until).await?;
        let of_all = self.all.enter(until).await?;
        Ok(Place { _of_all: of_all, _own: own, _working: Counted::begin(&self.working) })
    }

    /// How many places the tenant may have.
    #[must_use]
    pub fn places(&self) -> usize {
        self.own.number
    }

    /// How many turns of the tenant have one.
    #[must_use]
    pub fn taken_places(&self) -> usize {
        self.working.load(Ordering::Acquire)
    }

    /// How many turns of the tenant wait for one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// How many more turns of the tenant could have one at once.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.own.free().min(self.all.free())
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

/// One of many, counted as long as it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn alone(places: usize, queue_size: usize) -> Admission {
        Admission::new(places, Arc::new(Places::new(places, queue_size)), PATIENCE)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_free_place_admits() {
        let admission = Arc::new(alone(1, 1));
        let first = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(drop) }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(admission.enter().await, Err(TurnFailure::Busy)));
        drop(first);
        assert!(second.await.unwrap().is_ok());
        assert_eq!((admission.free_places(), admission.waiting(), admission.taken_places()), (1, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_sent_away() {
        let admission = alone(1, 5);
        let _held = admission.enter().await.unwrap();
        assert!(matches!(admission.enter().await, Err(TurnFailure::Busy)));
        assert_eq!((admission.waiting(), admission.taken_places()), (0, 1));
    }

    #[tokio::test]
    async fn one_that_stops_waiting_leaves_the_queue() {
        let admission = alone(1, 1);
        let _held = admission.enter().await.unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(10), admission.enter()).await;
        assert!(given_up.is_err());
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_no_more_than_its_own_and_leaves_the_others_theirs() {
        let all = Arc::new(Places::new(3, 5));
        let [few, many] = [1, 99].map(|own| Admission::new(own, Arc::clone(&all), PATIENCE));
        assert_eq!((few.places(), many.places()), (1, 3));
        let _one = few.enter().await.unwrap();
        // Five wait for a place of their tenant's, and none of them stands in the way of the other.
        let queue = futures_util::future::join_all((0..5).map(|_| few.enter()));
        let others = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((few.waiting(), few.free_places(), many.free_places()), (5, 0, 2));
            assert!(matches!(few.enter().await, Err(TurnFailure::Busy)), "its own queue is full");
            let _held = [many.enter().await.unwrap(), many.enter().await.unwrap()];
            assert!(matches!(many.enter().await, Err(TurnFailure::Busy)), "after a wait: three in all");
        };
        tokio::join!(queue, others);
    }

    #[tokio::test]
    async fn one_that_waits_comes_before_the_queue_of_a_tenant_that_has_all_places() {
        let all = Arc::new(Places::new(2, 5));
        let [greedy, modest] = [2, 2].map(|own| Arc::new(Admission::new(own, Arc::clone(&all), PATIENCE)));
        let first = greedy.enter().await.unwrap();
        let _second = greedy.enter().await.unwrap();
        let enter = |admission: &Arc<Admission>| {
            let admission = Arc::clone(admission);
            tokio::spawn(async move { admission.enter().await.unwrap() })
        };
        let queued = [enter(&greedy), enter(&greedy)];
        while greedy.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        let modest_one = enter(&modest);
        while modest.waiting() < 1 || all.waiting.load(Ordering::Acquire) < 1 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let _held = modest_one.await.unwrap();
        assert_eq!((greedy.taken_places(), modest.taken_places()), (1, 1));
        queued.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
