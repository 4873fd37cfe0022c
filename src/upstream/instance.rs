//! A value that fits a JSON Schema: what a model would answer, without one. Pure.
//!
//! It goes by `type`, `enum`, `const`, references within the schema, `anyOf`, `oneOf`, `allOf`, `properties`, `items`,
//! `prefixItems` and the bounds of numbers, lengths and formats. `not`, `if`, `contains` and the like are not looked at.

use std::cell::Cell;

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Value, json};

use super::schema_merge::{merged, without};

/// The most values an instance is made of: schemas reach this from outside in demo mode, and may be recursive.
const MOST_VALUES: usize = 1000;
/// Schemas within schemas are followed so deep.
const DEEPEST: usize = 64;
/// Optional properties are filled in so deep.
const OPTIONAL_DEPTH: usize = 8;
/// Longer texts are not made, whatever the schema wants.
const LONGEST_TEXT: usize = 10_000;

/// What an instance is made of where the schema leaves that open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Material<'a> {
    /// For numbers.
    pub number: f64,
    /// For texts.
    pub text: &'a str,
    /// Whether optional properties are filled in.
    pub optional: bool,
}

/// A value that fits the schema, with elements in its arrays, and with optional properties if they are wanted. Where these
/// have no end it has none of them, and it is null where nothing fits.
pub(super) fn instance(schema: &Value, material: Material<'_>) -> Value {
    let make = |generous| {
        let left = Cell::new(MOST_VALUES);
        Maker { root: schema, material, generous, left: &left }.value(schema, &Place::default())
    };
    make(true).or_else(|| make(false)).unwrap_or(Value::Null)
}

#[derive(Clone, Copy)]
struct Maker<'a> {
    root: &'a Value,
    material: Material<'a>,
    /// Whether optional parts are made.
    generous: bool,
    /// So many values may still be made.
    left: &'a Cell<usize>,
}

/// Where in the value something is made.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Schemas around it.
    depth: usize,
    /// Objects and arrays around it.
    level: usize,
    /// The references that led here.
    references: Vec<String>,
    /// Its place in the innermost array: elements differ.
    nth: usize,
}

impl Place {
    fn deeper(&self) -> Self {
        Self { depth: self.depth + 1, ..self.clone() }
    }

    fn within(&self, nth: usize) -> Self {
        Self { depth: self.depth + 1, level: self.level + 1, nth, ..self.clone() }
    }
}

