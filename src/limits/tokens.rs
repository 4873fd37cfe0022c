//! Tokens a minute: what a turn will take is known only when it has ended. So something is reserved, and settled exactly.
//!
//! A turn that took less than was reserved is settled as if it had taken that from the beginning: what follows from there is
//! worked out anew. Just pouring the rest back would give more than the rate: the bucket has filled meanwhile, and someone who
//! reserves much, waits, and gives it back while he takes again could save up many buckets full for one moment.
//!
//! What became of a bucket is a row of steps, each `full at ↦ max(full at, not before) + takes`. Two that are settled make
//! one step of the same form, so there are never more than two for each turn that is not settled.

use std::time::Duration;

use super::bucket::{Bucket, Rate};

/// A bucket of tokens, some of them reserved.
#[derive(Debug, Default)]
pub struct TokenBucket {
    now: Bucket,
    /// As it was before the first of the open turns.
    before: Bucket,
    /// In the order in which they began.
    open: Vec<Open>,
    /// Names the next one.
    next: u64,
}

/// A reservation, to be settled in the bucket it was made in.
#[derive(Debug)]
pub struct Reservation {
    id: u64,
    rate: Rate,
    tokens: u64,
}

/// A turn that is not settled.
#[derive(Debug)]
struct Open {
    id: u64,
    step: Step,
    /// What was settled between it and the next.
    then: Step,
}

/// Something was taken: not earlier than at a time, and so much (as the time in which it comes back).
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    not_before: u64,
    takes: u64,
}

impl Step {
    fn apply(self, bucket: Bucket) -> Bucket {
        bucket.without(self.not_before, self.takes)
    }

    /// Both, as one step.
    fn then(self, next: Self) -> Self {
        Self {
            not_before: self.not_before.max(next.not_before.saturating_sub(self.takes)),
            takes: self.takes.saturating_add(next.takes),
        }
    }
}

impl TokenBucket {
    /// Whether `count` reservations of `tokens` each fit in, together.
    ///
    /// # Errors
    /// The time after which they do.
    pub fn check(&self, rate: Rate, now: u64, count: usize, tokens: u64) -> Result<(), Duration> {
        let all = share(rate, count, tokens).saturating_mul(as_u64(count));
        self.now.take(rate, now, rate.at_most(all)).map(drop)
    }

    /// Reserves what was [checked](Self::check): `tokens`, or as much of them as a full bucket has for each of `count`.
    pub fn reserve(&mut self, rate: Rate, now: u64, count: usize, tokens: u64) -> Reservation {
        let tokens = share(rate, count, tokens);
        let step = Step { not_before: now, takes: rate.time_of(tokens) };
        if self.open.is_empty() {
            self.before = self.now;
        }
        self.now = step.apply(self.now);
        self.next += 1;
        self.open.push(Open { id: self.next, step, then: Step::default() });
        Reservation { id: self.next, rate, tokens }
    }

    /// Takes what was really used instead of what was reserved: less, as if it had been so from the beginning; or more, the
    /// rest of it now, even if there is not so much.
    pub fn settle(&mut self, reservation: &Reservation, now: u64, used: u64) {
        let Some(index) = self.open.iter().position(|open| open.id == reservation.id) else { return };
        let mut settled = self.open.remove(index);
        settled.step.takes = reservation.rate.time_of(used.min(reservation.tokens));
        let step = settled.step.then(settled.then);
        match index.checked_sub(1).and_then(|index| self.open.get_mut(index)) {
            Some(previous) => previous.then = previous.then.then(step),
            None => self.before = step.apply(self.before),
        }
        self.now =
            self.open.iter().fold(self.before, |bucket, open| open.then.apply(open.step.apply(bucket)));
        let more = used.saturating_sub(reservation.tokens);
        if more > 0 {
            let debt = Step { not_before: now, takes: reservation.rate.time_of(more) };
            self.now = debt.apply(self.now);
            if let Some(last) = self.open.last_mut() {
                last.then = last.then.then(debt);
            }
        }
    }

    /// How full it is, what is reserved being taken.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        self.now
    }

    /// Whether it is like a new one.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        self.open.is_empty() && self.now.is_full(now)
    }
}

/// What each of `count` turns reserves: together no more than a full bucket holds, so that every request passes some time.
fn share(rate: Rate, count: usize, tokens: u64) -> u64 {
    let most = u64::from(rate.get().get()) / as_u64(count).max(1);
    tokens.min(most)
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
