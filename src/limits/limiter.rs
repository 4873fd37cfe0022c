//! Counts requests and lets turns in, by the limits of the caller, its tenant, and all callers together.
//!
//! All that apply are looked at before any is changed, under the locks of all of them, which are taken in one order. So a
//! request that one refuses has taken nothing from the others, and what a refusal tells is true.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::accounts::Accounts;
use super::callers::{Callers, MAX_METERS, SharedMeter, lock};
use super::clock::{Clock, day_of};
use super::estimate::Estimate;
use super::meter::{Meter, Now, Obstacle};
use super::permit::{Permit, Turns};
use super::refusal::{Holder, Refusal};
use super::standing::Standing;

use crate::caller::{Caller, Limits, TenantName};
use crate::logging::bounded::{BoundedLines, LeftOut};
use crate::store::usage::Whose;

/// How often the store is asked before a turn is refused. Once is enough, but for midnight.
const LOOK_UPS: usize = 3;

/// The limits that there are.
#[derive(Debug, Clone, Default)]
pub struct LimitSettings {
    /// Of each caller, where it has none of its own.
    pub caller: Limits,
    /// Of tenants: all callers of one together.
    pub tenants: BTreeMap<TenantName, Limits>,
    /// Of all callers together.
    pub all: Limits,
}

/// Holds callers to their limits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limiter(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    caller_limits: Limits,
    callers: Callers,
    tenants: BTreeMap<TenantName, (Limits, SharedMeter)>,
    all: (Limits, SharedMeter),
    clock: Clock,
    pub(super) accounts: Accounts,
    /// Requests that were refused because the store cannot be read.
    unreadable: BoundedLines<Unreadable>,
}

/// Those of them that have no line in the log.
#[derive(Debug, Default)]
struct Unreadable;

impl LeftOut for Unreadable {
    type One = ();
    const LINES: u32 = 1;
    const WINDOW: Duration = Duration::from_secs(10);

    fn count(&mut self, (): ()) {}

    fn tell(&self, count: u64) {
        tracing::error!(count, "more requests were refused: what was used of a quota cannot be read");
    }
}

/// Limits that a caller falls under, and what is known of their holder.
#[derive(Debug)]
pub(super) struct Share {
    of: Holder,
    pub(super) limits: Limits,
    pub(super) meter: SharedMeter,
}

/// Why turns are not let in.
enum Denied {
    /// The store must be asked first.
    Unknown,
    Refused(Refusal),
}

impl Limiter {
    /// Holds callers to these limits, and books what they use.
    #[must_use]
    pub fn new(settings: LimitSettings, accounts: Accounts) -> Self {
        Self::with_clock(settings, accounts, Clock::default(), MAX_METERS)
    }

    /// The same by another clock, and with another number of callers that can be kept apart.
    #[must_use]
    pub(super) fn with_clock(
        settings: LimitSettings,
        accounts: Accounts,
        clock: Clock,
        max_callers: usize,
    ) -> Self {
        let limited = settings.tenants.into_iter().filter(|(_, limits)| !limits.are_none());
        Self(Arc::new(Inner {
            caller_limits: settings.caller,
            callers: Callers::new(max_callers),
            tenants: limited.map(|(name, limits)| (name, (limits, SharedMeter::default()))).collect(),
            all: (settings.all, SharedMeter::default()),
            clock,
            accounts,
            unreadable: BoundedLines::default(),
        }))
    }

    /// What is used is booked here.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// How many callers are kept apart: those that were active of late.
    #[must_use]
    pub fn active_callers(&self) -> usize {
        self.0.callers.count()
    }

    /// Counts a request.
    ///
    /// # Errors
    /// Which limit it would exceed; then it is not counted.
    pub fn count_request(&self, caller: &Caller) -> Result<(), Refusal> {
        let inner = &self.0;
        let now = inner.now();
        let shares = inner.shares(caller, now)?;
        let mut meters = lock_all(&shares);
        let mut checked = Vec::with_capacity(meters.len());
        let mut worst = None;
        for (share, meter) in shares.iter().zip(&meters) {
            match meter.check_request(&share.limits, now) {
                Ok(bucket) => checked.push(bucket),
                Err(obstacle) => worst = Some(worse(worst, share.refusal(obstacle, 1))),
            }
        }
        if let Some(refusal) = worst {
            return Err(refusal);
        }
        for (meter, bucket) in meters.iter_mut().zip(checked) {
            meter.count_request(bucket);
        }
        Ok(())
    }

    /// Lets in `count` turns, each with that estimate: a permit for each. Without an estimate they take a place, but no tokens.
    ///
    /// # Errors
    /// Which limit they would exceed; then none is let in.
    pub async fn take_turns(
        &self,
        caller: &Caller,
        count: usize,
        each: Option<Estimate>,
    ) -> Result<Vec<Permit>, Refusal> {
        for _ in 0..LOOK_UPS {
            match self.try_take_turns(caller, count, each) {
                Ok(permits) => return Ok(permits),
                Err(Denied::Refused(refusal)) => return Err(refusal),
                Err(Denied::Unknown) => self.learn_usage(caller).await?,
            }
        }
        Err(Refusal::UsageUnknown)
    }