impl Maker<'_> {
    /// `None` where nothing fits, or where it has no end.
    fn value(&self, schema: &Value, at: &Place) -> Option<Value> {
        self.left.set(self.left.get().checked_sub(1)?);
        let Some(fields) = schema.as_object() else {
            return (*schema != Value::Bool(false)).then(|| json!({}));
        };
        if at.depth > DEEPEST {
            return None;
        }
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            return self.referred(reference, fields, at);
        }
        if let Some(Value::Array(all)) = fields.get("allOf") {
            let mut whole = without(fields, "allOf");
            for part in all {
                whole = merged(whole, self.target(part)?.as_object()?);
            }
            return self.value(&Value::Object(whole), &at.deeper());
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = fields.get(key) {
                let base = without(fields, key);
                return choices.iter().find_map(|choice| self.chosen(&base, choice, at));
            }
        }
        self.plain(schema, at)
    }

    /// What a reference leads to, unless the same one has been followed often enough on the way.
    fn referred(&self, reference: &str, fields: &Map<String, Value>, at: &Place) -> Option<Value> {
        let most = if self.generous { 2 } else { 1 };
        if at.references.iter().filter(|followed| *followed == reference).count() >= most {
            return None;
        }
        let mut there = at.deeper();
        there.references.push(reference.to_owned());
        let target = self.root.pointer(reference.strip_prefix('#')?)?;
        if fields.len() == 1 {
            return self.value(target, &there);
        }
        let whole = merged(without(fields, "$ref"), target.as_object()?);
        self.value(&Value::Object(whole), &there)
    }

    /// A part of an `allOf`, its reference followed.
    fn target<'s>(&'s self, part: &'s Value) -> Option<&'s Value> {
        match part["$ref"].as_str() {
            Some(reference) => self.root.pointer(reference.strip_prefix('#')?),
            None => Some(part),
        }
    }

    fn chosen(&self, base: &Map<String, Value>, choice: &Value, at: &Place) -> Option<Value> {
        match choice.as_object() {
            Some(choice) if !base.is_empty() => {
                self.value(&Value::Object(merged(base.clone(), choice)), &at.deeper())
            }
            _ => self.value(choice, &at.deeper()),
        }
    }

    /// By a schema without references and alternatives.
    fn plain(&self, schema: &Value, at: &Place) -> Option<Value> {
        if let Some(constant) = schema.get("const") {
            return Some(constant.clone());
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.get(at.nth % values.len().max(1)).cloned();
        }
        let types = match &schema["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => vec![likely_type(schema)],
        };
        let (null, others): (Vec<&str>, Vec<&str>) = types.into_iter().partition(|kind| *kind == "null");
        others.into_iter().chain(null).find_map(|kind| match kind {
            "string" => Some(Value::String(self.text(schema, at.nth))),
            "number" => Some(json!(self.number(schema, at.nth, false))),
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction")]
            "integer" => Some(json!(self.number(schema, at.nth, true) as i64)),
            "boolean" => Some(json!(at.nth.is_multiple_of(2))),
            "null" => Some(Value::Null),
            "array" => self.array(schema, at),
            "object" => self.object(schema, at),
            _ => None,
        })
    }

    fn array(&self, schema: &Value, at: &Place) -> Option<Value> {
        let prefix = schema["prefixItems"].as_array().map(Vec::as_slice).unwrap_or_default();
        let least = length(schema, "minItems").unwrap_or(0);
        let wanted = if !self.generous {
            least
        } else if schema["items"].is_object() {
            least.max(prefix.len() + 1)
        } else {
            least.max(prefix.len())
        };
        let most = length(schema, "maxItems").unwrap_or(usize::MAX);
        let mut made = Vec::new();
        for nth in 0..wanted.min(most) {
            match self.value(prefix.get(nth).unwrap_or(&schema["items"]), &at.within(nth)) {
                Some(value) => made.push(value),
                None if nth >= least => break,
                None => return None,
            }
        }
        Some(Value::Array(made))
    }

    fn object(&self, schema: &Value, at: &Place) -> Option<Value> {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let with_optional = self.generous && self.material.optional && at.level < OPTIONAL_DEPTH;
        let mut made = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let needed = required.contains(&name.as_str());
            if !needed && !with_optional {
                continue;
            }
            match self.value(property, &at.within(at.nth)) {
                Some(value) => _ = made.insert(name.clone(), value),
                None if needed => return None,
                None => {}
            }
        }
        let further = &schema["additionalProperties"];
        for name in required {
            if !made.contains_key(name) {
                made.insert(name.to_owned(), self.value(further, &at.within(at.nth))?);
            }
        }
        // An object with properties of any name gets one of them.
        let shown = usize::from(with_optional && further.is_object() && made.is_empty());
        let least = length(schema, "minProperties").unwrap_or(0);
        for nth in 0..least.max(shown).saturating_sub(made.len()) {
            match self.value(further, &at.within(nth)) {
                Some(value) => _ = made.insert(self.name(schema, nth), value),
                None if made.len() >= least => break,
                None => return None,
            }
        }
        Some(Value::Object(made))
    }

    /// A name for a property that has none.
    fn name(&self, schema: &Value, nth: usize) -> String {
        let names = Maker { material: Material { text: "name", ..self.material }, ..*self };
        match &schema["propertyNames"] {
            Value::Object(fields) => match fields.get("enum").and_then(|names| names[nth].as_str()) {
                Some(name) => name.to_owned(),
                None => names.text(&schema["propertyNames"], nth),
            },
            _ => names.text(&Value::Null, nth),
        }
    }

    fn text(&self, schema: &Value, nth: usize) -> String {
        if let Some(text) = schema["format"].as_str().and_then(text_of_format) {
            return text.to_owned();
        }
        let least = length(schema, "minLength").unwrap_or(0).min(LONGEST_TEXT);
        let most = length(schema, "maxLength").unwrap_or(usize::MAX);
        if let Some(text) = schema["pattern"].as_str().and_then(|pattern| text_of_pattern(pattern, least)) {
            return text;
        }
        let text = match nth {
            0 => self.material.text.to_owned(),
            nth => format!("{} {}", nth + 1, self.material.text),
        };
        let padding = "x".repeat(least.saturating_sub(text.chars().count()));
        text.chars().chain(padding.chars()).take(most).collect()
    }

    fn number(&self, schema: &Value, nth: usize, whole: bool) -> f64 {
        let bound = |name: &str| schema[name].as_f64();
        let (least, above) = (bound("minimum"), bound("exclusiveMinimum"));
        let (most, below) = (bound("maximum"), bound("exclusiveMaximum"));
        let step = bound("multipleOf").filter(|step| *step > 0.0 && (!whole || step.fract() == 0.0));
        let step = step.or(whole.then_some(1.0));
        let fits = |number: &f64| {
            least.is_none_or(|least| *number >= least)
                && above.is_none_or(|above| *number > above)
                && most.is_none_or(|most| *number <= most)
                && below.is_none_or(|below| *number < below)
        };
        let hint = if whole { self.material.number.trunc() } else { self.material.number };
        #[expect(clippy::cast_precision_loss, reason = "arrays are short")]
        let wanted = hint + nth as f64 * step.unwrap_or(1.0);
        let (low, high) = (least.or(above), most.or(below));
        let middle = low.zip(high).map(|(low, high)| f64::midpoint(low, high));
        let gap = step.unwrap_or(1.0);
        let tries = [
            Some(wanted),
            least,
            above.map(|above| above + gap),
            most,
            below.map(|below| below - gap),
            middle,
            Some(0.0),
        ];
        let on_steps = tries.into_iter().flatten().flat_map(|number| match step {
            Some(step) => [(number / step).ceil() * step, (number / step).floor() * step],
            None => [number; 2],
        });
        on_steps.filter(|number| number.is_finite()).find(fits).unwrap_or(wanted)
    }
}

