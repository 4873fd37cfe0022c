//! docs/metrics.md, made of the table. The file in the repository is compared with what is made here
//! (`tests/it/metrics.rs`).

use std::fmt::Write as _;

use super::table::{Kind, SECONDS, TABLE};

/// What stands before the metrics.
const INTRODUCTION: &str = include_str!("docs/introduction.md");

/// What stands behind them.
const QUERIES: &str = include_str!("docs/queries.md");

/// The traces.
const TRACES: &str = include_str!("docs/traces.md");

/// Where it is in the repository.
pub const PATH: &str = "docs/metrics.md";

/// Its text.
#[must_use]
pub fn text() -> String {
    let mut text = INTRODUCTION.to_owned();
    for metric in TABLE {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n### `{}`\n\n{} A {}.\n", metric.name, metric.help, metric.kind.as_str());
        if metric.kind == Kind::Histogram {
            let bounds: Vec<String> = SECONDS.iter().map(ToString::to_string).collect();
            let _ = write!(text, "Its bounds are {} s.\n", bounds.join(", "));
        }
        for (number, (label, values)) in metric.labels.iter().enumerate() {
            let before = if number == 0 { "\n" } else { "" };
            let _ = write!(text, "{before}- `{label}`: {values}\n");
        }
    }
    text + QUERIES + TRACES
}
