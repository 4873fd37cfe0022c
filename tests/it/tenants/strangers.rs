//! Twenty tenants with twenty keys each, and guesses at what the others have said and may do: over HTTP.
//!
//! Two processes of each tenant wait, one for the user and one for the result of a call: forty in all. That the rest of the four
//! hundred callers find nothing of each other's is shown where processes are found again, in [`super::guesses`].

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use couplet::access::api_key;
use couplet::caller::{CallerId, Limits};
use couplet::store::Store;
use couplet::store::keys::StoredKey;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{Caller, KEYS, TENANTS, healthy};
use crate::support::app::{TestApp, tenant};
use crate::support::fake_cli::frames::{event, message_delta, message_start, message_stop};
use crate::support::fake_cli::script::{Recital, Script, Step};
use crate::support::fake_cli::{FakeCli, fixture, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

/// So many requests at once.
const AT_ONCE: usize = 8;

impl Caller {
    fn api_key(self) -> String {
        format!("sk-of-{}-{}", self.tenant, self.key)
    }

    fn id(self) -> String {
        format!("key_{}_{}", self.tenant, self.key)
    }

    fn tenant_name(self) -> String {
        format!("t{}", self.tenant)
    }

    /// The one model that all callers of the tenant may ask.
    fn model(self) -> &'static str {
        ["sonnet", "haiku"][self.tenant % 2]
    }

    /// Like nobody else's.
    fn requests_per_minute(self) -> usize {
        1000 + self.tenant * KEYS + self.key
    }

    fn secret(self) -> String {
        format!("secret-{}-{}", self.tenant, self.key)
    }

    fn stored(self) -> StoredKey {
        let requests = u32::try_from(self.requests_per_minute()).expect("a number");
        StoredKey {
            id: CallerId::new(&self.id()),
            hash: api_key::hash(self.api_key().as_bytes()),
            name: self.secret(),
            tenant: tenant(&self.tenant_name()),
            models: Some(vec![self.model().to_owned()]),
            limits: Limits { requests_per_minute: NonZeroU32::new(requests), ..Limits::default() },
            created_at: Timestamp::now(),
            expires_at: None,
            revoked_at: None,
        }
    }
}

/// What waits for a caller.
struct Waiting {
    caller: Caller,
    process: u32,
    /// The request that goes on with it.
    next: Value,
    /// Ids by which it might be found.
    ids: Vec<String>,
}

async fn all_callers() -> (FakeCli, TestApp) {
    let names: Vec<String> = (0..TENANTS).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fake = FakeCli::new(&Script::default());
    let builder = fake.builder().await.with_tenants(&names);
    let app = builder.with(|config| config.claude.keep.processes = 4 * TENANTS).start().await;
    let store = Store::open(&app.state.path().join("state")).expect("a database");
    for caller in Caller::all() {
        assert!(store.add_key(&caller.stored()).expect("kept"));
    }
    let last = Caller { tenant: TENANTS - 1, key: KEYS - 1 };
    let begun = Instant::now();
    while get(&app, last, "/version").await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "the keys are noticed");
    }
    (fake, app)
}

async fn get(app: &TestApp, caller: Caller, path: &str) -> Response {
    app.get(path).bearer_auth(caller.api_key()).send().await.expect("an answer")
}

async fn ask(app: &TestApp, caller: Caller, request: &Value) -> (u16, Value, String) {
    let mut request = request.clone();
    request["model"] = caller.model().into();
    let request = app.post("/v1/chat/completions").bearer_auth(caller.api_key()).json(&request);
    let response = request.send().await.expect("an answer");
    let id = response.headers()["x-request-id"].to_str().expect("an id").to_owned();
    (response.status().as_u16(), response.json().await.expect("JSON"), id)
}

