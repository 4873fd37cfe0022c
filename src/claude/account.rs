//! Whether a credential may be used at the moment: after a refusal that is about all requests, others are refused here, at
//! once and without a process, until it is over.
//!
//! Two refusals are of that kind: the usage limit, and a credential that the API does not take. Both are over when a request
//! is answered. So that this shows, one request in a while goes through, a client's own: nothing is made up to find out. A
//! usage limit is over at its reset as well.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::{ApiFailureKind, TurnFailure};
use super::frame_out::RateLimit;
use super::subscription::{Rejection, Standing, SubscriptionState};
use crate::wall_clock;

/// The longest message of a failure that is remembered, in characters.
const MESSAGE: usize = 1000;

/// Whose credential it is, and how its refusals are dealt with.
#[derive(Debug, Clone)]
pub struct AccountSettings {
    /// Where the credential comes from.
    pub origin: CredentialOrigin,
    /// How long after a refusal, or after the last request that was let through since, the next one is.
    pub probe_every: Duration,
    /// How long a refusal counts whose end is not known, if nobody asks.
    pub forget_after: Duration,
}

/// Where a credential comes from: it says who can take it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialOrigin {
    /// `couplet login` wrote it to that file.
    Kept(PathBuf),
    /// An operator's setting, by the name that he knows it by.
    Setting(String),
    /// Nowhere: it is made up, for demo mode.
    MadeUp,
}

/// What may be asked with a credential.
#[derive(Debug)]
pub struct Account {
    settings: AccountSettings,
    state: Mutex<State>,
    /// A refusal came.
    closed: Notify,
    signed_out: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    subscription: SubscriptionState,
    refusals: Vec<Refusal>,
    last_failure: Option<AccountFailure>,
    last_use: u64,
}

/// A failure that is about the credential and not about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFailure {
    /// Its [`TurnFailure::kind`].
    pub kind: &'static str,
    /// What the CLI said.
    pub message: String,
    /// When.
    pub at: SystemTime,
}

/// A refusal that counts for other requests too.
#[derive(Debug)]
struct Refusal {
    why: Why,
    of: Asked,
    /// When it is over for certain.
    until: Option<Instant>,
    /// When it is forgotten.
    forgotten: Instant,
    /// When a request may be let through to see whether it is over.
    next_probe: Instant,
    /// The one that was.
    probe: Option<u64>,
}

#[derive(Debug, Clone)]
enum Why {
    UsageLimit { sentence: String },
    Authentication { status: Option<u16>, sentence: String },
}

/// What is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Everything,
    /// Models with that in their name.
    ModelsOf(&'static str),
    Model(String),
}

/// One turn's use of the account. Dropped without a word, it says nothing about a refusal.
#[derive(Debug)]
pub struct AccountUse {
    account: Arc<Account>,
    id: u64,
    model: String,
    limit: Option<RateLimit>,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            origin: CredentialOrigin::MadeUp,
            probe_every: Duration::from_secs(30),
            // The shortest window of a subscription.
            forget_after: Duration::from_secs(5 * 60 * 60),
        }
    }
}

impl Account {
    /// One that was not used yet.
    #[must_use]
    pub fn new(settings: AccountSettings) -> Arc<Self> {
        let (state, closed, signed_out) = (Mutex::default(), Notify::new(), CancellationToken::new());
        Arc::new(Self { settings, state, closed, signed_out })
    }

    /// Where the credential comes from.
    #[must_use]
    pub fn origin(&self) -> &CredentialOrigin {
        &self.settings.origin
    }

    /// Lets a turn of the model through.
    ///
    /// # Errors
    /// The refusal that counts for it too, or [`TurnFailure::SignedOut`].
    pub(super) fn enter(self: &Arc<Self>, model: &str) -> Result<AccountUse, TurnFailure> {
        self.expect_signed_in()?;
        let now = Instant::now();
        let mut state = self.lock(now);
        let is_due = |refusal: &&Refusal| refusal.probe.is_none() && refusal.next_probe <= now;
        if let Some(refusal) = state.refusals_of(model).find(|refusal| !is_due(refusal)) {
            return Err(refusal.failure(now));
        }
        state.last_use += 1;
        let id = state.last_use;
        for refusal in state.refusals.iter_mut().filter(|refusal| refusal.of.includes(model)) {
            tracing::debug!(
                why = refusal.why.as_str(),
                "one request is let through to see whether it is over"
            );
            refusal.probe = Some(id);
            refusal.next_probe = now + self.settings.probe_every;
        }
        Ok(AccountUse { account: Arc::clone(self), id, model: model.to_owned(), limit: None })
    }

