//! The JSON Schema that the text of an answer must keep to.

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

/// A schema that was looked at and can be checked against. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AnswerSchema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    schema: Map<String, Value>,
    validator: Validator,
}

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
    /// It is JSON, but the schema forbids it.
    #[error("it does not match the schema at {0:?}")]
    At(String),
}

impl AnswerSchema {
    /// Looks at a schema. What it refers to is looked for in itself, never on the network or in files.
    ///
    /// # Errors
    /// When it is no valid schema, or refers to something outside.
    pub fn new(schema: Map<String, Value>) -> Result<Self, InvalidSchema> {
        let value = Value::Object(schema);
        // The linear engine: a pattern of the client's must not keep the server busy.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(&value).map_err(|error| InvalidSchema(error.to_string()))?;
        let Value::Object(schema) = value else { return Err(InvalidSchema("not an object".to_owned())) };
        Ok(Self(Arc::new(Inner { schema, validator })))
    }

    /// The schema, as its author wrote it.
    #[must_use]
    pub fn schema(&self) -> &Map<String, Value> {
        &self.0.schema
    }

    /// Whether a text is JSON that keeps to the schema.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, text: &str) -> Result<(), Mismatch> {
        let value: Value = serde_json::from_str(text).map_err(|_| Mismatch::NotJson)?;
        match self.0.validator.validate(&value) {
            Ok(()) => Ok(()),
            Err(error) => Err(Mismatch::At(error.instance_path().to_string())),
        }
    }
}
