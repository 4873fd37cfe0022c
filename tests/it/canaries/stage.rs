//! A server on a stage of its own, and all places where a canary must not be.

use std::fs;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use couplet::access::api_key;
use couplet::caller::{CallerId, Limits, TenantName};
use couplet::store::Store;
use couplet::store::keys::StoredKey;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;

use super::endings::{Ending, How, script};
use super::marks::{ADMIN_KEY, CANARY, JWT_SECRET, KEY, SECRETS, TOKEN, found, mark};
use super::sent::{Endpoint, Sent};
use crate::support::couplet_process::{CoupletProcess, descendants_of};
use crate::support::fake_cli::script::{Report, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client may read of an answer of its own, beside what its error may name.
const ANSWERED: [&str; 5] = ["answer", "tool", "property", "called", "call"];

/// What anybody can look at, and with whose key.
const PAGES: [(&str, &str); 5] = [
    ("/health", ""),
    ("/metrics", ADMIN_KEY),
    ("/admin/usage", ADMIN_KEY),
    ("/auth/status", KEY),
    ("/auth/login-instructions", KEY),
];

/// One request to its end.
pub struct Scenario<'a> {
    pub number: usize,
    pub endpoint: Endpoint,
    pub stream: bool,
    pub ending: &'a Ending,
}

/// A server, what is around it, and what was found.
pub struct Stage {
    pub couplet: CoupletProcess,
    pub fake: FakeCli,
    folders: TempDir,
    client: reqwest::Client,
    log_seen: usize,
    /// How many searches there were.
    pub checks: usize,
    /// Canaries where none must be.
    pub leaks: Vec<String>,
    /// Scenarios that did not end as they should.
    wrong: Vec<String>,
}

/// What a client has read.
pub struct Read {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Stage {
    /// Starts a server with these variables beside those with secrets in them.
    pub async fn new(variables: &[(&str, &str)]) -> Self {
        let fake = FakeCli::new(&Script::default());
        keep_keys(&fake.file("state"));
        let folders = tempfile::tempdir().expect("a folder");
        let folder = |name: &str| {
            let path = folders.path().join(name);
            fs::create_dir_all(&path).expect("a folder");
            path.into_os_string().into_string().expect("UTF-8")
        };
        let (home, temporary, current) = (folder("home"), folder("tmp"), folder("cwd"));
        let own = [
            ("CLAUDE_CODE_OAUTH_TOKEN", TOKEN),
            ("COUPLET_API_KEYS", KEY),
            ("COUPLET_ADMIN_KEY", ADMIN_KEY),
            ("COUPLET_JWT_ALGORITHM", "HS256"),
            ("COUPLET_JWT_KEY", JWT_SECRET),
            ("COUPLET_JWT_ISSUER", "issuer"),
            ("COUPLET_JWT_AUDIENCE", "couplet"),
            ("COUPLET_IDLE_TIMEOUT", "1"),
            ("HOME", &home),
            ("TMPDIR", &temporary),
        ];
        let all: Vec<_> = own.iter().chain(variables).copied().collect();
        let couplet = CoupletProcess::start_in(Path::new(&current), &fake, &all).await;
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        Self { couplet, fake, folders, client, log_seen: 0, checks: 0, leaks: Vec::new(), wrong: Vec::new() }
    }

    /// Plays a scenario, and looks everywhere.
    pub async fn perform(&mut self, scenario: &Scenario<'_>, expects_cli: bool) {
        let Scenario { number, endpoint, stream, ending } = *scenario;
        let name =
            format!("{number}: {endpoint:?} {}, {}", if stream { "streamed" } else { "whole" }, ending.name);
        self.forget_processes();
        let go = self.fake.file(&format!("go-{number}"));
        let waiting = |steps: Vec<Step>| script([vec![Step::AwaitFile(go.clone())], steps].concat());
        let mut sent = Sent::new(endpoint, stream, number);
        let (play, is_asked) = match ending.how {
            How::Asked(steps) => (waiting(steps(number)), expects_cli),
            How::Early(script) => (script(number), false),
            How::Gone => (waiting(vec![Step::Hang]), true),
            How::Answered(change) => {
                change(&mut sent, number);
                (waiting(vec![Step::Answer(mark("answer", number))]), true)
            }
            // If the CLI were asked, it would be noticed.
            How::Refused(change) => {
                change(&mut sent, number);
                (script(vec![Step::Answer(mark("answer", number))]), false)
            }
        };
        self.fake.follow(&play);
        let answer = tokio::spawn(self.send(&sent));
        if is_asked {
            let heard = || String::from_utf8_lossy(&self.heard()).contains(&mark("user", number));
            eventually(PATIENCE, &format!("the CLI is asked: {name}"), heard).await;
            self.look_at_heard(&name, endpoint);
            self.look_at_processes(&name);
            if matches!(ending.how, How::Gone) {
                answer.abort();
                self.fake.dead_within(PATIENCE).await;
            } else {
                fs::write(&go, "").expect("a file");
            }
        }
        if !matches!(ending.how, How::Gone) {
            let read =
                tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("no end: {name}"));
            self.look_at_answer(&name, scenario, &read.expect("no panic"));
            if !is_asked && !matches!(ending.how, How::Early(_)) && !self.heard().is_empty() {
                self.wrong.push(format!("the CLI was asked: {name}"));
            }
        }
        self.wait_for_the_log(ending.logged, number).await;
        self.look_at_log(&name, ending.logged);
        self.look_at_pages(&name).await;
        self.look_at_files(&name);
    }