    /// Whether a turn of the model would be refused; for what says nothing about it by succeeding.
    ///
    /// # Errors
    /// The refusal that counts for it too, or [`TurnFailure::SignedOut`].
    pub fn expect_open(&self, model: &str) -> Result<(), TurnFailure> {
        self.expect_signed_in()?;
        let now = Instant::now();
        let refused = self.lock(now).refusals_of(model).next().map(|refusal| refusal.failure(now));
        refused.map_or(Ok(()), Err)
    }

    /// Whether the credential is in use.
    ///
    /// # Errors
    /// [`TurnFailure::SignedOut`] when it is not any more.
    pub fn expect_signed_in(&self) -> Result<(), TurnFailure> {
        if self.signed_out.is_cancelled() { Err(TurnFailure::SignedOut) } else { Ok(()) }
    }

    /// Whether turns of all models are refused: then nothing need be made ready for them.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let is_closed = |refusal: &Refusal| refusal.of == Asked::Everything;
        self.signed_out.is_cancelled() || self.lock(Instant::now()).refusals.iter().any(is_closed)
    }

    /// Whether the API did not take the credential when it was last used.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        let is_it = |refusal: &Refusal| matches!(refusal.why, Why::Authentication { .. });
        self.lock(Instant::now()).refusals.iter().any(is_it)
    }

    /// Ends the use of the credential for good.
    pub(super) fn sign_out(&self) {
        self.signed_out.cancel();
        self.closed.notify_waiters();
    }

    /// Ready once the use of the credential was ended.
    pub async fn signed_out(&self) {
        self.signed_out.cancelled().await;
    }

    /// How far the subscription's limits are used.
    #[must_use]
    pub fn subscription(&self) -> SubscriptionState {
        let now = Instant::now();
        let state = self.lock(now);
        let mut told = state.subscription.at(wall_clock::now());
        let limits = state.refusals.iter().filter(|refusal| matches!(refusal.why, Why::UsageLimit { .. }));
        for refusal in limits {
            if refusal.of == Asked::Everything {
                told.standing = Standing::Rejected;
                told.resets_at = refusal.resets_at(now);
            } else if told.standing == Standing::Ok {
                told.standing = Standing::Warning;
                told.resets_at = refusal.resets_at(now);
            }
        }
        told
    }

    /// The last failure that was about the credential.
    #[must_use]
    pub fn last_failure(&self) -> Option<AccountFailure> {
        self.lock(Instant::now()).last_failure.clone()
    }

    /// The refusal of a turn that was let through before, if there is one by now.
    fn refusal_of(&self, entered: &AccountUse) -> Option<TurnFailure> {
        if self.signed_out.is_cancelled() {
            return Some(TurnFailure::SignedOut);
        }
        let now = Instant::now();
        let state = self.lock(now);
        let mut refusals = state.refusals_of(&entered.model);
        refusals.find(|refusal| refusal.probe != Some(entered.id)).map(|refusal| refusal.failure(now))
    }

    fn close(&self, why: Why, of: Asked, resets_at: Option<SystemTime>, by: u64) {
        let now = Instant::now();
        // From here on the monotonic clock counts: the wall clock may be set. A reset that has passed already cannot be gone by.
        let left = resets_at.and_then(|at| at.duration_since(wall_clock::now()).ok());
        let until = left.filter(|left| !left.is_zero()).and_then(|left| now.checked_add(left));
        let mut state = self.lock(now);
        let known = state.refusals.iter().position(|known| known.of == of && known.why.is_like(&why));
        let known = known.map(|place| state.refusals.swap_remove(place));
        // A request that was let through to see for itself goes on doing so.
        let (probe, next_probe) = match known {
            Some(Refusal { probe: Some(probe), next_probe, .. }) if probe != by => (Some(probe), next_probe),
            _ => (None, now + self.settings.probe_every),
        };
        if known.is_none() {
            let seconds = left.map(|left| left.as_secs());
            tracing::warn!(
                why = why.as_str(),
                over_in_seconds = seconds,
                "requests are refused until that is over"
            );
        }
        let forgotten = until.unwrap_or(now + self.settings.forget_after);
        state.refusals.push(Refusal { why, of, until, forgotten, next_probe, probe });
        drop(state);
        self.closed.notify_waiters();
    }

    /// The state without the refusals that are over.
    fn lock(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refusals.retain(|refusal| refusal.forgotten > now);
        state
    }
}

