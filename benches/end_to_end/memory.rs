//! The memory of Couplet alone: at rest, with open streams, and after they have ended.
//!
//! The streams are answered by the stand-in for the CLI, each a process of its own whose memory is not counted. RSS is what
//! the process holds, with the pages of the program and of libraries that it has in common with the stand-ins; PSS counts
//! those by halves.
#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::time::{Duration, Instant};

use ::couplet::upstream::{Reply, Upstream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::support::couplet::Couplet;
use super::support::report::{Section, Table, verdict};
use super::support::stand_in;
use super::{Bench, MODEL};

/// Between two deltas of a stream.
const APART: Duration = Duration::from_secs(5);

/// How long an answer takes: all must have begun before the first one ends.
const ANSWER: Duration = Duration::from_secs(40);

/// Waited until what was set off has come to rest: threads for blocking work end after ten seconds without any.
const REST: Duration = Duration::from_secs(15);

/// How many streams are open at once.
const STREAMS: usize = 1000;

/// KiB of Couplet for each of them.
const STREAM_BAR: f64 = 64.0;

/// Megabytes at rest.
const REST_BAR: f64 = 15.0;

/// After them, in proportion to before.
const AFTER_BAR: f64 = 1.2;

/// Measures it.
pub fn measure(bench: &Bench) -> Vec<Section> {
    raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    let (stand_in, at_once, url) = (stand_in(&bench.ground.state), STREAMS.to_string(), upstream.base_url());
    let settings = [
        ("CLAUDE_CLI_PATH", stand_in.to_str().unwrap()),
        ("ANTHROPIC_BASE_URL", &*url),
        ("COUPLET_MAX_CONCURRENCY", &*at_once),
        // It takes a stand-in for the real CLI until it has looked at it.
        ("COUPLET_MEMORY_BUDGET", "400GiB"),
        ("COUPLET_MAX_KEPT", "0"),
    ];
    let couplet = Couplet::start(&bench.ground, &settings);
    std::thread::sleep(REST);
    let at_start = Memory::of(couplet.id());

    // What the program needs for its first answer, such as the pages of its code, it keeps.
    upstream.set_default(Reply::words(3));
    runtime.block_on(stream(couplet.port(), mpsc::channel(1).0));
    std::thread::sleep(REST);
    let rest = Memory::of(couplet.id());
    let words = ANSWER.as_secs() / APART.as_secs();
    upstream.set_default(Reply::words(usize::try_from(words).unwrap()).between_deltas(APART));

    let open = runtime.block_on(async {
        let begun = Instant::now();
        let (first_deltas, mut begun_streams) = mpsc::channel(STREAMS);
        let clients: Vec<_> =
            (0..STREAMS).map(|_| tokio::spawn(stream(couplet.port(), first_deltas.clone()))).collect();
        for number in 1..=STREAMS {
            begun_streams.recv().await.unwrap();
            eprint!("\r  {number} of {STREAMS} ");
        }
        assert!(begun.elapsed() + REST < ANSWER, "the first answers ended before the last ones began");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = Memory::of(couplet.id());
        for client in clients {
            client.await.unwrap();
        }
        open
    });
    eprintln!();
    std::thread::sleep(REST * 2);
    let after = Memory::of(couplet.id());
    let of_a_stream = open.resident.saturating_sub(rest.resident) as f64 / STREAMS as f64;
    let ratio = after.resident as f64 / rest.resident as f64;
    let row = |memory: &Memory, more: String, bar: String| {
        [megabytes(memory.resident), megabytes(memory.proportional)]
            .map(|megabytes| format!("{megabytes:.1}"))
            .into_iter()
            .chain([more, bar])
    };
    let rest_bar = verdict(&format!("≤ {REST_BAR} MB"), megabytes(rest.resident) <= REST_BAR);
    let stream_bar = verdict(&format!("≤ {STREAM_BAR} KiB"), of_a_stream <= STREAM_BAR);
    let after_bar = verdict(&format!("≤ {AFTER_BAR} ×"), ratio <= AFTER_BAR);
    let table = Table::new(&["", "RSS, MB", "PSS, MB", "", "bar"])
        .row("after its start", row(&at_start, String::new(), String::new()))
        .row("at rest, after an answer", row(&rest, String::new(), rest_bar))
        .row("1,000 open streams", row(&open, format!("{of_a_stream:.1} KiB a stream"), stream_bar))
        .row("30 s after their end", row(&after, format!("{ratio:.2} × that at rest"), after_bar));
    vec![Section {
        title: "Memory of Couplet alone",
        about: "With the stand-in in place of the CLI, whose processes are not counted. RSS counts the pages of the program \
                that the stand-ins have in common with it in full."
            .to_owned(),
        tables: vec![table],
    }]
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// Opens a stream, tells when it has begun, and reads it to its end.
async fn stream(port: u16, begun: mpsc::Sender<()>) {
    let body =
        json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let (mut read, mut begun) = (Vec::new(), Some(begun));
    while connection.read_buf(&mut read).await.unwrap() > 0 {
        if begun.is_some() && read.windows(3).any(|part| part == b"w0 ") {
            let _ = begun.take().unwrap().send(()).await;
        }
    }
    assert!(String::from_utf8_lossy(&read).contains("[DONE]"), "{}", String::from_utf8_lossy(&read));
}

/// A process's memory, in KiB.
struct Memory {
    resident: u64,
    proportional: u64,
}

impl Memory {
    fn of(process: u32) -> Self {
        let summary = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
        Self { resident: field(&summary, "Rss:"), proportional: field(&summary, "Pss:") }
    }
}

fn field(summary: &str, name: &str) -> u64 {
    let line = summary.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A connection to Couplet and one of a stand-in take two descriptors for each stream.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