    fn try_take_turns(
        &self,
        caller: &Caller,
        count: usize,
        each: Option<Estimate>,
    ) -> Result<Vec<Permit>, Denied> {
        let inner = &self.0;
        let now = inner.now();
        let shares = inner.shares(caller, now).map_err(Denied::Refused)?;
        let mut meters = lock_all(&shares);
        let mut worst = None;
        for (share, meter) in shares.iter().zip(&meters) {
            match meter.check_turns(&share.limits, now, count, each) {
                Ok(()) => {}
                Err(Obstacle::Unknown) => return Err(Denied::Unknown),
                Err(obstacle) => worst = Some(worse(worst, share.refusal(obstacle, count))),
            }
        }
        if let Some(refusal) = worst {
            return Err(Denied::Refused(refusal));
        }
        let mut begin = || -> Vec<_> {
            let each_share = shares.iter().zip(&mut meters);
            each_share.map(|(share, meter)| meter.begin_turn(&share.limits, now, count, each)).collect()
        };
        let holds: Vec<_> = (0..count).map(|_| begin()).collect();
        drop(meters);
        let turns = Arc::new(Turns::new(Arc::clone(inner), caller, shares));
        Ok(holds.into_iter().map(|holds| Permit::new(Arc::clone(&turns), holds, each)).collect())
    }

    /// How things stand for a caller. Quotas are left out until something was asked of the model.
    #[must_use]
    pub fn standing(&self, caller: &Caller) -> Standing {
        let inner = &self.0;
        let now = inner.now();
        let Ok(shares) = inner.shares(caller, now) else { return Standing::default() };
        let each = shares.iter().map(|share| {
            let meter = lock(&share.meter);
            Standing {
                requests: meter.requests_left(&share.limits, now),
                tokens: meter.tokens_left(&share.limits, now),
            }
        });
        each.fold(Standing::default(), Standing::and)
    }

    /// Asks the store what was used of the caller's quotas, where that is not known.
    ///
    /// # Errors
    /// When the store cannot be read: nobody gets past a quota because of that.
    pub async fn learn_usage(&self, caller: &Caller) -> Result<(), Refusal> {
        let inner = &self.0;
        let now = inner.now();
        let today = day_of(now.calendar);
        for share in inner.shares(caller, now)? {
            if !share.limits.have_quota() || lock(&share.meter).quota.used(today).is_some() {
                continue;
            }
            let (accounts, whose) = (inner.accounts.clone(), share.of.whose(caller));
            let look_up = move || {
                accounts.look_up(&whose, today, |used| {
                    // What is settled is booked under this lock.
                    let mut meter = lock(&share.meter);
                    meter.quota.learn(today, used());
                })
            };
            match tokio::task::spawn_blocking(look_up).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if inner.unreadable.have_room(()) {
                        tracing::error!(%error, "what was used of a quota cannot be read");
                    }
                    return Err(Refusal::UsageUnknown);
                }
                Err(_stopping) => return Err(Refusal::UsageUnknown),
            }
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn now(&self) -> Now {
        Now { steady: self.clock.now(), calendar: self.clock.timestamp() }
    }

    /// What the caller falls under, in the order in which it is to be locked.
    fn shares(&self, caller: &Caller, now: Now) -> Result<Vec<Share>, Refusal> {
        let mut shares = Vec::with_capacity(3);
        let limits = caller.limits.or(self.caller_limits);
        if !limits.are_none() {
            let meter = self.callers.meter(&caller.id, now.steady).ok_or(Refusal::TooManyCallers)?;
            shares.push(Share { of: Holder::Caller, limits, meter });
        }
        if let Some((limits, meter)) = self.tenants.get(&caller.tenant) {
            shares.push(Share { of: Holder::Tenant, limits: *limits, meter: Arc::clone(meter) });
        }
        let (limits, meter) = &self.all;
        if !limits.are_none() {
            shares.push(Share { of: Holder::All, limits: *limits, meter: Arc::clone(meter) });
        }
        Ok(shares)
    }
}

impl Share {
    fn refusal(&self, obstacle: Obstacle, asked: usize) -> Refusal {
        match obstacle {
            Obstacle::Reached { limited, size, after } => {
                Refusal::Reached { limited, of: self.of, size, after }
            }
            Obstacle::Never { size } => Refusal::TooManyTurns { asked, of: self.of, size },
            Obstacle::Unknown => Refusal::UsageUnknown,
        }
    }
}

impl Holder {
    fn whose(self, caller: &Caller) -> Whose {
        match self {
            Self::Caller => Whose::Caller(caller.id.clone()),
            Self::Tenant => Whose::Tenant(caller.tenant.clone()),
            Self::All => Whose::All,
        }
    }
}

pub(super) fn lock_all(shares: &[Share]) -> Vec<MutexGuard<'_, Meter>> {
    shares.iter().map(|share| lock(&share.meter)).collect()
}

/// The one that stands longer.
fn worse(one: Option<Refusal>, other: Refusal) -> Refusal {
    match one {
        Some(one) if one.after().is_none_or(|first| other.after().is_some_and(|second| first >= second)) => {
            one
        }
        _ => other,
    }
}

#[cfg(test)]
mod tests;
