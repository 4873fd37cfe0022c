//! A refusal that is about the account counts for all requests, until it is over.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use super::{PATIENCE, limit_is_reached, refusing, token_has_expired, told};
use crate::support::app::{Streamed, TestApp, ask, said};
use crate::support::fake_cli::frames::{message, success};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

/// In place of half a minute.
const SOON: Duration = Duration::from_millis(300);

/// A Couplet that never lets a request through to look.
async fn app(fake: &FakeCli) -> TestApp {
    fake.app_with(|config| config.claude.account.probe_every = PATIENCE).await
}

#[rstest]
#[case("a usage limit", limit_is_reached(Some(5000)), 429, "insufficient_quota", Some(5000))]
#[case("a usage limit of which no end is known", limit_is_reached(None), 429, "insufficient_quota", None)]
#[case("a token that has expired", token_has_expired(), 401, "invalid_api_key", None)]
#[tokio::test]
async fn fifty_requests_after_a_refusal_fail_at_once_without_a_process(
    #[case] what: &str,
    #[case] refusal: Vec<Value>,
    #[case] status: u16,
    #[case] code: &str,
    #[case] seconds: Option<u64>,
) {
    let fake = refusing("", refusal);
    let app = app(&fake).await;
    let (first, body) = app.answer(&ask("hi")).await;
    assert_eq!(first, status, "{body}");
    fake.gone_within(PATIENCE).await;
    fake.forget_reports();
    let begun = Instant::now();
    let mut requests: Vec<Value> = (0..50).map(|number| ask(&format!("{number}"))).collect();
    requests[0]["stream"] = json!(true);
    let answers = join_all(requests.iter().map(|request| app.chat(request))).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut seen = Seen::default();
    for answer in answers {
        let after = answer.headers().get("retry-after").map(|after| after.to_str().expect("text").to_owned());
        let after: Option<u64> = after.map(|after| after.parse().expect("seconds"));
        match (seconds, after) {
            (Some(seconds), Some(after)) => {
                assert!((seconds - 30..=seconds).contains(&after), "{after}");
            }
            (seconds, after) => assert_eq!(after, seconds),
        }
        let answer = Streamed::read(answer).await;
        assert_eq!((answer.status, &answer.error().expect("an error")["code"]), (status, &json!(code)));
        seen.note(seen::of_answer(&answer));
    }
    let count = json!({"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]});
    let counted = app.post("/v1/messages/count_tokens").json(&count).send().await.expect("an answer");
    assert_eq!(counted.status(), status);
    assert_eq!(fake.reports().len(), 0, "no process was started");
    let fault = format!("requests after {what}: all at once, no process is started, nothing is tried again");
    seen.tell(Class::Account, &fault, Asked::Either);
}

#[tokio::test]
async fn the_cli_s_sentence_reaches_the_client_whole() {
    let fake = refusing("", limit_is_reached(Some(5000)));
    let app = app(&fake).await;
    for _ in 0..2 {
        let (_, answer) = app.answer(&ask("hi")).await;
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with("You've hit your 5-hour limit · resets 11:38am (UTC)"), "{message}");
    }
}

#[rstest]
#[case("a usage limit", limit_is_reached(Some(5000)), 429)]
#[case("a usage limit of which no end is known", limit_is_reached(None), 429)]
#[case("a token that has expired", token_has_expired(), 401)]
#[tokio::test]
async fn one_request_looks_whether_it_is_over_and_its_success_lifts_it(
    #[case] what: &str,
    #[case] refusal: Vec<Value>,
    #[case] status: u16,
) {
    let fake = refusing("", refusal);
    let app = fake.app_with(|config| config.claude.account.probe_every = SOON).await;
    assert_eq!(app.answer(&ask("hi")).await.0, status);
    tokio::time::sleep(SOON).await;
    fake.gone_within(PATIENCE).await;
    fake.forget_reports();
    // Still refused: of many one looks.
    let answers = join_all((0..10).map(|_| async { app.answer(&ask("again")).await.0 })).await;
    assert!(answers.iter().all(|got| *got == status), "{answers:?}");
    assert_eq!(fake.reports().len(), 1);
    // Over: the one that looks is answered, and all that come after it.
    fake.follow(&Script::default());
    tokio::time::sleep(SOON).await;
    assert_eq!(said(&app.answer(&ask("and now?")).await), "fine");
    let mut seen = Seen::default();
    for answer in join_all((0..4).map(|_| async { app.answer(&ask("we too")).await })).await {
        assert_eq!(said(&answer), "fine");
        seen.note(seen::of_whole(&answer));
    }
    let fault = format!("requests after one that looked whether {what} is over, and it was");
    seen.tell(Class::Account, &fault, Asked::NotStreaming);
}

#[tokio::test]
async fn at_its_reset_a_limit_is_over() {
    let fake = refusing("limited", limit_is_reached(Some(3)));
    let app = app(&fake).await;
    assert_eq!(app.answer(&ask("limited")).await.0, 429);
    assert_eq!(app.answer(&ask("hi")).await.0, 429);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answer = app.answer(&ask("hi")).await;
    assert_eq!(said(&answer), "fine");
    seen::tell(
        Class::Account,
        "a request after the reset of a usage limit",
        Asked::NotStreaming,
        seen::of_whole(&answer),
    );
}

#[tokio::test]
async fn those_who_wait_for_a_place_are_refused_as_soon_as_others_are() {
    let fake = FakeCli::new(&Script::default());
    let go_on = fake.file("go-on");
    let steps = [
        Step::MakeFile(fake.file("begun")),
        Step::AwaitFile(go_on.clone()),
        Step::Frames(limit_is_reached(Some(5000))),
    ];
    fake.follow(&Script { plays: vec![play("first", steps)], ..Script::default() });
    let one_at_a_time = |config: &mut couplet::config::Config| config.claude.max_concurrency = 1;
    let app = fake.app_with(one_at_a_time).await;
    let first = tokio::spawn(app.chat_later(&ask("first")));
    eventually(PATIENCE, "it has begun", || fake.file("begun").exists()).await;
    let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(app.chat_later(&ask("later")))).collect();
    while app.health().await["queued"] != 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::write(go_on, "").expect("a file");
    let mut seen = Seen::default();
    for answer in waiting.into_iter().chain([first]) {
        let answer = Streamed::read(answer.await.expect("an answer")).await;
        assert_eq!(answer.status, 429);
        seen.note(seen::of_answer(&answer));
    }
    let fault = "requests that wait for a place when the usage limit is reached";
    seen.tell(Class::Account, fault, Asked::NotStreaming);
    assert_eq!(fake.reports().len(), 1);
    assert_eq!(app.health().await["queued"], 0);
}

