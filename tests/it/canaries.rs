//! Canaries: secrets, and texts that people say, in every way in which a request can end; and a search of all places where
//! they must not be.
//!
//! - `marks`: the canaries, and how they are found
//! - `sent`: requests full of them
//! - `endings`: the ways in which a request can end
//! - `stage`: a server, and the places that are searched: the log, answers, what can be looked at, what /proc says of the
//!   processes, and all files
//!
//! What a client may read again of its own is in `endings`, for each ending: a name that its error is about, or a sentence of
//! the API. The log may tell names of models and of unknown fields that a client made up. With the real CLI see
//! `real_cli::canaries`.

mod endings;
pub mod marks;
pub mod sent;
pub mod stage;

use std::time::Duration;

use endings::{CLOSING, ENDINGS, Ending, OF_MESSAGES, applies};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::fake_cli::eventually;
use crate::support::fake_cli::script::{Script, Step};
use marks::{ADMIN_KEY, TOKEN, mark};
use sent::{Endpoint, Sent};
use stage::{Scenario, Stage};

/// The scenarios of a server's life: every ending at every endpoint.
fn scenarios(stream: bool) -> Vec<Scenario<'static>> {
    let of_all =
        Endpoint::ALL.into_iter().flat_map(|endpoint| ENDINGS.iter().map(move |ending| (endpoint, ending)));
    let with_messages = [Endpoint::Chat, Endpoint::Messages].into_iter();
    let of_messages =
        with_messages.flat_map(|endpoint| OF_MESSAGES.iter().map(move |ending| (endpoint, ending)));
    let all = of_all.chain(of_messages).filter(|(endpoint, ending)| applies(ending, *endpoint));
    let numbered = all.enumerate();
    let scenario = |(place, (endpoint, ending)): (usize, (Endpoint, &'static Ending))| Scenario {
        number: 2 * place + usize::from(stream),
        endpoint,
        stream,
        ending,
    };
    numbered.map(scenario).collect()
}

#[test]
fn there_are_more_than_two_hundred_scenarios() {
    let number = scenarios(false).len() + scenarios(true).len() + 2 * CLOSING.len() * Endpoint::ALL.len();
    println!("{number} scenarios");
    assert!(number > 200, "{number}");
}

#[rstest]
#[case::answered_whole(false, &[])]
#[case::streamed_at_the_level_trace(true, &[("COUPLET_LOG", "trace"), ("COUPLET_LOG_FORMAT", "json")])]
#[tokio::test]
async fn no_canary_gets_out(#[case] stream: bool, #[case] variables: &[(&str, &str)]) {
    let mut stage = Stage::new(variables).await;
    let scenarios = scenarios(stream);
    // These keys have used up what they have.
    let mut knock = Sent::new(Endpoint::Chat, false, 0);
    knock.offer("zqcanary-key-limited");
    knock.body = b"{}".to_vec();
    assert_eq!(stage.send(&knock).await.status, 400);
    let mut spend = Sent::new(Endpoint::Chat, false, 0);
    spend.offer("zqcanary-key-spent");
    assert_eq!(stage.send(&spend).await.status, 200);
    for scenario in &scenarios {
        stage.perform(scenario, true).await;
    }
    let how = if stream { "streamed, at the level `trace`" } else { "not streamed, at the default level" };
    stage.end(&format!("in every way in which a request can end, {how}"), scenarios.len()).await;
}

#[rstest]
#[case::the_usage_limit(&CLOSING[0])]
#[case::a_sign_in_that_is_not_taken(&CLOSING[1])]
#[tokio::test]
async fn no_canary_gets_out_of_an_account_that_is_closed(#[case] ending: &Ending) {
    let mut stage = Stage::new(&[("COUPLET_LOG", "trace")]).await;
    let ways = Endpoint::ALL.into_iter().flat_map(|endpoint| [(endpoint, false), (endpoint, true)]);
    let mut number = 0;
    for (endpoint, stream) in ways {
        // Only the first is asked.
        stage.perform(&Scenario { number, endpoint, stream, ending }, number == 0).await;
        number += 1;
    }
    stage.end(&format!("where the account is closed by {}", ending.name), number).await;
}

/// An order of the operator.
fn order(path: &str, body: &Value) -> Sent {
    let mut sent = Sent::new(Endpoint::Chat, false, 0);
    path.clone_into(&mut sent.path);
    sent.offer(ADMIN_KEY);
    sent.body = body.to_string().into_bytes();
    sent
}