    /// Sends a request and reads all of the answer.
    pub fn send(&self, sent: &Sent) -> impl Future<Output = Read> + Send + use<> {
        let mut request =
            self.client.request(sent.method.clone(), format!("{}{}", self.couplet.url, sent.path));
        for (name, value) in sent.headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, value);
        }
        let request = request.body(sent.body.clone());
        async move {
            let mut response = request.send().await.expect("an answer");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            // A stream that breaks off has said something before.
            let mut text = Vec::new();
            while let Ok(Some(piece)) = response.chunk().await {
                text.extend(piece);
            }
            Read { status, headers, text: String::from_utf8_lossy(&text).into_owned() }
        }
    }

    /// Notes the canaries in there but those that may be.
    pub fn look(&mut self, place: &str, bytes: &[u8], allowed: &[&str]) {
        self.checks += 1;
        for kind in found(bytes) {
            if !allowed.contains(&kind.as_str()) {
                let text = String::from_utf8_lossy(bytes);
                let lines = text.lines().filter(|line| line.to_ascii_lowercase().contains(CANARY));
                let line: String =
                    lines.take(3).flat_map(|line| line.chars().take(600).chain(['\n'])).collect();
                self.leaks.push(format!("{kind} in {place}: {line}"));
            }
        }
    }

    fn look_at_heard(&mut self, name: &str, endpoint: Endpoint) {
        let kinds = found(&self.heard());
        for kind in endpoint.heard() {
            self.checks += 1;
            assert!(kinds.contains(*kind), "the CLI was not told {kind}: {kinds:?}, {name}");
        }
        assert!(!SECRETS.iter().any(|kind| *kind != "encoded" && kinds.contains(*kind)), "{kinds:?}, {name}");
        let signed_in: Vec<_> = self.reports().into_iter().filter_map(|report| report.credential).collect();
        assert!(signed_in.contains(&TOKEN.to_owned()), "the sign-in was in play: {name}");
    }

    /// The processes that the server has started, and those that they have.
    fn look_at_processes(&mut self, name: &str) {
        let mut seen = 0;
        for id in descendants_of(self.couplet.running.id()) {
            for what in ["cmdline", "environ"] {
                // One may end meanwhile.
                let Ok(bytes) = fs::read(format!("/proc/{id}/{what}")) else { continue };
                seen += usize::from(bytes.len() > 100);
                self.look(&format!("{what} of {id}, {name}"), &bytes, &[]);
            }
        }
        assert!(seen >= 2, "no process was seen: {name}");
    }

    fn look_at_answer(&mut self, name: &str, scenario: &Scenario<'_>, read: &Read) {
        let ending = scenario.ending;
        let is_stream_of_an_error = scenario.stream && read.status == 200 && read.text.contains("\"error\"");
        // Anthropic's API has a status of its own for that.
        let is_overloaded =
            ending.status == 529 && read.status == 503 && scenario.endpoint != Endpoint::Messages;
        if read.status != ending.status && !is_stream_of_an_error && !is_overloaded {
            self.wrong.push(format!("{}, not {}: {name}: {}", read.status, ending.status, read.text));
        }
        let is_told = matches!(ending.how, How::Asked(_) | How::Answered(_)) || ending.status == 200;
        let allowed: &[&str] = if is_told { &ANSWERED } else { &[] };
        self.look(&format!("the body, {name}"), read.text.as_bytes(), &[allowed, ending.named].concat());
        let headers = format!("{:?}", read.headers);
        self.look(&format!("the headers, {name}"), headers.as_bytes(), ending.logged);
        if ending.status == 200 && ending.name != "with a call" {
            assert!(
                read.text.contains(&mark("answer", scenario.number)),
                "not answered: {name}: {}",
                read.text
            );
        }
    }

    /// The log is written by a thread of its own: what may be in it of this scenario must not come with the next one, where it may
    /// not be.
    async fn wait_for_the_log(&self, allowed: &[&str], number: usize) {
        let is_there =
            || allowed.iter().all(|kind| self.couplet.running.said().contains(&mark(kind, number)));
        let begun = Instant::now();
        while !is_there() && begun.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was logged since the last time.
    pub fn look_at_log(&mut self, name: &str, allowed: &[&str]) {
        let log = self.couplet.running.said();
        let new = &log.as_bytes()[self.log_seen..];
        self.log_seen = log.len();
        self.look(&format!("the log, {name}"), new, allowed);
    }

    /// What anybody can look at.
    pub async fn look_at_pages(&mut self, name: &str) {
        for (path, key) in PAGES {
            let (status, text) = self.page(path, key).await;
            assert!(status == 200 || status == 503 || status == 401, "{status}: {path}, {name}: {text}");
            self.look(&format!("{path}, {name}"), text.as_bytes(), &[]);
        }
    }

    /// A page, with a key.
    pub async fn page(&self, path: &str, key: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.couplet.url)).bearer_auth(key);
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a text"))
    }

    /// All files that the server and the CLI may write.
    pub fn look_at_files(&mut self, name: &str) {
        let mut files = files_in(self.folders.path());
        files.extend(files_in(&self.fake.file("state")));
        for file in files {
            // One may be removed meanwhile.
            let Ok(bytes) = fs::read(&file) else { continue };
            self.look(
                &format!("the name of {}, {name}", file.display()),
                file.as_os_str().as_encoded_bytes(),
                &[],
            );
            self.look(&format!("{}, {name}", file.display()), &bytes, &[]);
        }
    }

    /// What the processes of the CLI have read.
    fn heard(&self) -> Vec<u8> {
        self.beside_the_script("stdin").into_iter().filter_map(|file| fs::read(file).ok()).flatten().collect()
    }

    fn reports(&self) -> Vec<Report> {
        let read = |file: PathBuf| serde_json::from_slice(&fs::read(file).ok()?).ok();
        self.beside_the_script("json").into_iter().filter_map(read).collect()
    }

    fn forget_processes(&self) {
        for kind in ["stdin", "json"] {
            for file in self.beside_the_script(kind) {
                // That of a process which is ending may be gone.
                let _ = fs::remove_file(file);
            }
        }
    }

    fn beside_the_script(&self, kind: &str) -> Vec<PathBuf> {
        let script = self.fake.file("script.json");
        let files = fs::read_dir(script.parent().expect("a folder")).expect("a folder");
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        files.filter(|file| *file != script && file.extension().is_some_and(|own| own == kind)).collect()
    }

    /// Ends the server, looks once more, and tells what was found.
    pub async fn end(mut self, what: &str, scenarios: usize) {
        for path in ["/openapi.json", "/docs"] {
            let (status, text) = self.page(path, KEY).await;
            assert_eq!(status, 200, "{path}");
            self.look(path, text.as_bytes(), &[]);
        }
        self.couplet.signal(rustix::process::Signal::TERM);
        assert_eq!(self.couplet.ended_within(PATIENCE).await, Some(0));
        self.look_at_log("at the end", &[]);
        self.look_at_files("at the end");
        let log = self.couplet.running.said();
        assert!(log.matches("/v1/").count() >= scenarios, "each request is in the log");
        assert!(files_in(&self.fake.file("state")).iter().any(|file| file.ends_with("couplet.db")));
        println!("{scenarios} scenarios, {} searches", self.checks);
        let (leaks, wrong) = (self.leaks.join("\n"), self.wrong.join("\n"));
        assert!(
            leaks.is_empty() && wrong.is_empty(),
            "canaries got out:\n{leaks}\nended otherwise:\n{wrong}"
        );
        tell(what, scenarios);
    }
}