impl AccountUse {
    /// Notes what the CLI says of the limits.
    pub fn heard(&mut self, limit: &RateLimit) {
        self.account.lock(Instant::now()).subscription.learn(limit);
        self.limit = Some(limit.clone());
    }

    /// The model answers: if this was let through to see, what it was refused for is over.
    pub fn answered(&mut self) {
        let mut state = self.account.lock(Instant::now());
        let id = self.id;
        for refusal in state.refusals.extract_if(.., |refusal| refusal.probe == Some(id)) {
            tracing::info!(why = refusal.why.as_str(), "requests are answered again");
        }
    }

    /// Notes how the turn failed; what that says of others, they need not find out for themselves.
    pub fn failed(&self, failure: &TurnFailure) {
        let (sentence, refusal) = match failure {
            TurnFailure::UsageLimit { resets_at, sentence } => {
                let limit = self.limit.as_ref().and_then(|limit| limit.kind.as_deref());
                let of = Asked::limited_by(limit, &self.model);
                (sentence, Some((Why::UsageLimit { sentence: sentence.clone() }, of, *resets_at)))
            }
            TurnFailure::Api { status, kind: ApiFailureKind::Authentication, sentence } => {
                let why = Why::Authentication { status: *status, sentence: sentence.clone() };
                // Nobody is signed in with one that is made up: then whoever asked scripted that answer for himself.
                let is_real = self.account.settings.origin != CredentialOrigin::MadeUp;
                (sentence, is_real.then_some((why, Asked::Everything, None)))
            }
            TurnFailure::Api { kind: ApiFailureKind::Permission, sentence, .. } => (sentence, None),
            _ => return,
        };
        let (message, at) = (sentence.chars().take(MESSAGE).collect(), wall_clock::now());
        let mut state = self.account.lock(Instant::now());
        if let Some((Why::UsageLimit { sentence }, _, resets_at)) = &refusal {
            let rejection = Rejection { sentence: sentence.clone(), resets_at: *resets_at, at };
            state.subscription.last_rejection = Some(rejection);
        }
        state.last_failure = Some(AccountFailure { kind: failure.kind(), message, at });
        drop(state);
        if let Some((why, of, resets_at)) = refusal {
            self.account.close(why, of, resets_at, self.id);
        }
    }

    /// Ready when requests like this one begin to be refused: for one that still waits for its turn.
    pub async fn refused(&self) -> TurnFailure {
        loop {
            let mut closed = std::pin::pin!(self.account.closed.notified());
            // Before the look, so that none that comes after it is missed.
            closed.as_mut().enable();
            if let Some(failure) = self.account.refusal_of(self) {
                return failure;
            }
            closed.await;
        }
    }
}

impl Drop for AccountUse {
    fn drop(&mut self) {
        let mut state = self.account.lock(Instant::now());
        for refusal in &mut state.refusals {
            refusal.probe.take_if(|probe| *probe == self.id);
        }
    }
}

impl State {
    fn refusals_of(&self, model: &str) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().filter(move |refusal| refusal.of.includes(model))
    }
}

impl Refusal {
    /// Told to whoever asks now.
    fn failure(&self, now: Instant) -> TurnFailure {
        match self.why.clone() {
            Why::UsageLimit { sentence } => {
                TurnFailure::UsageLimit { resets_at: self.resets_at(now), sentence }
            }
            Why::Authentication { status, sentence } => {
                TurnFailure::Api { status, kind: ApiFailureKind::Authentication, sentence }
            }
        }
    }

    /// By the wall clock as it goes now.
    fn resets_at(&self, now: Instant) -> Option<SystemTime> {
        self.until.and_then(|until| wall_clock::now().checked_add(until.saturating_duration_since(now)))
    }
}

impl Why {
    fn as_str(&self) -> &'static str {
        match self {
            Self::UsageLimit { .. } => "the usage limit is reached",
            Self::Authentication { .. } => "the credential is not taken",
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Asked {
    /// What a limit of that type is about, if a turn of `model` hit it.
    fn limited_by(limit: Option<&str>, model: &str) -> Self {
        match limit {
            Some("seven_day_opus") => Self::ModelsOf("opus"),
            Some("seven_day_sonnet") => Self::ModelsOf("sonnet"),
            // That of some model, which it does not say.
            Some("seven_day_overage_included") => Self::Model(model.to_owned()),
            _ => Self::Everything,
        }
    }

    fn includes(&self, model: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::ModelsOf(family) => model.contains(family),
            Self::Model(one) => one == model,
        }
    }
}

#[cfg(test)]
mod tests;
