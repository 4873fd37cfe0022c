//! How long a server takes from its start until it is healthy.

use super::Bench;
use super::support::couplet::Couplet;
use super::support::report::{Section, Table, milliseconds, verdict};
use super::support::statistics::Samples;

/// Milliseconds.
const BAR: f64 = 50.0;

/// Measures it.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let mut times = Samples::new();
    for run in 0..=bench.runs {
        eprint!("\r  {run} of {} ", bench.runs);
        let time = Couplet::start(&bench.ground, &[]).started_within;
        if run > 0 {
            times.push(time);
        }
    }
    eprintln!();
    let [median, p95, most] = [times.median(), times.p95(), times.most()].map(milliseconds);
    let table = Table::new(&["", "median, ms", "p95, ms", "most, ms", "bar"]).row(
        "until `GET /health` answers 200",
        [median, p95, most, verdict(&format!("≤ {BAR} ms"), times.median() <= BAR)],
    );
    vec![Section {
        title: "The server's start",
        about: "From the start of the program, with the default settings; it has been started before, so that it is in \
                the system's cache."
            .to_owned(),
        tables: vec![table],
    }]
}
