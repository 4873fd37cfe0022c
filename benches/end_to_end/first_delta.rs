//! New conversations, one at a time: from the question to the first text of the answer.

use super::Bench;
use super::bare_cli::BareCli;
use super::client::Client;
use super::interleaved::interleaved;
use super::prompt::Prompt;
use super::support::couplet::Couplet;
use super::support::report::{Bar, Section, Table, milliseconds};
use super::support::statistics::Stopwatch;

/// Processes that wait by default.
const WAITING: u64 = 3;

/// Measures it.
pub fn measure(bench: &Bench) -> Vec<Section> {
    // Ended conversations do not stay: each question is a fresh one.
    let couplet = Couplet::start(&bench.ground, &[("COUPLET_MAX_KEPT", "0")]);
    let (plain, tools) = (Prompt::known(), Prompt::known().with_tools());

    let cold = |prompt: &Prompt| {
        couplet.wait_for_pool(WAITING, 0);
        bare_cold(bench, prompt)
    };
    let when_asked = || {
        let mut bare = waiting(bench, &couplet);
        let begun = Stopwatch::start();
        bare.set_up_and_ask(&plain.turn("hi"));
        first_text(&mut bare, begun)
    };
    let ahead = || {
        let mut bare = waiting(bench, &couplet);
        bare.set_up(&plain.turn("hi"));
        bare.wait_for_rest();
        let begun = Stopwatch::start();
        bare.ask("hi");
        first_text(&mut bare, begun)
    };
    let known = |prompt: &Prompt| {
        // The others have asked for other things meanwhile, which the pool may have prepared for instead.
        couplet.wait_for_pool(WAITING, 0);
        Client::connect(couplet.port(), prompt).ask("hi");
        couplet.wait_for_pool(WAITING, 1);
        Client::connect(couplet.port(), prompt).ask("hi")
    };
    let unknown = |prompt: &Prompt| {
        couplet.wait_for_pool(WAITING, 0);
        Client::connect(couplet.port(), prompt).ask("hi")
    };
    let [cold, cold_tools, when_asked, ahead, known, unknown, known_tools, unknown_tools] = interleaved(
        bench.runs,
        &mut [
            &mut || cold(&plain),
            &mut || cold(&tools),
            &mut { when_asked },
            &mut { ahead },
            &mut || known(&plain),
            &mut || unknown(&Prompt::unknown()),
            &mut || known(&tools),
            &mut || unknown(&Prompt::unknown().with_tools()),
        ],
    );

    let alone = [
        ("started for the question", &cold),
        ("the same with three tools", &cold_tools),
        ("started earlier, set up with the question", &when_asked),
        ("started and set up earlier", &ahead),
    ];
    let alone =
        alone.into_iter().fold(Table::new(&["the CLI alone", "median, ms", "p95, ms"]), |table, row| {
            table.row(row.0, [milliseconds(row.1.median()), milliseconds(row.1.p95())])
        });
    let compared = Table::of_comparisons("Couplet, against a CLI that is started for the question")
        .compare("a known system prompt", &cold, &known, Bar::Ratio(0.25))
        .compare("an unknown system prompt", &cold, &unknown, Bar::Ratio(0.35))
        .compare("a known system prompt with known tools", &cold_tools, &known_tools, Bar::Ratio(0.25))
        .compare("an unknown one with unknown tools", &cold_tools, &unknown_tools, Bar::Ratio(0.35));
    vec![Section {
        title: "A new conversation, to the first text",
        about: "Known: asked for before, so that a process prepared for it waits. Unknown: never seen before, each time \
                a new one; any process that waits is set up for it when it is asked for."
            .to_owned(),
        tables: vec![alone, compared],
    }]
}

/// The time from the start of a process to the first text.
pub fn bare_cold(bench: &Bench, prompt: &Prompt) -> f64 {
    let begun = Stopwatch::start();
    let mut bare = BareCli::start(&bench.bare);
    bare.set_up_and_ask(&prompt.turn("hi"));
    first_text(&mut bare, begun)
}

/// A process that was started earlier, while nothing else moves.
fn waiting(bench: &Bench, couplet: &Couplet) -> BareCli {
    couplet.wait_for_pool(WAITING, 0);
    let bare = BareCli::start(&bench.bare);
    bare.wait_for_rest();
    bare
}

/// The time to the first text. The rest of the answer is read too.
fn first_text(bare: &mut BareCli, begun: Stopwatch) -> f64 {
    bare.first_text();
    let time = begun.milliseconds();
    bare.end();
    time
}
