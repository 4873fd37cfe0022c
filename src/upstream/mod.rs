//! A scripted Anthropic Messages API on loopback.
//!
//! The real Claude Code CLI is pointed at it with `ANTHROPIC_BASE_URL`, so everything between a client and the model is
//! the real thing and only the model is not. It also measures: what [`Log`] holds is what a model would have been sent.
//!
//! - [`server`]: the listener, [`Upstream`]
//! - [`request`]: a request body, read ([`Asked`])
//! - [`reply`]: what may be answered, as data ([`Reply`])
//! - [`script`]: directives in a prompt → [`Reply`]
//! - [`events`]: [`Reply`] → the event stream or the JSON body
//! - [`answer`]: [`Reply`] → the HTTP response, as data
//! - [`limits`]: the rate-limit headers
//! - [`log`]: what was received, and who left before the end ([`Log`])

pub mod answer;
mod arguments;
pub mod events;
pub mod limits;
pub mod log;
pub mod reply;
pub mod request;
pub mod script;
pub mod server;

pub use limits::{Limits, Standing};
pub use log::{Log, Progress, Received, TimedOut};
pub use reply::{ApiError, Break, Echo, Part, Place, Reply, Stop, Usage};
pub use request::Asked;
pub use server::Upstream;