/// A good answer, with that about the limits beside it.
fn answered_with(limit: &Value) -> Vec<Value> {
    let mut frames = message("msg_1", "fine");
    frames.insert(1, json!({"type": "rate_limit_event", "rate_limit_info": limit}));
    frames.push(success());
    frames
}

#[tokio::test]
async fn warnings_and_extra_usage_are_shown_and_no_errors() {
    let windows = json!({"five_hour": {"utilization": 0.9, "resetsAt": 4_000_000_000_u64}});
    let warning = json!({
        "status": "allowed_warning", "resetsAt": 4_000_000_000_u64, "rateLimitType": "five_hour", "unifiedWindows": windows,
    });
    let extra = json!({
        "status": "rejected", "resetsAt": 4_000_000_000_u64, "isUsingOverage": true, "overageStatus": "allowed",
        "overageResetsAt": 4_000_000_001_u64,
    });
    let plays = [("warning", &warning), ("extra", &extra), ("fine", &json!({"status": "allowed"}))];
    let plays = plays.map(|(asked, limit)| play(asked, [Step::Frames(answered_with(limit))]));
    let fake = FakeCli::new(&Script { plays: plays.into(), ..Script::default() });
    let app = app(&fake).await;
    assert_eq!(app.health().await["usage_limit"], "ok");

    let warned = app.answer(&ask("warning")).await;
    assert_eq!(said(&warned), "fine");
    let fault = "a warning that the usage limit is near: told by /health and /auth/status";
    seen::tell(Class::Account, fault, Asked::NotStreaming, seen::of_whole(&warned));
    let told_then = told(&app, "/auth/status").await["usage_limit"].clone();
    assert_eq!(
        (&told_then["status"], &told_then["resets_at"]),
        (&json!("warning"), &json!(4_000_000_000_u64))
    );
    let window = json!({"name": "five_hour", "utilization": 0.9, "resets_at": 4_000_000_000_u64});
    assert_eq!(told_then["windows"], json!([window]));
    assert_eq!(app.health().await["usage_limit"], "warning");

    for _ in 0..2 {
        assert_eq!(said(&app.answer(&ask("extra")).await), "fine");
    }
    let paid =
        json!({"in_use": true, "status": "allowed", "resets_at": 4_000_000_001_u64, "disabled_reason": null});
    assert_eq!(told(&app, "/auth/status").await["usage_limit"]["extra_usage"], paid);

    assert_eq!(said(&app.answer(&ask("fine")).await), "fine");
    assert_eq!(app.health().await["usage_limit"], "ok");
}

#[tokio::test]
async fn a_rejection_is_told_of_and_one_tenant_s_is_not_another_s() {
    let (limited, other) = (refusing("", limit_is_reached(Some(5000))), FakeCli::new(&Script::default()));
    let (of_limited, of_other) = (app(&limited).await, app(&other).await);
    assert_eq!(of_limited.answer(&ask("hi")).await.0, 429);
    assert_eq!(of_limited.health().await["usage_limit"], "rejected");
    let status = told(&of_limited, "/auth/status").await;
    assert_eq!(status["logged_in"], true, "a limit is no sign-out");
    assert_eq!(status["last_failure"]["kind"], "usage_limit");
    let rejection = &status["usage_limit"]["last_rejection"];
    assert!(rejection["resets_at"].as_u64() > rejection["at"].as_u64(), "{status}");
    assert_eq!(said(&of_other.answer(&ask("hi")).await), "fine");
    assert_eq!(of_other.health().await["usage_limit"], "ok");
}

#[tokio::test]
async fn nothing_is_made_ready_while_nothing_can_be_asked() {
    let fake = refusing("limited", limit_is_reached(Some(5000)));
    let waits = couplet::claude::warm::WarmLimits { min: 2, max: 4, idle: PATIENCE, max_age: PATIENCE };
    let app = fake
        .app_with(|config| {
            config.claude.warm = waits;
            config.claude.account.probe_every = PATIENCE;
        })
        .await;
    eventually(PATIENCE, "two wait", || fake.living().len() == 2).await;
    assert_eq!(app.answer(&ask("limited")).await.0, 429);
    // The one that was asked has ended, and none takes its place.
    eventually(PATIENCE, "one is left", || fake.living().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(fake.living().len() <= 1, "{:?}", fake.living());
}
