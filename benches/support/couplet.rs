//! A running Couplet.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::children::Bound;
use super::processes::{children_of, wait_for_end, wait_for_rest};
use super::statistics::Stopwatch;
use super::{TOKEN, path};

/// How long Couplet may take to get ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Couplet is started on.
pub struct Ground {
    /// The CLI.
    pub cli: PathBuf,
    /// Where the API listens.
    pub upstream: String,
    /// A folder for what the programs keep.
    pub state: PathBuf,
}

/// A running Couplet, ended when dropped, with all its processes.
pub struct Couplet {
    child: Bound,
    port: u16,
    /// How long it took from its start until it was healthy, in milliseconds.
    pub started_within: f64,
}

/// What `/health` tells of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Processes that are being started.
    pub starting: u64,
    /// Processes that wait for a conversation.
    pub waiting: u64,
    /// Of those, the ones that are set up for a system prompt and tools.
    pub prepared: u64,
    /// Processes that answer.
    pub working: u64,
}

impl Couplet {
    /// Starts it with these settings, and waits until it is healthy.
    pub fn start(ground: &Ground, settings: &[(&str, &str)]) -> Self {
        Self::start_with_log(ground, settings, Stdio::inherit())
    }

    /// The same, with its log there.
    pub fn start_with_log(ground: &Ground, settings: &[(&str, &str)], log: Stdio) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new(env!("CARGO_BIN_EXE_couplet"));
        command
            .env_clear()
            .envs(path())
            .env("PORT", port.to_string())
            .env("CLAUDE_CLI_PATH", &ground.cli)
            .env("CLAUDE_CODE_OAUTH_TOKEN", TOKEN)
            .env("ANTHROPIC_BASE_URL", &ground.upstream)
            .env("COUPLET_STATE_DIR", ground.state.join("couplet"))
            .env("COUPLET_LOG", "warn")
            // The stand-in is a script that starts this program.
            .env("COUPLET_SANDBOX_PATHS", env!("CARGO_BIN_EXE_couplet"))
            .envs(settings.iter().copied())
            .stderr(log);
        let begun = Stopwatch::start();
        let mut couplet = Self { child: Bound::start(&mut command), port, started_within: 0.0 };
        while couplet.health().is_none_or(|(status, _)| status != 200) {
            assert!(begun.milliseconds() < 20_000.0, "Couplet does not get healthy");
            std::thread::sleep(Duration::from_micros(300));
        }
        couplet.started_within = begun.milliseconds();
        couplet
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The pool, as `/health` tells it.
    pub fn pool(&self) -> Pool {
        let (_, health) = self.health().expect("Couplet answers");
        let processes = |name: &str| health["processes"][name].as_u64().unwrap_or_default();
        Pool {
            starting: processes("starting"),
            waiting: processes("generic") + processes("prepared"),
            prepared: processes("prepared"),
            working: processes("working"),
        }
    }

    /// Waits until at least so many processes wait, of which so many are prepared, and nothing moves any more.
    pub fn wait_for_pool(&self, waiting: u64, prepared: u64) {
        let begun = Instant::now();
        loop {
            let pool = self.pool();
            if pool.starting + pool.working == 0 && pool.waiting >= waiting && pool.prepared >= prepared {
                wait_for_rest(self.id());
                // What came meanwhile?
                let pool = self.pool();
                if pool.starting + pool.working == 0 && pool.waiting >= waiting && pool.prepared >= prepared {
                    return;
                }
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not {waiting} processes wait, {prepared} of them prepared: {pool:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The status and body of `/health`, if it is answered.
    fn health(&self) -> Option<(u16, Value)> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let request = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1;
        Some((status, serde_json::from_str(body).ok()?))
    }
}

impl Drop for Couplet {
    fn drop(&mut self) {
        let processes = children_of(self.id());
        let _ = self.child.0.kill();
        let _ = self.child.0.wait();
        // The system ends them when the server is gone; what comes next must not run beside them.
        if !std::thread::panicking() {
            wait_for_end(&processes);
        }
    }
}
