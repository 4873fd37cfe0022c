//! The account behind the server, with a CLI that misbehaves on command: its limits, its sign-in, and what the operator may do.
//!
//! What the real CLI says of them is in `real_cli::account`.

mod limits;
mod operator;
mod sign_in;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A CLI that refuses what has this in it, and answers everything else.
fn refusing(asked: &str, frames: Vec<Value>) -> FakeCli {
    FakeCli::new(&Script { plays: vec![play(asked, [Step::Frames(frames)])], ..Script::default() })
}

/// What the CLI says where the usage limit is reached, to be lifted in so many seconds, if that is known.
fn limit_is_reached(seconds: Option<u64>) -> Vec<Value> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let resets_at = seconds.map(|seconds| now + seconds);
    let limit = json!({"status": "rejected", "resetsAt": resets_at, "rateLimitType": "five_hour", "isUsingOverage": false});
    vec![
        json!({"type": "rate_limit_event", "rate_limit_info": limit}),
        json!({
            "type": "result", "subtype": "success", "is_error": true, "api_error_status": 429, "modelUsage": {},
            "api_error": "usage_limit_reached", "result": "You've hit your 5-hour limit · resets 11:38am (UTC)",
        }),
    ]
}

/// What the CLI says where the API does not take the credential.
fn token_has_expired() -> Vec<Value> {
    let said = "Failed to authenticate. API Error: 401 OAuth token has expired.";
    vec![json!({
        "type": "result", "subtype": "success", "is_error": true, "api_error_status": 401, "modelUsage": {}, "result": said,
    })]
}

/// What a path tells.
async fn told(app: &TestApp, path: &str) -> Value {
    let response = app.get(path).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.expect("JSON")
}
