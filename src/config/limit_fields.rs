//! The fields of [`Limits`] in a table of settings.

use std::num::NonZeroU64;

use serde_json::{Map, Value as Json, json};

use super::values::Refusal;
use crate::caller::Limits;

/// Their names.
pub const FIELDS: [&str; 5] =
    ["requests_per_minute", "tokens_per_minute", "concurrent_turns", "tokens_per_day", "tokens_per_month"];

/// Reads those that are among the fields of the table called `of`.
///
/// # Errors
/// When one is no whole number above 0, or too large.
pub fn read(of: &str, fields: &Map<String, Json>) -> Result<Limits, Refusal> {
    Ok(Limits {
        requests_per_minute: number(of, "requests_per_minute", fields)?,
        tokens_per_minute: number(of, "tokens_per_minute", fields)?,
        concurrent_turns: number(of, "concurrent_turns", fields)?,
        tokens_per_day: number(of, "tokens_per_day", fields)?,
        tokens_per_month: number(of, "tokens_per_month", fields)?,
    })
}

/// Those that are set, as they were written.
#[must_use]
pub fn shown(limits: &Limits) -> Map<String, Json> {
    let Limits { requests_per_minute, tokens_per_minute, concurrent_turns, tokens_per_day, tokens_per_month } =
        limits;
    let numbers = [
        requests_per_minute.map(NonZeroU64::from),
        tokens_per_minute.map(NonZeroU64::from),
        concurrent_turns.map(NonZeroU64::from),
        *tokens_per_day,
        *tokens_per_month,
    ];
    let set = std::iter::zip(FIELDS, numbers).filter_map(|(field, number)| Some((field, number?)));
    set.map(|(field, number)| (field.to_owned(), json!(number))).collect()
}

/// A number above 0 of the table called `of`; `None` where the field is not there.
///
/// # Errors
/// When it is something else, or too large.
pub fn number<N: TryFrom<NonZeroU64>>(
    of: &str,
    field: &str,
    fields: &Map<String, Json>,
) -> Result<Option<N>, Refusal> {
    let Some(value) = fields.get(field) else { return Ok(None) };
    let number = value.as_u64().and_then(NonZeroU64::new).and_then(|number| N::try_from(number).ok());
    let refused = || {
        let reason = format!("{field:?} of {of:?} must be a whole number from 1, without quotes");
        let too_large = if value.is_u64() && value != 0 { ", and is too large" } else { "" };
        Refusal::at(&format!("{of}.{field}"), reason + too_large)
    };
    number.map(Some).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn fields(json: Json) -> Map<String, Json> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_field_is_read_and_shown_as_it_was() {
        let all = fields(json!({
            "requests_per_minute": 1, "tokens_per_minute": 2, "concurrent_turns": 3, "tokens_per_day": 4,
            "tokens_per_month": 5_000_000_000_u64
        }));
        let limits = read("ann", &all).unwrap();
        assert_eq!(limits.tokens_per_month.map(NonZeroU64::get), Some(5_000_000_000));
        assert_eq!(shown(&limits), all);
        assert_eq!(read("ann", &Map::new()).unwrap(), Limits::default());
        assert!(FIELDS.iter().all(|field| all.contains_key(*field)));
    }

    #[rstest]
    #[case(json!(0))]
    #[case(json!(-1))]
    #[case(json!(1.5))]
    #[case(json!("9"))]
    #[case(json!(null))]
    #[case(json!(5_000_000_000_u64))]
    fn what_is_no_number_of_requests_is_refused_at_its_place(#[case] value: Json) {
        let refusal = read("ann", &fields(json!({"requests_per_minute": value}))).unwrap_err();
        assert_eq!(refusal.place.as_deref(), Some("ann.requests_per_minute"));
        assert!(refusal.reason.unwrap().contains("whole number from 1"));
    }
}
