//! What the CLI tells of the subscription's limits (`rate_limit_event`).
//!
//! Seen with release 2.1.329, run against a scripted API with the headers `anthropic-ratelimit-unified-…`:
//!
//! - An event comes after the `message_start` of an answer, or before the `result` of a refusal, whenever a header's value
//!   (rounded to a per cent) differs from what the process saw before. API keys have no such headers, and no events.
//! - `status` is `allowed`, `allowed_warning` (only where a window is past a threshold of the API's or the CLI's own) or
//!   `rejected`; `resetsAt` and `rateLimitType` are those of the window that decides. A refusal need not have a `resetsAt`.
//! - `rejected` alone is no refusal: where `overageStatus` is `allowed` or `allowed_warning` the CLI says `isUsingOverage`, and
//!   the answer goes on, paid as extra usage. Refusals are known by the `result`.
//! - `rateLimitType` is `five_hour`, `seven_day`, `overage`, or that of some models only: `seven_day_opus`,
//!   `seven_day_sonnet`, `seven_day_overage_included`. `unifiedWindows` has those with headers of their own.
//! - A request that takes extra usage (a long context, certain models) is refused with a 429 as well: `rejected`, without a
//!   reset and without a type. It says nothing about other requests.
//!
//! Times are Unix seconds. Utilisation is a share of the window, above 1 where extra usage paid for more.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// The state of the subscription's limits. A field in a form that is not known counts as absent: the rest is still of use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// `allowed`, `allowed_warning` or `rejected`.
    pub status: String,
    /// When the limit that decides is lifted, in Unix seconds.
    #[serde(deserialize_with = "if_known")]
    pub resets_at: Option<u64>,
    /// Which limit decides: `five_hour`, ….
    #[serde(rename = "rateLimitType", deserialize_with = "if_known")]
    pub kind: Option<String>,
    /// Whether extra usage pays for what is beyond the limit.
    #[serde(deserialize_with = "if_known")]
    pub is_using_overage: Option<bool>,
    /// Whether extra usage may be had: `allowed`, `allowed_warning` or `rejected`.
    #[serde(deserialize_with = "if_known")]
    pub overage_status: Option<String>,
    /// When the limit of extra usage is lifted, in Unix seconds.
    #[serde(deserialize_with = "if_known")]
    pub overage_resets_at: Option<u64>,
    /// Why there is none: `out_of_credits`, `org_level_disabled_until`, ….
    #[serde(deserialize_with = "if_known")]
    pub overage_disabled_reason: Option<String>,
    /// All windows that the CLI knows of, by name.
    #[serde(deserialize_with = "if_known")]
    pub unified_windows: Option<BTreeMap<String, WindowUse>>,
}

/// How far one window is used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WindowUse {
    /// The used share.
    #[serde(deserialize_with = "if_known")]
    pub utilization: Option<f64>,
    /// When the window begins anew, in Unix seconds.
    #[serde(deserialize_with = "if_known")]
    pub resets_at: Option<u64>,
}

impl RateLimit {
    /// Whether the request at hand is beyond the limit, and nothing pays for it.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.status == "rejected" && !self.pays_extra()
    }

    /// Whether extra usage pays.
    #[must_use]
    pub fn pays_extra(&self) -> bool {
        self.is_using_overage == Some(true)
    }
}

/// A value, if it is in the form that is known.
fn if_known<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(frame: serde_json::Value) -> RateLimit {
        serde_json::from_value(frame).unwrap()
    }

    #[test]
    fn an_event_of_the_cli_is_read() {
        let limit = read(json!({
            "status": "rejected", "resetsAt": 1_795_952_302, "rateLimitType": "five_hour", "overageStatus": "allowed",
            "overageResetsAt": 1_796_247_302, "isUsingOverage": true, "overageInUse": true, "unifiedWindows": {
                "five_hour": {"utilization": 1.02, "resetsAt": 1_795_952_302, "status": "rejected"},
                "seven_day": {"utilization": 0.31, "resetsAt": 1_796_247_302, "status": "allowed"},
            },
        }));
        assert!(!limit.is_rejected(), "extra usage pays");
        let windows = limit.unified_windows.unwrap();
        assert_eq!(windows["seven_day"].utilization, Some(0.31));
        assert_eq!(
            (limit.kind.as_deref(), limit.overage_resets_at),
            (Some("five_hour"), Some(1_796_247_302))
        );
    }

    #[test]
    fn a_refusal_stays_one_whatever_else_is_in_another_form() {
        let limit = read(json!({
            "status": "rejected", "resetsAt": "soon", "rateLimitType": 5, "isUsingOverage": null, "overageStatus": [],
            "unifiedWindows": [], "news": {"of": "a later release"},
        }));
        assert!(limit.is_rejected());
        assert_eq!(limit, RateLimit { status: "rejected".to_owned(), ..RateLimit::default() });
    }
}
