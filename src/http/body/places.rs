//! How many bodies of a size are in memory side by side.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a body may wait for its place.
const PATIENCE: Duration = Duration::from_secs(60);

/// A size of bodies, and the places for them. A packed body takes its sender next to nothing, so connections are no bound.
#[derive(Debug)]
pub struct Size {
    /// In bytes: of more than this.
    pub over: usize,
    free: Semaphore,
    waiting: AtomicUsize,
    /// So many may wait at a time.
    may_wait: usize,
}

/// Such bodies are small enough for a place of [`LARGE`] to be too many, and large enough for as many as there are connections
/// to be.
pub static MEDIUM: Size = Size::new(64 * 1024, 256, usize::MAX);

/// Bodies that must be looked at where nobody else has to wait for it. Those that wait for such a place have one of [`MEDIUM`], of
/// which half are left to those that will need no other.
pub static LARGE: Size = Size::new(1024 * 1024, 8, 128);

/// A body's place, which it has until it was looked at.
#[derive(Debug)]
pub struct Place {
    of: &'static Size,
    _permit: SemaphorePermit<'static>,
}

impl Size {
    const fn new(over: usize, places: usize, may_wait: usize) -> Self {
        Self { over, free: Semaphore::const_new(places), waiting: AtomicUsize::new(0), may_wait }
    }

    /// That of a body of so many bytes; `None` for those of which there may be any number.
    #[must_use]
    pub fn of(bytes: usize) -> Option<&'static Self> {
        [&LARGE, &MEDIUM].into_iter().find(|size| bytes > size.over)
    }

    /// A place, as soon as there is one; `None` if it is waited for in vain, or by too many.
    pub async fn place(&'static self) -> Option<Place> {
        let permit = if let Ok(permit) = self.free.try_acquire() {
            permit
        } else {
            let one_more = Waiting::begin(&self.waiting);
            if one_more.number > self.may_wait {
                return None;
            }
            tokio::time::timeout(PATIENCE, self.free.acquire()).await.ok()?.ok()?
        };
        Some(Place { of: self, _permit: permit })
    }

    /// How many places are free.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }
}

impl Place {
    /// The size that it is for.
    #[must_use]
    pub fn size(&self) -> &'static Size {
        self.of
    }

    /// Whether others wait for one like it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.of.waiting.load(Ordering::Relaxed) > 0
    }
}

/// One of those that wait.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    /// The how manieth it was when it began.
    number: usize,
}

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        Self { count, number: count.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_wanted_while_somebody_waits_for_one() {
        static TWO: Size = Size::new(0, 2, 1);
        let first = TWO.place().await.unwrap();
        let second = TWO.place().await.unwrap();
        assert!(!first.is_wanted(), "all are taken, and nobody waits");
        assert!(TWO.place().await.is_none(), "after a minute");
        let third = tokio::spawn(TWO.place());
        tokio::task::yield_now().await;
        assert!(first.is_wanted());
        let begun = tokio::time::Instant::now();
        assert!(TWO.place().await.is_none() && begun.elapsed().is_zero(), "one waits already");
        drop(second);
        let _third = third.await.unwrap().unwrap();
        assert!(!first.is_wanted());
    }

    #[test]
    fn small_bodies_need_no_place() {
        let over = |bytes| Size::of(bytes).map(|size| size.over);
        assert_eq!(over(64 * 1024), None);
        assert_eq!([over(64 * 1024 + 1), over(1024 * 1024)], [Some(MEDIUM.over); 2]);
        assert_eq!(over(1024 * 1024 + 1), Some(LARGE.over));
    }
}
