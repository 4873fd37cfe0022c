//! What keeps a schema from taking more time, memory or stack than it is worth. Pure.
//!
//! The validator looks at each place of a schema for a value, so forty definitions that each refer twice to the next one would
//! keep it busy for days; it goes one call deeper for each schema within a schema, so that a chain of references would take
//! all of a stack; and each pattern is a program of its own.

use std::collections::{HashMap, HashSet};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// The largest extent: that of the largest schemas in use is some thousands.
const LARGEST_EXTENT: u64 = 20_000;

/// So many schemas, one within the other, may apply to the same value. Schemas in use have some ten.
const DEEPEST: usize = 64;

/// So many steps are taken to find out: as many as there are references to what is known already.
const MOST_STEPS: usize = 100_000;

/// So many different patterns there may be.
const MOST_PATTERNS: usize = 64;

/// What a schema is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("a '$ref' refers to something that is not in it")]
    UnknownReference,
    #[error("it is too large")]
    Extent,
    #[error("a schema in it refers to itself, or too many apply to the same value, each within another one")]
    Depth,
    #[error("it has too many patterns")]
    Patterns,
}

/// Looks whether a schema keeps to the limits; says how many different patterns it has.
///
/// # Errors
/// When it does not.
pub(super) fn expect_moderate(schema: &Map<String, Value>) -> Result<usize, Excess> {
    let mut names = Names::default();
    names.find(schema);
    let patterns = names.patterns.len();
    if patterns > MOST_PATTERNS {
        return Err(Excess::Patterns);
    }
    match Measuring::new(names).extent(schema, schema)? {
        ..=LARGEST_EXTENT => Ok(patterns),
        _ => Err(Excess::Extent),
    }
}

/// What can be found by a walk over all of a schema.
#[derive(Default)]
struct Names<'a> {
    /// Schemas by their `$id`, and by `#` and their anchor, of which there may be several of a name.
    schemas: HashMap<String, Vec<&'a Map<String, Value>>>,
    patterns: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn find(&mut self, object: &'a Map<String, Value>) {
        for (key, value) in object {
            match (key.as_str(), value) {
                ("$id", Value::String(id)) => self.schemas.entry(id.clone()).or_default().push(object),
                ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                    self.schemas.entry(format!("#{anchor}")).or_default().push(object);
                }
                ("pattern", Value::String(pattern)) => _ = self.patterns.insert(pattern),
                ("patternProperties", Value::Object(named)) => {
                    self.patterns.extend(named.keys().map(String::as_str));
                }
                _ => {}
            }
            self.find_in(value);
        }
    }

    fn find_in(&mut self, value: &'a Value) {
        match value {
            Value::Object(object) => self.find(object),
            Value::Array(items) => items.iter().for_each(|value| self.find_in(value)),
            _ => {}
        }
    }
}

struct Measuring<'a> {
    named: HashMap<String, Vec<&'a Map<String, Value>>>,
    /// `None` while it is being counted.
    extents: HashMap<Place, Option<u64>>,
    /// Likewise.
    depths: HashMap<Place, Option<usize>>,
    steps: usize,
}

/// A schema, and the one its references begin at.
type Place = (*const Map<String, Value>, *const Map<String, Value>);

/// A schema, and the one its own references begin at.
type Referred<'a> = (&'a Map<String, Value>, &'a Map<String, Value>);

impl<'a> Measuring<'a> {
    fn new(names: Names<'a>) -> Self {
        Self { named: names.schemas, extents: HashMap::new(), depths: HashMap::new(), steps: 0 }
    }

    fn step(&mut self) -> Result<(), Excess> {
        self.steps += 1;
        if self.steps > MOST_STEPS { Err(Excess::Extent) } else { Ok(()) }
    }

