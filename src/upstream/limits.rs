//! The headers in which Anthropic tells subscribers how much of their limits is used.
//!
//! The names are those the CLI reads; what it makes of them (its `rate_limit_event` frames) was seen with release 2.1.329.

/// Where the account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Below the limit.
    Allowed,
    /// Answered, but the limit is near.
    Warning,
    /// Refused until the reset.
    Rejected,
}

impl Standing {
    /// The header's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warning => "allowed_warning",
            Self::Rejected => "rejected",
        }
    }
}

/// One window of a subscription's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Where the account stands.
    pub standing: Standing,
    /// The used share of the window, 0 to 1.
    pub utilization: f64,
    /// Seconds until the window starts anew.
    pub resets_in_seconds: u64,
    /// The window that decides: `five_hour`, `seven_day`, …
    pub claim: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            standing: Standing::Allowed,
            utilization: 0.42,
            resets_in_seconds: 5 * 60 * 60,
            claim: "five_hour".to_owned(),
        }
    }
}

impl Limits {
    /// The five-hour limit is reached.
    #[must_use]
    pub fn rejected(resets_in_seconds: u64) -> Self {
        Self { standing: Standing::Rejected, utilization: 1.0, resets_in_seconds, ..Self::default() }
    }

    /// The headers, given the time in seconds since 1970.
    #[must_use]
    pub fn headers(&self, now: u64) -> Vec<(String, String)> {
        let reset = now.saturating_add(self.resets_in_seconds).to_string();
        let status = self.standing.as_str().to_owned();
        let header =
            |name: &str, value: &str| (format!("anthropic-ratelimit-unified-{name}"), value.to_owned());
        let window = match self.claim.as_str() {
            "five_hour" => "5h",
            claim if claim.starts_with("seven_day") => "7d",
            other => other,
        };
        let mut headers = vec![
            header("status", &status),
            header("reset", &reset),
            header("representative-claim", &self.claim),
            header(&format!("{window}-status"), &status),
            header(&format!("{window}-utilization"), &self.utilization.to_string()),
            header(&format!("{window}-reset"), &reset),
        ];
        if self.standing == Standing::Warning {
            // What the CLI's own `allowed_warning` hangs on: it takes the status alone for `allowed`.
            headers.push(header(&format!("{window}-surpassed-threshold"), &self.utilization.to_string()));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_name_the_window_and_its_reset() {
        let limits = Limits {
            standing: Standing::Warning,
            utilization: 0.9,
            resets_in_seconds: 60,
            claim: "seven_day".into(),
        };
        let shown: Vec<_> =
            limits.headers(1000).iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            shown,
            [
                "anthropic-ratelimit-unified-status: allowed_warning",
                "anthropic-ratelimit-unified-reset: 1060",
                "anthropic-ratelimit-unified-representative-claim: seven_day",
                "anthropic-ratelimit-unified-7d-status: allowed_warning",
                "anthropic-ratelimit-unified-7d-utilization: 0.9",
                "anthropic-ratelimit-unified-7d-reset: 1060",
                "anthropic-ratelimit-unified-7d-surpassed-threshold: 0.9",
            ]
        );
    }

    #[test]
    fn only_a_warning_surpasses_a_threshold() {
        for limits in [Limits::default(), Limits::rejected(1)] {
            assert!(limits.headers(0).iter().all(|(name, _)| !name.contains("threshold")));
        }
    }
}
