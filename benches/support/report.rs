//! What comes out: sections of Markdown.

use std::fmt;

use super::statistics::{Estimate, Samples};

/// A part of the document.
#[derive(Clone)]
pub struct Section {
    /// Its title.
    pub title: &'static str,
    /// What was measured, in a sentence or two.
    pub about: String,
    /// The figures.
    pub tables: Vec<Table>,
}

/// A table; the first column is text, the others are figures.
#[derive(Clone)]
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// What a figure must not exceed.
#[derive(Clone, Copy)]
pub enum Bar {
    /// So many times the CLI alone.
    Ratio(f64),
    /// So many milliseconds more than the CLI alone.
    More(f64),
    /// No bar.
    None,
}

impl Table {
    /// Without rows yet.
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Of cases that [`Table::compare`] adds.
    pub fn of_comparisons(what: &'static str) -> Self {
        Self::new(&[what, "CLI alone, ms", "Couplet, ms", "ratio (95 %)", "difference, ms (95 %)", "bar"])
    }

    /// A row.
    pub fn row(mut self, case: &str, figures: impl IntoIterator<Item = String>) -> Self {
        self.rows.push([case.to_owned()].into_iter().chain(figures).collect());
        self
    }

    /// A row that compares two medians.
    pub fn compare(self, case: &str, bare: &Samples, couplet: &Samples, bar: Bar) -> Self {
        let ratio = Estimate::of(couplet, bare, |couplet, bare| couplet / bare);
        let difference = Estimate::of(couplet, bare, |couplet, bare| couplet - bare);
        let bar = match bar {
            Bar::Ratio(most) => verdict(&format!("≤ {most} ×"), ratio.value <= most),
            Bar::More(most) => verdict(&format!("≤ +{most} ms"), difference.value <= most),
            Bar::None => String::new(),
        };
        let Estimate { value, low, high } = difference;
        let difference = format!("{} ({} … {})", signed(value), signed(low), signed(high));
        let Estimate { value, low, high } = ratio;
        let ratio = format!("{value:.3} ({low:.3} … {high:.3})");
        let medians = [milliseconds(bare.median()), milliseconds(couplet.median())];
        self.row(case, medians.into_iter().chain([ratio, difference, bar]))
    }
}

/// Milliseconds as they are told.
pub fn milliseconds(time: f64) -> String {
    if time < 100.0 { format!("{time:.1}") } else { format!("{time:.0}") }
}

fn signed(time: f64) -> String {
    if time.abs() < 100.0 { format!("{time:+.1}") } else { format!("{time:+.0}") }
}

/// A bar, and whether it is met.
pub fn verdict(bar: &str, is_met: bool) -> String {
    format!("{bar}: {}", if is_met { "met" } else { "**missed**" })
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}", self.title, self.about)?;
        self.tables.iter().try_for_each(|table| write!(f, "\n{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|---{}|", "|--:".repeat(self.columns.len() - 1))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}