    /// The number of objects in a schema, with what it refers to counted at each place that refers to it; a reference to
    /// something that holds it counts once. `base` is the nearest schema around it that has an `$id`, where `#` leads to.
    fn extent(
        &mut self,
        object: &'a Map<String, Value>,
        base: &'a Map<String, Value>,
    ) -> Result<u64, Excess> {
        self.step()?;
        let (base, place) = place_of(object, base);
        match self.extents.get(&place) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Ok(0),
            None => _ = self.extents.insert(place, None),
        }
        self.depth(object, base)?;
        let mut extent: u64 = 1;
        for (key, value) in object {
            let more = match (key.as_str(), value) {
                // Looked at only where something refers to them; values, not schemas.
                ("$defs" | "definitions" | "const" | "enum" | "default" | "examples", _) => 0,
                ("properties" | "patternProperties" | "dependentSchemas", Value::Object(named)) => {
                    self.sum(named.values(), base)?
                }
                (_, Value::String(reference)) if is_reference(key) => {
                    let referred = self.referred(reference, base)?;
                    referred.into_iter().try_fold(0_u64, |sum, (object, base)| {
                        Ok(sum.saturating_add(self.extent(object, base)?))
                    })?
                }
                (_, value) => self.sum([value], base)?,
            };
            extent = extent.saturating_add(more);
        }
        self.extents.insert(place, Some(extent));
        Ok(extent)
    }

    fn sum(
        &mut self,
        values: impl IntoIterator<Item = &'a Value>,
        base: &'a Map<String, Value>,
    ) -> Result<u64, Excess> {
        values.into_iter().try_fold(0_u64, |sum, value| {
            let more = match value {
                Value::Object(object) => self.extent(object, base)?,
                Value::Array(items) => self.sum(items, base)?,
                _ => 0,
            };
            Ok(sum.saturating_add(more))
        })
    }

    /// How many schemas apply to the same value as this one, each within the other.
    fn depth(
        &mut self,
        object: &'a Map<String, Value>,
        base: &'a Map<String, Value>,
    ) -> Result<usize, Excess> {
        self.step()?;
        let (base, place) = place_of(object, base);
        match self.depths.get(&place) {
            Some(known) => return known.ok_or(Excess::Depth),
            None => _ = self.depths.insert(place, None),
        }
        let mut deepest = 0;
        for (within, base) in self.applied_beside(object, base)? {
            deepest = deepest.max(self.depth(within, base)?);
        }
        if deepest >= DEEPEST {
            return Err(Excess::Depth);
        }
        self.depths.insert(place, Some(deepest + 1));
        Ok(deepest + 1)
    }

    /// The schemas that apply to the same value because of this one.
    fn applied_beside(
        &self,
        object: &'a Map<String, Value>,
        base: &'a Map<String, Value>,
    ) -> Result<Vec<Referred<'a>>, Excess> {
        let mut beside = Vec::new();
        let mut add = |value: &'a Value| beside.extend(value.as_object().map(|object| (object, base)));
        let mut references = Vec::new();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().for_each(&mut add),
                ("not" | "if" | "then" | "else", schema) => add(schema),
                ("dependentSchemas" | "dependencies", Value::Object(named)) => {
                    named.values().for_each(&mut add);
                }
                (_, Value::String(reference)) if is_reference(key) => references.push(reference),
                _ => {}
            }
        }
        for reference in references {
            beside.extend(self.referred(reference, base)?);
        }
        Ok(beside)
    }

    /// What a reference leads to; nothing where that is `true` or `false`.
    fn referred(&self, reference: &str, base: &'a Map<String, Value>) -> Result<Vec<Referred<'a>>, Excess> {
        if let Some(schemas) = self.named.get(reference) {
            return Ok(schemas.iter().map(|schema| (*schema, base)).collect());
        }
        let (id, path) = reference.split_once('#').unwrap_or((reference, ""));
        let path = percent_decode_str(path).decode_utf8_lossy();
        let base = match id {
            "" => base,
            id if base.get("$id").is_some_and(|own| own == id) => base,
            id => self.named.get(id).and_then(|schemas| schemas.last()).ok_or(Excess::UnknownReference)?,
        };
        if path.is_empty() {
            return Ok(vec![(base, base)]);
        }
        match pointed_at(base, &path) {
            Some(Value::Object(object)) => Ok(vec![(object, base)]),
            Some(Value::Bool(_)) => Ok(Vec::new()),
            _ => Err(Excess::UnknownReference),
        }
    }
}

fn is_reference(key: &str) -> bool {
    matches!(key, "$ref" | "$dynamicRef" | "$recursiveRef")
}

/// Where the references of a schema begin, which is itself if it has an `$id`; and its place.
fn place_of<'a>(
    object: &'a Map<String, Value>,
    around: &'a Map<String, Value>,
) -> (&'a Map<String, Value>, Place) {
    let base = if object.get("$id").is_some_and(Value::is_string) { object } else { around };
    (base, (std::ptr::from_ref(object), std::ptr::from_ref(base)))
}

