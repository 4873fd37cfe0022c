//! Couplet as a process of its own, with the fake CLI behind it: for what concerns a whole process, as its memory, its
//! descriptors, its log, its end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};

use super::app::TOKEN;
use super::command::Running;
use super::fake_cli::{FakeCli, eventually, program};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_couplet");

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// A running server.
pub struct CoupletProcess {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    /// The process.
    pub running: Running,
    client: reqwest::Client,
}

impl CoupletProcess {
    /// Starts it with these variables beside those it needs.
    pub async fn start(fake: &FakeCli, variables: &[(&str, &str)]) -> Self {
        Self::start_in(Path::new("."), fake, variables).await
    }

    /// The same, in that folder.
    pub async fn start_in(folder: &Path, fake: &FakeCli, variables: &[(&str, &str)]) -> Self {
        Self::start_by(folder, &[], fake, variables).await
    }

    /// The same by way of another program, which becomes what it is told to: that program and its arguments.
    pub async fn start_by(folder: &Path, by: &[&str], fake: &FakeCli, variables: &[(&str, &str)]) -> Self {
        let arguments = arguments(fake);
        let line = by.iter().copied().chain([PROGRAM]).chain(arguments.iter().map(String::as_str));
        let line: Vec<&str> = line.collect();
        let running = Running::start_in(folder, Path::new(line[0]), &line[1..], &environment(variables));
        let running = running.expect("it starts");
        let address = |log: String| {
            let (_, rest) = log.split_once("listening on ")?;
            rest.split_once("/v1").map(|(url, _)| url.to_owned())
        };
        eventually(START, "the server listens", || address(running.said()).is_some()).await;
        let url = address(running.said()).expect("an address");
        // It begins with a process that is asked for the models. No test is to count that one.
        eventually(START, "it asks for the models", || !fake.reports().is_empty()).await;
        // Where processes wait, there is always one.
        if !variables.iter().any(|(name, value)| *name == "COUPLET_WARM_MAX" && *value != "0") {
            fake.gone_within(START).await;
            fake.forget_reports();
        }
        // A connection for each request: none is left open to be counted.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        Self { url, running, client }
    }

    /// Sends a chat completion request, and waits for the headers.
    pub async fn chat(&self, body: &Value) -> reqwest::Response {
        self.request(body).send().await.expect("an answer")
    }

    /// A chat completion request, to be sent.
    pub fn request(&self, body: &Value) -> reqwest::RequestBuilder {
        self.post("/v1/chat/completions", body)
    }

    /// A request of that body to that path, to be sent.
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).json(body)
    }

    /// An answer that is not streamed: its status and body.
    pub async fn answer(&self, body: &Value) -> (u16, Value) {
        let response = self.chat(body).await;
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// What `/health` says.
    pub async fn health(&self) -> Value {
        let response = self.client.get(format!("{}/health", self.url)).send().await.expect("an answer");
        response.json().await.expect("JSON")
    }

    /// Waits until that many places for turns are free: one is given back a moment after its process is gone.
    pub async fn has_free_places(&self, places: u64) {
        let begun = Instant::now();
        while self.health().await["free_places"] != places {
            assert!(begun.elapsed() < START, "{places} places are to be free: {}", self.health().await);
        }
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        descriptors_of(self.running.id())
    }

    /// How many descriptors it has open once it has no child any more.
    pub async fn descriptors_at_rest(&self) -> usize {
        eventually(START, "no child is left", || self.children() == 0).await;
        // The server closes its side of a connection a moment after the client.
        let mut last = 0;
        let is_steady = || std::mem::replace(&mut last, self.descriptors()) == self.descriptors();
        eventually(START, "the number is steady", is_steady).await;
        last
    }

    /// The numbers of the descriptors that it has open.
    pub fn descriptor_numbers(&self) -> BTreeSet<u64> {
        descriptor_numbers_of(self.running.id())
    }

    /// The most memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id())).expect("a process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// How many children it has, the dead ones that it did not wait for included.
    pub fn children(&self) -> usize {
        children_of(self.running.id()).len()
    }

    /// Waits for its end: the exit code, if it was not a signal.
    pub async fn ended_within(&mut self, limit: Duration) -> Option<i32> {
        eventually(limit, "the server ends", || self.running.has_ended().is_some()).await;
        let status = self.running.has_ended().expect("it has ended");
        assert!(status.code().is_some() || status.signal().is_some());
        status.code()
    }

    /// How long it has kept a processor busy.
    pub fn busy_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.running.id())).expect("a process");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks"));
        // There are a hundred in a second on every Linux there is.
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Sets one of its limits, and tells what it was.
    pub fn limit(&self, resource: Resource, current: Option<u64>) -> Option<u64> {
        let id = i32::try_from(self.running.id()).ok().and_then(Pid::from_raw);
        let maximum = getrlimit(resource).maximum;
        prlimit(id, resource, Rlimit { current, maximum }).expect("a child of one's own").current
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }
}

/// How many descriptors a process has open.
pub fn descriptors_of(id: u32) -> usize {
    descriptor_numbers_of(id).len()
}

fn descriptor_numbers_of(id: u32) -> BTreeSet<u64> {
    let open = fs::read_dir(format!("/proc/{id}/fd")).expect("a process").filter_map(Result::ok);
    open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The children of a process, the dead ones that it did not wait for included.
pub fn children_of(id: u32) -> Vec<u32> {
    let parent = id.to_string();
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let children = processes.filter_map(|process| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // The parent is the second field behind the name, which may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        (fields.split_whitespace().nth(1)? == parent).then_some(id)
    });
    children.collect()
}

/// The processes that a process has started, those that these have, and so on.
pub fn descendants_of(id: u32) -> Vec<u32> {
    let children = children_of(id);
    let others = children.iter().flat_map(|child| descendants_of(*child));
    children.iter().copied().chain(others).collect()
}

/// A request, with `stream` set.
pub fn streamed(body: &Value) -> Value {
    let mut body = body.clone();
    body["stream"] = json!(true);
    body
}

/// The flags that lead it to the fake CLI. Flags, because in its environment the script's path would make the server
/// itself look like a process of the fake CLI.
pub fn arguments(fake: &FakeCli) -> Vec<String> {
    let path = |path: PathBuf| path.into_os_string().into_string().expect("a path");
    let flags = [
        ("--port", "0".to_owned()),
        ("--claude-cli-path", path(program())),
        ("--anthropic-base-url", fake.base_url()),
        ("--state-dir", path(fake.file("state"))),
        ("--sandbox-paths", fake.sandbox_paths()),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// All variables that it needs, and some more. Unless they say otherwise each turn gets a process of its own.
pub fn environment(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let needed = [
        ("CLAUDE_CODE_OAUTH_TOKEN", TOKEN),
        ("NO_COLOR", "1"),
        ("COUPLET_MAX_KEPT", "0"),
        ("COUPLET_WARM_MAX", "0"),
    ];
    let all = needed.iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name)).chain(more);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
