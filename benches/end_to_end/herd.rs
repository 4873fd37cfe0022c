//! Far more questions at the same moment than processes wait, or would fit into memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::Duration;

use super::Bench;
use super::couplet::Couplet;
use super::processes::children_of;
use super::prompt::Prompt;
use super::report::{Bar, Section, Table, verdict};
use super::wave::{COLUMNS, Waves};

/// Questions at once.
const HERD: usize = 32;

/// What the processes of Couplet may take together, and how many those are: 180 MiB each.
const BUDGET: (&str, usize) = ("4GiB", 4096 / 180);

/// How often processes are counted.
const LOOK: Duration = Duration::from_millis(25);

/// Measures it. A wave takes some 20 s, so there are fewer of them than runs of other parts.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let waves = bench.runs.div_ceil(6);
    let couplet = Couplet::start(bench, &[("COUPLET_MAX_KEPT", "0"), ("COUPLET_MEMORY_BUDGET", BUDGET.0)]);
    let prompt = Prompt::known();
    couplet.client(&prompt).ask("hi");
    let (mut alone, mut through, mut most) = (Waves::new(), Waves::new(), 0);
    for wave in 1..=waves {
        eprint!("\r  {wave} of {waves} ");
        couplet.wait_for_pool(1, 1);
        alone.start_bare(bench, &prompt, HERD);
        couplet.wait_for_pool(1, 1);
        most = most.max(most_processes(&couplet, || through.ask_couplet(&couplet, &prompt, HERD)));
    }
    eprintln!();
    for error in &through.errors {
        eprintln!("  {error}");
    }
    let table = Table::new(&[&["32 at once"], &COLUMNS[..]].concat())
        .row("the CLI alone", alone.figures())
        .row("Couplet", through.figures());
    let compared = Table::of_comparisons("32 questions")
        .compare("first text", &alone.first_text, &through.first_text, Bar::Ratio(0.6))
        .compare("until all were answered", &alone.all, &through.all, Bar::None);
    let failed = through.errors.len();
    let bounds = Table::new(&["Couplet", "seen", "bar"])
        .row("errors", [failed.to_string(), verdict("0", failed == 0)])
        .row(
            "most processes at any time",
            [most.to_string(), verdict(&format!("≤ {}", BUDGET.1), most <= BUDGET.1)],
        );
    vec![Section {
        title: "A herd",
        about: format!(
            "32 questions reach an idle server at the same moment; without Couplet 32 CLIs are started. Couplet may take \
             4 GiB for processes, which is {} of them. {waves} waves on either side, {} questions each way; the intervals \
             take a wave as one observation.",
            BUDGET.1,
            waves * HERD
        ),
        tables: vec![table, compared, bounds],
    }]
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
