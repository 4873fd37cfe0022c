//! The system runs short: of descriptors, processes, room on the disk, or readers of the log.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use couplet::caller::Limits;
use couplet::store::Store;
use couplet::store::keys::StoredKey;
use futures_util::future::join_all;
use rustix::process::{Resource, Signal};
use serde_json::{Value, json};

use super::{PATIENCE, SOON, said};
use crate::access::stored;
use crate::support::app::ask;
use crate::support::command::{Running, run};
use crate::support::couplet_process::{CoupletProcess, PROGRAM, arguments, environment};
use crate::support::fake_cli::script::Script;
use crate::support::fake_cli::{FakeCli, eventually};
use crate::support::fault_table::{Asked, Class, Tried, saw};

/// What the server may keep a processor busy with in a second in which it can do nothing.
const AT_REST: Duration = Duration::from_millis(200);

/// A question of a key.
async fn answer(couplet: &CoupletProcess, key: &str) -> (u16, Value) {
    let response = couplet.request(&ask("hello")).bearer_auth(key).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// Keys of a server that is still to be started.
fn keep(fake: &FakeCli, keys: &[StoredKey]) {
    let store = Store::open(&fake.file("state")).expect("a database");
    for key in keys {
        assert!(store.add_key(key).expect("kept"));
    }
}

/// A key with a quota that is not to be reached.
fn with_quota(key: &str) -> StoredKey {
    let tokens_per_day = std::num::NonZeroU64::new(1_000_000);
    StoredKey { limits: Limits { tokens_per_day, ..Limits::default() }, ..stored(key) }
}

/// The tokens in the database.
fn written(fake: &FakeCli) -> u64 {
    let database = rusqlite::Connection::open(couplet::store::path(&fake.file("state"))).expect("a database");
    let sum = "SELECT coalesce(sum(input + cache_creation + cache_read + output), 0) FROM usage";
    let sum: i64 = database.query_row(sum, (), |row| row.get(0)).expect("a sum");
    u64::try_from(sum).expect("no less than nothing")
}

#[tokio::test]
async fn without_descriptors_connections_wait_and_nothing_spins() {
    const CLIENTS: usize = 8;
    let fake = FakeCli::new(&Script::default());
    let couplet = CoupletProcess::start(&fake, &[]).await;
    // Those that are open stay open.
    let before = couplet.limit(Resource::Nofile, Some(3));
    let busy = couplet.busy_time();
    let question = ask("hello");
    let later = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let busy = couplet.busy_time().saturating_sub(busy);
        assert!(busy < 3 * AT_REST, "{busy:?} of three seconds");
        couplet.limit(Resource::Nofile, before);
    };
    let (answers, ()) = tokio::join!(join_all((0..CLIENTS).map(|_| couplet.answer(&question))), later);
    assert!(answers.iter().all(|answer| said(answer) == "fine"), "{answers:?}");
    let lines = couplet.running.said();
    // One at once, and one that counts the others.
    assert!((1..=3).contains(&lines.matches("could not be accepted").count()), "{lines}");
    let fault = "no descriptors are left for connections";
    let told = "it waits, and is answered as soon as there are some";
    saw(Class::Resources, fault, Asked::NotStreaming, told, Tried::Times(CLIENTS as u64));
    fake.gone_within(SOON).await;
    couplet.has_free_places(16).await;
}

#[tokio::test]
async fn without_descriptors_an_idle_connection_makes_room() {
    const IDLE: usize = 6;
    let fake = FakeCli::new(&Script::default());
    let couplet = CoupletProcess::start(&fake, &[]).await;
    let address = couplet.url.strip_prefix("http://").expect("a URL");
    let before = couplet.descriptors_at_rest().await;
    let idle: Vec<_> = (0..IDLE).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    eventually(PATIENCE, "they are accepted", || couplet.descriptors() == before + IDLE).await;
    // Those that came just now are spared.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // No number is left but those in use.
    let open = couplet.descriptor_numbers();
    let free = (0..=open.len() as u64).find(|number| !open.contains(number));
    let limit = couplet.limit(Resource::Nofile, free);
    let live = reqwest::Client::new().get(format!("{}/health/live", couplet.url));
    assert_eq!(live.timeout(PATIENCE).send().await.expect("an answer").status(), 200);
    couplet.limit(Resource::Nofile, limit);
    let closed = idle.iter().filter(|connection| is_closed(connection)).count();
    assert!((1..=IDLE).contains(&closed), "{closed} made room");
    let fault = "no descriptors are left for connections, and some are idle";
    let told = "it is answered; a connection that has done nothing for long is closed";
    saw(Class::Resources, fault, Asked::Either, told, Tried::Times(1));
}

/// Whether the other side has closed it.
fn is_closed(mut connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).expect("an option");
    matches!(connection.read(&mut [0]), Ok(0))
}

