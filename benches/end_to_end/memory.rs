//! The memory of Couplet alone: at rest, with open streams, and after they have ended.
//!
//!     cargo bench --bench end_to_end -- memory [STREAMS]
//!
//! The streams are answered by the stand-in for the CLI, each a process of its own whose memory is not counted. RSS is what
//! the process holds, with the pages of the program and of libraries that it has in common with the stand-ins; PSS counts
//! those by halves.
#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::couplet::upstream::{Reply, Upstream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::MODEL;
use super::couplet::Couplet;

/// Between two deltas of a stream.
const APART: Duration = Duration::from_secs(5);

/// How long an answer takes: all must have begun before the first one ends.
const ANSWER: Duration = Duration::from_secs(40);

/// Waited until what was set off has come to rest: threads for blocking work end after ten seconds without any.
const REST: Duration = Duration::from_secs(15);

/// Runs the benchmark if the command line asks for it.
pub fn run() -> bool {
    let mut arguments = std::env::args().skip(1);
    if !arguments.any(|argument| argument == "memory") {
        return false;
    }
    let streams = arguments.find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let at_once = streams.to_string();
    let settings = [
        ("COUPLET_MAX_CONCURRENCY", &*at_once),
        ("COUPLET_QUEUE_SIZE", &*at_once),
        // The stand-ins take far less than the CLI, for which the budget is meant.
        ("COUPLET_MEMORY_BUDGET", "1TiB"),
        ("COUPLET_WARM_MIN", "0"),
        ("COUPLET_WARM_MAX", "0"),
    ];
    let stand_in = stand_in(state.path());
    let couplet = Couplet::start_with(&stand_in, state.path(), &upstream.base_url(), 0, &settings);
    std::thread::sleep(REST);
    println!("memory of Couplet (RSS; PSS in brackets)");
    println!("  at its start        {}", Memory::of(couplet.id()));

    // What the program needs for its first answer, such as the pages of its code, it keeps.
    upstream.set_default(Reply::words(3));
    runtime.block_on(stream(couplet.port(), mpsc::channel(1).0));
    std::thread::sleep(REST);
    let rest = Memory::of(couplet.id());
    println!("  at rest             {rest}, after one stream");
    let words = ANSWER.as_secs() / APART.as_secs();
    upstream.set_default(Reply::words(usize::try_from(words).unwrap()).between_deltas(APART));

    runtime.block_on(async {
        let begun = Instant::now();
        let (first_deltas, mut begun_streams) = mpsc::channel(streams);
        let clients: Vec<_> =
            (0..streams).map(|_| tokio::spawn(stream(couplet.port(), first_deltas.clone()))).collect();
        for _ in 0..streams {
            begun_streams.recv().await.unwrap();
        }
        let until = begun.elapsed();
        assert!(until + REST < ANSWER, "the first answers ended before the last ones began");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = Memory::of(couplet.id());
        println!("  {streams} open streams   {open}, after {:.0} s", until.as_secs_f64());
        let more = open.resident.saturating_sub(rest.resident);
        println!("  a stream            {:.1} KiB", more as f64 / streams as f64);
        for client in clients {
            client.await.unwrap();
        }
    });
    for _ in 0..2 {
        std::thread::sleep(REST);
        let after = Memory::of(couplet.id());
        let ratio = after.resident as f64 / rest.resident as f64;
        println!("  after they ended    {after}: {ratio:.2} of that at rest");
    }
    true
}

/// The stand-in as a program without arguments of its own.
fn stand_in(folder: &Path) -> PathBuf {
    let script = folder.join("claude");
    let couplet = env!("CARGO_BIN_EXE_couplet");
    std::fs::write(&script, format!("#!/bin/sh\nexec '{couplet}' __stand-in \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    script
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

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
        write!(f, "{:.1} MB ({:.1} MB)", megabytes(self.resident), megabytes(self.proportional))
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
