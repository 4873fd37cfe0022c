//! How much a caller may ask.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

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