fn pointed_at<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut steps = path.strip_prefix('/')?.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
    let mut value = object.get(&steps.next()?)?;
    for step in steps {
        value = match value {
            Value::Object(object) => object.get(&step)?,
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn extent(schema: &Value) -> Result<u64, Excess> {
        let schema = schema.as_object().expect("an object");
        let mut names = Names::default();
        names.find(schema);
        Measuring::new(names).extent(schema, schema)
    }

    fn looked_at(schema: &Value) -> Result<(), Excess> {
        expect_moderate(schema.as_object().expect("an object")).map(drop)
    }

    #[rstest]
    #[case(json!({}), 1)]
    #[case(json!({"properties": {"a": {"type": "string"}, "b": {"items": [{}, {}]}}}), 5)]
    #[case(json!({"properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"not": {}}}}), 7)]
    #[case::itself(json!({"properties": {"next": {"$ref": "#"}}}), 2)]
    #[case::each_other(json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}}), 4)]
    #[case::by_anchor(json!({"$ref": "#a", "$defs": {"x": {"$anchor": "a", "not": {}}}}), 3)]
    #[case::by_id(json!({"$id": "T", "properties": {"next": {"$ref": "T"}, "other": {"$ref": "U"}}, "$defs": {"u": {"$id": "U"}}}), 4)]
    #[case::within_an_id(json!({"$ref": "U", "$defs": {"x": {}, "u": {"$id": "U", "$ref": "#/$defs/x", "$defs": {"x": {"not": {}}}}}}), 4)]
    #[case::encoded(json!({"$ref": "#/$defs/a%3Cb~1c%3E", "$defs": {"a<b/c>": {}}}), 2)]
    #[case::any(json!({"$ref": "#/$defs/x", "$defs": {"x": true}}), 1)]
    #[case::values(json!({"const": {"$ref": "nowhere"}, "enum": [{"$ref": "nowhere"}], "properties": {"const": {}, "$ref": {}}}), 3)]
    fn each_reference_counts_what_it_refers_to(#[case] schema: Value, #[case] expected: u64) {
        assert_eq!(extent(&schema), Ok(expected));
    }

    #[test]
    fn what_doubles_with_each_definition_is_very_large() {
        let double = |next: usize| {
            let next = json!({"$ref": format!("#/$defs/a{next}")});
            json!({"properties": {"x": next, "y": next}})
        };
        let mut definitions: Map<_, _> =
            (0..70).map(|place| (format!("a{place}"), double(place + 1))).collect();
        definitions.insert("a70".to_owned(), json!({}));
        assert_eq!(extent(&json!({"$ref": "#/$defs/a0", "$defs": definitions})), Ok(u64::MAX));
    }

    /// Each of them leads to the same list, and each from another place.
    #[test]
    fn many_references_to_much_are_not_counted_to_the_end() {
        let references: Vec<_> = (0..3000).map(|id| json!({"$id": id.to_string(), "$ref": "#a"})).collect();
        let much = json!({"$anchor": "a", "anyOf": vec![json!({}); 3000]});
        let schema = json!({"properties": {"x": {"prefixItems": references}}, "$defs": {"much": much}});
        assert_eq!(looked_at(&schema), Err(Excess::Extent));
    }

    #[rstest]
    #[case("#/$defs/absent")]
    #[case("#absent")]
    #[case("https://example.com/a.json")]
    fn what_refers_to_the_outside_has_no_extent(#[case] reference: &str) {
        assert_eq!(looked_at(&json!({"$ref": reference})), Err(Excess::UnknownReference));
    }

    /// Definitions that each refer to the next one, by `link`.
    fn chain(length: usize, link: impl Fn(Value) -> Value) -> Value {
        let next = |place: usize| link(json!({"$ref": format!("#/$defs/{}", place + 1)}));
        let mut definitions: Map<_, _> = (0..length).map(|place| (place.to_string(), next(place))).collect();
        definitions.insert(length.to_string(), json!({}));
        json!({"$ref": "#/$defs/0", "$defs": definitions})
    }

    #[rstest]
    #[case::references(&|next| next)]
    #[case::negations(&|next| json!({"not": next}))]
    #[case::choices(&|next| json!({"anyOf": [{"type": "null"}, next]}))]
    #[case::dependent(&|next| json!({"dependentSchemas": {"a": next}}))]
    fn only_so_many_schemas_apply_to_the_same_value(#[case] link: &dyn Fn(Value) -> Value) {
        assert_eq!(looked_at(&chain(20, link)), Ok(()));
        assert_eq!(looked_at(&chain(100, link)), Err(Excess::Depth));
        assert_eq!(looked_at(&chain(100, |next| json!({"items": link(next)}))), Ok(()));
    }

    #[rstest]
    #[case(json!({"$ref": "#"}))]
    #[case(json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]}))]
    #[case(json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}))]
    fn a_reference_that_leads_nowhere_but_to_itself_is_too_deep(#[case] schema: Value) {
        assert_eq!(looked_at(&schema), Err(Excess::Depth));
    }

    #[test]
    fn only_so_many_different_patterns_are_made_ready() {
        let of = |number: usize| {
            let patterns =
                (0..number).flat_map(|at| [json!({"pattern": format!("a{at}")}), json!({"pattern": "b"})]);
            json!({"allOf": patterns.collect::<Vec<_>>(), "patternProperties": {"^x": {}}})
        };
        assert_eq!(looked_at(&of(MOST_PATTERNS - 2)), Ok(()));
        assert_eq!(looked_at(&of(MOST_PATTERNS - 1)), Err(Excess::Patterns));
    }
}
