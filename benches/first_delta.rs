//! How much Couplet adds to the CLI: time to the first delta through Couplet ÷ of the bare CLI, both started cold.
//!
//!     CLAUDE_CLI_PATH=/path/to/claude cargo bench --bench first_delta [-- RUNS]
//!
//! Both get the same switches, environment and frames, and the same scripted upstream that answers at once. The runs are
//! interleaved, because machines drift; the medians and their ratio count, with the ratio's 95 % confidence interval
//! (bootstrap).
#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own"
)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use couplet::claude::command_line::CliProgram;
use couplet::claude::command_line::{CommandLine, Folders, chat_process};
use couplet::claude::features::CliFeatures;
use couplet::claude::frame_in::of_turn;
use couplet::turn::{Parameters, Turn, UserBlock};
use couplet::upstream::{Reply, Upstream};

const MODEL: &str = "claude-sonnet-5-5";
const TOKEN: &str = "sk-ant-oat01-benchmark";

fn main() {
    let runs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(30);
    let cli: PathBuf = std::env::var_os("CLAUDE_CLI_PATH").expect("CLAUDE_CLI_PATH names the CLI").into();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(Upstream::start_on_loopback()).unwrap();
    upstream.set_default(Reply::words(3));
    let state = tempfile::tempdir().unwrap();
    let bare = bare_cli(&cli, state.path(), &upstream.base_url());
    let couplet = Couplet::start(&cli, state.path(), &upstream.base_url());

    let (mut through, mut alone) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let (a, b) = (couplet.first_delta(), first_delta_of(&bare));
        // The first run of each fills caches and the configuration folders.
        if run > 0 {
            through.push(a);
            alone.push(b);
        }
    }
    let (low, high) = confidence(&through, &alone);
    println!("first delta, cold, n = {runs}, interleaved");
    println!("  bare CLI   median {:.1} ms", median(&alone));
    println!("  Couplet    median {:.1} ms", median(&through));
    println!("  ratio      {:.3}  (95 %: {low:.3} to {high:.3})", median(&through) / median(&alone));
}

/// The bare CLI with the switches that Couplet gives it.
fn bare_cli(cli: &Path, state: &Path, base_url: &str) -> CommandLine {
    let folder = |name: &str| {
        let folder = state.join("bare").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let folders = Folders { home: folder("home"), config: folder("config"), work: folder("empty") };
    let help = Command::new(cli).arg("--help").env_clear().output().unwrap();
    let features = CliFeatures::from_help(&String::from_utf8_lossy(&help.stdout));
    let mut line =
        chat_process(&CliProgram::Installed(cli.to_owned()), features, &folders, Some(base_url), &path());
    line.environment.push(("CLAUDE_CODE_OAUTH_TOKEN".into(), TOKEN.into()));
    line
}

fn path() -> Vec<(OsString, OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect()
}

/// Milliseconds from the start of the process to its first text delta.
fn first_delta_of(line: &CommandLine) -> f64 {
    let mut frames = Vec::new();
    let turn = Turn {
        model: MODEL.to_owned(),
        system: String::new(),
        history: Vec::new(),
        question: vec![UserBlock::Text("hi".to_owned())],
        tools: Vec::new(),
        parameters: Parameters::default(),
    };
    for frame in of_turn(&turn) {
        frame.write_to(&mut frames).unwrap();
    }
    let begun = Instant::now();
    let mut child = Command::new(&line.program)
        .args(&line.arguments)
        .env_clear()
        .envs(line.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&line.work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&frames).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("\"text_delta\""))).unwrap().unwrap();
    let elapsed = begun.elapsed();
    drop(stdin);
    lines.for_each(drop);
    child.wait().unwrap();
    milliseconds(elapsed)
}

/// A running Couplet, ended when dropped.
struct Couplet {
    child: Child,
    port: u16,
}

impl Couplet {
    fn start(cli: &Path, state: &Path, base_url: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(env!("CARGO_BIN_EXE_couplet"))
            .env_clear()
            .envs(path())
            .env("PORT", port.to_string())
            .env("CLAUDE_CLI_PATH", cli)
            .env("CLAUDE_CODE_OAUTH_TOKEN", TOKEN)
            .env("ANTHROPIC_BASE_URL", base_url)
            .env("COUPLET_STATE_DIR", state.join("couplet"))
            .env("COUPLET_LOG", "warn")
            .spawn()
            .unwrap();
        let couplet = Self { child, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        couplet
    }

    /// Milliseconds from the request to the first content delta.
    fn first_delta(&self) -> f64 {
        let body =
            format!(r#"{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.set_nodelay(true).unwrap();
        let begun = Instant::now();
        write!(
            connection,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !contains(&read, b"\"content\":\"w0") {
            let count = connection.read(&mut buffer).unwrap();
            assert!(count > 0, "no answer: {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..count]);
        }
        let elapsed = begun.elapsed();
        connection.read_to_end(&mut read).unwrap();
        // The process of the answer ends before the next run begins.
        std::thread::sleep(Duration::from_millis(150));
        milliseconds(elapsed)
    }
}

impl Drop for Couplet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The middle 95 % of the ratio of medians over 2,000 resamples. A fixed generator: the same data give the same interval.
fn confidence(through: &[f64], alone: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut resample = |values: &[f64]| -> f64 {
        let picked: Vec<f64> = (0..values.len())
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                values[usize::try_from(state % values.len() as u64).unwrap()]
            })
            .collect();
        median(&picked)
    };
    let mut ratios: Vec<f64> = (0..2000).map(|_| resample(through) / resample(alone)).collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[50], ratios[1949])
}