#[tokio::test]
async fn no_canary_gets_out_of_what_the_operator_does() {
    let mut stage = Stage::new(&[("COUPLET_LOG", "trace"), ("COUPLET_LOG_FORMAT", "json")]).await;
    let quotes = vec![
        Step::Complain(format!("signed in with {TOKEN}")),
        Step::Bytes(
            json!({"loggedIn": true, "token": TOKEN, "also": "sk-ant-ort01-zqcanary-token"})
                .to_string()
                .into(),
        ),
    ];
    let commands = ["auth status", "doctor"].map(|command| (command.to_owned(), quotes.clone()));
    stage.fake.follow(&Script { commands: commands.into(), ..Script::default() });
    let mut number = 0;
    for (path, body, status) in [
        ("/admin/cli", json!({"command": "auth status"}), 200),
        ("/admin/cli", json!({"command": "doctor"}), 200),
        ("/admin/cli", json!({"command": mark("user", 0)}), 400),
        ("/admin/cli", json!({"command": "doctor", "tenant": mark("user", 0)}), 404),
        ("/admin/cli", json!({"command": ["doctor", mark("user", 0)]}), 400),
        ("/admin/cli", json!([mark("user", 0)]), 400),
        ("/auth/logout", json!({"tenant": mark("user", 0)}), 404),
    ] {
        let read = stage.send(&order(path, &body)).await;
        assert_eq!(read.status, status, "{body}: {}", read.text);
        assert!(status != 200 || read.text.contains("[redacted]"), "it was quoted: {}", read.text);
        stage.look(&format!("{path} {body}"), read.text.as_bytes(), &[]);
        stage.look_at_log(path, &[]);
        number += 1;
    }
    let status = stage.page("/auth/status", marks::KEY).await.1;
    assert_eq!(stage::json_of(&status)["cli"]["token"], "[redacted]", "{status}");
    let mut usage = order(&format!("/admin/usage?key={}", mark("user", 0)), &json!({}));
    usage.method = Method::GET;
    let read = stage.send(&usage).await;
    assert_eq!(read.status, 200);
    stage.look("/admin/usage", read.text.as_bytes(), &[]);
    stage.look_at_pages("after orders").await;
    stage.look_at_files("after orders");

    // The end of the sign-in, in the middle of an answer.
    stage.fake.follow(&endings::script(vec![Step::Sleep { milliseconds: 60_000 }]));
    let asked = Sent::new(Endpoint::Chat, false, 2);
    let answer = tokio::spawn(stage.send(&asked));
    eventually(Duration::from_secs(20), "it is asked", || stage.fake.heard().contains(&mark("user", 2)))
        .await;
    let read = stage.send(&order("/auth/logout", &json!({}))).await;
    assert_eq!(read.status, 200, "{}", read.text);
    stage.look("/auth/logout", read.text.as_bytes(), &[]);
    for read in [answer.await.expect("no panic"), stage.send(&Sent::new(Endpoint::Messages, true, 4)).await] {
        assert_eq!(read.status, 401, "{}", read.text);
        stage.look("after the logout", read.text.as_bytes(), &[]);
    }
    stage.look_at_log("after the logout", &[]);
    stage.look_at_pages("after the logout").await;
    stage.look_at_files("after the logout");
    stage.end("in what the operator does", number.min(2)).await;
}

#[tokio::test]
async fn no_canary_gets_out_when_the_server_ends_in_mid_answer() {
    let mut stage = Stage::new(&[
        ("COUPLET_LOG", "trace"),
        ("COUPLET_SHUTDOWN_GRACE", "1"),
        ("COUPLET_IDLE_TIMEOUT", "60"),
    ])
    .await;
    stage.fake.follow(&endings::script(vec![
        Step::Complain(mark("user", 2)),
        Step::Frames(vec![crate::support::fake_cli::frames::message_start("msg_1")]),
        Step::Hang,
    ]));
    let answers: Vec<_> =
        [(Endpoint::Chat, false, 2), (Endpoint::Messages, true, 4), (Endpoint::Completions, true, 6)]
            .map(|(endpoint, stream, number)| tokio::spawn(stage.send(&Sent::new(endpoint, stream, number))))
            .into();
    let heard = || [2, 4, 6].iter().all(|number| stage.fake.heard().contains(&mark("user", *number)));
    eventually(Duration::from_secs(20), "all are asked", heard).await;
    stage.couplet.signal(rustix::process::Signal::TERM);
    for answer in answers {
        let read = answer.await.expect("no panic");
        assert!(read.text.contains("shutting down"), "{}", read.text);
        stage.look("an answer at the end", read.text.as_bytes(), &["answer"]);
    }
    assert_eq!(stage.couplet.ended_within(Duration::from_secs(20)).await, Some(0));
    stage.look_at_log("the end", &[]);
    stage.look_at_files("the end");
    assert!(stage.leaks.is_empty(), "{}", stage.leaks.join("\n"));
    stage::tell("where the server ends in mid-answer", 3);
}

/// A process that is set up ahead is told a system prompt before anybody asks it.
#[tokio::test]
async fn no_canary_gets_out_of_processes_that_are_to_wait() {
    let mut stage = Stage::new(&[
        ("COUPLET_LOG", "trace"),
        ("COUPLET_WARM_MIN", "2"),
        ("COUPLET_WARM_MAX", "4"),
        ("COUPLET_IDLE_TIMEOUT", "60"),
    ])
    .await;
    let said = format!("{} {TOKEN}", mark("system", 0));
    let mut asked = Sent::new(Endpoint::Chat, false, 0);
    asked.change(|body| {
        body.as_object_mut().expect("an object").remove("tools");
        body["messages"] = json!([
            {"role": "system", "content": mark("system", 0)}, {"role": "user", "content": mark("user", 0)},
        ]);
    });
    for _ in 0..3 {
        assert_eq!(stage.send(&asked).await.status, 200);
    }
    // The next ones that are set up with it decline, and quote it.
    let decline = crate::support::fake_cli::script::OnControl::Decline(said);
    stage.fake.follow(&Script { controls: [("initialize".to_owned(), decline)].into(), ..Script::default() });
    stage.send(&asked).await;
    let declined = || stage.couplet.running.said().contains("did not start");
    eventually(Duration::from_secs(20), "one did not start", declined).await;
    stage.look_at_log("processes that wait", &[]);
    stage.look_at_pages("processes that wait").await;
    stage.look_at_files("processes that wait");
    stage.end("in processes that wait", 4).await;
}
