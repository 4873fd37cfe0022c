//! How large a schema is when each of its references stands for what it refers to.
//!
//! The validator looks at each of these places for a value, so forty definitions that each refer twice to the next one would
//! keep it busy for days.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The largest extent: that of the largest schemas in use is some thousands.
pub(super) const MOST: u64 = 100_000;

/// Why the extent of a schema is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownReference;

/// The number of objects in a schema, with what it refers to counted at each place that refers to it; a reference to something
/// that holds it counts once.
pub(super) fn extent(schema: &Map<String, Value>) -> Result<u64, UnknownReference> {
    let mut counting = Counting { named: HashMap::new(), known: HashMap::new() };
    schema.values().for_each(|value| counting.find_names(value));
    counting.of_object(schema, schema)
}

struct Counting<'a> {
    /// Schemas by their `$id`, and by `#` and their anchor.
    named: HashMap<String, &'a Map<String, Value>>,
    /// `None` while it is being counted.
    known: HashMap<Place, Option<u64>>,
}

/// A schema, and the one its references begin at.
type Place = (*const Map<String, Value>, *const Map<String, Value>);

type Extent = Result<u64, UnknownReference>;

/// A schema, and the one its own references begin at; `None` for `true` and `false`.
type Referred<'a> = Option<(&'a Map<String, Value>, &'a Map<String, Value>)>;

impl<'a> Counting<'a> {
    fn find_names(&mut self, value: &'a Value) {
        match value {
            Value::Object(object) => {
                for (key, name) in object {
                    match (key.as_str(), name) {
                        ("$id", Value::String(id)) => drop(self.named.insert(id.clone(), object)),
                        ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                            self.named.insert(format!("#{anchor}"), object);
                        }
                        _ => {}
                    }
                }
                object.values().for_each(|value| self.find_names(value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.find_names(value)),
            _ => {}
        }
    }

    /// `base` is the nearest schema around it that has an `$id`, where `#` leads to.
    fn of_object(&mut self, object: &'a Map<String, Value>, base: &'a Map<String, Value>) -> Extent {
        let base = if object.get("$id").is_some_and(Value::is_string) { object } else { base };
        let place = (std::ptr::from_ref(object), std::ptr::from_ref(base));
        match self.known.get(&place) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Ok(0),
            None => {}
        }
        self.known.insert(place, None);
        let mut extent: u64 = 1;
        for (key, value) in object {
            let more = match (key.as_str(), value) {
                // Looked at only where something refers to them.
                ("$defs" | "definitions", Value::Object(_)) => 0,
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                    match self.referred(reference, base).ok_or(UnknownReference)? {
                        Some((object, base)) => self.of_object(object, base)?,
                        None => 0,
                    }
                }
                (_, value) => self.of(value, base)?,
            };
            extent = extent.saturating_add(more);
        }
        self.known.insert(place, Some(extent));
        Ok(extent)
    }

    fn of(&mut self, value: &'a Value, base: &'a Map<String, Value>) -> Extent {
        match value {
            Value::Object(object) => self.of_object(object, base),
            Value::Array(items) => {
                items.iter().try_fold(0_u64, |sum, item| Ok(sum.saturating_add(self.of(item, base)?)))
            }
            _ => Ok(0),
        }
    }

    fn referred(&self, reference: &str, base: &'a Map<String, Value>) -> Option<Referred<'a>> {
        if let Some(object) = self.named.get(reference) {
            return Some(Some((object, base)));
        }
        let (id, path) = reference.split_once('#').unwrap_or((reference, ""));
        let base = match id {
            "" => base,
            id if base.get("$id").is_some_and(|own| own == id) => base,
            id => self.named.get(id)?,
        };
        if path.is_empty() {
            return Some(Some((base, base)));
        }
        let mut steps =
            path.strip_prefix('/')?.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let mut value = base.get(&steps.next()?)?;
        for step in steps {
            value = match value {
                Value::Object(object) => object.get(&step)?,
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        match value {
            Value::Object(object) => Some(Some((object, base))),
            Value::Bool(_) => Some(None),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn of(schema: &Value) -> Result<u64, UnknownReference> {
        extent(schema.as_object().expect("an object"))
    }

    #[rstest]
    #[case(json!({}), 1)]
    #[case(json!({"properties": {"a": {"type": "string"}, "b": {"items": [{}, {}]}}}), 6)]
    #[case(json!({"properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"not": {}}}}), 8)]
    #[case::itself(json!({"properties": {"next": {"$ref": "#"}}}), 3)]
    #[case::each_other(json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}), 3)]
    #[case::by_anchor(json!({"$ref": "#a", "$defs": {"x": {"$anchor": "a", "not": {}}}}), 3)]
    #[case::by_id(json!({"$id": "T", "properties": {"next": {"$ref": "T"}, "other": {"$ref": "U"}}, "$defs": {"u": {"$id": "U"}}}), 5)]
    #[case::within_an_id(json!({"$ref": "U", "$defs": {"x": {}, "u": {"$id": "U", "$ref": "#/$defs/x", "$defs": {"x": {"not": {}}}}}}), 4)]
    #[case::any(json!({"$ref": "#/$defs/x", "$defs": {"x": true}}), 1)]
    fn each_reference_counts_what_it_refers_to(#[case] schema: Value, #[case] expected: u64) {
        assert_eq!(of(&schema), Ok(expected));
    }

    #[test]
    fn what_doubles_with_each_definition_is_very_large() {
        let double = |next: usize| {
            let next = json!({"$ref": format!("#/$defs/a{next}")});
            json!({"allOf": [next, next]})
        };
        let mut definitions: Map<_, _> =
            (0..70).map(|place| (format!("a{place}"), double(place + 1))).collect();
        definitions.insert("a70".to_owned(), json!({}));
        assert_eq!(of(&json!({"$ref": "#/$defs/a0", "$defs": definitions})), Ok(u64::MAX));
    }

    #[rstest]
    #[case("#/$defs/absent")]
    #[case("#absent")]
    #[case("https://example.com/a.json")]
    fn what_refers_to_the_outside_has_no_extent(#[case] reference: &str) {
        assert_eq!(of(&json!({"$ref": reference})), Err(UnknownReference));
    }
}