/// Tells that nothing was found.
pub fn tell(what: &str, scenarios: usize) {
    let mut seen = Seen::default();
    seen.note_all(
        "its own, as it was to be; no canary in the log, others' answers, argv, environments or files",
        scenarios,
    );
    let fault = format!("credentials, prompts and answers full of canaries, {what}");
    seen.tell(Class::Hostile, &fault, Asked::Either);
}

/// The keys that `couplet keys` would have made.
fn keep_keys(state: &Path) {
    let store = Store::open(state).expect("a database");
    let limits = |requests: u32, tokens: u64| Limits {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_day: NonZeroU64::new(tokens),
        ..Limits::default()
    };
    let past = Timestamp::now() - Duration::from_secs(60);
    let key = |name: &str| StoredKey {
        id: CallerId::new(&format!("key_{name}")),
        hash: api_key::hash(format!("{CANARY}-key-{name}").as_bytes()),
        name: name.to_owned(),
        tenant: TenantName::default(),
        models: None,
        limits: Limits::default(),
        created_at: past,
        expires_at: None,
        revoked_at: None,
    };
    for key in [
        key("made"),
        StoredKey { revoked_at: Some(past), ..key("revoked") },
        StoredKey { expires_at: Some(past + Duration::from_secs(1)), ..key("expired") },
        StoredKey { tenant: TenantName::new("nobody").expect("a name"), ..key("homeless") },
        StoredKey { limits: limits(1, 0), ..key("limited") },
        StoredKey { limits: limits(0, 1), ..key("spent") },
        StoredKey { models: Some(vec!["haiku".to_owned()]), ..key("elsewhere") },
    ] {
        assert!(store.add_key(&key).expect("kept"));
    }
}

/// The files in a folder and in those below it.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let paths = entries.map(|entry| (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir())));
    paths.flat_map(|(path, is_folder)| if is_folder { files_in(&path) } else { vec![path] }).collect()
}

/// As a client without a server's help would read it.
pub fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
