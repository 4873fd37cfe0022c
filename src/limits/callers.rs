//! The meters of callers, in bounded memory.
//!
//! A caller whose buckets are full and for whom nothing runs is like one that never came: its meter may go, since the store
//! knows what it used of its quotas. No other may. So if there is no room left, callers that have none are refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::meter::Meter;
use crate::caller::CallerId;

/// A meter, as turns under way hold it too.
pub type SharedMeter = Arc<Mutex<Meter>>;

/// The most meters: about 25 MB.
pub const MAX_METERS: usize = 100_000;

/// Ids that are longer are kept as hashes.
const MAX_ID: usize = 64;

/// How often all meters are looked at, at most, when there is no room, in nanoseconds.
const SWEEP: u64 = 1_000_000_000;

/// How many meters there are before any is looked at.
const FEW: usize = 1024;

/// The meters of callers.
#[derive(Debug)]
pub struct Callers {
    meters: Mutex<Meters>,
    max: usize,
}

#[derive(Debug)]
struct Meters {
    by_id: HashMap<CallerId, SharedMeter>,
    /// With so many, those that are like new go: looked at as often as it doubles, it costs little for each.
    sweep_at: usize,
    swept: Option<u64>,
}

impl Callers {
    /// Up to `max` of them.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let meters = Meters { by_id: HashMap::new(), sweep_at: FEW.min(max), swept: None };
        Self { meters: Mutex::new(meters), max }
    }

    /// The meter of a caller; `None` if there is no room.
    pub fn meter(&self, id: &CallerId, now: u64) -> Option<SharedMeter> {
        let short = (id.as_str().len() > MAX_ID).then(|| hashed(id));
        let id = short.as_ref().unwrap_or(id);
        let mut meters = lock(&self.meters);
        if let Some(meter) = meters.by_id.get(id) {
            return Some(Arc::clone(meter));
        }
        if meters.by_id.len() >= meters.sweep_at {
            meters.sweep(now, self.max);
        }
        if meters.by_id.len() >= self.max {
            return None;
        }
        Some(Arc::clone(meters.by_id.entry(id.clone()).or_default()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.meters).by_id.len()
    }
}

impl Meters {
    fn sweep(&mut self, now: u64, max: usize) {
        let is_full = self.by_id.len() >= max;
        if is_full && self.swept.is_some_and(|swept| now < swept.saturating_add(SWEEP)) {
            return;
        }
        self.swept = Some(now);
        // Nobody can take one meanwhile: they are handed out here alone, and one that is held by nobody else stays so.
        self.by_id.retain(|_, meter| Arc::strong_count(meter) > 1 || !lock(meter).is_fresh(now));
        self.sweep_at = (2 * self.by_id.len()).clamp(FEW.min(max), max);
        if self.by_id.capacity() > 4 * self.sweep_at {
            self.by_id.shrink_to(self.sweep_at);
        }
    }
}

fn hashed(id: &CallerId) -> CallerId {
    CallerId::new(&format!("sha256:{:x}", Sha256::digest(id.as_str())))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
