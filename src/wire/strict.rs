//! Values are read as what they are: what should be an object must be one.
//!
//! serde makes a struct of a list too, field by field in the order of the source. No client means that.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// A value to be read. It lends its texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strict<'de>(pub(super) &'de Value);

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
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::messages_request::MessagesRequest;
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

    #[test]
    fn all_else_is_read_as_serde_does() {
        let body = json!({"model": "m", "max_tokens": 5, "temperature": 1, "top_p": 0.5, "stream": false, "top_k": null,
            "system": [{"type": "text", "text": "a"}], "stop_sequences": ["x"], "mcp_servers": [{"a": [1]}],
            "messages": [{"role": "user", "content": [{"type": "tool_use", "input": {"a": [{"b": null}]},
                "content": [{"type": "text", "text": "b"}]}]}]});
        let strictly = MessagesRequest::deserialize(Strict(&body)).unwrap();
        assert_eq!(format!("{strictly:?}"), format!("{:?}", MessagesRequest::deserialize(&body).unwrap()));
    }
}
