//! The table that turns a refusal by a limit of this server into an error of OpenAI's API.

use std::time::Duration;

use axum::http::StatusCode;

use crate::limits::refusal::{Holder, Limited, Refusal};
use crate::openai::error::ApiError;

/// The longest wait that a client is asked to sit through and try again by itself.
const SIT_THROUGH: Duration = Duration::from_secs(60);

/// What the client reads.
#[must_use]
pub fn api_error(refusal: &Refusal) -> ApiError {
    let error = match refusal {
        Refusal::Reached { limited, of, size, after } => reached(*limited, *of, *size, *after),
        Refusal::TooManyTurns { asked, of, size } => {
            let message = format!(
                "{asked} answers at once can never be given: the limit is {size} {} for {of}. Ask for fewer.",
                Limited::Turns
            );
            return ApiError::invalid_request("n", message).with_code("invalid_value");
        }
        Refusal::TooManyCallers => limit_error(
            "This server is used by so many API keys at the moment that it cannot count for one more. Try again shortly."
                .to_owned(),
        ),
        Refusal::UsageUnknown => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "The server cannot read in its database how much of this API key's quota is used. Its operator should look into its log, and at the \
             disk with its state folder.",
        )
        .with_code("usage_unknown"),
    };
    ApiError {
        retry_after: refusal.after(),
        // The true wait is told, but one of hours is nothing for an SDK to sit through.
        retry_can_help: refusal.after().is_some_and(|after| after <= SIT_THROUGH),
        ..error
    }
}

fn reached(limited: Limited, of: Holder, size: u64, after: Duration) -> ApiError {
    let (limit, wait) = (format!("{size} {limited} for {of}"), duration(after));
    match limited {
        Limited::Requests | Limited::Tokens => limit_error(format!(
            "Rate limit reached: {limit}. Try again in {wait}; the server's operator can raise the limit."
        )),
        Limited::Turns => limit_error(format!(
            "Rate limit reached: {limit}. Try again when one of them has ended, for example in {wait}; the server's operator \
             can raise the limit."
        )),
        Limited::DailyTokens | Limited::MonthlyTokens => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "insufficient_quota",
            format!(
                "Quota reached: {limit} (UTC). It is used up or reserved for answers under way, or this prompt is more than is \
                 left. Try again in {wait}; the server's operator can raise the quota."
            ),
        )
        .with_code("insufficient_quota"),
    }
}

fn limit_error(message: String) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).with_code("rate_limit_exceeded")
}

/// A time as OpenAI's headers and messages tell it, which is Go's form: `120ms`, `1s`, `6m0s`, `1h2m3.5s`. Rounded up to
/// milliseconds.
#[must_use]
pub fn duration(time: Duration) -> String {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    if (1..1000).contains(&milliseconds) {
        return format!("{milliseconds}ms");
    }
    let (seconds, fraction) = (milliseconds / 1000, milliseconds % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let minutes = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    };
    let fraction = if fraction > 0 { format!(".{fraction:03}") } else { String::new() };
    format!("{minutes}{}{}s", seconds % 60, fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0s")]
    #[case(1, "1ms")]
    #[case(120_000, "120ms")]
    #[case(999_001, "1s")]
    #[case(1_000_000, "1s")]
    #[case(8_640_000, "8.64s")]
    #[case(59_999_500, "1m0s")]
    #[case(360_000_000, "6m0s")]
    #[case(3_723_000_000, "1h2m3s")]
    #[case(86_400_000_000, "24h0m0s")]
    fn times_are_told_as_openai_tells_them(#[case] microseconds: u64, #[case] told: &str) {
        assert_eq!(duration(Duration::from_micros(microseconds)), told);
    }

    #[test]
    fn every_refusal_has_its_error() {
        let reached = |limited, of, seconds| Refusal::Reached {
            limited,
            of,
            size: 1000,
            after: Duration::from_secs(seconds),
        };
        let refusals = [
            reached(Limited::Requests, Holder::Caller, 3),
            reached(Limited::Tokens, Holder::Tenant, 61),
            reached(Limited::Turns, Holder::All, 2),
            reached(Limited::DailyTokens, Holder::Caller, 3600),
            reached(Limited::MonthlyTokens, Holder::Tenant, 2),
            Refusal::TooManyTurns { asked: 5, of: Holder::Caller, size: 4 },
            Refusal::TooManyCallers,
            Refusal::UsageUnknown,
        ];
        let rows: Vec<String> = refusals
            .iter()
            .map(|refusal| {
                let ApiError { status, kind, code, param, message, retry_after, retry_can_help } =
                    api_error(refusal);
                format!(
                    "{}: {kind} {code:?} param {param:?} retry {retry_can_help} after {retry_after:?}\n    {message}",
                    status.as_u16()
                )
            })
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
