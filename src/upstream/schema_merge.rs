//! Two JSON Schemas as one that asks for both. Pure.
//!
//! As far as the makers of instances need it: what they do not look at, the second schema decides.

use serde_json::{Map, Value, json};

/// A schema less one field, and less what it merely defines.
pub(super) fn without(fields: &Map<String, Value>, field: &str) -> Map<String, Value> {
    let kept = fields.iter().filter(|(name, _)| *name != field && !defines(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What fits this fits both.
pub(super) fn merged(mut first: Map<String, Value>, second: &Map<String, Value>) -> Map<String, Value> {
    for (name, value) in second.iter().filter(|(name, _)| !defines(name)) {
        match first.get_mut(name) {
            Some(own) => merge_field(name, own, value),
            None => _ = first.insert(name.clone(), value.clone()),
        }
    }
    first
}

fn defines(name: &str) -> bool {
    matches!(name, "$defs" | "definitions")
}

fn merge_field(name: &str, own: &mut Value, other: &Value) {
    match name {
        "required" | "allOf" => {
            let further = other.as_array().into_iter().flatten();
            if let Some(own) = own.as_array_mut() {
                own.extend(further.cloned());
            }
        }
        "properties" => {
            let (Some(own), Some(other)) = (own.as_object_mut(), other.as_object()) else { return };
            for (name, property) in other {
                match own.get_mut(name) {
                    Some(first) => *first = json!({"allOf": [first.take(), property]}),
                    None => _ = own.insert(name.clone(), property.clone()),
                }
            }
        }
        "type" | "enum" => {
            let others = values(other);
            *own = values(own).into_iter().filter(|value| others.contains(value)).collect();
        }
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => {
            if other.as_f64() > own.as_f64() {
                *own = other.clone();
            }
        }
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" => {
            if other.as_f64() < own.as_f64() {
                *own = other.clone();
            }
        }
        // One of them at a time: the first is chosen from, and the second comes up with the choice.
        "anyOf" | "oneOf" => {}
        _ => *own = other.clone(),
    }
}

fn values(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}
