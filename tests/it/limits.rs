//! Limits, quotas and accounts, as clients and the operator see them.

mod many;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::time::{Duration, Instant};

use couplet::caller::Limits;
use couplet::config::Config;
use futures_util::future::join_all;
use reqwest::Response;
use reqwest::header::HeaderMap;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, Streamed, TestApp, ask};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, frames, play};

/// How long something may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(10);

fn requests(count: u32) -> Limits {
    Limits { requests_per_minute: NonZeroU32::new(count), ..Limits::default() }
}

fn tokens(count: u32) -> Limits {
    Limits { tokens_per_minute: NonZeroU32::new(count), ..Limits::default() }
}

fn turns(count: u32) -> Limits {
    Limits { concurrent_turns: NonZeroU32::new(count), ..Limits::default() }
}

fn daily(count: u64) -> Limits {
    Limits { tokens_per_day: NonZeroU64::new(count), ..Limits::default() }
}

/// A Couplet where callers have these limits, with two keys and one for the operator.
fn limited(limits: Limits) -> impl FnOnce(&mut Config) {
    move |config| {
        config.access.keys = vec!["one".into(), "two".into()];
        config.access.admin_key = Some("admin".into());
        config.limits.caller = limits;
    }
}

async fn without_model(limits: Limits) -> TestApp {
    Builder::new(Path::new("/no/such/cli")).await.with(limited(limits)).start().await
}

fn answering() -> FakeCli {
    FakeCli::that_does([Step::Answer("fine".to_owned())])
}

/// A request that no model is needed for: an empty body is a 400 behind all checks.
async fn knock(app: &TestApp, key: &str) -> Response {
    let request = app.post("/v1/chat/completions").bearer_auth(key).json(&json!({}));
    request.send().await.expect("an answer")
}

/// A short question.
async fn chat(app: &TestApp, key: &str, text: &str) -> Response {
    let mut body = ask(text);
    body["max_tokens"] = json!(10);
    app.post("/v1/chat/completions").bearer_auth(key).json(&body).send().await.expect("an answer")
}

async fn error(response: Response) -> Value {
    response.json::<Value>().await.expect("JSON")["error"].clone()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name).map(|value| value.to_str().expect("text").parse().expect("a number"))
}

fn retry_after(response: &Response) -> Duration {
    Duration::from_secs(number(response.headers(), "retry-after").expect("a wait"))
}

