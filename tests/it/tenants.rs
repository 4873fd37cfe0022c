//! Tenants: several sign-ins on one machine, with a CLI that does as it is told.
//!
//! - `apart`: nothing of one tenant reaches another
//! - `together`: the machine's bounds are those of all of them
//! - `guesses`, `strangers`: four hundred callers guess at what the others have said
//!
//! What the model's API sees of them is in `real_cli::tenants`.

mod apart;
mod guesses;
mod strangers;
mod together;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::{TestApp, key_of};
use crate::support::fake_cli::script::{Recital, Script, Step};
use crate::support::fake_cli::{FakeCli, play};

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of the many that must not find anything of each other.
const TENANTS: usize = 20;
const KEYS: usize = 20;

/// One of the four hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caller {
    tenant: usize,
    key: usize,
}

impl Caller {
    fn all() -> impl Iterator<Item = Self> {
        (0..TENANTS).flat_map(Self::of_tenant)
    }

    fn of_tenant(tenant: usize) -> impl Iterator<Item = Self> {
        (0..KEYS).map(move |key| Self { tenant, key })
    }
}

/// A CLI that says what it holds, and does this first where it is asked about that.
fn reciting(asked: &str, steps: Vec<Step>) -> FakeCli {
    let recite = vec![Step::Recite("fine".to_owned())];
    FakeCli::new(&Script { plays: vec![play(asked, steps), play("", recite)], ..Script::default() })
}

/// A request of a tenant's caller: the status and the body of its answer.
fn answer(app: &TestApp, tenant: &str, request: &Value) -> impl Future<Output = (u16, Value)> + use<> {
    let request = app.post("/v1/chat/completions").bearer_auth(key_of(tenant)).json(request);
    async move {
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }
}

/// Asks, and says what the process that answered holds.
async fn recital(app: &TestApp, tenant: &str, request: &Value) -> Recital {
    let (status, answer) = answer(app, tenant, request).await;
    assert_eq!(status, 200, "{tenant}: {answer}");
    let message = &answer["choices"][0]["message"];
    let recital = message["reasoning_content"].as_str().unwrap_or_else(|| panic!("a recital in {answer}"));
    serde_json::from_str(recital).expect("a recital")
}

/// What was said up to now, and what is asked next.
fn request(said: &[(&str, &str)], question: &str) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    messages.extend(said.iter().map(|(role, text)| json!({"role": role, "content": text})));
    messages.push(json!({"role": "user", "content": question}));
    json!({"model": "claude-sonnet-5-5", "messages": messages})
}

/// Waits until `/health` says so.
async fn healthy(app: &TestApp, what: &str, is_so: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let health = app.health().await;
        if is_so(&health) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {health}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
