//! Canaries with the real CLI: what it leaves in its folders, what it shows of itself, and what gets into the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use couplet::upstream::Upstream;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::canaries::marks::{CANARY, KEY, SECRETS, TOKEN, found, mark};
use crate::canaries::sent::{Endpoint, Sent};
use crate::canaries::stage::files_in;
use crate::support::command::Running;
use crate::support::couplet_process::{PROGRAM, descendants_of};
use crate::support::fake_cli::eventually;
use crate::support::fault_table::{Asked, Class};
use crate::support::real_cli::real_cli;
use crate::support::seen::Seen;

const PATIENCE: Duration = Duration::from_secs(60);

/// The server with the real CLI, in folders of its own.
struct Stage {
    begun: SystemTime,
    upstream: Upstream,
    folders: TempDir,
    running: Running,
    url: String,
    log_seen: usize,
    searches: usize,
    leaks: Vec<String>,
}

impl Stage {
    async fn new(cli: &Path) -> Self {
        let begun = SystemTime::now();
        let upstream = Upstream::start_on_loopback().await.expect("an upstream");
        let folders = tempfile::tempdir().expect("a folder");
        let folder = |name: &str| {
            let path = folders.path().join(name);
            fs::create_dir_all(&path).expect("a folder");
            path.into_os_string().into_string().expect("UTF-8")
        };
        let cli = cli.to_str().expect("UTF-8");
        let base_url = upstream.base_url();
        let (state, current) = (folder("state"), folder("cwd"));
        let arguments = [
            ["--port", "0"],
            ["--claude-cli-path", cli],
            ["--anthropic-base-url", &base_url],
            ["--state-dir", &state],
        ];
        let variables = [
            ("CLAUDE_CODE_OAUTH_TOKEN", TOKEN.to_owned()),
            ("COUPLET_API_KEYS", KEY.to_owned()),
            ("COUPLET_LOG", "trace".to_owned()),
            ("COUPLET_WARM_MIN", "1".to_owned()),
            ("COUPLET_WARM_MAX", "1".to_owned()),
            ("NO_COLOR", "1".to_owned()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", folder("home")),
            ("TMPDIR", folder("tmp")),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let running =
            Running::start_in(Path::new(&current), Path::new(PROGRAM), arguments.as_flattened(), &variables);
        let running = running.expect("it starts");
        let url = |log: &str| Some(log.split_once("listening on ")?.1.split_once("/v1")?.0.to_owned());
        eventually(PATIENCE, "the server listens", || url(&running.said()).is_some()).await;
        let url = url(&running.said()).expect("an address");
        Self { begun, upstream, folders, running, url, log_seen: 0, searches: 0, leaks: Vec::new() }
    }

    /// Sends a request, and returns what can be read of its answer.
    fn send(&self, mut sent: Sent) -> tokio::task::JoinHandle<(u16, String)> {
        sent.offer(KEY);
        let mut request =
            reqwest::Client::new().request(sent.method, format!("{}{}", self.url, sent.path)).body(sent.body);
        for (name, value) in sent.headers {
            request = request.header(name, value);
        }
        tokio::spawn(async move {
            let mut response = request.send().await.expect("an answer");
            let mut read = Vec::new();
            while let Ok(Some(piece)) = response.chunk().await {
                read.extend(piece);
            }
            (response.status().as_u16(), String::from_utf8_lossy(&read).into_owned())
        })
    }

    /// Waits until the model was asked this, with the sign-in.
    async fn is_asked(&self, scenario: usize) {
        let said = mark("user", scenario);
        let of_it = |body: &[u8]| String::from_utf8_lossy(body).contains(&said);
        let asked = || self.upstream.log().model_requests().iter().any(|request| of_it(&request.body));
        eventually(PATIENCE, &format!("the model is asked: {said}"), asked).await;
        let requests = self.upstream.log().model_requests();
        let request = requests.iter().find(|request| of_it(&request.body)).expect("a request");
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {TOKEN}")));
    }

    fn look(&mut self, place: &str, bytes: &[u8], allowed: &[&str]) {
        self.searches += 1;
        let kinds: Vec<_> =
            found(bytes).into_iter().filter(|kind| !allowed.contains(&kind.as_str())).collect();
        if !kinds.is_empty() {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().find(|line| line.contains(CANARY)).unwrap_or_default();
            self.leaks.push(format!("{kinds:?} in {place}: {line:.600}"));
        }
    }

    /// Everywhere: the log, the processes, and all files.
    fn look_around(&mut self, name: &str) {
        let log = self.running.said();
        let new = &log.as_bytes()[self.log_seen..];
        self.log_seen = log.len();
        self.look(&format!("the log, {name}"), new, &[]);
        for id in descendants_of(self.running.id()) {
            for what in ["cmdline", "environ"] {
                let bytes = fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
                self.look(&format!("{what} of {id}, {name}"), &bytes, &[]);
            }
        }
        let mut files = files_in(self.folders.path());
        // What the CLI keeps where no variable says otherwise, as far as it is of this time.
        let is_new = |file: &PathBuf| {
            file.metadata().and_then(|file| file.modified()).is_ok_and(|changed| changed >= self.begun)
        };
        for entry in fs::read_dir("/tmp").into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with("claude") {
                files.extend(files_in(&entry.path()).into_iter().filter(is_new));
            }
        }
        for file in files {
            self.look(
                &format!("the name of {}, {name}", file.display()),
                file.as_os_str().as_encoded_bytes(),
                &[],
            );
            let bytes = fs::read(&file).unwrap_or_default();
            self.look(&format!("{}, {name}", file.display()), &bytes, &[]);
        }
    }
}

/// A request whose last text says this too.
fn sent(endpoint: Endpoint, stream: bool, scenario: usize, directives: &str) -> Sent {
    let mut sent = Sent::new(endpoint, stream, scenario);
    let said = format!("{} {directives}", mark("user", scenario));
    if endpoint == Endpoint::Completions {
        sent.json["prompt"] = said.into();
    } else {
        sent.last_content()[0]["text"] = said.into();
    }
    sent.change(|_| ());
    sent
}

#[tokio::test]
async fn no_canary_gets_out_of_the_real_cli() {
    let Some(cli) = real_cli() else { return };
    let mut stage = Stage::new(&cli).await;
    let mut scenario = 0;
    let quoting = format!("[[err 400 invalid_request_error no: {} {TOKEN}]]", mark("quoted", 0));
    for endpoint in Endpoint::ALL {
        for (directives, status) in [
            (&*format!("[[think {}]][[say {}]]", mark("thought", 0), mark("answer", 0)), 200),
            (&*quoting, 400),
            ("[[err 403 permission_error no]]", 403),
            ("[[say half of it]][[cut 1]]", 502),
        ] {
            for stream in [false, true] {
                let (got, read) =
                    stage.send(sent(endpoint, stream, scenario, directives)).await.expect("no panic");
                assert!(got == status || (stream && got == 200), "{got}, not {status}: {directives}: {read}");
                stage.is_asked(scenario).await;
                let told = ["answer", "thought", "quoted"];
                stage.look(&format!("the answer to {directives}"), read.as_bytes(), &told);
                stage.look_around(directives);
                scenario += 1;
            }
        }
    }

    // A call, and its result in the process that waits for it: one that is short, long, or what a tool says that failed.
    for (repeated, is_failure) in [(1, false), (40_000, false), (1, true)] {
        let directives =
            format!("[[tool {} {}]]", mark("tool", scenario), json!({mark("property", scenario): "x"}));
        let mut asked = sent(Endpoint::Messages, false, scenario, &directives);
        let (status, read) = stage.send(asked.clone()).await.expect("no panic");
        let answer: Value = serde_json::from_str(&read).expect("JSON");
        assert_eq!((status, &answer["stop_reason"]), (200, &json!("tool_use")), "{read}");
        stage.look_around("a call that waits");
        asked.change(|body| {
            let result = vec![mark("result", scenario); repeated].join(" ");
            let messages = body["messages"].as_array_mut().expect("messages");
            messages.push(json!({"role": "assistant", "content": answer["content"]}));
            messages.push(json!({"role": "user", "content": [{
                "type": "tool_result", "tool_use_id": answer["content"][0]["id"], "content": result,
                "is_error": is_failure,
            }]}));
        });
        assert_eq!(stage.send(asked).await.expect("no panic").0, 200);
        // The CLI writes what it keeps of that once a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stage.look_around("a result");
        scenario += 1;
    }

    // Clients that leave, and a process that is killed, in mid-answer.
    for is_killed in [false, true] {
        let directives = "[[words 1000]][[slow 0.05]]";
        let answer = stage.send(sent(Endpoint::Chat, true, scenario, directives));
        stage.is_asked(scenario).await;
        stage.look_around("in mid-answer");
        if is_killed {
            for id in descendants_of(stage.running.id()) {
                let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
                // It may have ended by itself.
                let _ = kill_process(id, Signal::KILL);
            }
            let (_, read) = answer.await.expect("no panic");
            assert!(read.contains("\"error\""), "{read}");
        } else {
            answer.abort();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stage.look_around("after its end");
        scenario += 1;
    }
    let requests = stage.upstream.log().model_requests();
    let seen: Vec<_> = requests.iter().map(|request| found(&request.body)).collect();
    for kind in Endpoint::Chat.heard() {
        assert!(seen.iter().any(|seen| seen.contains(*kind)), "the model was told {kind}");
    }
    // But where whoever asked said it himself.
    let mut others = seen.iter().filter(|seen| !seen.contains("quoted"));
    assert!(!others.any(|seen| SECRETS[..4].iter().any(|secret| seen.contains(*secret))), "{seen:?}");

    stage.running.signal(Signal::TERM);
    eventually(PATIENCE, "it ends", || stage.running.has_ended().is_some()).await;
    stage.look_around("at the end");
    println!("{scenario} scenarios with the real CLI, {} searches", stage.searches);
    assert!(stage.leaks.is_empty(), "{} leaks:\n{}", stage.leaks.len(), stage.leaks.join("\n"));
    let mut seen = Seen::default();
    seen.note_all("its own, as it was to be; no canary in the log, argv, environments or files", scenario);
    seen.tell(
        Class::Hostile,
        "credentials, prompts and answers full of canaries, with the real CLI",
        Asked::Either,
    );
}