#[tokio::test]
async fn of_many_requests_at_once_just_as_many_pass_as_may_and_the_next_after_the_wait() {
    let app = without_model(requests(20)).await;
    let begun = Instant::now();
    let client = async || {
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(knock(&app, "one").await);
        }
        answers
    };
    let answers: Vec<Response> = join_all((0..8).map(|_| client())).await.into_iter().flatten().collect();
    let passed = answers.iter().filter(|answer| answer.status() == 400).count();
    // One comes back every three seconds, should the machine be so slow.
    let late = usize::try_from(begun.elapsed().as_secs() / 3).expect("few");
    assert!((20..=20 + late).contains(&passed), "{passed} of 48");
    let refused: Vec<&Response> = answers.iter().filter(|answer| answer.status() == 429).collect();
    assert_eq!(passed + refused.len(), 48);
    for refused in &refused {
        assert!((1..=3).contains(&retry_after(refused).as_secs()), "{refused:?}");
        assert_eq!(number(refused.headers(), "x-ratelimit-remaining-requests"), Some(0));
        assert!(!refused.headers().contains_key("x-should-retry"));
    }
    assert_eq!(knock(&app, "two").await.status(), 400, "another key has its own");

    let refused = knock(&app, "one").await;
    let wait = retry_after(&refused);
    let told = error(refused).await;
    assert_eq!((&told["type"], &told["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    assert!(told["message"].as_str().expect("text").contains("20 requests a minute for this API key"));
    tokio::time::sleep(wait).await;
    assert_eq!(knock(&app, "one").await.status(), 400);
}

#[tokio::test]
async fn tokens_are_settled_with_what_was_used_and_after_the_wait_the_next_turn_passes() {
    let answer = |output: u64| {
        let mut frames = frames::message("m", "fine");
        frames[4] = frames::message_delta(Some("end_turn"), output);
        frames.push(frames::success());
        [Step::Frames(frames)]
    };
    let plays = vec![play("little", answer(140)), play("much", answer(1040))];
    let fake = FakeCli::new(&Script { plays, ..Script::default() });
    let app = fake.app_with(limited(tokens(1200))).await;
    let left =
        |response: &Response| number(response.headers(), "x-ratelimit-remaining-tokens").expect("told");
    let used = async |text: &str| {
        let response = chat(&app, "one", text).await;
        assert_eq!(response.status(), 200);
        drop(response.bytes().await);
    };
    let begun = Instant::now();
    used("little").await;
    let after = knock(&app, "one").await;
    // 20 come back in a second.
    let came_back = 20 * (begun.elapsed().as_secs() + 1);
    assert!((1000..=1000 + came_back).contains(&left(&after)), "{after:?}");
    // More than is left; the rest is owed.
    used("much").await;
    let refused = chat(&app, "one", "little").await;
    let wait = retry_after(&refused);
    assert_eq!((refused.status().as_u16(), left(&refused)), (429, 0));
    assert!((1..=6).contains(&wait.as_secs()), "100 are owed, and 12 needed: {wait:?}");
    assert!(error(refused).await["message"].as_str().expect("text").contains("1200 tokens a minute"));
    assert_eq!(chat(&app, "two", "little").await.status(), 200);
    tokio::time::sleep(wait).await;
    assert_eq!(chat(&app, "one", "little").await.status(), 200);
}

#[tokio::test]
async fn what_one_key_has_another_does_not_lack_but_all_of_them_together_have_limits_too() {
    let builder = Builder::new(Path::new("/no/such/cli")).await.with(limited(requests(5)));
    let app = builder.with(|config| config.limits.all = requests(7)).start().await;
    for (key, count) in [("one", 5), ("two", 2)] {
        for _ in 0..count {
            assert_eq!(knock(&app, key).await.status(), 400);
        }
    }
    let refused = knock(&app, "two").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(number(refused.headers(), "x-ratelimit-limit-requests"), Some(7), "the tightest");
    assert!(error(refused).await["message"].as_str().expect("text").contains("this server"));
}

#[tokio::test]
async fn every_answer_tells_how_things_stand_in_openai_s_form_and_nothing_is_made_up() {
    let fake = answering();
    let app =
        fake.app_with(limited(Limits { tokens_per_minute: NonZeroU32::new(6000), ..requests(60) })).await;
    let is_standing = |headers: &HeaderMap| {
        for kind in ["requests", "tokens"] {
            let limit = number(headers, &format!("x-ratelimit-limit-{kind}")).expect("a limit");
            let remaining = number(headers, &format!("x-ratelimit-remaining-{kind}")).expect("a rest");
            assert!(remaining <= limit, "{headers:?}");
            let reset = headers[&format!("x-ratelimit-reset-{kind}")].to_str().expect("text");
            assert!(reset.ends_with('s') && reset.starts_with(|c: char| c.is_ascii_digit()), "{reset}");
        }
    };
    for path in ["/v1/nothing", "/v1/chat/completions"] {
        let response = app.get(path).bearer_auth("one").send().await.expect("an answer");
        assert!(response.status().is_client_error());
        is_standing(response.headers());
    }
    is_standing(knock(&app, "one").await.headers());
    let mut body = ask("hi");
    body["stream"] = json!(true);
    let request = app.post("/v1/chat/completions").bearer_auth("one").json(&body);
    let streamed = Streamed::read(request.send().await.expect("an answer")).await;
    assert!(streamed.done);
    is_standing(&streamed.headers);
    assert_eq!(number(&streamed.headers, "x-ratelimit-limit-requests"), Some(60));
    assert!(
        number(&streamed.headers, "x-ratelimit-remaining-tokens").expect("told") < 2000,
        "4,096 are reserved"
    );

    let told = |headers: &HeaderMap| headers.keys().any(|name| name.as_str().starts_with("x-ratelimit"));
    assert!(!told(knock(&app, "wrong").await.headers()), "not to those outside");
    assert!(!told(
        without_model(turns(1))
            .await
            .get("/v1/models")
            .bearer_auth("one")
            .send()
            .await
            .expect("an answer")
            .headers()
    ));
}

#[tokio::test]
async fn a_page_may_read_how_things_stand_and_anthropic_s_clients_get_their_form_of_error() {
    let builder = Builder::new(Path::new("/no/such/cli")).await.with(limited(requests(1)));
    let app = builder
        .with(|config| config.http.allowed_origins = vec!["https://chat.example".to_owned()])
        .start()
        .await;
    let ask = || app.post("/v1/messages").header("x-api-key", "one").header("origin", "https://chat.example");
    let first = ask().json(&json!({})).send().await.expect("an answer");
    let exposed = first.headers()["access-control-expose-headers"].to_str().expect("text");
    for name in ["x-ratelimit-limit-requests", "x-ratelimit-reset-tokens", "retry-after"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{exposed}");
    }
    let refused = ask().json(&json!({})).send().await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert!(retry_after(&refused) > Duration::from_secs(50));
    assert_eq!(error(refused).await["type"], "rate_limit_error");
}

#[tokio::test]
async fn quotas_outlive_a_restart_and_what_was_used_is_the_operator_s_to_see() {
    let fake = answering();
    let mut app = fake.app_with(limited(daily(100))).await;
    for _ in 0..2 {
        assert_eq!(chat(&app, "one", "hi").await.status(), 200);
    }
    let is_used_up = async |app: &TestApp| {
        let refused = chat(app, "one", "hi").await;
        assert_eq!(refused.status(), 429);
        let wait = retry_after(&refused);
        assert!(wait <= Duration::from_secs(24 * 3600));
        if wait > Duration::from_secs(60) {
            assert_eq!(refused.headers()["x-should-retry"], "false");
        }
        assert_eq!(number(refused.headers(), "x-ratelimit-remaining-tokens"), Some(0));
        assert_eq!(error(refused).await["type"], "insufficient_quota");
    };
    is_used_up(&app).await;
    app.shut_down().await;
    let state = app.state.path().join("state");
    let again = fake
        .app_with(|config| {
            limited(daily(100))(config);
            config.claude.process.state_dir.clone_from(&state);
        })
        .await;
    is_used_up(&again).await;
    assert_eq!(chat(&again, "two", "hi").await.status(), 200);

    let usage = async |query: &str, key: &str| {
        let response =
            again.get(&format!("/admin/usage{query}")).bearer_auth(key).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(usage("", "one").await.0, 401);
    let (status, found) = usage("?model=claude-sonnet-5-5", "admin").await;
    assert_eq!((status, &found["has_more"]), (200, &json!(false)), "{found}");
    let totals = json!({
        "requests": 3, "input_tokens": 30, "cache_creation_tokens": 90, "cache_read_tokens": 60, "output_tokens": 15
    });
    assert_eq!(found["totals"], totals);
    let rows = found["data"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| row["requests"].as_u64().expect("a count")).sum::<u64>(), 3);
    assert!(
        rows.iter().all(|row| row["tenant"] == "default" && row["model"] == "claude-sonnet-5-5"),
        "{found}"
    );
    let (status, found) = usage("?from=2020-01-01&to=2020-01-31", "admin").await;
    assert_eq!((status, &found["data"]), (200, &json!([])));
    let (status, wrong) = usage("?from=soon", "admin").await;
    assert_eq!((status, &wrong["error"]["param"]), (400, &json!("from")));
}

/// How an answer comes to its end without being one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    ClientLeaves,
    StreamIsLeft,
    ProcessDies,
    TimeIsUp,
}

#[rstest]
#[case(End::ClientLeaves)]
#[case(End::StreamIsLeft)]
#[case(End::ProcessDies)]
#[case(End::TimeIsUp)]
#[tokio::test]
async fn places_are_free_again_however_an_answer_ends(#[case] end: End) {
    let begins = Step::Frames(vec![frames::message_start("m")]);
    let then = if end == End::ProcessDies { Step::Exit(1) } else { Step::Hang };
    let plays = vec![play("stay", [begins, then]), play("", [Step::Answer("fine".to_owned())])];
    let fake = FakeCli::new(&Script { plays, ..Script::default() });
    let app = fake
        .app_with(|config| {
            limited(turns(1))(config);
            if end == End::TimeIsUp {
                config.claude.deadlines.idle = Duration::from_millis(300);
            }
        })
        .await;
    let mut body = ask("stay");
    body["stream"] = json!(end == End::StreamIsLeft);
    let request = app.post("/v1/chat/completions").bearer_auth("one").json(&body);
    match end {
        End::ClientLeaves => {
            let pending = tokio::spawn(request.send());
            // Before others ask: one of them would take the place.
            eventually(PATIENCE, "it is being answered", || !fake.reports().is_empty()).await;
            let begun = Instant::now();
            while chat(&app, "one", "hi").await.status() != 429 {
                assert!(begun.elapsed() < PATIENCE, "it never took its place");
            }
            pending.abort();
        }
        End::StreamIsLeft => {
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 200);
            let refused = chat(&app, "one", "hi").await;
            assert_eq!((refused.status().as_u16(), retry_after(&refused)), (429, Duration::from_secs(2)));
            drop(response);
        }
        End::ProcessDies | End::TimeIsUp => {
            let response = request.send().await.expect("an answer");
            assert!(response.status().is_server_error(), "{response:?}");
        }
    }
    let begun = Instant::now();
    while chat(&app, "one", "hi").await.status() != 200 {
        assert!(begun.elapsed() < PATIENCE, "its place is never free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn more_answers_than_ever_may_be_at_once_are_an_error_of_the_request() {
    let fake = answering();
    let app = fake.app_with(limited(turns(2))).await;
    let mut body = ask("hi");
    body["n"] = json!(3);
    let refused =
        app.post("/v1/chat/completions").bearer_auth("one").json(&body).send().await.expect("an answer");
    assert_eq!(refused.status(), 400);
    assert_eq!(error(refused).await["param"], "n");
    body["n"] = json!(2);
    let both =
        app.post("/v1/chat/completions").bearer_auth("one").json(&body).send().await.expect("an answer");
    assert_eq!(both.status(), 200);
}

#[tokio::test]
async fn who_leaves_in_the_middle_has_used_what_he_was_told() {
    let text = "x".repeat(4000);
    let block =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let frames = vec![frames::message_start("m"), frames::event(&block), frames::text(&text)];
    let fake = FakeCli::that_does([Step::Frames(frames), Step::Hang]);
    let app = fake.app_with(limited(daily(100_000))).await;
    let mut body = ask("hi");
    body["stream"] = json!(true);
    let request = app.post("/v1/chat/completions").bearer_auth("one").json(&body);
    let mut response = request.send().await.expect("an answer");
    let mut read = 0;
    while read < text.len() {
        read += response.chunk().await.expect("a piece").expect("more").len();
    }
    drop(response);
    // 60 of the prompt, and a quarter of what was said.
    let mut left = 0;
    let begun = Instant::now();
    while left != 100_000 - 60 - 1000 {
        assert!(begun.elapsed() < PATIENCE, "{left} are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
        left = number(knock(&app, "one").await.headers(), "x-ratelimit-remaining-tokens").expect("told");
    }
    eventually(PATIENCE, "the model was interrupted", || fake.living().is_empty()).await;
}
