//! The client goes away.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use reqwest::Response;
use rstest::rstest;

use super::{PATIENCE, SOON, said};
use crate::support::app::{Streamed, ask};
use crate::support::couplet_process::{CoupletProcess, streamed};
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

/// Tries of each kind.
const TRIES: usize = 16;

/// The same where there is time for it.
const MANY: usize = 1000;

/// Answers at once, and requests that may wait.
const PLACES: usize = 8;

/// When the client goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaves {
    BeforeTheFirstToken,
    InMidStream,
    WhileAWholeAnswerIsMade,
}

const KINDS: [Leaves; 3] =
    [Leaves::BeforeTheFirstToken, Leaves::InMidStream, Leaves::WhileAWholeAnswerIsMade];

fn name(kind: Leaves, number: usize) -> String {
    format!("<{kind:?}-{number}>")
}

async fn served(fake: &FakeCli, sandbox: &str) -> CoupletProcess {
    let places = PLACES.to_string();
    let limits = [("COUPLET_MAX_CONCURRENCY", &*places), ("COUPLET_QUEUE_SIZE", &*places)];
    CoupletProcess::start(fake, &[&limits[..], &[("COUPLET_SANDBOX", sandbox)]].concat()).await
}

/// The process has everything back that it had before.
async fn is_as_before(couplet: &CoupletProcess, fake: &FakeCli, descriptors: usize) {
    fake.gone_within(SOON).await;
    assert_eq!(said(&couplet.answer(&ask("are you well?")).await), "fine");
    eventually(PATIENCE, "no child is left", || couplet.children() == 0).await;
    let open = || couplet.descriptors();
    eventually(PATIENCE, "no descriptor is left open", || open() <= descriptors).await;
    couplet.has_free_places(PLACES as u64).await;
    let credential =
        std::fs::read_dir(fake.file("state/claude")).expect("a folder").next().expect("a credential's");
    let notes = credential.expect("a folder").path().join("config/sessions");
    let notes: Vec<_> = std::fs::read_dir(notes).into_iter().flatten().collect();
    assert!(notes.is_empty(), "notes of sessions are left: {notes:?}");
}

/// How many descriptors are open once everything was used that stays open.
async fn descriptors(couplet: &CoupletProcess, fake: &FakeCli) -> usize {
    assert_eq!(said(&couplet.answer(&ask("are you well?")).await), "fine");
    fake.gone_within(SOON).await;
    couplet.health().await;
    couplet.descriptors_at_rest().await
}

impl Leaves {
    fn fault(self, stubborn: bool) -> String {
        let when = match self {
            Self::BeforeTheFirstToken => "before the first token",
            Self::InMidStream => "in mid-stream",
            Self::WhileAWholeAnswerIsMade => "while a whole answer is made",
        };
        let cli = if stubborn { "a CLI that does not care" } else { "a CLI that follows its interrupt" };
        format!("it goes away {when}, from {cli}")
    }
}

#[rstest]
#[case::and_the_cli_follows(false)]
#[case::and_the_cli_does_not_care(true)]
#[tokio::test]
async fn a_client_that_leaves_takes_its_turn_with_it(#[case] stubborn: bool) {
    for (kind, seen) in all_leave(stubborn, TRIES).await {
        seen.tell(Class::Client, &kind.fault(stubborn), asked(kind));
    }
}

#[rstest]
#[case::and_the_cli_follows(false)]
#[case::and_the_cli_does_not_care(true)]
#[tokio::test]
#[ignore = "three thousand processes"]
async fn a_thousand_clients_that_leave_take_their_turns_with_them(#[case] stubborn: bool) {
    for (kind, seen) in all_leave(stubborn, MANY).await {
        seen.tell_of_long_run(Class::Client, &kind.fault(stubborn), asked(kind));
    }
}

fn asked(kind: Leaves) -> Asked {
    Asked::with(kind != Leaves::WhileAWholeAnswerIsMade)
}

async fn all_leave(stubborn: bool, tries: usize) -> Vec<(Leaves, Seen)> {
    let fake = FakeCli::new(&Script::default());
    let play_of = |kind: Leaves, number: usize| {
        let name = name(kind, number);
        let begun = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
        let asked = Step::MakeFile(fake.file(&name));
        let begins = if kind == Leaves::BeforeTheFirstToken { vec![] } else { vec![begun] };
        play(&name, [begins, vec![asked, Step::Hang]].concat())
    };
    // Each process reads the whole of it: no more than are needed next.
    let script_of = |kind: Leaves, numbers: &[usize]| Script {
        plays: numbers.iter().map(|number| play_of(kind, *number)).collect(),
        ignores_interrupt: stubborn,
        ignores_end_of_input: stubborn,
        ..Script::default()
    };
    // A CLI that is killed leaves its note of a session; one that is confined makes none.
    let couplet = served(&fake, if stubborn { "off" } else { "auto" }).await;
    let before = descriptors(&couplet, &fake).await;

    let mut all = Vec::new();
    let mut slowest = Duration::ZERO;
    let (mut processes, mut interrupted) = (0, 0);
    for kind in KINDS {
        let numbers: Vec<usize> = (0..tries).collect();
        let mut times = Vec::new();
        for numbers in numbers.chunks(4 * PLACES) {
            fake.follow(&script_of(kind, numbers));
            let leave = |number: &usize| leave(&couplet, &fake, kind, *number);
            let left = stream::iter(numbers).map(leave).buffer_unordered(PLACES);
            times.extend(left.collect::<Vec<Duration>>().await);
            interrupted += fake.heard().matches(r#""subtype":"interrupt""#).count();
            // They are kept by their ids, which the system gives again.
            processes += fake.reports().len();
            fake.forget_reports();
        }
        let mut seen = Seen::default();
        for time in times {
            slowest = slowest.max(time);
            let when = if time < SOON { "within 1 s" } else { "too late" };
            seen.note(format!("nothing, it has left; the turn is interrupted, its group gone {when}"));
        }
        all.push((kind, seen));
    }
    println!("the slowest was gone after {slowest:?}");
    assert!(slowest < SOON, "{slowest:?}");

    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&couplet, &fake, before).await;
    let count = KINDS.len() * tries;
    assert_eq!(processes + fake.reports().len(), 2 + count, "a process for each");
    assert_eq!(interrupted, count, "each was interrupted");
    all
}

