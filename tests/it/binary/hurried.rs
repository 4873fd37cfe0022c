//! Its end when something hangs, or there is no time at all.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rstest::rstest;
use rusqlite::Connection;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::app::{ask, said};
use crate::support::couplet_process::{CoupletProcess, streamed};
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{self, Asked, Class, Tried};

const PATIENCE: Duration = Duration::from_secs(20);

/// How long open answers are given.
const GRACE: Duration = Duration::from_millis(500);

/// Within this after the grace time it has ended, whatever hangs.
const CLOSING: Duration = Duration::from_secs(3);

/// Within this a second signal ends it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A CLI that hangs in the middle of its answer, whatever it is told, with a child of its own.
fn stubborn() -> Script {
    let child = Step::StartChild { keeps_output: true };
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let plays = vec![play("well", [Step::Answer("fine".to_owned())]), play("", [child, half, Step::Hang])];
    Script { plays, ignores_interrupt: true, ignores_end_of_input: true, ..Script::default() }
}

/// One with an answer under way that has no end.
async fn with_an_open_answer(fake: &FakeCli, grace: &str) -> (CoupletProcess, reqwest::Response) {
    let couplet = CoupletProcess::start(fake, &[("COUPLET_SHUTDOWN_GRACE", grace)]).await;
    fake.follow(&stubborn());
    let mut answer = couplet.chat(&streamed(&ask("hello"))).await;
    answer.chunk().await.expect("a chunk").expect("not the end");
    (couplet, answer)
}

#[rstest]
#[case::twice_by_a_manager(Signal::TERM, Signal::TERM, &[143])]
#[case::twice_ctrl_c(Signal::INT, Signal::INT, &[130])]
#[case::ctrl_c_after_a_manager(Signal::TERM, Signal::INT, &[130])]
#[tokio::test]
async fn a_second_signal_ends_it_at_once(
    #[case] first: Signal,
    #[case] second: Signal,
    #[case] status: &[i32],
) {
    let fake = FakeCli::new(&Script::default());
    let (mut couplet, _answer) = with_an_open_answer(&fake, "60").await;
    couplet.signal(first);
    eventually(PATIENCE, "it drains", || couplet.running.said().contains("shutting down")).await;
    let begun = Instant::now();
    couplet.signal(second);
    let ended = couplet.ended_within(PATIENCE).await.expect("by itself");
    assert!(status.contains(&ended) && begun.elapsed() < AT_ONCE, "{ended} after {:?}", begun.elapsed());
    fake.dead_within(AT_ONCE).await;
    assert!(couplet.running.said().contains("for a second time"), "{}", couplet.running.said());
    fault_table::saw(
        Class::Drain,
        "a second signal during the grace time (SIGTERM or SIGINT)",
        Asked::Either,
        "the connection breaks; exit status 143 or 130 within 1 s, and no process is left",
        Tried::Times(3),
    );
}

#[tokio::test]
async fn a_second_signal_right_behind_the_first_counts_too() {
    let fake = FakeCli::new(&Script::default());
    let (mut couplet, _answer) = with_an_open_answer(&fake, "60").await;
    let begun = Instant::now();
    couplet.signal(Signal::TERM);
    couplet.signal(Signal::INT);
    let ended = couplet.ended_within(PATIENCE).await.expect("by itself");
    assert!([130, 143].contains(&ended) && begun.elapsed() < AT_ONCE, "{ended} after {:?}", begun.elapsed());
    fake.dead_within(AT_ONCE).await;
}

/// What may hold it up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hang {
    Cli,
    Start,
    Upload,
    Store,
    #[cfg(feature = "otel")]
    Traces,
}

