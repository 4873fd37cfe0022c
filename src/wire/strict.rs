//! Values are read as what JSON says they are.
//!
//! What should be an object must be one: serde makes a struct of a list too, field by field in the order of the source, and no
//! client means that. And `4096.0` is a whole number: JSON does not tell it from `4096`, nor do clients in languages that
//! do not.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// A value to be read. It lends its texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strict<'de>(pub(super) &'de Value);

/// Beyond this not every whole number has a floating point number of its own.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Strict<'_> {
    /// The whole number that is written as a floating point number.
    fn whole(self) -> Option<u64> {
        let number = self.0.as_f64().filter(|_| self.0.is_f64())?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in range"
        )]
        (number.fract() == 0.0 && (0.0..=MAX_WHOLE).contains(&number)).then_some(number as u64)
    }
}

impl<'de> IntoDeserializer<'de, Error> for Strict<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Strict));
                let read = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(read)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.as_str(), Strict(value)));
                let mut fields = MapDeserializer::new(fields);
                let read = visitor.visit_map(&mut fields)?;
                fields.end()?;
                Ok(read)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.whole() {
            Some(number) => visitor.visit_u64(number),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.is_array() {
            return Err(Error::invalid_type(Unexpected::Seq, &visitor));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat_request::ChatRequest;
    use rstest::rstest;
    use serde::Deserialize;
    use serde_json::json;

    #[rstest]
    #[case(json!({"model": "m", "messages": [["user", null, "text"]]}))]
    #[case(json!({"model": "m", "messages": [], "stream_options": [true]}))]
    #[case(json!({"model": "m", "messages": [], "tools": [["function", ["f", null, null, null]]]}))]
    #[case(json!(["m", []]))]
    fn a_list_is_no_object(#[case] body: Value) {
        let error = ChatRequest::deserialize(Strict(&body)).expect_err("a list");
        assert!(error.to_string().starts_with("invalid type: sequence, expected struct "), "{error}");
    }

    #[rstest]
    #[case(json!(4096.0), Ok(4096))]
    #[case(json!(0.0), Ok(0))]
    #[case(json!(-0.0), Ok(0))]
    #[case(json!(4_294_967_295.0), Ok(u32::MAX))]
    #[case(json!(4_294_967_296.0), Err("invalid value: integer `4294967296`, expected u32"))]
    #[case(json!(1e30), Err("invalid type: floating point `1e+30`, expected u32"))]
    #[case(json!(0.5), Err("invalid type: floating point `0.5`, expected u32"))]
    #[case(json!(-1.0), Err("invalid type: floating point `-1.0`, expected u32"))]
    #[case(json!("1"), Err("invalid type: string \"1\", expected u32"))]
    fn a_whole_number_may_have_a_point(#[case] value: Value, #[case] read: Result<u32, &str>) {
        let number = u32::deserialize(Strict(&value)).map_err(|error| error.to_string());
        assert_eq!(number, read.map_err(ToOwned::to_owned));
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Read {
        text: String,
        number: f64,
        switch: Option<bool>,
        list: Vec<Read>,
        any: Option<Value>,
        boxed: Option<Box<Read>>,
    }

    #[test]
    fn all_else_is_read_as_serde_does() {
        let inner =
            json!({"text": "b", "number": 1, "list": [], "any": [{"a": [1, null]}], "unknown": {"x": 0}});
        let body =
            json!({"text": "a", "number": 0.5, "switch": true, "list": [inner], "any": null, "boxed": inner});
        let strictly = Read::deserialize(Strict(&body)).unwrap();
        assert_eq!(strictly, Read::deserialize(&body).unwrap());
        assert_eq!(strictly.boxed.unwrap().any, Some(json!([{"a": [1, null]}])));
    }
}