fn request(question: &str) -> Value {
    json!({
        "messages": [{"role": "user", "content": question}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    })
}

/// A call of `f`; once its result is there, an answer.
fn a_call(id: &str, answer: &str) -> Vec<Step> {
    let start = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": id, "name": "f", "input": {}}});
    let delta = json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": "{}"}});
    let stop = json!({"type": "content_block_stop", "index": 0});
    let asked = json!({"method": "tools/call", "jsonrpc": "2.0", "id": 2, "params": {
        "name": "f", "arguments": {}, "_meta": {"claudecode/toolUseId": id, "progressToken": 2}}});
    let events =
        [event(&start), event(&delta), event(&stop), message_delta(Some("tool_use"), 5), message_stop()];
    vec![
        Step::Frames([vec![message_start("msg_1")], events.to_vec()].concat()),
        Step::Ask(json!({"subtype": "mcp_message", "server_name": "couplet", "message": asked})),
        Step::Answer(answer.to_owned()),
    ]
}

/// Has a process wait for the caller: for the result of a call where there is to be one, else for the user.
async fn wait_for(fake: &FakeCli, app: &TestApp, caller: Caller, has_call: bool) -> Waiting {
    let call_id = format!("toolu_{:07}", caller.tenant * KEYS + caller.key);
    let answer = format!("the answer to {}", caller.secret());
    let steps = if has_call { a_call(&call_id, &answer) } else { vec![Step::Answer(answer)] };
    fake.follow(&Script { plays: vec![play("", steps)], ..Script::default() });
    let before: Vec<u32> = fake.reports().iter().map(|report| report.process_id).collect();
    let mut next = request(&caller.secret());
    let (status, answer, request_id) = ask(app, caller, &next).await;
    assert_eq!(status, 200, "{answer}");
    let message = answer["choices"][0]["message"].clone();
    assert_eq!(message["tool_calls"][0]["id"] == call_id.as_str(), has_call, "{answer}");
    let messages = next["messages"].as_array_mut().expect("messages");
    messages.push(message);
    messages.push(if has_call {
        json!({"role": "tool", "tool_call_id": call_id, "content": "guess-what"})
    } else {
        json!({"role": "user", "content": "guess-what"})
    });
    // Another one may list the models.
    let mut new =
        fake.reports().into_iter().map(|report| report.process_id).filter(|id| !before.contains(id));
    let process = new.find(|id| heard(fake, *id).contains(&caller.secret())).expect("a process");
    let completion = answer["id"].as_str().expect("an id").to_owned();
    Waiting { caller, process, next, ids: vec![call_id, completion, request_id, caller.id()] }
}

fn heard(fake: &FakeCli, process: u32) -> String {
    fs::read_to_string(fake.file(&format!("{process}.stdin"))).unwrap_or_default()
}

async fn in_turn<T, F: Future<Output = T>>(of_all: impl Iterator<Item = F>) -> Vec<T> {
    stream::iter(of_all).buffer_unordered(AT_ONCE).collect().await
}

#[tokio::test]
async fn whoever_knows_every_word_and_id_of_a_conversation_does_not_get_into_it() {
    let (fake, app) = all_callers().await;
    let mut waiting = Vec::new();
    for tenant in 0..TENANTS {
        for (key, has_call) in [(0, false), (1, true)] {
            waiting.push(wait_for(&fake, &app, Caller { tenant, key }, has_call).await);
        }
    }
    let count = |health: &Value, of: &str| health["processes"][of].as_u64();
    let all = Some(TENANTS as u64);
    healthy(&app, "all wait", |health| count(health, "live") == all && count(health, "parked") == all).await;

    // A process that is asked anew by somebody ends: nothing is kept for those who guess.
    fake.follow(&Script { plays: vec![play("", vec![Step::Exit(1)])], ..Script::default() });
    let guesses = Caller::all().map(|caller| {
        // Another tenant's or one's own tenant's, and of the two that wait there each in turn.
        let places = [(caller.tenant + 1 + caller.key) % TENANTS, caller.tenant];
        let target = &waiting[places[caller.key / 2 % 2] * 2 + caller.key % 2];
        assert_ne!(target.caller, caller);
        (caller, target)
    });
    let guesses: Vec<_> = guesses.collect();
    let answers = in_turn(guesses.iter().map(|(caller, target)| ask(&app, *caller, &target.next))).await;
    for (status, answer, _) in &answers {
        assert_eq!(*status, 502, "{answer}");
        assert!(!answer.to_string().contains("secret-"), "{answer}");
    }
    healthy(&app, "all wait still", |health| count(health, "live") == all && count(health, "parked") == all)
        .await;
    for target in &waiting {
        let heard = heard(&fake, target.process);
        assert!(heard.contains(&target.caller.secret()) && !heard.contains("guess-what"), "{heard}");
    }
    println!("{} guesses over HTTP at {} processes", answers.len(), waiting.len());
    assert_eq!(answers.len(), TENANTS * KEYS);
    let mut seen = Seen::default();
    seen.note_all(
        "an answer from a process of its own; whose conversation it was finds it as it was",
        answers.len(),
    );
    seen.tell(
        Class::Hostile,
        "others' conversations, asked on word for word or with a call's id",
        Asked::NotStreaming,
    );

    // Each is there for the one whose it is.
    fake.follow(&Script {
        plays: vec![play("", vec![Step::Recite("fine".to_owned())])],
        ..Script::default()
    });
    for target in &waiting {
        let (status, answer, _) = ask(&app, target.caller, &target.next).await;
        assert_eq!(status, 200, "{answer}");
        assert!(
            heard(&fake, target.process).contains("guess-what"),
            "{:?} goes on in its own process",
            target.caller
        );
        let message = &answer["choices"][0]["message"];
        if let Some(recital) = message["reasoning_content"].as_str() {
            let recital: Recital = serde_json::from_str(recital).expect("a recital");
            assert_eq!(recital.process_id, target.process);
        } else {
            assert_eq!(message["content"], format!("the answer to {}", target.caller.secret()));
        }
    }
}

/// Paths with an id in them, of what is not kept at all.
fn paths(id: &str) -> Vec<(Method, String)> {
    let mut paths: Vec<_> = [
        "responses",
        "files",
        "threads",
        "batches",
        "conversations",
        "assistants",
        "vector_stores",
        "uploads",
        "fine_tuning/jobs",
        "chat/completions",
        "messages",
        "messages/batches",
    ]
    .iter()
    .map(|kind| (Method::GET, format!("/v1/{kind}/{id}")))
    .collect();
    paths.push((Method::DELETE, format!("/v1/responses/{id}")));
    paths.push((Method::POST, format!("/v1/responses/{id}/cancel")));
    paths.push((Method::GET, format!("/v1/chat/completions/{id}/messages")));
    paths.push((Method::GET, format!("/v1/models/{id}")));
    paths
}

#[tokio::test]
async fn an_id_of_somebody_else_s_leads_nowhere() {
    let (fake, app) = all_callers().await;
    let mut ids = Vec::new();
    for tenant in [0, 1] {
        for (key, has_call) in [(0, false), (1, true)] {
            ids.extend(wait_for(&fake, &app, Caller { tenant, key }, has_call).await.ids);
        }
    }
    let tried = Caller::all().flat_map(|caller| {
        // Another one for each, and a neighbour of it.
        let id = &ids[(caller.tenant * KEYS + caller.key) % ids.len()];
        [id.clone(), format!("{id}0")]
            .into_iter()
            .flat_map(move |id| paths(&id).into_iter().map(move |(method, path)| (caller, method, path)))
    });
    let tried: Vec<_> = tried.collect();
    let answers = in_turn(tried.iter().map(|(caller, method, path)| {
        let request =
            reqwest::Client::request(&reqwest::Client::new(), method.clone(), format!("{}{path}", app.url));
        let request = request.bearer_auth(caller.api_key()).send();
        async move { request.await.expect("an answer").status().as_u16() }
    }))
    .await;
    let mut statuses = BTreeMap::new();
    for status in answers {
        *statuses.entry(status).or_insert(0) += 1;
    }
    println!("{} paths tried: {statuses:?}", tried.len());
    let mut seen = Seen::default();
    for (status, times) in &statuses {
        seen.note_all(status.to_string(), *times);
    }
    let fault = "ids of others' answers, calls and requests, and their neighbours, in all paths with an id";
    seen.tell(Class::Hostile, fault, Asked::Either);
    assert_eq!(statuses, [(404, tried.len())].into());
}

#[tokio::test]
async fn each_key_sees_its_own_tenant_models_and_limits_and_nothing_of_the_operator_s() {
    let (fake, app) = all_callers().await;
    fake.follow(&Script::default());
    let app = &app;
    in_turn(Caller::all().map(|caller| async move {
        let listed = get(app, caller, "/v1/models").await;
        let headers = listed.headers().clone();
        let header = |name: &str| headers[name].to_str().expect("a text").parse::<usize>().expect("a number");
        let limit = header("x-ratelimit-limit-requests");
        assert_eq!(limit, caller.requests_per_minute(), "{caller:?}");
        // What others have asked does not count.
        assert!(header("x-ratelimit-remaining-requests") >= limit - 3, "{caller:?}: {headers:?}");
        let listed: Value = listed.json().await.expect("JSON");
        let listed: Vec<_> =
            listed["data"].as_array().expect("models").iter().map(|model| &model["id"]).collect();
        assert!(listed.contains(&&json!(caller.model())), "{caller:?}: {listed:?}");
        let other = ["haiku", "sonnet"][caller.tenant % 2];
        assert!(!listed.contains(&&json!(other)), "{caller:?}: {listed:?}");
        assert_eq!(get(app, caller, &format!("/v1/models/{other}")).await.status(), 404);

        let status: Value = get(app, caller, "/auth/status").await.json().await.expect("JSON");
        assert_eq!(status["tenant"], caller.tenant_name(), "{status}");
        for neighbour in [(caller.tenant + 1) % TENANTS, (caller.tenant + 10) % TENANTS] {
            let path = format!("/auth/status?tenant=t{neighbour}");
            let status: Value = get(app, caller, &path).await.json().await.expect("JSON");
            assert_eq!(status["tenant"], caller.tenant_name(), "{status}");
        }
        for path in ["/admin/usage", "/admin/usage?tenant=t1", "/admin/keys/key_1_1", "/metrics"] {
            assert_eq!(get(app, caller, path).await.status(), 401, "{caller:?}: {path}");
        }
        for (path, order) in
            [("/admin/cli", json!({"command": "version"})), ("/auth/logout", json!({"tenant": "t1"}))]
        {
            let order = app.post(path).bearer_auth(caller.api_key()).json(&order);
            assert_eq!(order.send().await.expect("an answer").status(), 401, "{caller:?}: {path}");
        }
    }))
    .await;
}

#[tokio::test]
async fn a_failure_of_one_tenant_s_account_is_told_to_its_own_keys_alone() {
    let (fake, app) = all_callers().await;
    let limit = Step::Replay { file: fixture("error-429-usage-limit"), frames: usize::MAX, half: false };
    fake.follow(&Script { plays: vec![play("", vec![limit])], ..Script::default() });
    let hit = Caller { tenant: 7, key: 3 };
    let question = json!({"messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(ask(&app, hit, &question).await.0, 429);
    let app = &app;
    let told = in_turn(Caller::all().map(|caller| async move {
        let status: Value = get(app, caller, "/auth/status").await.json().await.expect("JSON");
        (caller, status)
    }))
    .await;
    for (caller, status) in told {
        let is_told = status["usage_limit"]["status"] == "rejected" && !status["last_failure"].is_null();
        let is_untold = status["usage_limit"]["status"] == "ok" && status["last_failure"].is_null();
        assert!(if caller.tenant == hit.tenant { is_told } else { is_untold }, "{caller:?}: {status}");
    }
}