#[rstest]
#[case::a_cli_that_ignores_everything(Hang::Cli)]
#[case::clis_that_are_being_started(Hang::Start)]
#[case::a_body_that_does_not_come_to_its_end(Hang::Upload)]
#[case::a_database_that_another_process_has_locked(Hang::Store)]
#[tokio::test]
async fn nothing_that_hangs_holds_it_up(#[case] hang: Hang) {
    is_not_held_up_by(hang).await;
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn a_receiver_of_traces_that_does_not_answer_does_not_hold_it_up() {
    is_not_held_up_by(Hang::Traces).await;
}

async fn is_not_held_up_by(hang: Hang) {
    let fake = FakeCli::new(&Script::default());
    // Connections are taken by the system, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let mut couplet = CoupletProcess::start(
        &fake,
        &[("COUPLET_SHUTDOWN_GRACE", "0.5"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)],
    )
    .await;
    fake.follow(&stubborn());
    assert_eq!(said(&couplet.answer(&ask("are you well?")).await), "fine");
    let address = couplet.url.trim_start_matches("http://").to_owned();
    let mut upload = TcpStream::connect(&address).await.expect("a connection");
    let mut locked = None;
    let starts = match hang {
        Hang::Upload => {
            let half = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
                 content-length: 1000\r\n\r\n{{"
            );
            upload.write_all(half.as_bytes()).await.expect("half a request");
            0
        }
        Hang::Store => {
            let database = Connection::open(couplet::store::path(&fake.file("state"))).expect("a database");
            database.execute_batch("BEGIN IMMEDIATE").expect("a lock");
            locked = Some(database);
            assert_eq!(said(&couplet.answer(&ask("are you well?")).await), "fine");
            0
        }
        Hang::Start => {
            fake.follow(&Script { at_start: vec![Step::Hang], ..stubborn() });
            16
        }
        Hang::Cli => 4,
        #[cfg(feature = "otel")]
        Hang::Traces => 4,
    };
    let question = streamed(&ask("hello"));
    let asked = join_all((0..starts).map(|_| couplet.request(&question).send()));
    let signalled = async {
        // Long enough for some to be on their way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        couplet.signal(Signal::TERM);
        Instant::now()
    };
    let (answers, signalled) = tokio::join!(asked, signalled);
    for answer in answers {
        let read = answer.expect("an answer").text().await.expect("to its end");
        assert!(read.contains("shutting_down"), "{read}");
    }
    assert_eq!(couplet.ended_within(PATIENCE).await, Some(0), "{}", couplet.running.said());
    let took = signalled.elapsed();
    assert!(took < GRACE + CLOSING, "{took:?}: {}", couplet.running.said());
    fake.dead_within(AT_ONCE).await;
    drop(locked);
    is_sound(&fake.file("state"));
}

/// The database is as SQLite wants it; how many requests are in it.
pub fn is_sound(state: &Path) -> u64 {
    let database = Connection::open(couplet::store::path(state)).expect("a database");
    let verdict: String =
        database.pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("a verdict");
    assert_eq!(verdict, "ok");
    let sum = "SELECT coalesce(sum(requests), 0) FROM usage";
    database.query_row(sum, [], |row| row.get::<_, i64>(0)).expect("a sum").unsigned_abs()
}

/// How it comes to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Drained,
    Hurried,
    Killed,
}

#[rstest]
#[case(End::Drained)]
#[case(End::Hurried)]
#[case(End::Killed)]
#[tokio::test]
async fn what_was_used_is_there_after_every_end(#[case] end: End) {
    let fake = FakeCli::new(&Script::default());
    let (mut couplet, _answer) = with_an_open_answer(&fake, "0.5").await;
    for _ in 0..5 {
        assert_eq!(said(&couplet.answer(&ask("are you well?")).await), "fine");
    }
    if end != End::Drained {
        // It is written five times a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    match end {
        End::Drained => couplet.signal(Signal::TERM),
        End::Hurried => [Signal::TERM, Signal::INT].into_iter().for_each(|signal| couplet.signal(signal)),
        End::Killed => couplet.signal(Signal::KILL),
    }
    couplet.ended_within(PATIENCE).await;
    // Of the one that was cut off, what it had used by then is known where there was time to write it.
    let requests = is_sound(&fake.file("state"));
    assert_eq!(requests, if end == End::Drained { 6 } else { 5 });
}
