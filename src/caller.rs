//! On whose behalf a request is made.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::scope::Scope;

/// Whoever a request comes from, once the server has let it in: the holder of a key, the subject of a token, or anyone on a
/// server without either. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the caller is known by in limits, accounts and the log. No secret.
    pub id: CallerId,
    /// The caller's name for people.
    pub name: Arc<str>,
    /// With whose credential the model is asked.
    pub tenant: TenantName,
    /// The models the caller may ask, as clients name them; `None` for all.
    pub models: Option<Arc<[String]>>,
    /// The caller's own limits.
    pub limits: Limits,
    /// Cancelled when the caller may not ask any more: the key was revoked, or is over.
    pub ended: CancellationToken,
}

/// What a caller is known by. No secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(Arc<str>);

/// Names a tenant: the owner of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantName(Arc<str>);

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

impl Caller {
    /// Anyone, on a server without keys.
    #[must_use]
    pub fn anyone() -> Self {
        Self {
            id: CallerId::new("anyone"),
            name: "anyone".into(),
            tenant: TenantName::default(),
            models: None,
            limits: Limits::default(),
            ended: CancellationToken::new(),
        }
    }

    /// Within which the caller's processes and conversations are used.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::of_caller(self.tenant.as_str(), self.id.as_str())
    }
}

impl CallerId {
    /// What the ids of keys that `couplet keys` made begin with, and no others.
    pub const OF_STORED_KEYS: &str = "key_";

    /// Takes any text; two callers must not have the same.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// As a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that of a key that `couplet keys` made.
    #[must_use]
    pub fn is_stored_key(&self) -> bool {
        self.0.starts_with(Self::OF_STORED_KEYS)
    }
}

impl TenantName {
    /// The tenant whose credential is that of the settings; it is always there.
    pub const DEFAULT: &str = "default";

    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// A name of letters, digits, `-`, `_` and `.`, which does not begin with `.`: it names a folder too. `None` for anything
    /// else, or if it is longer than [`TenantName::MAX`].
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let is_name =
            !name.is_empty() && !name.starts_with('.') && name.len() <= Self::MAX && name.bytes().all(fits);
        is_name.then(|| Self(name.into()))
    }

    /// As a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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

impl Default for TenantName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ann", true)]
    #[case("team-7_b.c", true)]
    #[case("", false)]
    #[case("a b", false)]
    #[case("a/b", false)]
    #[case("..", false)]
    #[case(".a", false)]
    #[case("ünal", false)]
    fn a_tenant_s_name_is_one_plain_word(#[case] name: &str, #[case] is: bool) {
        assert_eq!(TenantName::new(name).is_some(), is);
    }
}
