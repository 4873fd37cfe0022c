//! What Couplet adds to the CLI: time to the first delta through Couplet and of the bare CLI.
//!
//!     CLAUDE_CLI_PATH=/path/to/claude cargo bench --bench end_to_end [-- RUNS]
//!
//! Three cases: a process that is started for the question, the next turn of a living process, and a parked process
//! whose call is answered. Both sides get the same switches, environment and frames ([`bare_cli`] is the baseline), and
//! the same scripted upstream that answers at once. The runs are interleaved, because machines drift; the medians, their
//! ratio and difference count, with 95 % confidence intervals (bootstrap).
#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own"
)]

mod bare_cli;
mod couplet;
mod frame_source;
mod memory;
mod pipe_copy;
mod relay;
mod statistics;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::couplet::turn::Tool;
use ::couplet::upstream::{Reply, Upstream};
use serde_json::{Value, json};

use bare_cli::BareCli;
use couplet::Couplet;
use statistics::{confidence, median, milliseconds};

const MODEL: &str = "claude-sonnet-5-5";
const TOKEN: &str = "sk-ant-oat01-benchmark";
const CALL: &str = r#"[[tool weather {"city":"Paris"}]]"#;

fn main() {
    if frame_source::run() || pipe_copy::run() || relay::run() || memory::run() {
        return;
    }
    let runs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(30);
    let cli: PathBuf = std::env::var_os("CLAUDE_CLI_PATH").expect("CLAUDE_CLI_PATH names the CLI").into();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    upstream.set_default(Reply::words(3));
    let state = tempfile::tempdir().unwrap();
    let line = bare_cli::command_line(&cli, state.path(), &upstream.base_url());

    println!("first delta, n = {runs}, interleaved");
    {
        let fresh = Couplet::start(&cli, state.path(), &upstream.base_url(), 0);
        compare("cold", runs, || {
            let through = fresh.client(&Value::Null).ask("hi");
            // The process of the answer ends before the next one begins.
            std::thread::sleep(Duration::from_millis(150));
            let begun = Instant::now();
            let mut bare = BareCli::start(&line, "hi", &[]);
            let alone = bare.first_text(begun);
            bare.end();
            (through, alone)
        });
    }
    let couplet = Couplet::start(&cli, state.path(), &upstream.base_url(), 16);
    {
        let mut client = couplet.client(&Value::Null);
        let mut bare = BareCli::start(&line, "hi", &[]);
        bare.end();
        client.ask("hi");
        compare("live", runs, || (client.ask("and then?"), bare.ask("and then?")));
    }
    {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let tools = json!([{"type": "function", "function": {"name": "weather", "description": "", "parameters": schema}}]);
        let tool = Tool {
            name: "weather".to_owned(),
            description: String::new(),
            schema: schema.as_object().cloned().unwrap(),
        };
        let mut client = couplet.client(&tools);
        let mut bare = BareCli::start(&line, CALL, &[tool]);
        bare.answer_call();
        client.ask_for_a_call(CALL);
        compare("parked", runs, || (client.ask_for_a_call(CALL), bare.ask_for_a_call(CALL)));
    }
}

/// Runs both sides so often, and tells their medians. The first run fills caches and does not count.
fn compare(what: &str, runs: usize, mut run: impl FnMut() -> (Duration, Duration)) {
    run();
    let times = (0..runs).map(|_| run()).map(|(through, alone)| (milliseconds(through), milliseconds(alone)));
    let (through, alone): (Vec<_>, Vec<_>) = times.unzip();
    let (couplet, bare) = (median(&through), median(&alone));
    let (low, high) = confidence(&through, &alone, |through, alone| through / alone);
    let (least, most) = confidence(&through, &alone, |through, alone| through - alone);
    println!("{what}");
    println!("  bare CLI    median {bare:.2} ms");
    println!("  Couplet     median {couplet:.2} ms");
    println!("  ratio       {:.3}  (95 %: {low:.3} to {high:.3})", couplet / bare);
    println!("  difference  {:.2} ms  (95 %: {least:.2} to {most:.2})", couplet - bare);
}