/// Root has no such limit: the server runs as somebody who has no processes beside it.
#[tokio::test]
async fn without_processes_and_threads_a_request_is_503_and_the_others_go_on() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        eprintln!("SKIPPED: only root can start a server as somebody else, and that takes setpriv");
        return;
    }
    let fake = FakeCli::new(&Script::default());
    let user = (200_000 + std::process::id()).to_string();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(fake.file(""), everybody).expect("a folder of one's own");
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    let by = ["/usr/bin/setpriv", &uid, &gid, "--clear-groups", "--"];
    let couplet = CoupletProcess::start_by(&fake.file(""), &by, &fake, &[]).await;
    assert_eq!(said(&couplet.answer(&ask("hello")).await), "fine");
    fake.gone_within(SOON).await;

    // As that user: in a container root may not touch the limits of others.
    let process = format!("--pid={}", couplet.running.id());
    let limit = |processes: &str| {
        let processes = format!("--nproc={processes}:");
        let arguments = [&uid, &gid, "--clear-groups", "--", "/usr/bin/prlimit", &process, &processes];
        let set = run(Path::new("/usr/bin/setpriv"), &arguments, &[], None, PATIENCE).expect("it starts");
        assert!(set.success, "{set}");
    };
    limit("1");
    let (status, body) = couplet.answer(&ask("hello")).await;
    assert_eq!((status, &body["error"]["code"]), (503, &"cli_unavailable".into()), "{body}");
    let sentence = body["error"]["message"].as_str().expect("a sentence");
    assert!(sentence.contains("ulimit -u") && sentence.contains("TasksMax"), "{sentence}");
    let told = "503 `cli_unavailable`, with the limit to be raised";
    saw(Class::Start, "no processes are left (EAGAIN)", Asked::NotStreaming, told, Tried::Times(1));
    // What is done on threads of its own is done by those there are: a body as large as this one, and many at once.
    let large = json!({"model": "", "messages": "x".repeat(3 << 20)});
    let begun = Instant::now();
    let refused = join_all((0..8).map(|_| couplet.answer(&large))).await;
    assert!(refused.iter().all(|(status, _)| *status == 400), "{refused:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let fault = "no threads are left, and a large body is to be read";
    saw(Class::Resources, fault, Asked::NotStreaming, "it is read by the threads there are", Tried::Times(8));

    limit("512");
    assert_eq!(said(&couplet.answer(&ask("hello")).await), "fine");
    fake.gone_within(SOON).await;
    couplet.has_free_places(16).await;
    assert!(!couplet.running.said().contains("a panic"), "{}", couplet.running.said());
}

