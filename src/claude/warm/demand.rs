//! Which processes should wait, as a function of what was asked for. Pure: the time comes from outside.
//!
//! How many: as many as were taken in the busiest three seconds of late, between a floor and a cap. For what: a third of them
//! for anything, the others for the system prompts and tool sets that were asked for most, in proportion.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::profile::Profile;
use crate::claude::conversation_key::ProfileKey;
use crate::turn::Turn;

/// A burst is what is taken within this time. What is taken more slowly can be replaced meanwhile: a start takes half a second.
const BURST: Duration = Duration::from_secs(3);

/// After this time a use counts half.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// How many profiles are counted.
const COUNTED: usize = 64;

/// How many profiles are kept whole, so that processes can be set up for them.
const KEPT_WHOLE: usize = 8;

/// Longest profile that is kept whole, in bytes.
const LONGEST: usize = 512 * 1024;

/// How many processes wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At least.
    pub floor: usize,
    /// At most.
    pub cap: usize,
    /// How long a burst is remembered.
    pub memory: Duration,
}

/// When the least of [`Bounds`] wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// Always.
    Always,
    /// Only for as long after each use as a burst is remembered; else none waits at all. There may be many that are hardly
    /// ever used.
    WhileUsed,
}

/// What was asked for.
#[derive(Debug)]
pub struct Demand {
    bounds: Bounds,
    floor: Floor,
    used_at: Option<Instant>,
    /// When processes were taken, within [`BURST`].
    taken: VecDeque<Instant>,
    peak: usize,
    /// When the peak was last reached.
    peak_at: Instant,
    profiles: HashMap<ProfileKey, Seen>,
    /// Whether the CLI can be set up before there is a turn.
    prepares: bool,
}

#[derive(Debug)]
struct Seen {
    /// How often, late uses counting more. As of `at`.
    score: f64,
    at: Instant,
    whole: Option<Arc<Profile>>,
}

impl Seen {
    fn score(&self, now: Instant) -> f64 {
        let halvings = (now - self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.score * (-halvings).exp2()
    }
}

/// The processes that should wait.
#[derive(Debug, Default)]
pub struct Plan {
    /// For anything.
    pub generic: usize,
    /// For a profile each, with their number.
    pub prepared: Vec<(Arc<Profile>, usize)>,
}

impl Plan {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.generic + self.prepared.iter().map(|(_, number)| number).sum::<usize>()
    }
}

impl Demand {
    /// Nothing was asked for yet.
    #[must_use]
    pub fn new(bounds: Bounds, floor: Floor, now: Instant) -> Self {
        let (taken, profiles) = (VecDeque::new(), HashMap::new());
        Self { bounds, floor, used_at: None, taken, peak: 0, peak_at: now, profiles, prepares: false }
    }

    /// Something was asked for, perhaps not a process.
    pub fn note_use(&mut self, now: Instant) {
        self.used_at = Some(now);
    }

    /// How many processes wait.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Says whether processes can be set up ahead; until then all are for anything.
    pub fn allow_prepared(&mut self, allowed: bool) {
        self.prepares = allowed;
    }

    /// A process is asked for, to be set up for that turn, whose profile has that key.
    pub fn note(&mut self, now: Instant, key: ProfileKey, turn: &Turn) {
        self.note_use(now);
        self.taken.push_back(now);
        self.forget_old(now);
        // More than may wait need not be remembered, and would take the longer to be forgotten.
        let burst = self.taken.len().min(self.bounds.cap);
        if burst >= self.peak {
            (self.peak, self.peak_at) = (burst, now);
        }
        let seen = self.profiles.entry(key).or_insert(Seen { score: 0.0, at: now, whole: None });
        (seen.score, seen.at) = (seen.score(now) + 1.0, now);
        let score = seen.score;
        let better = self.profiles.values().filter(|other| other.score(now) > score).count();
        let is_known = seen_whole(self.profiles.get(&key)).is_some_and(|whole| whole.model == turn.model);
        if better < KEPT_WHOLE
            && !is_known
            && let Some(whole) = Profile::within(LONGEST, key, turn)
        {
            self.profiles.entry(key).and_modify(|seen| seen.whole = Some(Arc::new(whole)));
        }
        self.drop_the_least(now);
    }

    /// No process could be set up for that profile: none is to wait for it until it is asked for again.
    pub fn give_up(&mut self, key: ProfileKey) {
        self.profiles.entry(key).and_modify(|seen| seen.whole = None);
    }

    /// Keeps no more profiles than there is a use for.
    fn drop_the_least(&mut self, now: Instant) {
        while self.profiles.len() > COUNTED
            && let Some(least) = self.least(now, |_| true)
        {
            self.profiles.remove(&least);
        }
        while self.profiles.values().filter(|seen| seen.whole.is_some()).count() > KEPT_WHOLE
            && let Some(least) = self.least(now, |seen| seen.whole.is_some())
        {
            self.profiles.entry(least).and_modify(|seen| seen.whole = None);
        }
    }

    fn least(&self, now: Instant, of: impl Fn(&Seen) -> bool) -> Option<ProfileKey> {
        let candidates = self.profiles.iter().filter(|(_, seen)| of(seen));
        candidates.min_by(|(_, a), (_, b)| a.score(now).total_cmp(&b.score(now))).map(|(key, _)| *key)
    }

    /// What should wait now.
    pub fn plan(&mut self, now: Instant) -> Plan {
        self.forget_old(now);
        if self.floor == Floor::WhileUsed && self.used_at.is_none_or(|at| now - at > self.bounds.memory) {
            self.peak = 0;
            self.profiles.clear();
            return Plan::default();
        }
        if now - self.peak_at > self.bounds.memory {
            (self.peak, self.peak_at) = (self.taken.len().max(self.peak / 2), now);
        }
        let total = self.peak.clamp(self.bounds.floor, self.bounds.cap);
        let mut known: Vec<(f64, &Arc<Profile>)> = self
            .profiles
            .values()
            .filter(|_| self.prepares)
            .filter_map(|seen| seen.whole.as_ref().map(|whole| (seen.score(now), whole)))
            .collect();
        known.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let places = if known.is_empty() { 0 } else { total - total.div_ceil(3) };
        let prepared = divide(places, &known.iter().map(|(score, _)| *score).collect::<Vec<_>>());
        let prepared: Vec<_> = std::iter::zip(known, prepared)
            .filter(|(_, number)| *number > 0)
            .map(|((_, whole), number)| (Arc::clone(whole), number))
            .collect();
        let taken: usize = prepared.iter().map(|(_, number)| number).sum();
        Plan { generic: total - taken, prepared }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.taken.front().is_some_and(|first| now - *first > BURST) {
            self.taken.pop_front();
        }
    }
}

fn seen_whole(seen: Option<&Seen>) -> Option<&Profile> {
    seen?.whole.as_deref()
}

/// Divides places in proportion to scores, sorted from the highest: each place to the one with the most score for each place
/// it would have (d'Hondt), so that a profile never has more than its part.
fn divide(places: usize, scores: &[f64]) -> Vec<usize> {
    let mut numbers = vec![0_u32; scores.len()];
    for _ in 0..places {
        let quotients = std::iter::zip(scores, &numbers).map(|(score, number)| score / f64::from(number + 1));
        // The first of equals.
        let best =
            quotients.enumerate().rev().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index);
        if let Some(number) = best.and_then(|index| numbers.get_mut(index)) {
            *number += 1;
        }
    }
    numbers.into_iter().map(|number| number as usize).collect()
}

#[cfg(test)]
mod tests;
