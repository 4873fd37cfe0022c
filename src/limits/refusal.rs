//! Why something may not be asked now.

use std::fmt;
use std::time::Duration;

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The caller's own.
    Caller,
    /// That of the caller's tenant.
    Tenant,
    /// That of all callers together.
    All,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Turns at the same time.
    Turns,
    /// Tokens in a day.
    DailyTokens,
    /// Tokens in a month.
    MonthlyTokens,
}

/// Why something may not be asked now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A limit is reached.
    #[error("the limit of {size} {limited} of {of} is reached")]
    Reached {
        /// What is limited.
        limited: Limited,
        /// Whose limit it is.
        of: Holder,
        /// The limit.
        size: u64,
        /// The time after which it may pass, if nobody else takes what comes back until then.
        after: Duration,
    },
    /// More answers were asked for at once than ever may be.
    #[error("{asked} answers at once are more than the {size} of {of}")]
    TooManyTurns {
        /// How many.
        asked: usize,
        /// Whose limit it is.
        of: Holder,
        /// The limit.
        size: u64,
    },
    /// So many callers are active that no more can be kept apart.
    #[error("too many callers are active")]
    TooManyCallers,
    /// What was used of a quota cannot be read.
    #[error("what was used of a quota cannot be read")]
    UsageUnknown,
}

impl Refusal {
    /// All that [`Refusal::kind`] can be.
    pub const KINDS: [&str; 7] =
        ["requests", "tokens", "turns", "daily_tokens", "monthly_tokens", "callers", "usage_unknown"];

    /// A short name for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Reached { limited: Limited::Requests, .. } => "requests",
            Self::Reached { limited: Limited::Tokens, .. } => "tokens",
            Self::Reached { limited: Limited::Turns, .. } | Self::TooManyTurns { .. } => "turns",
            Self::Reached { limited: Limited::DailyTokens, .. } => "daily_tokens",
            Self::Reached { limited: Limited::MonthlyTokens, .. } => "monthly_tokens",
            Self::TooManyCallers => "callers",
            Self::UsageUnknown => "usage_unknown",
        }
    }

    /// The time after which it may pass; `None` where that will not help.
    #[must_use]
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Reached { after, .. } => Some(*after),
            Self::TooManyTurns { .. } => None,
            Self::TooManyCallers | Self::UsageUnknown => Some(super::SOON),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Caller => "this API key",
            Self::Tenant => "this API key's tenant",
            Self::All => "this server",
        })
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Requests => "requests a minute",
            Self::Tokens => "tokens a minute",
            Self::Turns => "answers at the same time",
            Self::DailyTokens => "tokens a day",
            Self::MonthlyTokens => "tokens a month",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_refusal_is_one_that_is_counted() {
        let limited = [
            Limited::Requests,
            Limited::Tokens,
            Limited::Turns,
            Limited::DailyTokens,
            Limited::MonthlyTokens,
        ];
        let reached = limited.map(|limited| Refusal::Reached {
            limited,
            of: Holder::All,
            size: 1,
            after: Duration::ZERO,
        });
        let others = [
            Refusal::TooManyTurns { asked: 2, of: Holder::All, size: 1 },
            Refusal::TooManyCallers,
            Refusal::UsageUnknown,
        ];
        let kinds: std::collections::BTreeSet<_> = reached.iter().chain(&others).map(Refusal::kind).collect();
        assert_eq!(kinds, Refusal::KINDS.into());
    }
}
