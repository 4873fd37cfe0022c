//! How far a subscription's limits are used, as the CLI tells it beside its answers. Pure.

use std::time::{Duration, SystemTime};

use super::frame_out::RateLimit;

/// So many windows are remembered at most; the CLI knows four.
const WINDOWS: usize = 16;

/// The state of a subscription, as far as answers told of it. An API key has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubscriptionState {
    /// Whether requests are answered.
    pub standing: Standing,
    /// When the limit that decides is lifted, where that is known and still to come.
    pub resets_at: Option<SystemTime>,
    /// The windows that were told of.
    pub windows: Vec<LimitWindow>,
    /// What is paid beyond the limits.
    pub extra_usage: ExtraUsage,
    /// The last refusal, be it over or not.
    pub last_rejection: Option<Rejection>,
}

/// Whether requests are answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// They are, as far as is known.
    #[default]
    Ok,
    /// They are, but a limit is near, or extra usage pays for them.
    Warning,
    /// They are not.
    Rejected,
}

/// A time within which so much may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitWindow {
    /// The CLI's name for it: `five_hour`, `seven_day`, ….
    pub name: String,
    /// The used share: 0 to 1, and above 1 where extra usage paid for more.
    pub utilization: Option<f64>,
    /// When it begins anew.
    pub resets_at: Option<SystemTime>,
}

/// What is paid beyond the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraUsage {
    /// Whether the last answer was paid so.
    pub in_use: bool,
    /// Whether there is any: `allowed`, `allowed_warning` or `rejected`, where it was told.
    pub status: Option<String>,
    /// When its own limit is lifted.
    pub resets_at: Option<SystemTime>,
    /// Why there is none: `out_of_credits`, ….
    pub disabled_reason: Option<String>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The CLI's sentence about it.
    pub sentence: String,
    /// When the limit is lifted, where that is known.
    pub resets_at: Option<SystemTime>,
    /// When it came.
    pub at: SystemTime,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Rejected => "rejected",
        }
    }
}

impl SubscriptionState {
    /// Takes in what an answer told. A refusal shows in the failure of its turn, and not here: its `rejected` may be about that
    /// request alone.
    pub(super) fn learn(&mut self, limit: &RateLimit) {
        self.extra_usage = ExtraUsage {
            in_use: limit.pays_extra(),
            status: limit.overage_status.clone(),
            resets_at: limit.overage_resets_at.and_then(moment),
            disabled_reason: limit.overage_disabled_reason.clone(),
        };
        for (name, told) in limit.unified_windows.iter().flatten() {
            let window = LimitWindow {
                name: name.clone(),
                utilization: told.utilization,
                resets_at: told.resets_at.and_then(moment),
            };
            if let Some(known) = self.windows.iter_mut().find(|known| known.name == *name) {
                *known = window;
            } else if self.windows.len() < WINDOWS {
                self.windows.push(window);
            }
        }
        if limit.is_rejected() {
            return;
        }
        let warns = limit.status == "allowed_warning" || limit.pays_extra();
        self.standing = if warns { Standing::Warning } else { Standing::Ok };
        self.resets_at = limit.resets_at.and_then(moment);
    }

    /// The same without what is over by now.
    pub(super) fn at(&self, now: SystemTime) -> Self {
        let mut state = self.clone();
        state.windows.retain(|window| window.resets_at.is_none_or(|resets_at| resets_at > now));
        if state.resets_at.is_some_and(|resets_at| resets_at <= now) {
            state.resets_at = None;
            state.standing = Standing::Ok;
            state.extra_usage.in_use = false;
        }
        state
    }
}

/// A time in Unix seconds, if there is such a time.
fn moment(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(states: &[Value]) -> SubscriptionState {
        let mut state = SubscriptionState::default();
        for limit in states {
            state.learn(&serde_json::from_value(limit.clone()).unwrap());
        }
        state
    }

    #[test]
    fn a_warning_is_one_until_its_window_is_over() {
        let windows =
            json!({"five_hour": {"utilization": 0.9, "resetsAt": 1000}, "seven_day": {"utilization": 0.2}});
        let warned =
            told(&[json!({"status": "allowed_warning", "resetsAt": 1000, "unifiedWindows": windows})]);
        let before = warned.at(moment(999).unwrap());
        assert_eq!((before.standing, before.windows.len()), (Standing::Warning, 2));
        let after = warned.at(moment(1000).unwrap());
        assert_eq!((after.standing, after.resets_at), (Standing::Ok, None));
        assert_eq!(after.windows.iter().map(|window| &*window.name).collect::<Vec<_>>(), ["seven_day"]);
    }

    #[test]
    fn what_extra_usage_pays_for_is_no_refusal() {
        let state = told(&[json!({
            "status": "rejected", "resetsAt": 1000, "isUsingOverage": true, "overageStatus": "allowed",
        })]);
        assert_eq!(state.standing, Standing::Warning);
        assert!(state.extra_usage.in_use);
        assert_eq!(state.extra_usage.status.as_deref(), Some("allowed"));
    }

    #[test]
    fn the_rejection_of_one_request_changes_nothing_for_the_others() {
        let state = told(&[json!({"status": "allowed"}), json!({"status": "rejected"})]);
        assert_eq!(state.standing, Standing::Ok);
    }

    #[test]
    fn windows_are_remembered_by_name_and_not_without_end() {
        let event =
            |name: &str, used| json!({"status": "allowed", "unifiedWindows": {name: {"utilization": used}}});
        let mut events = vec![event("five_hour", 0.1), event("seven_day", 0.5), event("five_hour", 0.2)];
        assert_eq!(
            told(&events).windows.iter().map(|window| window.utilization).collect::<Vec<_>>(),
            [Some(0.2), Some(0.5)]
        );
        events.extend((0..1000).map(|number| event(&format!("w{number}"), 0.0)));
        assert_eq!(told(&events).windows.len(), WINDOWS);
    }
}