/// How long its process outlives it.
async fn leave(couplet: &CoupletProcess, fake: &FakeCli, kind: Leaves, number: usize) -> Duration {
    let name = name(kind, number);
    let (question, streaming) = (ask(&name), streamed(&ask(&name)));
    let asked = || eventually(PATIENCE, "it is asked", || fake.file(&name).exists());
    let never = |answer: Response| panic!("{kind:?}: no answer was to come, but {answer:?}");
    match kind {
        Leaves::InMidStream => {
            let mut answer = couplet.chat(&streaming).await;
            answer.chunk().await.expect("a chunk").expect("not the end");
            asked().await;
        }
        Leaves::BeforeTheFirstToken => tokio::select! {
            answer = couplet.chat(&streaming) => never(answer),
            () = asked() => {}
        },
        Leaves::WhileAWholeAnswerIsMade => tokio::select! {
            answer = couplet.chat(&question) => never(answer),
            () = asked() => {}
        },
    }
    let left = Instant::now();
    let process = std::fs::read_to_string(fake.file(&name)).expect("its id");
    let process = std::path::Path::new("/proc").join(process);
    eventually(PATIENCE, "its process is gone", || !process.exists()).await;
    left.elapsed()
}

#[tokio::test]
async fn clients_that_leave_the_queue_make_room_in_it() {
    leave_the_queue(32).await.tell(Class::Client, LEAVES_THE_QUEUE, Asked::NotStreaming);
}

#[tokio::test]
#[ignore = "a thousand requests"]
async fn a_thousand_clients_that_leave_the_queue_make_room_in_it() {
    leave_the_queue(MANY).await.tell_of_long_run(Class::Client, LEAVES_THE_QUEUE, Asked::NotStreaming);
}

const LEAVES_THE_QUEUE: &str = "it goes away while it waits in the queue";

async fn leave_the_queue(tries: usize) -> Seen {
    let fake = FakeCli::new(&Script { plays: vec![play("stay", [Step::Hang])], ..Script::default() });
    let couplet = served(&fake, "auto").await;
    let before = descriptors(&couplet, &fake).await;
    let question = ask("stay");
    let stay = |_| couplet.chat(&question);
    let mut busy = stream::iter(0..PLACES).map(stay).buffer_unordered(PLACES);
    let mut seen = Seen::default();
    let work = async {
        eventually(PATIENCE, "all places are taken", || fake.reports().len() == 1 + PLACES).await;
        // More than there is room for, were those before not gone.
        for _ in 0..tries / PLACES {
            join_all((0..PLACES).map(|_| wait_in_vain(&couplet))).await;
            for _ in 0..PLACES {
                seen.note("nothing, it has left; no process was started, its place in the queue is free");
            }
        }
    };
    tokio::select! {
        answer = busy.next() => panic!("no answer was to come, but {answer:?}"),
        () = work => {}
    }
    drop(busy);
    is_as_before(&couplet, &fake, before).await;
    assert_eq!(fake.reports().len(), 2 + PLACES, "none was started for those that waited");
    seen
}

/// Waits in the queue for a while, and leaves. Those who left before may take a moment to be noticed.
async fn wait_in_vain(couplet: &CoupletProcess) {
    let begun = Instant::now();
    loop {
        let request = couplet.request(&ask("queued")).timeout(Duration::from_millis(150));
        match request.send().await {
            Err(error) if error.is_timeout() => return,
            Ok(answer) if answer.status() == 429 && begun.elapsed() < PATIENCE => {}
            other => panic!("it was to wait: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_full_queue_refuses_with_429_and_says_when_to_come_again() {
    let fake = FakeCli::new(&Script { plays: vec![play("stay", [Step::Hang])], ..Script::default() });
    let couplet = served(&fake, "auto").await;
    let question = ask("stay");
    let stay = |_| couplet.chat(&question);
    let mut busy = stream::iter(0..2 * PLACES).map(stay).buffer_unordered(2 * PLACES);
    let work = async {
        eventually(PATIENCE, "all places are taken", || fake.reports().len() == PLACES).await;
        let refused = loop {
            // Those that are to wait may come later than this one.
            let request = couplet.request(&ask("one too many")).timeout(Duration::from_millis(150));
            if let Ok(answer) = request.send().await {
                break answer;
            }
        };
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "2");
        let refused = Streamed::read(refused).await;
        assert_eq!(refused.error().expect("an error")["code"], "rate_limit_exceeded");
        refused
    };
    tokio::select! {
        answer = busy.next() => panic!("no answer was to come, but {answer:?}"),
        refused = work => seen::tell(
            Class::Start,
            "more requests than places, those in the queue included",
            Asked::NotStreaming,
            seen::of_answer(&refused),
        ),
    }
    drop(busy);
    fake.gone_within(2 * SOON).await;
    assert_eq!(said(&couplet.answer(&ask("are you well?")).await), "fine");
}
