//! The JSON Schema that the text of an answer must keep to.
//!
//! The model is shown it in one of two ways: as the form of its text, or as that of the arguments of a tool. Arguments are
//! always an object, so a schema of something else, or one whose root the CLI would rewrite (`anyOf`, `oneOf`, `allOf`), is
//! wrapped into one.

mod extent;
mod guarded;
mod subschemas;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use extent::expect_moderate;
use guarded::{Guarded, Verdict, on_large_stack};
use subschemas::for_each_schema;

/// A schema that was looked at and can be checked against. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AnswerSchema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    schema: Map<String, Value>,
    validator: Guarded,
    /// Its hash, by which it is known again.
    digest: [u8; 32],
}

/// The largest schema, as JSON: twice of what OpenAI takes.
const MAX_BYTES: usize = 256 * 1024;

/// The one property of an object that a schema is wrapped into.
const WRAPPED: &str = "value";

/// Two are the same if they say the same.
impl PartialEq for AnswerSchema {
    fn eq(&self, other: &Self) -> bool {
        self.0.schema == other.0.schema
    }
}

/// What is wrong with a schema, as a sentence for its author.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSchema(String);

/// Why a text is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// It is no JSON at all.
    #[error("it is not JSON")]
    NotJson,
    /// It takes too long to find out.
    #[error("it takes too long to check it")]
    NotChecked,
    /// It is JSON, but the schema forbids it.
    #[error("it does not match the schema at {0:?}")]
    At(String),
    /// It is JSON, but the schema forbids it, and the place is hard to find.
    #[error("it does not match the schema")]
    Somewhere,
}

impl AnswerSchema {
    /// Looks at a schema. What it refers to is looked for in itself, never on the network or in files.
    ///
    /// # Errors
    /// When it is no valid schema, refers to something outside, or is too much to check.
    pub fn new(schema: Map<String, Value>) -> Result<Self, InvalidSchema> {
        let json = serde_json::to_vec(&schema).map_err(|error| InvalidSchema(error.to_string()))?;
        if json.len() > MAX_BYTES {
            return Err(InvalidSchema("it is too large".to_owned()));
        }
        let patterns = on_large_stack(|| expect_moderate(&schema))
            .map_err(|excess| InvalidSchema(excess.to_string()))?;
        let validator = Guarded::new(&schema, patterns).map_err(InvalidSchema)?;
        let digest = Sha256::digest(json).into();
        Ok(Self(Arc::new(Inner { schema, validator, digest })))
    }

    /// What is known of the text of a schema: its hash.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// The schema of the arguments of a tool whose call is the answer.
    #[must_use]
    pub fn as_arguments(&self) -> Map<String, Value> {
        let schema = &self.0.schema;
        if !self.is_wrapped() {
            return schema.clone();
        }
        let mut inner = schema.clone();
        let dialect = inner.shift_remove("$schema");
        let id = inner.shift_remove("$id");
        move_references(&mut inner, id.as_ref().and_then(Value::as_str).unwrap_or_default());
        let mut wrapper = Map::new();
        wrapper.extend(dialect.map(|dialect| ("$schema".to_owned(), dialect)));
        wrapper.insert("type".to_owned(), "object".into());
        wrapper.insert("properties".to_owned(), json!({ WRAPPED: inner }));
        wrapper.insert("required".to_owned(), json!([WRAPPED]));
        wrapper.insert("additionalProperties".to_owned(), false.into());
        wrapper
    }

    /// Whether the answer is one property of the arguments, and not all of them.
    #[must_use]
    pub fn is_wrapped(&self) -> bool {
        let schema = &self.0.schema;
        let is_rewritten = |key| schema.contains_key(key);
        schema.get("type").is_none_or(|kind| kind != "object")
            || ["$ref", "anyOf", "oneOf", "allOf", "not", "if"].into_iter().any(is_rewritten)
    }

    /// The answer in arguments that are wrapped.
    #[must_use]
    pub fn unwrapped(arguments: &str) -> Option<&str> {
        let mut wrapper: HashMap<String, &RawValue> = serde_json::from_str(arguments).ok()?;
        wrapper.remove(WRAPPED).map(RawValue::get)
    }

    /// The schema, as its author wrote it.
    #[must_use]
    pub fn schema(&self) -> &Map<String, Value> {
        &self.0.schema
    }

