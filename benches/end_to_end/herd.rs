//! Far more questions at the same moment than processes wait, or would fit into memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::Duration;

use super::Bench;
use super::client::Client;
use super::prompt::Prompt;
use super::support::couplet::Couplet;
use super::support::processes::children_of;
use super::support::report::{Bar, Section, Table, verdict};
use super::wave::{COLUMNS, Waves};

/// Questions at once.
const HERD: usize = 32;

/// What the processes of Couplet may take together, and how many those are: 180 MiB each.
const AMPLE: (&str, usize) = ("4GiB", 4096 / 180);

/// The same where that is far less than is asked for.
const TIGHT: (&str, usize) = ("1GiB", 1024 / 180);

/// An answer of a second, so that processes pile up.
const SLOW: &str = "[[words 11]] [[slow 0.1]]";

/// How often processes are counted.
const LOOK: Duration = Duration::from_millis(25);

/// Measures it. A wave takes some 20 s, so there are fewer of them than runs of other parts.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let waves = bench.runs.div_ceil(6);
    let prompt = Prompt::known();
    let mut alone = Waves::new();
    let mut ample = Herd::of(bench, AMPLE.0);
    for wave in 1..=waves {
        eprint!("\r  {wave} of {waves} ");
        ample.wait();
        alone.start_bare(bench, &prompt, HERD);
        ample.wait();
        ample.ask(&prompt, "hi");
    }
    let Herd { waves: through, most, .. } = ample;
    let mut tight = Herd::of(bench, TIGHT.0);
    tight.wait();
    tight.ask(&prompt, SLOW);
    eprintln!();
    for error in through.errors.iter().chain(&tight.waves.errors) {
        eprintln!("  {error}");
    }

    let table = Table::new(&[&["32 at once"], &COLUMNS[..]].concat())
        .row("the CLI alone", alone.figures())
        .row("Couplet", through.figures());
    let compared = Table::of_comparisons("32 questions")
        .compare("first text", &alone.first_text, &through.first_text, Bar::Ratio(0.6))
        .compare("until all were answered", &alone.all, &through.all, Bar::None);
    let bounds = Table::new(&["memory for processes", "errors", "most processes at any time"])
        .row(AMPLE.0, bounds(&through, most, AMPLE.1))
        .row(&format!("{}, and answers of a second", TIGHT.0), bounds(&tight.waves, tight.most, TIGHT.1));
    vec![Section {
        title: "A herd",
        about: format!(
            "32 questions reach an idle server at the same moment, where three processes wait; without Couplet 32 CLIs are \
             started. {waves} waves on either side, {} questions each way; the intervals take a wave as one observation. \
             The last row is one wave more.",
            waves * HERD
        ),
        tables: vec![table, compared, bounds],
    }]
}

/// A server, what became of the waves that reached it, and how many processes it had at most.
struct Herd {
    couplet: Couplet,
    waves: Waves,
    most: usize,
}

impl Herd {
    /// A server that may take so much memory, and has heard of the system prompt.
    fn of(bench: &Bench, memory: &str) -> Self {
        // After a herd more processes would wait for the next one: then it were not idle any more.
        let settings =
            [("COUPLET_MAX_KEPT", "0"), ("COUPLET_MEMORY_BUDGET", memory), ("COUPLET_WARM_MAX", "3")];
        let couplet = Couplet::start(&bench.ground, &settings);
        Client::connect(couplet.port(), &Prompt::known()).ask("hi");
        Self { couplet, waves: Waves::new(), most: 0 }
    }

    /// Waits until it is idle.
    fn wait(&self) {
        // Where memory is short fewer wait than should by default.
        self.couplet.wait_for_pool(2, 1);
    }

    /// A wave.
    fn ask(&mut self, prompt: &Prompt, question: &str) {
        let (couplet, waves) = (&self.couplet, &mut self.waves);
        let most = most_processes(couplet, || waves.ask_couplet(couplet, prompt, question, HERD));
        self.most = self.most.max(most);
    }
}

fn bounds(waves: &Waves, most: usize, allowed: usize) -> [String; 2] {
    let errors = waves.errors.len();
    [
        format!("{errors} ({})", verdict("0", errors == 0)),
        format!("{most} ({})", verdict(&format!("≤ {allowed}"), most <= allowed)),
    ]
}

/// The highest number of processes that Couplet has while something runs.
fn most_processes(couplet: &Couplet, run: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    scope(|threads| {
        let looking = threads.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(children_of(couplet.id()).len());
                std::thread::sleep(LOOK);
            }
            most
        });
        run();
        over.store(true, Ordering::Relaxed);
        looking.join().unwrap()
    })
}
