//! Couplet itself, served in the test's own process, with a scripted upstream behind the CLI it is given.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use couplet::access::AccessSettings;
use couplet::access::jwt::{JwtAlgorithm, JwtSettings};
use couplet::caller::Limits;
use couplet::caller::TenantName;
use couplet::claude::ClaudeSettings;
use couplet::claude::account::{AccountSettings, CredentialOrigin};
use couplet::claude::command_line::CliProgram;
use couplet::claude::conversation::Deadlines;
use couplet::claude::credential::Credential;
use couplet::claude::kept::KeepLimits;
use couplet::claude::sandbox::SandboxSettings;
use couplet::claude::supply::ProcessSettings;
use couplet::claude::warm::WarmLimits;
use couplet::config::Config;
use couplet::http::HttpSettings;
use couplet::http::connections::ConnectionSettings;
use couplet::limits::limiter::LimitSettings;
use couplet::media::MediaSettings;
use couplet::tenants::TenantSettings;
use couplet::upstream::Upstream;
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The token every test signs in with; it must show up nowhere but at the upstream.
pub const TOKEN: &str = "sk-ant-oat01-canary-of-the-tests";

/// What [`key_of`] signs with.
const ISSUER_SECRET: &str = "the secret of an issuer, of more than thirty-two characters";

/// The key of the operator.
pub const ADMIN_KEY: &str = "the-key-of-the-operator";

/// The name of a tenant.
pub fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("a name")
}

/// The token of a tenant of [`Builder::with_tenants`].
pub fn token_of(tenant: &str) -> String {
    format!("sk-ant-oat01-canary-of-{tenant}")
}

/// What such a tenant's caller comes with: a token. All callers are called alike; nothing but the tenant tells them apart.
pub fn key_of(tenant: &str) -> String {
    let claims = json!({
        "iss": "issuer", "aud": "couplet", "sub": "everybody", "tenant": tenant, "exp": 4_102_444_800_u64,
    });
    let key = EncodingKey::from_secret(ISSUER_SECRET.as_bytes()).expect("a secret");
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token")
}

/// How a [`TestApp`] is to be.
pub struct Builder {
    config: Config,
    state: TempDir,
    upstream: Upstream,
}

/// A running Couplet.
pub struct TestApp {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    /// What the CLI takes for Anthropic's API.
    pub upstream: Upstream,
    /// The folder for what the CLI keeps.
    pub state: TempDir,
    client: reqwest::Client,
    stop: CancellationToken,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

impl Builder {
    /// Couplet with that CLI and a scripted upstream of its own. `base_url` of a fake CLI can be set afterwards.
    pub async fn new(cli: &Path) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::start_on_loopback().await.expect("an upstream");
        let passed_through = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        let config = Config {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            claude: ClaudeSettings {
                process: ProcessSettings {
                    program: CliProgram::Installed(cli.to_owned()),
                    launcher: env!("CARGO_BIN_EXE_couplet").into(),
                    credential: Credential::OauthToken(TOKEN.into()),
                    state_dir: state.path().join("state"),
                    base_url: Some(upstream.base_url()),
                    passed_through: passed_through.into_iter().collect(),
                    sandbox: SandboxSettings::auto(),
                    version: None,
                },
                deadlines: Deadlines {
                    first_frame: Duration::from_secs(30),
                    idle: Duration::from_secs(30),
                    total: Duration::from_secs(60),
                },
                max_concurrency: 16,
                queue_size: 64,
                keep: KeepLimits {
                    live: Duration::from_secs(60),
                    parked: Duration::from_secs(60),
                    processes: 16,
                },
                queue_timeout: Duration::from_secs(30),
                warm: WarmLimits {
                    min: 0,
                    max: 0,
                    idle: Duration::from_secs(60),
                    max_age: Duration::from_secs(60),
                },
                memory_budget: u64::MAX,
                account: AccountSettings {
                    origin: CredentialOrigin::Setting("CLAUDE_CODE_OAUTH_TOKEN".to_owned()),
                    ..AccountSettings::default()
                },
            },
            access: AccessSettings { admin_key: Some(ADMIN_KEY.into()), ..AccessSettings::default() },
            tenants: BTreeMap::new(),
            limits: LimitSettings::default(),
            http: HttpSettings::default(),
            connections: ConnectionSettings::default(),
            media: MediaSettings::default(),
            shutdown_grace: Duration::from_secs(2),
            list_models_at_start: false,
        };
        Self { config, state, upstream }
    }

    /// The same with other settings.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The same with keys.
    pub fn with_keys(self, keys: &[&str]) -> Self {
        self.with(|config| config.access.keys = keys.iter().map(|key| (*key).into()).collect())
    }

