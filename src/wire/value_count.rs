//! How many values a body is made of, before memory is taken for each.

use axum::http::StatusCode;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::openai::error::ApiError;

/// The most values in a body: each takes some hundred bytes while it is read. A conversation of a million tokens has some ten
/// thousand.
const MAX_VALUES: usize = 250_000;

/// In so few bytes there cannot be more.
const FEW: usize = 2 * MAX_VALUES;

/// Counts the values of a body, without keeping any of them.
///
/// # Errors
/// 413 where there are more than [`MAX_VALUES`]. What else is wrong with it shows when it is read.
pub(super) fn expect_few_values(body: &[u8]) -> Result<(), ApiError> {
    if body.len() <= FEW {
        return Ok(());
    }
    let mut left = MAX_VALUES;
    let mut read = serde_json::Deserializer::from_slice(body);
    match (Counting { left: &mut left }.deserialize(&mut read), left) {
        (Err(_), 0) => {
            let message = format!("The body has more than {MAX_VALUES} values.");
            let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message);
            Err(error.with_code("request_too_large"))
        }
        _ => Ok(()),
    }
}

/// Counts down for each value, and fails at zero.
struct Counting<'a> {
    left: &'a mut usize,
}

impl Counting<'_> {
    fn again(&mut self) -> Counting<'_> {
        Counting { left: self.left }
    }

    fn count<E: Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.saturating_sub(1);
        if *self.left == 0 { Err(E::custom("too many values")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Counting<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counting<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key::<IgnoredAny>()?.is_some() {
            fields.next_value_seed(self.again())?;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _value: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _value: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _value: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _value: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn status(body: &str) -> Option<u16> {
        expect_few_values(body.as_bytes()).err().map(|error| error.status.as_u16())
    }

    #[rstest]
    #[case::numbers("0")]
    #[case::texts(r#""""#)]
    #[case::lists("[]")]
    #[case::objects(r#"{"a":-1.5}"#)]
    #[case::others("[null,true]")]
    fn too_many_values_of_any_kind_are_refused(#[case] value: &str) {
        let body = |number: usize| format!(r#"{{"x":[{}]}}"#, vec![value; number].join(","));
        let each = 1 + value.matches(['-', 'n', 't']).count();
        let most = (MAX_VALUES - 3) / each;
        assert_eq!(status(&body(most)), None);
        assert_eq!(status(&body(most + 3)), Some(413));
    }

    #[test]
    fn long_texts_and_what_is_no_json_are_left_to_others() {
        assert_eq!(status(&format!(r#"{{"x":"{}"}}"#, "a, ".repeat(1_000_000))), None);
        assert_eq!(status(&"[".repeat(1_000_000)), None);
        assert_eq!(status(&"}".repeat(1_000_000)), None);
    }
}
