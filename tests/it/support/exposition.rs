//! Prometheus' text format, as far as it is written here. (`tests/it/python.rs` has it read by Prometheus' own parser.)

use std::collections::BTreeMap;

/// A line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` where it is of a histogram.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Reads it.
///
/// # Panics
/// At a line that is none.
pub fn read(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a value: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("a number: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => {
            let labels = rest.strip_suffix("\"}").unwrap_or_else(|| panic!("labels: {line}"));
            // No value has a quote in it.
            let label = |label: &str| {
                let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("a label: {line}"));
                (name.to_owned(), value.to_owned())
            };
            (name, labels.split("\",").map(label).collect())
        }
    };
    Sample { name: name.to_owned(), labels, value }
}