    /// The same with tenants, each with a token of its own ([`token_of`]) and a key ([`key_of`]).
    pub fn with_tenants(self, names: &[&str]) -> Self {
        self.with(|config| {
            for name in names {
                let settings = TenantSettings {
                    credential: Credential::OauthToken(token_of(name).into()),
                    max_concurrency: None,
                    limits: Limits::default(),
                };
                config.tenants.insert(tenant(name), settings);
            }
            let jwt = JwtSettings {
                algorithm: JwtAlgorithm::Hs256,
                key: ISSUER_SECRET.into(),
                issuer: "issuer".to_owned(),
                audience: "couplet".to_owned(),
            };
            let access = std::mem::take(&mut config.access);
            config.access = access.with_jwt(&jwt).expect("a verifier");
        })
    }

    /// Starts it.
    pub async fn start(self) -> TestApp {
        let listener = TcpListener::bind(self.config.address).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let shutdown = stop.clone().cancelled_owned();
        let server = tokio::spawn(couplet::run(listener, self.config, shutdown));
        TestApp {
            url,
            upstream: self.upstream,
            state: self.state,
            client: reqwest::Client::new(),
            stop,
            server: Some(server),
        }
    }
}

impl TestApp {
    /// A request builder for a path.
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// A request builder for a path.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// Sends a chat completion request, and waits for the headers.
    pub async fn chat(&self, body: &Value) -> reqwest::Response {
        self.post("/v1/chat/completions").json(body).send().await.expect("an answer")
    }

    /// The same as a task of its own.
    pub fn chat_later(&self, body: &Value) -> impl Future<Output = reqwest::Response> + Send + 'static {
        let request = self.post("/v1/chat/completions").json(body);
        async move { request.send().await.expect("an answer") }
    }

    /// An answer that is not streamed: its status and body.
    pub async fn answer(&self, body: &Value) -> (u16, Value) {
        let response = self.chat(body).await;
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// What `/health` tells.
    pub async fn health(&self) -> Value {
        self.get("/health").send().await.expect("an answer").json().await.expect("JSON")
    }

    /// A streamed answer, read to its end.
    pub async fn stream(&self, body: &Value) -> Streamed {
        let mut body = body.clone();
        body["stream"] = json!(true);
        Streamed::read(self.chat(&body).await).await
    }

    /// Tells it to stop, as SIGTERM does.
    pub fn begin_shutdown(&self) {
        self.stop.cancel();
    }

    /// Stops it and waits for its end. Its folder is there until the app is dropped.
    pub async fn shut_down(&mut self) {
        self.begin_shutdown();
        let server = self.server.take().expect("still running");
        server.await.expect("no panic").expect("no error");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A streamed answer as a client reads it.
#[derive(Debug)]
pub struct Streamed {
    /// The HTTP status.
    pub status: u16,
    /// The response's headers.
    pub headers: reqwest::header::HeaderMap,
    /// All data that was JSON, in order; the body as one value where it was no event stream.
    pub data: Vec<Value>,
    /// Whether it ended with `[DONE]`.
    pub done: bool,
}

impl Streamed {
    /// Reads a response to its end.
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let is_stream =
            headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !is_stream {
            return Self { status, headers, data: vec![response.json().await.expect("JSON")], done: false };
        }
        let mut read = Self { status, headers, data: Vec::new(), done: false };
        let mut events = response.bytes_stream().eventsource();
        while let Some(event) = events.next().await {
            let event = event.expect("a whole stream");
            assert!(!read.done, "nothing follows [DONE]: {event:?}");
            assert_eq!((event.event.as_str(), event.id.as_str()), ("message", ""), "no named events, no ids");
            if event.data == "[DONE]" {
                read.done = true;
            } else {
                read.data.push(serde_json::from_str(&event.data).expect("JSON"));
            }
        }
        read
    }

    /// The texts of the content deltas, the empty one of the role chunk left out.
    pub fn contents(&self) -> Vec<&str> {
        self.deltas("content").into_iter().filter(|text| !text.is_empty()).collect()
    }

    /// The text of a field of the deltas, in pieces.
    pub fn deltas(&self, field: &str) -> Vec<&str> {
        self.data.iter().filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str()).collect()
    }

    /// The finish reason, if there was one.
    pub fn finish_reason(&self) -> Option<&str> {
        self.data.iter().find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str())
    }

    /// The usage of the last chunk.
    pub fn usage(&self) -> &Value {
        &self.data.last().expect("a chunk")["usage"]
    }

    /// The error frame, which must be the last.
    pub fn error(&self) -> Option<&Value> {
        let position = self.data.iter().position(|data| data.get("error").is_some())?;
        assert_eq!(position, self.data.len() - 1, "nothing follows an error");
        Some(&self.data[position]["error"])
    }
}

/// A request with one user message.
pub fn ask(text: &str) -> Value {
    json!({"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": text}]})
}

/// The text of a good answer that is not streamed.
pub fn said((status, answer): &(u16, Value)) -> &str {
    assert_eq!((*status, &answer["choices"][0]["finish_reason"]), (200, &json!("stop")), "{answer}");
    answer["choices"][0]["message"]["content"].as_str().expect("text")
}
