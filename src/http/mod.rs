//! The HTTP side: routes, who may come in, server-sent events.
//!
//! - [`chat_completions`], [`completions`], [`messages`], [`models`], [`health`], [`version`]: each module owns its routes.
//! - [`auth`]: the sign-in to Claude; [`admin_cli`]: commands of the CLI. What is only for the [`operator`] is mounted apart.
//! - [`openapi`], [`docs`]: what is served, for programs and for people.
//! - [`guard`]: the checks before them. A route without a check must opt out by name in [`router`].
//! - [`body`], [`ask`], [`answers`], [`sse`], [`reply`]: bodies in, the model asked, streams and errors out.
//! - [`rate_limit`]: requests counted, and how things stand with the caller's limits; [`usage`]: what was used, for the operator.
//! - [`anthropic_form`]: errors in the other form, on the paths of Anthropic's API.
//! - [`unsupported`]: what is told of paths that are not served.
//! - [`request_log`]: the id of each request, and its line in the log.
//! - [`metrics`]: what Prometheus reads.
//! - [`server`]: accepts and closes connections; [`connections`] says how many, and which must go.

pub mod admin_cli;
pub mod answers;
pub mod anthropic_form;
pub mod ask;
pub mod auth;
pub mod body;
pub mod chat_completions;
pub mod completions;
pub mod connections;
pub mod docs;
pub mod guard;
pub mod health;
pub mod messages;
pub mod metrics;
pub mod models;
pub mod openapi;
pub mod operator;
pub mod rate_limit;
pub mod reply;
pub mod request_log;
pub mod server;
pub mod sse;
pub mod unsupported;
pub mod usage;
pub mod version;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::http::header::{HeaderName, HeaderValue};
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use tower::ServiceBuilder;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::access::Access;
use crate::limits::limiter::Limiter;
use crate::media::Intake;
use crate::metrics::Metrics;
use crate::tenants::Tenants;
use crate::translate::models::Aliases;

/// The id of a request, in its log line and its response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long the server took, in milliseconds, until the headers.
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");

/// Who may come in, and how requests are served.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// Host names beside loopback's.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages.
    pub allowed_origins: Vec<String>,
    /// The operator's names for models.
    pub aliases: Aliases,
    /// Whether there is a model behind the answers.
    pub mode: Mode,
}

/// Whether there is a model behind the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Claude answers.
    #[default]
    Live,
    /// Nobody answers: answers are scripted, so that everything can be tried without an account.
    Demo,
}

impl Mode {
    /// The word for it in `/health`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Demo => "demo",
        }
    }

    /// The program behind the answers, as `system_fingerprint`.
    #[must_use]
    pub fn fingerprint(self) -> &'static str {
        match self {
            Self::Live => concat!("couplet-", env!("CARGO_PKG_VERSION")),
            Self::Demo => concat!("couplet-", env!("CARGO_PKG_VERSION"), "-demo"),
        }
    }
}

/// What every handler can reach. Cheap to clone: each layer of each request does.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

/// What there is to be reached.
#[derive(Debug)]
pub struct Parts {
    /// Who may come in.
    pub access: Access,
    /// Holds callers to their limits.
    pub limiter: Limiter,
    /// The model, as each tenant asks it.
    pub tenants: Tenants,
    /// What makes images and files ready for it.
    pub media: Intake,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// The settings.
    pub http: HttpSettings,
}

impl App {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// All routes behind one stack of layers.
pub fn router(app: App) -> Router {
    let api = Router::new()
        .merge(chat_completions::router())
        .merge(completions::router())
        .merge(messages::router())
        .merge(models::router());
    // `/v1` is the documented prefix; some clients leave it out of their base URL.
    let guarded = Router::new()
        .nest("/v1", api.clone())
        .merge(api)
        .merge(auth::router())
        .merge(version::router())
        .fallback(unsupported::unknown_path)
        .method_not_allowed_fallback(reply::wrong_method)
        // As one layer: each is copied for each request.
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(app.clone(), guard::check_key))
                .layer(body::unpacking()),
        );
    let operator = auth::operator_router()
        .merge(admin_cli::router())
        .merge(usage::router())
        // What is not there is not told to others either.
        .route("/admin/{*path}", any(unsupported::unknown_path))
        .method_not_allowed_fallback(reply::wrong_method)
        .layer(body::unpacking())
        .layer(from_fn_with_state(app.clone(), guard::check_admin_key));
    let observed = metrics::router()
        .method_not_allowed_fallback(reply::wrong_method)
        .layer(from_fn_with_state(app.clone(), guard::check_observer));
    let open = health::router()
        .merge(openapi::router())
        .merge(docs::router())
        .method_not_allowed_fallback(reply::wrong_method);

    // Few, since they are what a refused request costs. Outermost first: what is above sees a request earlier and its response later.
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(request_log::Lines::new(app.metrics.clone()), request_log::write_lines))
        .layer(CatchPanicLayer::custom(reply::after_panic))
        .layer(option_layer(cors(&app.http.allowed_origins)))
        .layer(from_fn_with_state(app.clone(), guard::check_host_and_origin));
    guarded.merge(operator).merge(observed).merge(open).layer(layers).with_state(app)
}

/// Lets the pages of configured origins in. No origin is allowed by default, and never all.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok());
    let exposed = [REQUEST_ID, anthropic_form::REQUEST_ID, PROCESSING_MS, ask::IGNORED].into_iter();
    let exposed = exposed.chain(rate_limit::HEADERS).chain(reply::RETRY_HEADERS);
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        // SDKs in browsers send headers of their own (`x-stainless-…`).
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(Duration::from_secs(600));
    Some(layer)
}
