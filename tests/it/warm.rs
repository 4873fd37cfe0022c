//! Processes that wait before they are needed, with a CLI that misbehaves on command.
//!
//! - `pool`: how many wait, for what, and how long
//! - `budget`: the memory of all processes together, and the queue in front of them
//!
//! What the model sees of it is in `real_cli::warm`.

mod budget;
mod pool;

use std::time::Duration;

use couplet::claude::warm::WarmLimits;
use couplet::config::Config;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::fake_cli::script::{Recital, Script, Step};
use crate::support::fake_cli::{FakeCli, play};

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many wait, for longer than any test.
const fn waiting(min: usize, max: usize) -> WarmLimits {
    let time = Duration::from_secs(600);
    WarmLimits { min, max, idle: time, max_age: time }
}

/// A CLI that says what it holds, and does this first where it is asked about that.
fn reciting(asked: &str, steps: Vec<Step>) -> FakeCli {
    let recite = vec![Step::Recite("fine".to_owned())];
    FakeCli::new(&Script { plays: vec![play(asked, steps), play("", recite)], ..Script::default() })
}

async fn app(fake: &FakeCli, limits: WarmLimits) -> TestApp {
    app_with(fake, limits, |_| {}).await
}

async fn app_with(fake: &FakeCli, limits: WarmLimits, change: impl FnOnce(&mut Config)) -> TestApp {
    let with_limits = |config: &mut Config| {
        config.claude.warm = limits;
        change(config);
    };
    fake.app_with(with_limits).await
}

/// A question with that system prompt, if any, and those tools.
fn question(system: Option<&str>, tools: &[&str]) -> Value {
    let tool = |name: &&str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    let system = system.map(|system| json!({"role": "system", "content": system}));
    let messages: Vec<Value> =
        system.into_iter().chain([json!({"role": "user", "content": "hello"})]).collect();
    let mut request = json!({"model": "claude-sonnet-5-5", "messages": messages});
    if !tools.is_empty() {
        request["tools"] = tools.iter().map(tool).collect();
    }
    request
}

/// Asks, and says what the process that answered holds.
async fn recital(app: &TestApp, request: &Value) -> Recital {
    let (status, answer) = app.answer(request).await;
    assert_eq!(status, 200, "{answer}");
    let message = &answer["choices"][0]["message"];
    let recital = message["reasoning_content"].as_str().unwrap_or_else(|| panic!("a recital in {answer}"));
    let recital: Recital = serde_json::from_str(recital).expect("a recital");
    assert_eq!(recital.said[0], ("user".to_owned(), vec!["hello".to_owned()]), "nothing else was said");
    recital
}

/// What `/health` says of processes: for anything, and for a system prompt.
async fn counts(app: &TestApp) -> (u64, u64) {
    let processes = &app.health().await["processes"];
    let number = |name: &str| processes[name].as_u64().unwrap_or_else(|| panic!("{name} in {processes}"));
    if number("starting") > 0 { (u64::MAX, u64::MAX) } else { (number("generic"), number("prepared")) }
}

async fn wait_for(app: &TestApp, wanted: (u64, u64)) {
    let begun = std::time::Instant::now();
    while counts(app).await != wanted {
        assert!(begun.elapsed() < PATIENCE, "{wanted:?} were to wait, not {}", app.health().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
