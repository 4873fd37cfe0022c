//! The least that a server could do to refuse a request: one handler of axum's, served by `axum::serve`.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;

use super::support::children::Bound;

/// The argument that makes this program the handler's server.
const ARGUMENT: &str = "--bare-handler";

/// A running one.
pub struct BareHandler {
    _child: Bound,
    /// Where it listens on loopback.
    pub port: u16,
}

impl BareHandler {
    /// Starts it as a process of its own, as Couplet is one.
    pub fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = Bound::start(command.arg(ARGUMENT).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { _child: child, port: line.trim().parse().unwrap() }
    }
}

/// Serves, where this program was started for that.
pub fn run() -> bool {
    if !std::env::args().any(|argument| argument == ARGUMENT) {
        return false;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        std::io::stdout().flush().unwrap();
        let refuse = || async {
            let error = json!({"message": "The API key is not one of this server's.",
                "type": "authentication_error", "param": null, "code": "invalid_api_key"});
            (StatusCode::UNAUTHORIZED, Json(json!({"error": error})))
        };
        axum::serve(listener, Router::new().route("/v1/models", get(refuse))).await.unwrap();
    });
    true
}
