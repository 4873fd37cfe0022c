//! A soak: Couplet under mixed work for a long time, with faults among it, and what that leaves behind.
//!
//!     cargo bench --bench soak -- stand-in 1000000
//!     CLAUDE_CLI_PATH=/path/to/claude cargo bench --bench soak -- real-cli 7200
//!
//! The first sends so many requests as fast as they are answered, with the stand-in in the place of the CLI; the second
//! asks the real CLI about once a second, for so many seconds. One request of twenty is a fault ([`traffic`]); every other
//! one must be answered to the letter. From time to time all clients pause, and what Couplet holds is looked at
//! ([`watch`]): its memory must not grow by more than a megabyte for 100,000 requests, its descriptors not at all, and no
//! process may stay behind. What comes out on stdout is Markdown; stderr tells how far it is.
//!
//! Linux only: it looks into `/proc`.
#![expect(
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark is a program of its own"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "some is for other benchmarks")]
mod support;
mod traffic;
mod watch;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::couplet::upstream::Upstream;
use tokio::sync::RwLock;

use support::couplet::{Couplet, Ground};
use support::report::Section;
use traffic::{Client, KEY, Kind, Tally};
use watch::Watch;

/// How long all clients pause before it is looked at what is left: the allocator gives back unused memory after ten
/// seconds.
const REST: Duration = Duration::from_secs(14);

/// How often it is looked, in a run.
const LOOKS: u32 = 20;

/// Between two questions of a client to the real CLI: with four clients about one question a second.
const THINKS: Duration = Duration::from_secs(3);

/// When the work ends.
#[derive(Debug, Clone, Copy)]
enum Length {
    Requests(u64),
    Time(Duration),
}

impl Length {
    /// How much of it is done, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn done(self, requests: u64, begun: Instant) -> f64 {
        match self {
            Self::Requests(all) => requests as f64 / all as f64,
            Self::Time(all) => begun.elapsed().as_secs_f64() / all.as_secs_f64(),
        }
    }
}

/// What is soaked.
struct Plan {
    title: &'static str,
    length: Length,
    clients: u64,
    thinks: Duration,
    /// Seconds that an answer may be silent; the API's stalls take as long.
    silence: &'static str,
    faults: &'static [Kind],
}

impl Plan {
    fn of(mut arguments: impl Iterator<Item = String>) -> Self {
        let name = arguments.next().expect("what: stand-in or real-cli");
        let number = arguments.next().map_or(1000, |number| number.parse().expect("how much: a number"));
        match &*name {
            "stand-in" => Self {
                title: "Soak with the stand-in",
                length: Length::Requests(number),
                clients: 24,
                thinks: Duration::ZERO,
                silence: "3",
                faults: &Kind::FAULTS,
            },
            "real-cli" => Self {
                title: "Soak with the real CLI",
                length: Length::Time(Duration::from_secs(number)),
                clients: 4,
                thinks: THINKS,
                silence: "10",
                faults: &Kind::FAULTS_OF_THE_REAL_CLI,
            },
            other => panic!("stand-in or real-cli, not {other}"),
        }
    }
}

fn main() {
    let plan = Plan::of(std::env::args().skip(1).filter(|argument| !argument.starts_with('-')));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    support::children::end_with_this_program(&runtime, Duration::from_secs(5 * 3600));
    let state = tempfile::tempdir().unwrap();
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    let cli = match plan.length {
        Length::Requests(_) => support::stand_in(state.path()),
        Length::Time(_) => {
            PathBuf::from(std::env::var_os("CLAUDE_CLI_PATH").expect("CLAUDE_CLI_PATH names the CLI"))
        }
    };
    println!("{}.\n", support::machine(&cli));
    let ground = Ground { cli, upstream: upstream.base_url(), state: state.path().to_owned() };
    let log = state.path().join("couplet.log");
    let settings = [
        ("COUPLET_API_KEYS", KEY),
        ("COUPLET_MAX_CONCURRENCY", "24"),
        ("COUPLET_MAX_KEPT", "8"),
        ("COUPLET_MEMORY_BUDGET", "16GiB"),
        ("COUPLET_IDLE_TIMEOUT", plan.silence),
    ];
    let file = Stdio::from(std::fs::File::create(&log).unwrap());
    let couplet = Couplet::start_with_log(&ground, &settings, file);
    let section = runtime.block_on(soak(&plan, &couplet));
    println!("{section}");
    let log = std::fs::read_to_string(log).unwrap();
    let panics = log.lines().filter(|line| line.contains("panicked")).count();
    println!("{} lines in the log, {panics} panics.", log.lines().count());
}

/// Sends the requests and tells what was seen.
async fn soak(plan: &Plan, couplet: &Couplet) -> Section {
    let (begun, sent, pause) = (Instant::now(), Arc::new(AtomicU64::new(0)), Arc::new(RwLock::new(())));
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let mut client = Client::new(couplet.port(), couplet.id(), plan.faults, number);
            let (sent, pause, length, thinks) = (sent.clone(), pause.clone(), plan.length, plan.thinks);
            tokio::spawn(async move {
                while length.done(sent.fetch_add(1, Ordering::Relaxed), begun) < 1.0 {
                    {
                        let _working = pause.read().await;
                        client.ask().await;
                    }
                    tokio::time::sleep(thinks).await;
                }
                client.tally
            })
        })
        .collect();
    let mut watch = Watch::default();
    for look in 1..=LOOKS {
        let due = f64::from(look) / f64::from(LOOKS);
        while plan.length.done(sent.load(Ordering::Relaxed), begun) < due {
            assert!(!clients.iter().any(|client| client.is_finished() && look < LOOKS), "a client failed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let _resting = pause.write().await;
        tokio::time::sleep(REST).await;
        watch.look(couplet.id(), sent.load(Ordering::Relaxed), begun.elapsed());
    }
    let mut tally = Tally::default();
    for client in clients {
        tally.add(&client.await.unwrap());
    }
    let about = format!(
        "{} requests in {} s by {} clients. {}",
        tally.all(),
        begun.elapsed().as_secs(),
        plan.clients,
        tally.faults_told()
    );
    Section { title: plan.title, about, tables: vec![tally.table(), watch.table(), watch.verdicts(&tally)] }
}
