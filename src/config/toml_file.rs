//! couplet.toml, flattened: the text of each key and the line it is in.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::values::Shape;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value as a variable would have it: lists with commas, tables as JSON.
    pub text: String,
    /// The line of the key, counted from 1.
    pub line: usize,
    /// The lines of the keys within a table, by their path as `gpt-4o.effort`.
    pub lines: BTreeMap<String, usize>,
}

/// What is wrong with a line. Values are not repeated: they may be secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a file's text. `shape` tells the shape of a known key; a key it does not know is its caller's to refuse, and has
/// an empty text.
///
/// # Errors
/// Each mistake, in the order of the lines.
pub fn parse(
    text: &str,
    shape: impl Fn(&str) -> Option<Shape>,
) -> Result<BTreeMap<String, Entry>, Vec<Mistake>> {
    let lines = Lines(text);
    let table = DeTable::parse(text).map_err(|error| {
        // Its `Display` would show the line.
        vec![Mistake { line: lines.of(error.span()), reason: format!("it is not TOML: {}", error.message()) }]
    })?;
    let (mut entries, mut mistakes) = (BTreeMap::new(), Vec::new());
    for (key, value) in table.get_ref() {
        let line = lines.of(Some(key.span()));
        let name = key.get_ref().as_ref();
        let mut within = BTreeMap::new();
        match shape(name).map_or_else(|| Ok(String::new()), |shape| flat(value, shape)) {
            Ok(text) => {
                if let DeValue::Table(table) = value.get_ref() {
                    lines.within(table, "", &mut within);
                }
                entries.insert(name.to_owned(), Entry { text, line, lines: within });
            }
            Err(wanted) => {
                let got = value.get_ref().type_str();
                mistakes
                    .push(Mistake { line, reason: format!("{name:?} must be {wanted}, not a TOML {got}") });
            }
        }
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
}

/// The text of a value, or what it must be.
fn flat(value: &Spanned<DeValue<'_>>, shape: Shape) -> Result<String, &'static str> {
    match (shape, value.get_ref()) {
        (Shape::Text | Shape::List | Shape::Table, DeValue::String(text)) => Ok(text.to_string()),
        (Shape::Text, _) => Err("a text in quotes"),
        (Shape::Number, DeValue::Integer(number)) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        (Shape::Number, DeValue::Float(number)) => Ok(number.as_str().to_owned()),
        (Shape::Number, _) => Err("a number without quotes"),
        (Shape::List, DeValue::Array(items)) => {
            let items: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            items.map(|items| items.join(",")).ok_or("a list of texts in quotes")
        }
        (Shape::List, _) => Err("a list of texts in quotes"),
        (Shape::Table, DeValue::Table(table)) => Ok(json_of_table(table).to_string()),
        (Shape::Table, _) => Err("a table"),
    }
}

fn json_of_table(table: &DeTable<'_>) -> Json {
    let fields = table.iter().map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref())));
    Json::Object(fields.collect::<Map<_, _>>())
}

fn json_of(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Boolean(value) => json!(value),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => json_of_table(table),
        // Those that JSON cannot have are refused by what reads it.
        DeValue::Integer(number) => json!(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => json!(number.as_str().parse::<f64>().ok()),
        DeValue::Datetime(_) => Json::Null,
    }
}

struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn of(&self, span: Option<Range<usize>>) -> usize {
        let before = span.and_then(|span| self.0.as_bytes().get(..span.start)).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count()
    }

    fn within(&self, table: &DeTable<'_>, path: &str, found: &mut BTreeMap<String, usize>) {
        for (key, value) in table {
            let path = format!("{path}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.within(inner, &format!("{path}."), found);
            }
            found.insert(path, self.of(Some(key.span())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(key: &str) -> Option<Shape> {
        Some(match key {
            "host" => Shape::Text,
            "port" => Shape::Number,
            "names" => Shape::List,
            "aliases" => Shape::Table,
            _ => return None,
        })
    }

    #[test]
    fn values_become_texts_with_lines() {
        let text = "host = \"::1\"\n# x\nport = 8_000\nnames = ['a', \"b\"]\nother = 1\n[aliases.x]\nmodel = 'm'\n\
             n = 8_000\nh = 0xff\nf = 1.5\nd = 1979-05-27\n";
        let entries = parse(text, shape).unwrap();
        let shown: Vec<_> =
            entries.iter().map(|(key, entry)| (key.as_str(), entry.text.as_str(), entry.line)).collect();
        assert_eq!(
            shown,
            [
                ("aliases", r#"{"x":{"d":null,"f":1.5,"h":255,"model":"m","n":8000}}"#, 6),
                ("host", "::1", 1),
                ("names", "a,b", 4),
                ("other", "", 5),
                ("port", "8000", 3),
            ]
        );
        assert_eq!(
            entries["aliases"].lines,
            [("x", 6), ("x.model", 7), ("x.n", 8), ("x.h", 9), ("x.f", 10), ("x.d", 11)]
                .map(|(key, line)| (key.to_owned(), line))
                .into()
        );
    }

    #[test]
    fn mistakes_name_the_line_and_never_the_value() {
        let text = "port = \"canary\"\nnames = [1]\nhost = 5\naliases = 7";
        let mistakes = parse(text, shape).unwrap_err();
        let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
        assert!(mistakes[0].reason.contains("\"port\" must be a number without quotes"));
        for broken in
            ["host = \"a\"\nport = canary\n", "host = \"a\"\nhost = \"canary\"", "host = \"a\"\ncanary"]
        {
            let mistakes = parse(broken, shape).unwrap_err();
            assert_eq!(mistakes[0].line, 2, "{mistakes:?}");
            assert!(!format!("{mistakes:?}").contains("canary"), "{mistakes:?}");
        }
    }
}
