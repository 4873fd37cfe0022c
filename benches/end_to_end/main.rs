//! What a client notices: how long it waits for the first word, alone and among others, and for the server itself.
//!
//!     CLAUDE_CLI_PATH=/path/to/claude cargo bench --bench end_to_end [-- [RUNS] [PART]…]
//!
//! The parts are those of [`PARTS`], all of them by default. What comes out on stdout is Markdown, for docs/performance.md;
//! stderr tells how far it is.
//!
//! The baseline is the CLI without Couplet ([`bare_cli`]): the same program, switches, environment and frames, before the
//! same scripted upstream that answers at once. What is compared is interleaved, because machines drift, and each run
//! begins when what the one before left behind has come to rest ([`processes`]): a process that starts in the background
//! takes half a second of a core. The medians count; 95 % confidence intervals are from a bootstrap ([`statistics`]).
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
mod children;
mod client;
mod couplet;
mod first_delta;
mod follow_up;
mod frame_source;
mod herd;
mod interleaved;
mod memory;
mod pipe_copy;
mod processes;
mod prompt;
mod refusals;
mod relay;
mod report;
mod slowloris;
mod start;
mod statistics;
mod wave;

use std::path::{Path, PathBuf};

use ::couplet::claude::command_line::CommandLine;
use ::couplet::upstream::{Reply, Upstream};

use report::Section;

const MODEL: &str = "claude-sonnet-5-5";
const TOKEN: &str = "sk-ant-oat01-benchmark";

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
    /// The CLI.
    cli: PathBuf,
    /// How it is started without Couplet.
    bare: CommandLine,
    /// Where the upstream listens.
    upstream: String,
    /// A folder for what the programs keep.
    state: PathBuf,
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
    children::end_with_this_program(&runtime);
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    upstream.set_default(Reply::words(3));
    let state = tempfile::tempdir().unwrap();
    let bench = Bench {
        runs,
        bare: bare_cli::command_line(&cli, state.path(), &upstream.base_url()),
        upstream: upstream.base_url(),
        state: state.path().to_owned(),
        cli,
    };

    let parts = PARTS.iter().filter(|part| chosen.is_empty() || chosen.iter().any(|name| name == part.0));
    let mut sections = Vec::new();
    for (name, measure) in parts {
        eprintln!("{name}");
        sections.extend(measure(&bench));
    }
    println!("{}\n", machine(&bench.cli, runs));
    for section in sections {
        println!("{section}");
    }
}

/// What was measured on.
fn machine(cli: &Path, runs: usize) -> String {
    let said = std::process::Command::new(cli).arg("--version").env_clear().output().unwrap().stdout;
    let cores = std::thread::available_parallelism().unwrap();
    let (own, cli) = (env!("CARGO_PKG_VERSION"), String::from_utf8(said).unwrap());
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(": "));
    format!(
        "Couplet {own}, Claude Code CLI {}, {cores} cores ({}), n = {runs}.",
        cli.split_whitespace().next().unwrap_or("?"),
        model.unwrap_or("of an unknown kind")
    )
}
