//! The schemas within a schema. Pure.

use serde_json::{Map, Value};

/// Does something to a schema and to all schemas in it. Under keywords that nobody knows there may be some as well, since a
/// reference can lead there, so that all objects there count as schemas.
pub(super) fn for_each_schema(
    schema: &mut Map<String, Value>,
    act: &mut impl FnMut(&mut Map<String, Value>),
) {
    for (key, value) in schema.iter_mut() {
        match (key.as_str(), value) {
            // Values, not schemas.
            ("const" | "enum" | "default" | "examples", _) => {}
            // Schemas by names, which may be any.
            (
                "properties" | "patternProperties" | "dependentSchemas" | "dependentRequired"
                | "dependencies" | "$defs" | "definitions",
                Value::Object(named),
            ) => named.values_mut().for_each(|value| for_each_in(value, act)),
            (_, value) => for_each_in(value, act),
        }
    }
    act(schema);
}

fn for_each_in(value: &mut Value, act: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(schema) => for_each_schema(schema, act),
        Value::Array(schemas) => schemas.iter_mut().for_each(|value| for_each_in(value, act)),
        _ => {}
    }
}
