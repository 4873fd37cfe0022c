//! One and eight questions at the same moment.

use super::Bench;
use super::client::Client;
use super::prompt::Prompt;
use super::support::couplet::Couplet;
use super::support::report::{Bar, Section, Table};
use super::wave::{COLUMNS, Waves};

/// Processes that wait, and questions that come at once.
const POOL: u64 = 8;

/// Measures it.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let couplet = Couplet::start(
        &bench.ground,
        &[("COUPLET_MAX_KEPT", "0"), ("COUPLET_WARM_MIN", "8"), ("COUPLET_WARM_MAX", "8")],
    );
    let prompt = Prompt::known();
    let [mut bare_one, mut bare_eight, mut one, mut eight] = [const { Waves::new() }; 4];
    Client::connect(couplet.port(), &prompt).ask("hi");
    for round in 1..=bench.runs {
        eprint!("\r  {round} of {} ", bench.runs);
        couplet.wait_for_pool(POOL, 1);
        bare_one.start_bare(bench, &prompt, 1);
        couplet.wait_for_pool(POOL, 1);
        one.ask_couplet(&couplet, &prompt, "hi", 1);
        couplet.wait_for_pool(POOL, 1);
        bare_eight.start_bare(bench, &prompt, 8);
        couplet.wait_for_pool(POOL, 1);
        eight.ask_couplet(&couplet, &prompt, "hi", 8);
    }
    eprintln!();
    let table = Table::new(&[&["at once"], &COLUMNS[..]].concat())
        .row("1: the CLI alone", bare_one.figures())
        .row("1: Couplet", one.figures())
        .row("8: the CLI alone", bare_eight.figures())
        .row("8: Couplet", eight.figures());
    let compared = Table::of_comparisons("until all were answered")
        .compare("1 question", &bare_one.all, &one.all, Bar::None)
        .compare("8 questions", &bare_eight.all, &eight.all, Bar::Ratio(0.35));
    vec![Section {
        title: "Several new conversations at once",
        about: "Eight processes wait in Couplet, which knows the system prompt; without Couplet a CLI is started for each \
                question, all at the same moment."
            .to_owned(),
        tables: vec![table, compared],
    }]
}
