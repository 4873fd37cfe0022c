//! What Couplet holds when it has nothing to do.
#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::time::Duration;

use super::support::processes::{children_of, zombies_of};
use super::support::report::{Table, verdict};
use super::traffic::Tally;

/// Megabytes more for 100,000 requests.
const MEMORY_BAR: f64 = 1.0;

/// How much of the run is for warming up: pools, caches and the allocator's arenas fill.
const WARM_UP: f64 = 0.2;

/// Descriptors of a running CLI: three pipes, and one to learn of its end.
const DESCRIPTORS_OF_A_CLI: usize = 4;

/// What was seen, look for look.
#[derive(Debug, Default)]
pub struct Watch {
    looks: Vec<Look>,
}

#[derive(Debug)]
struct Look {
    requests: u64,
    after: Duration,
    /// MB that it holds, with the pages of its program.
    resident: f64,
    /// MB of its own data alone.
    anonymous: f64,
    descriptors: usize,
    threads: usize,
    children: usize,
    zombies: usize,
}

impl Watch {
    /// Looks once more.
    pub fn look(&mut self, id: u32, requests: u64, after: Duration) {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
        };
        let entries = |folder: &str| std::fs::read_dir(format!("/proc/{id}/{folder}")).unwrap().count();
        let look = Look {
            requests,
            after,
            resident: megabytes("VmRSS:"),
            anonymous: megabytes("RssAnon:"),
            descriptors: entries("fd"),
            threads: entries("task"),
            children: children_of(id).len(),
            zombies: zombies_of(id),
        };
        eprintln!("{look:?}");
        self.looks.push(look);
    }

    /// All looks.
    pub fn table(&self) -> Table {
        let columns = [
            "requests",
            "after, s",
            "RSS, MB",
            "of its own data, MB",
            "descriptors",
            "threads",
            "CLIs",
            "zombies",
        ];
        self.looks.iter().fold(Table::new(&columns), |table, look| {
            let figures = [
                look.after.as_secs().to_string(),
                format!("{:.1}", look.resident),
                format!("{:.1}", look.anonymous),
                look.descriptors.to_string(),
                look.threads.to_string(),
                look.children.to_string(),
                look.zombies.to_string(),
            ];
            table.row(&look.requests.to_string(), figures)
        })
    }

    /// What must hold, and whether it does.
    pub fn verdicts(&self, tally: &Tally) -> Table {
        let all = self.looks.last().map_or(0, |look| look.requests) as f64;
        let warm: Vec<_> = self.looks.iter().filter(|look| look.requests as f64 >= WARM_UP * all).collect();
        let growth = slope(warm.iter().map(|look| (look.requests as f64 / 1e5, look.resident)));
        let own = |look: &Look| look.descriptors.saturating_sub(DESCRIPTORS_OF_A_CLI * look.children);
        let (least, most) =
            (warm.iter().map(|look| own(look)).min(), warm.iter().map(|look| own(look)).max());
        let ends = (warm.first().map(|look| own(look)), warm.last().map(|look| own(look)));
        let zombies: usize = self.looks.iter().map(|look| look.zombies).sum();
        let wrong = tally.wrong();
        let (of, to) = (least.unwrap_or_default(), most.unwrap_or_default());
        Table::new(&["", "", "bar"])
            .row(
                "memory, MB more for 100,000 requests",
                [format!("{growth:+.2}"), verdict(&format!("≤ {MEMORY_BAR}"), growth <= MEMORY_BAR)],
            )
            .row(
                "descriptors but those of the CLIs",
                [format!("{of} to {to}"), verdict("the last look not above the first", ends.1 <= ends.0)],
            )
            .row("zombies", [zombies.to_string(), verdict("0", zombies == 0)])
            .row("wrong answers", [wrong.to_string(), verdict("0", wrong == 0)])
    }
}

/// The slope of the line that fits best.
fn slope(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<_> = points.collect();
    let number = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / number, y / number);
    let (above, below) = points.iter().fold((0.0, 0.0), |sum, point| {
        (sum.0 + (point.0 - x) * (point.1 - y), sum.1 + (point.0 - x).powi(2))
    });
    if below > 0.0 { above / below } else { 0.0 }
}
