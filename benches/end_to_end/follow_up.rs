//! Conversations that go on, one at a time: the next question, and the result of a call.

use super::Bench;
use super::bare_cli::BareCli;
use super::client::Client;
use super::interleaved::interleaved;
use super::prompt::Prompt;
use super::support::couplet::Couplet;
use super::support::report::{Bar, Section, Table};
use super::support::statistics::Stopwatch;

/// The model answers it by a call.
const CALL: &str = r#"[[tool weather {"city":"Paris"}]]"#;

/// Runs for each of other parts: what is looked for is a few milliseconds, and a run takes a tenth of a second.
const MORE: usize = 3;

/// Measures it.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let couplet = Couplet::start(&bench.ground, &[]);
    let (plain, tools) = (Prompt::known(), Prompt::known().with_tools());
    let start = |prompt: &Prompt| {
        let mut bare = BareCli::start(&bench.bare);
        bare.set_up(&prompt.turn(""));
        bare
    };
    let (mut bare_live, mut bare_parked) = (start(&plain), start(&tools));
    let (mut live, mut parked) =
        (Client::connect(couplet.port(), &plain), Client::connect(couplet.port(), &tools));

    let [alone, through, alone_parked, through_parked] = interleaved(
        bench.runs * MORE,
        &mut [
            &mut || {
                couplet.wait_for_pool(0, 0);
                let begun = Stopwatch::start();
                bare_live.ask("and then?");
                bare_live.first_text();
                let time = begun.milliseconds();
                bare_live.end();
                time
            },
            &mut || {
                couplet.wait_for_pool(0, 0);
                live.ask("and then?")
            },
            &mut || {
                couplet.wait_for_pool(0, 0);
                bare_parked.ask(CALL);
                bare_parked.answer_call()
            },
            &mut || {
                couplet.wait_for_pool(0, 0);
                parked.ask_for_a_call(CALL)
            },
        ],
    );
    let table = Table::of_comparisons("Couplet, against a CLI that lives on")
        .compare("the next question", &alone, &through, Bar::More(3.0))
        .compare("the result of a call", &alone_parked, &through_parked, Bar::More(3.0));
    vec![Section {
        title: "A conversation that goes on, to the first text",
        about: format!(
            "The process of the last turn still holds the conversation, on both sides. A tool works for 20 ms before its \
             result is sent. n = {}.",
            bench.runs * MORE
        ),
        tables: vec![table],
    }]
}