/// The type of a schema that does not say it.
fn likely_type(schema: &Value) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| schema.get(name).is_some());
    if has(&["properties", "required", "additionalProperties"]) {
        "object"
    } else if has(&["items", "prefixItems", "minItems"]) {
        "array"
    } else if has(&["minLength", "maxLength", "pattern", "format"]) {
        "string"
    } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        "number"
    } else {
        "object"
    }
}

fn length(schema: &Value, name: &str) -> Option<usize> {
    schema[name].as_u64().map(|length| usize::try_from(length).unwrap_or(usize::MAX))
}

fn text_of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => "2026-01-31",
        "date-time" => "2026-01-31T12:00:00Z",
        "time" => "12:00:00Z",
        "duration" => "P1D",
        "email" | "idn-email" => "someone@example.com",
        "uuid" => "6f1c3f0e-5b1a-4d52-9c0b-2f5a7e1d3c48",
        "uri" | "iri" | "url" | "uri-reference" | "iri-reference" => "https://example.com/",
        "hostname" | "idn-hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        _ => return None,
    })
}

/// A text that a pattern matches, at least so long if it can be; `None` where the pattern is beyond regular ones.
fn text_of_pattern(pattern: &str, least: usize) -> Option<String> {
    let pattern = regex_syntax::parse(pattern).ok()?;
    let mut shortest = None;
    for more in 0..=LONGEST_TEXT.min(least) {
        let mut text = String::new();
        matched(&pattern, more, &mut text)?;
        if text.chars().count() >= least {
            return Some(text);
        }
        shortest.get_or_insert(text);
    }
    shortest
}

/// Writes what a pattern matches, with so many repetitions more than there must be.
fn matched(pattern: &Hir, more: usize, text: &mut String) -> Option<()> {
    if text.len() > LONGEST_TEXT {
        return None;
    }
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let contains =
                |char: char| class.iter().any(|range| (range.start()..=range.end()).contains(&char));
            let first = class.iter().next()?.start();
            text.push(if contains('a') { 'a' } else { first });
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repeated) => {
            let least = repeated.min as usize;
            let most = repeated.max.map_or(usize::MAX, |most| most as usize);
            for _ in 0..(least + more).min(most) {
                matched(&repeated.sub, more, text)?;
            }
        }
        HirKind::Capture(capture) => matched(&capture.sub, more, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| matched(part, more, text))?,
        HirKind::Alternation(choices) => matched(choices.first()?, more, text)?,
    }
    Some(())
}

#[cfg(test)]
mod tests;
