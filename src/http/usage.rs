//! `GET /admin/usage`: what was used, by the day, for the operator.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::App;
use crate::limits::clock::day_of;
use crate::openai::error::ApiError;
use crate::store::usage::{Amounts, UsageFound, UsageQuery, UsageRow};
use crate::wall_clock;

/// The most rows of an answer.
const MAX_ROWS: usize = 10_000;

/// How many days are told of where no first one is named, the last one included.
const DAYS: i32 = 30;

/// What may be asked.
const PARAMETERS: [&str; 5] = ["from", "to", "key", "tenant", "model"];

/// The route. It is for the operator alone.
pub fn router() -> Router<App> {
    Router::new().route("/admin/usage", get(usage))
}

async fn usage(
    State(app): State<App>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let query = query(&parameters, day_of(wall_clock::timestamp()))?;
    let accounts = app.limiter.accounts().clone();
    let found = tokio::task::spawn_blocking(move || accounts.find(&query)).await;
    match found {
        Ok(Ok(found)) => Ok(Json(body(&found)).into_response()),
        Ok(Err(error)) => {
            tracing::error!(%error, "what was used cannot be read");
            Err(unreadable())
        }
        Err(_stopping) => Err(unreadable()),
    }
}

fn unreadable() -> ApiError {
    let message = "What was used cannot be read. See the server's log.";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).with_code("usage_unknown")
}

fn query(parameters: &HashMap<String, String>, today: Date) -> Result<UsageQuery, ApiError> {
    if let Some(unknown) = parameters.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        let message = format!("Unknown parameter: '{unknown}'. There are {}.", PARAMETERS.join(", "));
        return Err(ApiError::invalid_request(unknown, message).with_code("unknown_parameter"));
    }
    let date = |name: &str| parameters.get(name).map(|text| read_date(name, text)).transpose();
    let to = date("to")?.unwrap_or(today);
    let from = date("from")?.unwrap_or_else(|| to.saturating_sub((DAYS - 1).days()));
    if from > to {
        let message = "'from' must not be after 'to', which is today unless it is set.";
        return Err(ApiError::invalid_request("from", message).with_code("invalid_value"));
    }
    let filter = |name: &str| parameters.get(name).filter(|value| !value.is_empty()).cloned();
    Ok(UsageQuery {
        from,
        to,
        caller: filter("key"),
        tenant: filter("tenant"),
        model: filter("model"),
        limit: MAX_ROWS,
    })
}

/// `YYYY-MM-DD` and nothing else: the library takes more than that.
fn read_date(name: &str, text: &str) -> Result<Date, ApiError> {
    let is_plain = text.len() == 10 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    text.parse().ok().filter(|_| is_plain).ok_or_else(|| {
        let message = format!("'{name}' must be a day as YYYY-MM-DD.");
        ApiError::invalid_request(name, message).with_code("invalid_value")
    })
}

fn body(found: &UsageFound) -> Value {
    json!({
        "object": "list",
        "data": found.rows.iter().map(row).collect::<Vec<_>>(),
        "has_more": found.has_more,
        "totals": amounts(&found.totals),
    })
}

fn row(row: &UsageRow) -> Value {
    let mut told = json!({
        "day": row.key.day.to_string(),
        "key": row.key.caller.as_str(),
        "key_name": row.caller_name,
        "tenant": row.key.tenant.as_str(),
        "model": row.key.model,
    });
    if let (Value::Object(told), Value::Object(amounts)) = (&mut told, amounts(&row.amounts)) {
        told.extend(amounts);
    }
    told
}

fn amounts(amounts: &Amounts) -> Value {
    json!({
        "requests": amounts.requests,
        "input_tokens": amounts.input,
        "cache_creation_tokens": amounts.cache_creation,
        "cache_read_tokens": amounts.cache_read,
        "output_tokens": amounts.output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use rstest::rstest;

    fn asked(parameters: &[(&str, &str)]) -> Result<UsageQuery, ApiError> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        query(&parameters.collect(), date(2026, 3, 1))
    }

    #[rstest]
    #[case(&[], "2026-01-31", "2026-03-01")]
    #[case(&[("to", "2026-01-30")], "2026-01-01", "2026-01-30")]
    #[case(&[("from", "2026-02-28")], "2026-02-28", "2026-03-01")]
    #[case(&[("from", "2020-01-01"), ("to", "2020-01-01")], "2020-01-01", "2020-01-01")]
    fn the_days_are_the_last_thirty_unless_others_are_named(
        #[case] parameters: &[(&str, &str)],
        #[case] from: &str,
        #[case] to: &str,
    ) {
        let query = asked(parameters).unwrap();
        assert_eq!((query.from.to_string().as_str(), query.to.to_string().as_str()), (from, to));
    }

    #[rstest]
    #[case(&[("from", "yesterday")], "from")]
    #[case(&[("from", "2026-02-30")], "from")]
    #[case(&[("to", "20260228")], "to")]
    #[case(&[("to", "2026-02-28T10:00:00")], "to")]
    #[case(&[("from", "2026-03-02")], "from")]
    #[case(&[("keys", "x")], "keys")]
    fn what_is_wrong_is_named(#[case] parameters: &[(&str, &str)], #[case] named: &str) {
        let error = asked(parameters).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(named)));
    }
}
