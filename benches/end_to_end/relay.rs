//! What a frame costs on its way through Couplet, against the least that could be done ([`super::pipe_copy`]).
//!
//! Both read the same frames ([`super::frame_source`]) and serve the same client. CPU is that of their own process, without
//! its children, from the first delta to the end of the stream: the start of a process is not in it. One stream in a
//! burst, and some streams whose deltas trickle.
#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::frame_source::PAUSE;
use super::pipe_copy::PipeCopy;
use super::support::TOKEN;
use super::support::couplet::Couplet;
use super::support::report::{Section, Table, verdict};
use super::support::statistics::{Estimate, Samples};
use super::{Bench, MODEL};

/// How the frames of a run come.
struct Load {
    name: &'static str,
    streams: usize,
    /// For each stream.
    deltas: usize,
    /// Between two deltas; zero for a burst.
    apart: Duration,
}

const LOADS: [Load; 2] = [
    Load { name: "burst", streams: 1, deltas: 20_000, apart: Duration::ZERO },
    Load { name: "trickle", streams: 8, deltas: 250, apart: Duration::from_millis(4) },
];

/// At most so many times the CPU of the minimal copy.
const BAR: f64 = 2.0;

/// Measures it.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let this = std::env::current_exe().unwrap();
    let settings =
        [("CLAUDE_CLI_PATH", this.to_str().unwrap()), ("COUPLET_MAX_KEPT", "0"), ("COUPLET_WARM_MAX", "0")];
    let couplet = Couplet::start(&bench.ground, &settings);
    let copy = PipeCopy::start();
    let mut cpu = Table::new(&["", "minimal copy, µs a delta", "Couplet, µs a delta", "ratio (95 %)", "bar"]);
    let columns = ["", "deltas a second", "chunks a delta", "events a write", "bytes a write"];
    let mut flow = Table::new(&columns);
    for load in &LOADS {
        let name = format!("{}: {} × {} deltas", load.name, load.streams, load.deltas);
        let mut sides = [Vec::new(), Vec::new()];
        for run in 0..=bench.runs {
            eprint!("\r  {} {run} of {} ", load.name, bench.runs);
            let measured = [(couplet.port(), couplet.id()), (copy.port, copy.id())]
                .map(|(port, process)| observe(load, port, process));
            // The first run fills caches and does not count.
            if run > 0 {
                std::iter::zip(&mut sides, measured).for_each(|(side, run)| side.push(run));
            }
        }
        let of = |side: &[Run], figure: fn(&Run) -> f64| {
            let mut samples = Samples::new();
            for run in side {
                samples.push(figure(run));
            }
            samples
        };
        let [through, least] = &sides;
        let [through_cpu, least_cpu] = [through, least].map(|side| of(side, |run| run.cpu_per_delta));
        let ratio = Estimate::of(&through_cpu, &least_cpu, |through, least| through / least);
        cpu = cpu.row(
            &name,
            [
                format!("{:.2}", least_cpu.median()),
                format!("{:.2}", through_cpu.median()),
                format!("{:.2} ({:.2} … {:.2})", ratio.value, ratio.low, ratio.high),
                verdict(&format!("≤ {BAR} ×"), ratio.value <= BAR),
            ],
        );
        for (who, side) in [("Couplet", through), ("minimal copy", least)] {
            let median = |figure: fn(&Run) -> f64| of(side, figure).median();
            flow = flow.row(
                &format!("{}, {who}", load.name),
                [
                    format!("{:.0}", median(|run| run.deltas_per_second)),
                    format!("{:.2}", median(|run| run.events_per_delta)),
                    format!("{:.1}", median(|run| run.events_per_piece)),
                    format!("{:.0}", median(|run| run.bytes_per_piece)),
                ],
            );
        }
    }
    eprintln!();
    vec![Section {
        title: "What a delta costs on its way",
        about: "CPU of the server's own process, against a program that does nothing but make a minimal event of each line \
                of a pipe. Both read from the same program in place of the CLI. Deltas that trickle each leave by \
                themselves; a burst is written together."
            .to_owned(),
        tables: vec![cpu, flow],
    }]
}

