//! How many processes are being started at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::failure::TurnFailure;

/// A start that takes longer than this does not wait for a core, but for something that may never come, and no longer counts:
/// one tenant's broken folder must not be in the way of another's turn. Usual is 0.65 s.
const STUCK: Duration = Duration::from_secs(5);

/// Places for starts, first come, first served.
#[derive(Debug)]
pub struct Starts {
    places: Arc<Semaphore>,
    /// Those that are taken, the oldest first.
    taken: Mutex<VecDeque<(Instant, Weak<Held>)>>,
}

type Held = Mutex<Option<OwnedSemaphorePermit>>;

/// A place among the processes that are being started. To be held until the process has said its first word.
#[derive(Debug)]
pub struct Starting(Arc<Held>, #[expect(dead_code, reason = "held, not read")] Option<Box<Starting>>);

impl Starting {
    /// Holds the other one too.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0, Some(Box::new(other)))
    }
}

impl Starts {
    /// So many at a time.
    #[must_use]
    pub fn new(number: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(number)), taken: Mutex::default() }
    }

    /// Takes a place as soon as one is free.
    ///
    /// # Errors
    /// Never, as long as the server runs.
    pub async fn enter(&self) -> Result<Starting, TurnFailure> {
        let mut acquired = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let permit = loop {
            tokio::select! {
                biased;
                permit = &mut acquired => break permit.map_err(|_closed| TurnFailure::ShuttingDown)?,
                () = sleep_until(self.free_stuck()) => {}
            }
        };
        let held = Arc::new(Mutex::new(Some(permit)));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|(_, held)| held.strong_count() > 0);
        taken.push_back((Instant::now(), Arc::downgrade(&held)));
        Ok(Starting(held, None))
    }

    /// Takes their places from those that are stuck; when the next may be.
    fn free_stuck(&self) -> Instant {
        let now = Instant::now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, held)) = taken.front() {
            if held.strong_count() > 0 && *since + STUCK > now {
                return *since + STUCK;
            }
            if let Some(held) = held.upgrade() {
                held.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            taken.pop_front();
        }
        now + STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_are_no_more_at_a_time_and_the_next_comes_as_one_is_over() {
        let starts = Starts::new(2);
        let (one, _two) = (starts.enter().await.unwrap(), starts.enter().await.unwrap());
        let begun = Instant::now();
        let over = async {
            tokio::time::sleep(Duration::from_millis(650)).await;
            drop(one);
        };
        let (third, ()) = tokio::join!(starts.enter(), over);
        assert_eq!((third.is_ok(), begun.elapsed()), (true, Duration::from_millis(650)));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_stuck_do_not_stand_in_the_way_of_others() {
        let starts = Starts::new(2);
        let begun = Instant::now();
        let stuck = [starts.enter().await.unwrap(), starts.enter().await.unwrap()];
        let _two = [starts.enter().await.unwrap(), starts.enter().await.unwrap()];
        assert_eq!(begun.elapsed(), STUCK);
        // Their end gives back nothing that they have no more.
        drop(stuck);
        let _third = starts.enter().await.unwrap();
        assert_eq!(begun.elapsed(), STUCK * 2);
    }
}
