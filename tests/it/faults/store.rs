//! The database in the state folder is not as it should be.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use couplet::caller::Limits;
use couplet::store::keys::StoredKey;
use couplet::store::{self, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{PATIENCE, SOON, said};
use crate::access::stored;
use crate::support::app::ask;
use crate::support::couplet_process::{CoupletProcess, PROGRAM, arguments, environment};
use crate::support::fake_cli::script::Script;
use crate::support::fake_cli::{FakeCli, eventually};
use crate::support::fault_table::{Asked, Class, Tried, saw};

fn with_quota(key: &str) -> StoredKey {
    let tokens_per_day = std::num::NonZeroU64::new(1_000_000);
    StoredKey { limits: Limits { tokens_per_day, ..Limits::default() }, ..stored(key) }
}

fn keep(fake: &FakeCli, keys: &[StoredKey]) -> Store {
    let store = Store::open(&fake.file("state")).expect("a database");
    for key in keys {
        assert!(store.add_key(key).expect("kept"));
    }
    store
}

fn database(fake: &FakeCli) -> rusqlite::Connection {
    rusqlite::Connection::open(store::path(&fake.file("state"))).expect("a database")
}

async fn answer(couplet: &CoupletProcess, key: &str) -> (u16, Value) {
    let response = couplet.request(&ask("hello")).bearer_auth(key).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// The status of a request that no model is needed for: an empty body is a 400 behind the key.
async fn verdict(couplet: &CoupletProcess, key: &str) -> u16 {
    let response = couplet.request(&json!({})).bearer_auth(key).send().await.expect("an answer");
    response.status().as_u16()
}

async fn until(couplet: &CoupletProcess, key: &str, status: u16, limit: Duration) {
    let begun = Instant::now();
    while verdict(couplet, key).await != status {
        assert!(begun.elapsed() < limit, "{key} is not {status} within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_closed_and_hides_nothing_of_the_others() {
    let fake = FakeCli::new(&Script::default());
    let store = keep(&fake, &[stored("one"), stored("two"), stored("three")]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    assert_eq!([verdict(&couplet, "one").await, verdict(&couplet, "two").await], [400, 400]);
    database(&fake).execute_batch("UPDATE keys SET about = '{' WHERE name = 'one'").expect("spoilt");
    until(&couplet, "one", 401, PATIENCE).await;
    store.revoke_key("two", jiff::Timestamp::now()).expect("revoked").expect("a key");
    until(&couplet, "two", 401, PATIENCE).await;
    assert_eq!(verdict(&couplet, "three").await, 400);
    assert_eq!(couplet.running.said().matches("cannot be read: it opens nothing").count(), 1);
    let told = "401 for that key; the others are as they were";
    saw(Class::Resources, "a key in the database cannot be read", Asked::Either, told, Tried::Times(1));
}

/// It must not look as if there were no keys.
#[tokio::test]
async fn a_server_whose_only_key_cannot_be_read_is_not_open() {
    let fake = FakeCli::new(&Script::default());
    keep(&fake, &[stored("one")]);
    database(&fake).execute_batch("UPDATE keys SET about = '{'").expect("spoilt");
    let couplet = CoupletProcess::start(&fake, &[]).await;
    assert_eq!([verdict(&couplet, "one").await, verdict(&couplet, "").await], [401, 401]);
    assert_eq!(couplet.answer(&ask("hello")).await.0, 401);
    let fault = "the only key in the database cannot be read, from the start";
    saw(Class::Resources, fault, Asked::Either, "401: the server is not open", Tried::Times(1));
}

/// Writes over all of a file but its first bytes, or these too.
fn spoil(path: &Path, from: u64) {
    let mut file = fs::File::options().write(true).open(path).expect("a file");
    let length = file.metadata().expect("a file").len();
    file.seek(SeekFrom::Start(from)).expect("a place");
    file.write_all(&vec![0xA5; usize::try_from(length.saturating_sub(from)).expect("a size")])
        .expect("spoilt");
}

#[tokio::test]
async fn a_database_that_is_spoilt_in_place_opens_nothing_and_ends_nothing() {
    const TIMES: u64 = 20;
    let fake = FakeCli::new(&Script::default());
    let store = keep(&fake, &[stored("one"), with_quota("two")]);
    // Nothing of it is in the log of what is to be written.
    database(&fake).query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).expect("written");
    drop(store);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    let path = store::path(&fake.file("state"));
    let whole = fs::read(&path).expect("a file");
    spoil(&path, 0);
    for _ in 0..TIMES {
        assert_eq!(said(&answer(&couplet, "one").await), "fine", "who is in stays in");
        let (status, body) = answer(&couplet, "two").await;
        assert_eq!((status, &body["error"]["code"]), (503, &json!("usage_unknown")), "{body}");
        assert!(body["error"]["message"].as_str().is_some_and(|it| it.contains("disk")), "{body}");
        assert_eq!(verdict(&couplet, "stranger").await, 401);
    }
    // One line, and perhaps one that counts the others.
    let lines = couplet.running.said();
    let told = lines.matches("of a quota cannot be read").count();
    assert!((1..=3).contains(&told), "{told} lines: {lines}");
    let fault = "the database is overwritten while the server runs";
    saw(Class::Resources, fault, Asked::Either, "an answer for a key without a quota", Tried::Times(TIMES));
    let fault = "the database is overwritten, and the key has a quota that was not looked up yet";
    saw(
        Class::Resources,
        fault,
        Asked::Either,
        "503 `usage_unknown`, which names the disk",
        Tried::Times(TIMES),
    );
    // Somebody puts it right, in the same file.
    fs::write(&path, whole).expect("mended");
    let begun = Instant::now();
    while answer(&couplet, "two").await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is read again: {}", couplet.running.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    couplet.signal(Signal::TERM);
}

#[tokio::test]
async fn a_server_does_not_start_with_a_spoilt_database() {
    for from in [0, 100] {
        let fake = FakeCli::new(&Script::default());
        drop(keep(&fake, &[stored("one")]));
        database(&fake).query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).expect("written");
        spoil(&store::path(&fake.file("state")), from);
        let arguments = arguments(&fake);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let variables = environment(&[]);
        let mut server = crate::support::command::Running::start(Path::new(PROGRAM), &arguments, &variables)
            .expect("it starts");
        eventually(PATIENCE, "it ends", || server.has_ended().is_some()).await;
        let said = server.said();
        assert_eq!(server.has_ended().and_then(|status| status.code()), Some(2), "{said}");
        assert!(said.contains("database"), "{said}");
    }
    let told = "no server: it ends with exit status 2, and a sentence that names the database";
    saw(
        Class::Resources,
        "the database is spoilt before the server starts",
        Asked::Either,
        told,
        Tried::Times(2),
    );
}

/// Another process writes, for long.
#[tokio::test]
async fn while_another_process_holds_the_database_nobody_waits_for_it() {
    const HELD: Duration = Duration::from_secs(4);
    let fake = FakeCli::new(&Script::default());
    let store = keep(&fake, &[stored("one"), with_quota("two"), with_quota("three")]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    assert_eq!(said(&answer(&couplet, "one").await), "fine");
    let foreign = database(&fake);
    foreign.execute_batch("BEGIN EXCLUSIVE").expect("held");
    let begun = Instant::now();
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while begun.elapsed() < HELD {
        for key in ["one", "two", "three"] {
            let asking = Instant::now();
            assert_eq!(said(&answer(&couplet, key).await), "fine");
            longest = longest.max(asking.elapsed());
            asked += 1;
        }
    }
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    eprintln!("{asked} requests, the longest took {longest:?}");
    foreign.execute_batch("ROLLBACK").expect("given back");
    store.revoke_key("one", jiff::Timestamp::now()).expect("revoked").expect("a key");
    until(&couplet, "one", 401, 2 * SOON).await;
    let count = || -> i64 {
        database(&fake)
            .query_row("SELECT coalesce(sum(requests), 0) FROM usage", (), |row| row.get(0))
            .expect("a sum")
    };
    eventually(PATIENCE, "all is written", || count() == asked + 1).await;
    let told = "an answer at once; what was used is written later";
    saw(Class::Resources, "another process holds the database", Asked::NotStreaming, told, Tried::Times(1));
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_writes_loses_no_key_and_spoils_nothing() {
    killed(4, Tried::Times).await;
}

#[ignore = "takes minutes"]
#[tokio::test]
async fn a_server_that_is_killed_fifty_times_while_it_writes_loses_no_key_and_spoils_nothing() {
    killed(50, Tried::LongRun).await;
}

async fn killed(times: u64, tried: fn(u64) -> Tried) {
    let fake = FakeCli::new(&Script::default());
    keep(&fake, &[stored("one"), with_quota("two")]);
    let mut before = 0;
    for time in 0..times {
        let mut couplet = CoupletProcess::start(&fake, &[]).await;
        let questions = async {
            for _ in 0..4 {
                assert_eq!(said(&answer(&couplet, "one").await), "fine");
                assert_eq!(said(&answer(&couplet, "two").await), "fine");
            }
        };
        questions.await;
        // Writes begin 200 ms after the first of what they write: some of these moments are before that, some behind.
        tokio::time::sleep(Duration::from_millis(time * 97 % 320)).await;
        couplet.signal(Signal::KILL);
        couplet.ended_within(PATIENCE).await;
        fake.dead_within(PATIENCE).await;
        let database = database(&fake);
        let fine: String =
            database.query_row("PRAGMA integrity_check", (), |row| row.get(0)).expect("a check");
        assert_eq!(fine, "ok");
        let keys: i64 =
            database.query_row("SELECT count(*) FROM keys", (), |row| row.get(0)).expect("a count");
        assert_eq!(keys, 2);
        let used: i64 = database
            .query_row("SELECT coalesce(sum(requests), 0) FROM usage", (), |row| row.get(0))
            .expect("a sum");
        let asked = i64::try_from(8 * (time + 1)).expect("few");
        assert!((before..=asked).contains(&used), "{before} were written before, {used} are now");
        before = used;
    }
    assert!(before > 0, "something was written at all");
    let fault = "the server is killed while it writes what was used";
    let told = "after a restart all keys and accounts are there";
    saw(Class::Drain, fault, Asked::Either, told, tried(times));
}

#[tokio::test]
async fn a_state_folder_that_is_deleted_closes_its_keys_and_keeps_the_server_closed() {
    let fake = FakeCli::new(&Script::default());
    drop(keep(&fake, &[stored("one")]));
    let couplet =
        CoupletProcess::start(&fake, &[("COUPLET_API_KEYS", "of-the-settings-of-the-server")]).await;
    assert_eq!(verdict(&couplet, "one").await, 400);
    fs::remove_dir_all(fake.file("state")).expect("deleted");
    until(&couplet, "one", 401, PATIENCE).await;
    assert_eq!(verdict(&couplet, "").await, 401);
    assert_eq!(verdict(&couplet, "of-the-settings-of-the-server").await, 400);
    let (status, body) = answer(&couplet, "of-the-settings-of-the-server").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("cli_unavailable")), "{body}");
    let told = "401 for the keys that were in it, 503 `cli_unavailable` for others";
    saw(Class::Resources, "the state folder is deleted", Asked::Either, told, Tried::Times(1));
}