/// What one run showed.
struct Run {
    /// In µs.
    cpu_per_delta: f64,
    deltas_per_second: f64,
    events_per_delta: f64,
    bytes_per_piece: f64,
    events_per_piece: f64,
}

fn observe(load: &Load, port: u16, process: u32) -> Run {
    let begun = Barrier::new(load.streams + 1);
    let (cpu, seen, time) = std::thread::scope(|scope| {
        let stream = || {
            let mut stream = Stream::ask(port, load);
            let first = stream.until_first_delta();
            begun.wait();
            (stream.until_the_end(first), Instant::now())
        };
        let streams: Vec<_> = (0..load.streams).map(|_| scope.spawn(stream)).collect();
        begun.wait();
        // The rest of the pause, so that what the beginning has set off is over.
        std::thread::sleep(PAUSE / 4);
        let before = cpu_time(process);
        let from = Instant::now();
        let (mut seen, mut end) = (Seen::default(), from);
        for stream in streams {
            let (of_one, at) = stream.join().unwrap();
            seen = seen.and(of_one);
            end = end.max(at);
        }
        let cpu = cpu_time(process).checked_sub(before).unwrap();
        (cpu, seen, end.duration_since(from).saturating_sub(PAUSE * 3 / 4))
    });
    let deltas = (load.streams * load.deltas) as f64;
    Run {
        cpu_per_delta: cpu.as_secs_f64() * 1e6 / deltas,
        deltas_per_second: deltas / time.as_secs_f64(),
        events_per_delta: seen.deltas as f64 / deltas,
        bytes_per_piece: seen.bytes as f64 / seen.pieces as f64,
        events_per_piece: seen.deltas as f64 / seen.pieces as f64,
    }
}

/// What came over a connection.
#[derive(Default, Clone, Copy)]
struct Seen {
    /// Pieces of the chunked body.
    pieces: usize,
    bytes: usize,
    /// Events with a piece of text in them.
    deltas: usize,
}

impl Seen {
    fn and(self, other: Self) -> Self {
        Self {
            pieces: self.pieces + other.pieces,
            bytes: self.bytes + other.bytes,
            deltas: self.deltas + other.deltas,
        }
    }
}

struct Stream(BufReader<TcpStream>);

impl Stream {
    fn ask(port: u16, load: &Load) -> Self {
        let question = format!("deltas {} {}", load.deltas, load.apart.as_micros());
        let messages: Value = json!([{"role": "user", "content": question}]);
        let body = json!({"model": MODEL, "stream": true, "messages": messages}).to_string();
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
             connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        let mut stream = Self(BufReader::with_capacity(256 * 1024, connection));
        while stream.line().trim_end() != "" {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// The next piece of the body; empty at its end.
    fn piece(&mut self) -> Vec<u8> {
        let length = usize::from_str_radix(self.line().trim_end(), 16).unwrap();
        let mut piece = vec![0; length + 2];
        self.0.read_exact(&mut piece).unwrap();
        piece.truncate(length);
        piece
    }

    fn until_first_delta(&mut self) -> Seen {
        let mut seen = Seen::default();
        while seen.deltas == 0 {
            seen = seen.and(look(&self.piece()));
        }
        seen
    }

    fn until_the_end(mut self, mut seen: Seen) -> Seen {
        loop {
            let piece = self.piece();
            if piece.is_empty() {
                return seen;
            }
            seen = seen.and(look(&piece));
        }
    }
}

fn look(piece: &[u8]) -> Seen {
    const DELTA: &[u8] = b"\"delta\":{\"content\":\"w";
    let events = piece.split(|byte| *byte == b'\n');
    let deltas = events.filter(|event| event.windows(DELTA.len()).any(|part| part == DELTA)).count();
    Seen { pieces: 1, bytes: piece.len(), deltas }
}

/// The time that the threads of a process have run, its children not counted. In nanoseconds from the scheduler: the ticks
/// of /proc/PID/stat are 10 ms each.
fn cpu_time(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let statistics = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(of_thread).sum())
}
