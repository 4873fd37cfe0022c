//! What Couplet does for Anthropic's prompt cache: it makes sure how long entries live, and marks the end of a history
//! that is laid down.
//!
//! The CLI marks the system prompt and the end of the last message. In a live conversation that end is where the next
//! request begins to differ, so each request finds what the one before it wrote. In a history that is laid down the end
//! moves: behind the question stands a message of the CLI's own (environment, date), which the next process puts behind
//! the next question. Nothing of the messages would be found again. So Couplet marks the last block of the history, which
//! stays where it is. The API takes four marks; the CLI sets three.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::credential::Credential;
use super::failure::{ApiFailureKind, TurnFailure};

/// How long an entry of the prompt cache lives after it was last read.
///
/// All marks of a request must agree: the API refuses a longer time behind a shorter one, and Couplet's mark stands
/// between those of the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTtl {
    /// The API's default.
    FiveMinutes,
    /// Dearer to write.
    OneHour,
}

impl CacheTtl {
    /// What the CLI chooses by itself: an hour with a subscription, five minutes with an API key, which pays for each
    /// entry. Its own login may be either; a subscription is what people have there.
    #[must_use]
    pub fn of(credential: &Credential) -> Self {
        match credential {
            Credential::OauthToken(_) | Credential::ConfigDir(_) | Credential::Missing => Self::OneHour,
            Credential::ApiKey(_) => Self::FiveMinutes,
        }
    }

    /// The variables that hold the CLI to it. Left alone it goes from an hour to five minutes where it learns that the
    /// subscription's limits are used up.
    #[must_use]
    pub fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::FiveMinutes => &[("FORCE_PROMPT_CACHING_5M", "1")],
            // The second one is unknown up to 2.1.240 and goes before an administrator's settings, the first is known
            // to all and does not.
            Self::OneHour => &[("ENABLE_PROMPT_CACHING_1H", "1"), ("CLAUDE_CODE_PROMPT_CACHE_TTL", "1h")],
        }
    }
}

/// `cache_control` of a block: the prompt up to its end is to be kept.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Absent as the CLI has it, where it is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheTtl> for CacheControl {
    fn from(ttl: CacheTtl) -> Self {
        let ttl = match ttl {
            CacheTtl::FiveMinutes => None,
            CacheTtl::OneHour => Some("1h"),
        };
        Self { kind: "ephemeral", ttl }
    }
}

/// Whether histories are marked.
#[derive(Debug)]
pub struct HistoryMarks {
    ttl: CacheTtl,
    refused: AtomicBool,
}

impl HistoryMarks {
    /// They are, until the API refuses it.
    #[must_use]
    pub fn new(ttl: CacheTtl) -> Self {
        Self { ttl, refused: AtomicBool::new(false) }
    }

    /// The mark for the next history.
    #[must_use]
    pub fn next(&self) -> Option<CacheTtl> {
        (!self.refused.load(Ordering::Relaxed)).then_some(self.ttl)
    }

    /// Notes that the API refused a mark, and took the same turn without: no history is marked any more.
    pub fn note_refusal(&self) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the API refuses the cache breakpoint behind a history, so none is set any more: conversations that are \
                 not live are read anew each time"
            );
        }
    }
}

/// Whether a failure is the API's word against a mark (or about something of the client's of that name).
#[must_use]
pub fn is_refusal(failure: &TurnFailure) -> bool {
    matches!(
        failure,
        TurnFailure::Api { status: Some(400), kind: ApiFailureKind::InvalidRequest, sentence }
            if sentence.contains("cache_control")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Some(400), "messages.1.content.0.cache_control.ttl: a ttl='1h' block must not come after", true)]
    #[case(Some(400), "A maximum of 4 blocks with cache_control may be provided. Found 5.", true)]
    #[case(Some(400), "temperature: this model does not support this parameter", false)]
    #[case(Some(500), "cache_control", false)]
    #[case(None, "cache_control", false)]
    fn a_refusal_is_told_by_its_sentence(
        #[case] status: Option<u16>,
        #[case] sentence: &str,
        #[case] refusal: bool,
    ) {
        let kind = ApiFailureKind::InvalidRequest;
        assert_eq!(is_refusal(&TurnFailure::Api { status, kind, sentence: sentence.to_owned() }), refusal);
    }

    #[test]
    fn a_subscription_gets_an_hour_and_an_api_key_what_it_pays_least_for() {
        assert_eq!(CacheTtl::of(&Credential::OauthToken("x".into())), CacheTtl::OneHour);
        assert_eq!(CacheTtl::of(&Credential::ApiKey("x".into())), CacheTtl::FiveMinutes);
    }
}
