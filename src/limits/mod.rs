//! How much a caller may ask.
//!
//! - [`limiter`]: counts requests and lets turns in, by the limits of the caller, its tenant and the server; [`permit`]: what a
//!   turn was let in with, and how it is settled; [`refusal`], [`standing`]: what is told of it.
//! - [`estimate`]: what is reserved for a turn before it is known what it takes.
//! - [`meter`]: what is known of one holder of limits; [`callers`]: those of the callers, in bounded memory.
//! - [`bucket`], [`tokens`]: rates; [`quota`]: days and months; [`clock`]: their times.
//! - [`accounts`]: what was used, on its way into the store.

pub mod accounts;
pub mod bucket;
pub mod callers;
pub mod clock;
pub mod estimate;
pub mod limiter;
pub mod meter;
pub mod permit;
pub mod quota;
pub mod refusal;
pub mod standing;
pub mod tokens;

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What somebody should wait where a turn may end any time.
const SOON: Duration = Duration::from_secs(2);

/// How much may be asked on behalf of somebody: of a key, of a tenant, or in all. What is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens in a minute, those of prompts and of answers together.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Turns of the model at the same time; a request with `n` answers takes `n`.
    pub concurrent_turns: Option<NonZeroU32>,
    /// Tokens in a day (UTC).
    pub tokens_per_day: Option<NonZeroU64>,
    /// Tokens in a month (UTC).
    pub tokens_per_month: Option<NonZeroU64>,
}

impl Limits {
    /// These, and those of `others` where there are none.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.or(others.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(others.tokens_per_minute),
            concurrent_turns: self.concurrent_turns.or(others.concurrent_turns),
            tokens_per_day: self.tokens_per_day.or(others.tokens_per_day),
            tokens_per_month: self.tokens_per_month.or(others.tokens_per_month),
        }
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a quota is among them.
    #[must_use]
    pub fn have_quota(&self) -> bool {
        self.tokens_per_day.is_some() || self.tokens_per_month.is_some()
    }
}