    /// Whether a text is JSON that keeps to the schema. It may take some seconds to find out.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, text: &str) -> Result<(), Mismatch> {
        let value: Value = serde_json::from_str(text).map_err(|_| Mismatch::NotJson)?;
        match self.0.validator.check(&value) {
            Verdict::Matches => Ok(()),
            Verdict::DoesNot(Some(place)) => Err(Mismatch::At(place)),
            Verdict::DoesNot(None) => Err(Mismatch::Somewhere),
            Verdict::Unknown => Err(Mismatch::NotChecked),
        }
    }
}

/// Makes the references of a schema to itself right for its place in the wrapper. It may also call itself by its `id`, which
/// the wrapper does not have.
fn move_references(schema: &mut Map<String, Value>, id: &str) {
    for_each_schema(schema, &mut |schema| {
        let Some(Value::String(reference)) = schema.get_mut("$ref") else { return };
        let (of, path) = reference.split_once('#').unwrap_or((reference, ""));
        let is_own = of.is_empty() || of == id;
        if is_own && (path.is_empty() || path.starts_with('/')) {
            *reference = format!("#/properties/{WRAPPED}{path}");
        } else if is_own {
            *reference = format!("#{path}");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn schema(value: Value) -> Result<AnswerSchema, InvalidSchema> {
        let Value::Object(schema) = value else { panic!("an object") };
        AnswerSchema::new(schema)
    }

    #[rstest]
    #[case::object(json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}), r#"{"a":1}"#, r#"{"a":"1"}"#)]
    #[case::nested_reference(
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"], "$defs": {"n": {"type": "null"}}}),
        r#"{"a":null}"#, r#"{"a":1}"#
    )]
    #[case::any_of(json!({"anyOf": [{"type": "string"}, {"type": "array"}]}), r#""x""#, "1")]
    #[case::recursive(
        json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"], "additionalProperties": false}),
        r#"{"next":{"next":null}}"#, r#"{"next":{"next":1}}"#
    )]
    #[case::older_draft(json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{"type": "integer"}]}), "[1]", r#"["1"]"#)]
    #[case::any_object(json!({"type": "object"}), r#"{"a":[]}"#, "[]")]
    fn a_text_matches_or_does_not(#[case] of: Value, #[case] right: &str, #[case] wrong: &str) {
        let schema = schema(of).unwrap();
        schema.check(right).unwrap();
        assert!(matches!(schema.check(wrong), Err(Mismatch::At(_))));
        assert!(matches!(schema.check("Here you are: {}"), Err(Mismatch::NotJson)));
        assert!(matches!(schema.check(&format!("{right} {right}")), Err(Mismatch::NotJson)));
    }

    #[rstest]
    #[case(json!({"type": "objekt"}))]
    #[case(json!({"type": "object", "properties": []}))]
    #[case(json!({"$ref": "https://example.com/schema.json"}))]
    #[case(json!({"$ref": "file:///etc/passwd"}))]
    #[case(json!({"$ref": "#/$defs/absent"}))]
    #[case(json!({"type": "string", "pattern": "("}))]
    fn a_schema_that_is_wrong_or_refers_to_the_outside_is_refused(#[case] of: Value) {
        assert!(schema(of).is_err());
    }

    #[test]
    fn a_schema_that_would_take_days_to_check_is_refused() {
        let double = |next: usize| {
            let next = json!({"$ref": format!("#/$defs/a{next}")});
            json!({"allOf": [next, next]})
        };
        let mut definitions: Map<_, _> =
            (0..40).map(|place| (format!("a{place}"), double(place + 1))).collect();
        definitions.insert("a40".to_owned(), json!({}));
        assert!(schema(json!({"$ref": "#/$defs/a0", "$defs": definitions})).is_err());
        let long = "x".repeat(MAX_BYTES);
        assert!(schema(json!({"type": "object", "title": long})).is_err());
    }

    #[test]
    fn a_pattern_may_look_ahead_and_gives_up_before_it_takes_too_long() {
        let ahead = schema(json!({"type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]+$"})).unwrap();
        ahead.check(r#""abc1""#).unwrap();
        assert!(ahead.check(r#""abc""#).is_err());
        let slow = schema(json!({"type": "string", "pattern": r"^(a+)+(?!b)\1$"}));
        if let Ok(slow) = slow {
            assert!(slow.check(&format!("\"{}c\"", "a".repeat(60))).is_err());
        }
    }

    #[test]
    fn arguments_are_an_object_and_its_references_still_lead_somewhere() {
        let list = schema(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "array", "items": {"$ref": "#/$defs/$ref"},
            "$defs": {"$ref": {"type": "object", "properties": {"all": {"$ref": "#"}, "const": {"const": {"$ref": "#"}}}}},
        }))
        .unwrap();
        assert!(list.is_wrapped());
        let wrapper = AnswerSchema::new(list.as_arguments()).unwrap();
        wrapper.check(r##"{"value":[{"all":[{}],"const":{"$ref":"#"}}]}"##).unwrap();
        assert!(wrapper.check(r#"{"value":[{"all":[1]}]}"#).is_err());
        assert!(wrapper.check("[]").is_err());
        assert_eq!(AnswerSchema::unwrapped(r#"{ "value" : [ 1.0 ] }"#), Some("[ 1.0 ]"));
        assert_eq!((AnswerSchema::unwrapped("{}"), AnswerSchema::unwrapped("[1]")), (None, None));
    }

    #[test]
    fn a_schema_that_calls_itself_by_its_id_still_finds_itself_in_the_wrapper() {
        let list = schema(json!({
            "$id": "https://example.com/list", "type": "array",
            "items": {"anyOf": [{"$ref": "https://example.com/list"}, {"$ref": "#/$defs/number"}, {"$ref": "#name"}]},
            "$defs": {"number": {"type": "integer"}, "name": {"$anchor": "name", "type": "string"}},
        }))
        .unwrap();
        let wrapper = AnswerSchema::new(list.as_arguments()).unwrap();
        wrapper.check(r#"{"value":[[1],"a"]}"#).unwrap();
        assert!(wrapper.check(r#"{"value":[[null]]}"#).is_err());
    }

    #[rstest]
    #[case("date-time", "2026-01-31T10:00:00Z", "yesterday")]
    #[case("uuid", "123e4567-e89b-12d3-a456-426614174000", "1")]
    #[case("email", "ada@example.com", "ada")]
    fn formats_are_kept_to(#[case] format: &str, #[case] right: &str, #[case] wrong: &str) {
        let schema = schema(json!({"type": "string", "format": format})).unwrap();
        schema.check(&json!(right).to_string()).unwrap();
        assert!(schema.check(&json!(wrong).to_string()).is_err());
    }

    #[rstest]
    #[case("#/$defs/List<Foo Bar[]>")]
    #[case("#/$defs/List%3CFoo%20Bar%5B%5D%3E")]
    fn a_reference_may_hold_what_generators_write(#[case] reference: &str) {
        let schema =
            schema(json!({"$ref": reference, "$defs": {"List<Foo Bar[]>": {"type": "integer"}}})).unwrap();
        schema.check("1").unwrap();
        assert!(schema.check("null").is_err());
    }

    #[rstest]
    #[case(r"^\p{L}{1,20}$", "Ada", "1")]
    #[case(r"^\w{1,255}$", "Ada", "")]
    #[case(r"^[a-zA-Z0-9_]{1,1000}$", "Ada", "")]
    #[case(r"^[\w.+-]+@[\w-]+\.[\w.-]+$", "ada@example.com", "ada")]
    fn patterns_as_they_are_written_are_not_too_much(
        #[case] pattern: &str,
        #[case] right: &str,
        #[case] wrong: &str,
    ) {
        let schema = schema(json!({"type": "string", "pattern": pattern})).unwrap();
        schema.check(&json!(right).to_string()).unwrap();
        assert!(schema.check(&json!(wrong).to_string()).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_schema_is_said_without_what_stands_there() {
        let long = "x".repeat(10_000);
        let error = schema(json!({"properties": {"a": {"type": [long]}}})).unwrap_err().to_string();
        assert!(
            error.contains("/properties/a/type") && !error.contains("xx") && error.len() < 500,
            "{error}"
        );
    }

    #[test]
    fn an_object_stays_as_it_is() {
        let object = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
        let schema = schema(object.clone()).unwrap();
        assert!(!schema.is_wrapped());
        assert_eq!(Value::Object(schema.as_arguments()), object);
    }

    #[test]
    fn what_is_required_beside_something_else_is_no_schema() {
        let schema = schema(json!({"dependentRequired": {"card": ["address"]}})).unwrap();
        assert!(schema.check(r#"{"card": 1, "address": 2}"#).is_ok());
        assert!(matches!(schema.check(r#"{"card": 1}"#), Err(Mismatch::At(_))));
    }
}
