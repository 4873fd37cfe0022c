//! What is counted and measured, for Prometheus.
//!
//! - [`table`]: all metrics, each with its type, its labels and what it means. They are added there and nowhere else.
//! - [`server`]: the metrics of one server: what is observed as it happens, and what is looked at when they are read.
//! - [`requests`], [`tokens`]: the series of requests and of tokens, of which there are only so many.
//! - [`connections`]: how many connections there are, and what became of others.
//! - [`gauges`]: what is looked at when the metrics are read; [`own_process`]: what the server itself takes.
//! - [`docs`]: docs/metrics.md, made of the table.
//!
//! The numbers of a request are observed where its line is written in the log
//! ([`request_log`](crate::http::request_log)), so that both always agree.

pub mod connections;
pub mod docs;
pub mod gauges;
pub mod own_process;
pub mod requests;
pub mod server;
pub mod table;
pub mod tokens;

pub use requests::Observed;
pub use server::Metrics;