/// As on a full disk; the signal that comes of it elsewhere ends a process.
#[tokio::test]
async fn a_server_that_may_write_no_more_goes_on_and_writes_later() {
    let fake = FakeCli::new(&Script::default());
    keep(&fake, &[stored("one"), with_quota("two")]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    assert_eq!(said(&answer(&couplet, "two").await), "fine");
    eventually(PATIENCE, "it is written", || written(&fake) > 0).await;
    let before = written(&fake);
    // No file may grow beyond what SQLite has written by now. The fake CLI is under the same limit, and writes less.
    let journal = fake.file("state/couplet.db-wal").metadata().expect("a file").len();
    let limit = couplet.limit(Resource::Fsize, Some(journal));
    for key in ["one", "two"] {
        assert_eq!(said(&answer(&couplet, key).await), "fine");
    }
    tokio::time::sleep(SOON).await;
    assert_eq!(said(&answer(&couplet, "two").await), "fine", "what is not written yet counts all the same");
    assert_eq!(written(&fake), before);
    couplet.limit(Resource::Fsize, limit);
    eventually(PATIENCE, "all is written", || written(&fake) == 4 * before).await;
    let (fault, told) = ("files may not grow (`ulimit -f`)", "an answer; what was used is written later");
    saw(Class::Resources, fault, Asked::NotStreaming, told, Tried::Times(3));
}

/// A disk that is small, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of so many KiB; `None` where nobody may have one.
    fn at(place: PathBuf, kilobytes: u32) -> Option<Self> {
        fs::create_dir_all(&place).expect("a folder");
        let (size, path) = (format!("size={kilobytes}k"), place.display().to_string());
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs", &path];
        let mounted = run(Path::new("/bin/mount"), &arguments, &[], None, PATIENCE).ok()?;
        if !mounted.success {
            eprintln!("SKIPPED: no disk can be mounted here: {mounted}");
            return None;
        }
        Some(Self(place))
    }

    /// Fills it up, with a file to be removed.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = File::create(&filler).expect("a file");
        for size in [4096, 1] {
            let piece = vec![0_u8; size];
            while file.write_all(&piece).is_ok() {}
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = self.0.display().to_string();
        let _ = run(Path::new("/bin/umount"), &["-l", &path], &[], None, PATIENCE);
    }
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_from_an_answer_and_what_was_used_is_written_once_there_is_room() {
    let fake = FakeCli::new(&Script::default());
    let Some(disk) = SmallDisk::at(fake.file("state"), 2048) else { return };
    // The fake CLI gives up where it cannot write its notes; they are elsewhere.
    fs::create_dir(fake.file("notes")).expect("a folder");
    symlink(fake.file("notes"), fake.file("state/claude")).expect("a link");
    keep(&fake, &[stored("one"), with_quota("two"), with_quota("three")]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    assert_eq!(said(&answer(&couplet, "two").await), "fine");
    eventually(PATIENCE, "it is written", || written(&fake) > 0).await;
    let before = written(&fake);
    let filler = disk.fill();
    // The quota of the third is looked up only now.
    let keys = ["one", "two", "three"].repeat(4);
    for key in &keys {
        assert_eq!(said(&answer(&couplet, key).await), "fine");
    }
    eventually(PATIENCE, "the log names it", || couplet.running.said().contains("cannot be written")).await;
    let lines = couplet.running.said();
    assert!(lines.contains("disk is full") || lines.contains("disk I/O error"), "{lines}");
    assert_eq!(lines.matches("cannot be written").count(), 1, "{lines}");
    // A key is revoked as soon as there is room for that.
    fs::remove_file(filler).expect("removed");
    let store = Store::open(&fake.file("state")).expect("a database");
    store.revoke_key("one", jiff::Timestamp::now()).expect("revoked").expect("a key");
    let begun = Instant::now();
    while answer(&couplet, "one").await.0 != 401 {
        assert!(begun.elapsed() < PATIENCE, "it is noticed");
    }
    let all = before * (1 + keys.len() as u64);
    eventually(PATIENCE, "all is written", || written(&fake) >= all).await;
    let (fault, told) =
        ("the disk with the state folder is full", "an answer; what was used is written later");
    saw(Class::Resources, fault, Asked::NotStreaming, told, Tried::Times(keys.len() as u64));
}

#[test]
fn a_server_that_is_to_start_on_a_full_disk_says_so() {
    let fake = FakeCli::new(&Script::default());
    let Some(disk) = SmallDisk::at(fake.file("state"), 256) else { return };
    let _filler = disk.fill();
    let arguments = arguments(&fake);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let variables = environment(&[]);
    let mut server = Running::start(Path::new(PROGRAM), &arguments, &variables).expect("it starts");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = server.has_ended() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it ends: {}", server.said());
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = server.said();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("state") && (said.contains("No space left") || said.contains("disk is full")),
        "{said}"
    );
}

/// Nobody reads what the server writes to its stderr; then the reader is gone.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up_and_ends_nothing() {
    const MANY: usize = 1200;
    let fake = FakeCli::new(&Script::default());
    let arguments = arguments(&fake);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let variables = environment(&[("COUPLET_LOG_FORMAT", "json")]);
    let (mut server, stderr) =
        Running::start_piped(Path::new(PROGRAM), &arguments, &variables).expect("it starts");
    let mut stderr = BufReader::new(stderr);
    let url = loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).expect("a line") > 0, "it listens");
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split_once("/v1").expect("an address").0.to_owned();
        }
    };
    let client = reqwest::Client::new();
    // Each has a line of some 300 bytes, and the pipe takes 64 KiB.
    let ask_all = async |count: usize| {
        for _ in 0..count {
            let asked = client.post(format!("{url}/v1/chat/completions")).json(&json!({})).send();
            let response = tokio::time::timeout(PATIENCE, asked).await.expect("in time").expect("an answer");
            assert_eq!(response.status(), 400);
        }
    };
    ask_all(MANY).await;
    assert!(server.has_ended().is_none());
    // What waits is written once somebody reads: the last line too.
    let reader = tokio::task::spawn_blocking(move || {
        let lines = stderr.by_ref().lines().map_while(Result::ok);
        let seen = lines.filter(|line| line.contains("couplet::request")).take(MANY).count();
        drop(stderr);
        seen
    });
    assert_eq!(tokio::time::timeout(PATIENCE, reader).await.expect("in time").expect("no panic"), MANY);
    // Now the reader is gone.
    ask_all(20).await;
    let response = client.post(format!("{url}/v1/chat/completions")).json(&ask("hello")).send().await;
    assert_eq!(response.expect("an answer").status(), 200);
    assert!(server.has_ended().is_none());
    saw(Class::Resources, "nobody reads the log", Asked::Either, "an answer", Tried::Times(MANY as u64));
    saw(Class::Resources, "the reader of the log is gone", Asked::Either, "an answer", Tried::Times(21));
    server.signal(Signal::TERM);
    eventually(PATIENCE, "it ends", || server.has_ended().is_some()).await;
    assert_eq!(server.has_ended().and_then(|status| status.code()), Some(0));
}
