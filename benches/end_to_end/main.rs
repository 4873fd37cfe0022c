//! What a client notices: how long it waits for the first word, alone and among others, and for the server itself.
//!
//!     CLAUDE_CLI_PATH=/path/to/claude cargo bench --bench end_to_end [-- [RUNS] [PART]…]
//!
//! The parts are those of [`PARTS`], all of them by default. What comes out on stdout is Markdown, for docs/performance.md;
//! stderr tells how far it is.
//!
//! The baseline is the CLI without Couplet ([`bare_cli`]): the same program, switches, environment and frames, before the
//! same scripted upstream that answers at once. What is compared is interleaved, because machines drift, and each run
//! begins when what the one before left behind has come to rest ([`support::processes`]): a process that starts in the background
//! takes half a second of a core. The medians count; 95 % confidence intervals are from a bootstrap ([`support::statistics`]).
//!
//! Linux only: processes are counted in `/proc`.
#![expect(
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own"
)]

mod at_once;
mod bare_cli;
mod bare_handler;
mod client;
mod first_delta;
mod follow_up;
mod frame_source;
mod herd;
mod interleaved;
mod memory;
mod pipe_copy;
mod prompt;
mod refusals;
mod relay;
mod slowloris;
mod start;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "some is for other benchmarks")]
mod support;
mod wave;

use std::path::PathBuf;
use std::time::Duration;

use ::couplet::claude::command_line::CommandLine;
use ::couplet::upstream::{Reply, Upstream};

use support::couplet::Ground;
use support::report::Section;

const MODEL: &str = "claude-sonnet-5-5";

/// The longest that all of it may take.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// A part of the measurements, by the name that chooses it.
type Part = (&'static str, fn(&Bench) -> Vec<Section>);

/// All of them, in the order in which they are told.
const PARTS: [Part; 9] = [
    ("first-delta", first_delta::measure),
    ("follow-up", follow_up::measure),
    ("at-once", at_once::measure),
    ("herd", herd::measure),
    ("start", start::measure),
    ("refusals", refusals::measure),
    ("slowloris", slowloris::measure),
    ("relay", relay::measure),
    ("memory", memory::measure),
];

/// What all parts need.
struct Bench {
    /// How often each thing is measured.
    runs: usize,
    /// How it is started without Couplet.
    bare: CommandLine,
    /// What Couplet is started on.
    ground: Ground,
}

fn main() {
    // It plays other parts as well, in processes of their own.
    if frame_source::run() || pipe_copy::run() || bare_handler::run() {
        return;
    }
    let (mut runs, mut chosen) = (30, Vec::new());
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with('-')) {
        match argument.parse() {
            Ok(number) => runs = number,
            Err(_) => chosen.push(argument),
        }
    }
    for name in &chosen {
        assert!(PARTS.iter().any(|part| part.0 == name), "there is no part {name:?}");
    }
    let cli: PathBuf = std::env::var_os("CLAUDE_CLI_PATH").expect("CLAUDE_CLI_PATH names the CLI").into();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    support::children::end_with_this_program(&runtime, LONGEST);
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    upstream.set_default(Reply::words(3));
    let state = tempfile::tempdir().unwrap();
    let bench = Bench {
        runs,
        bare: bare_cli::command_line(&cli, state.path(), &upstream.base_url()),
        ground: Ground { cli, upstream: upstream.base_url(), state: state.path().to_owned() },
    };

    let parts = PARTS.iter().filter(|part| chosen.is_empty() || chosen.iter().any(|name| name == part.0));
    let mut sections = Vec::new();
    for (name, measure) in parts {
        eprintln!("{name}");
        sections.extend(measure(&bench));
    }
    println!("{}, n = {runs}.\n", support::machine(&bench.ground.cli));
    for section in sections {
        println!("{section}");
    }
}
