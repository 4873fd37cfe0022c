//! `couplet healthcheck` against servers that are ready, that are not, and that are none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::app::Builder;
use crate::support::command::{Ended, run_with_only};
use crate::support::server::Server;

/// Runs it with these variables and no others.
fn healthcheck(variables: &[(&str, &str)], flags: &[&str]) -> Ended {
    let arguments: Vec<&str> = ["healthcheck"].iter().chain(flags).copied().collect();
    let program = Path::new(env!("CARGO_BIN_EXE_couplet"));
    run_with_only(program, &arguments, variables, Duration::from_secs(10)).expect("it starts")
}

fn port_of(url: &str) -> &str {
    url.rsplit(':').next().expect("a port")
}

/// It failed with one sentence that holds these words.
#[track_caller]
fn assert_unhealthy(ended: &Ended, words: &str) {
    assert_eq!(ended.how, "ended with exit status: 1", "{ended}");
    assert!(ended.stderr.contains(words), "{ended}");
    assert_eq!((ended.stderr.lines().count(), ended.stdout.as_str()), (1, ""), "{ended}");
}

/// A server that answers the first connection with `answer`, and then closes it or holds it open.
fn server_that_says(answer: &'static str, then_hangs: bool) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(answer.as_bytes()).expect("written");
        if then_hangs {
            std::thread::sleep(Duration::from_secs(30));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_server_is_healthy_whatever_address_it_listens_on() {
    for host in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
        if host.contains(':') && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            eprintln!("left out: no IPv6 here");
            continue;
        }
        // A list of hosts shuts out other names, but not this.
        let variables =
            [("COUPLET_API_KEYS", "a-key"), ("COUPLET_ALLOWED_HOSTS", "chat.example"), ("HOST", host)];
        let server = Server::start(&variables).await;
        let ended = healthcheck(&[("HOST", host), ("PORT", port_of(&server.url))], &[]);
        assert!(ended.success, "{host}: {ended}");
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_asked_in_place_of_the_settings() {
    let server = Server::start(&[]).await;
    let ended = healthcheck(&[("PORT", "1")], &["--url", &format!("{}/health", server.url)]);
    assert!(ended.success, "{ended}");
    let ended = healthcheck(&[], &["--url", &format!("{}/no/such/path", server.url)]);
    assert_unhealthy(&ended, "/no/such/path is not ready: status 404");
    let named = format!("http://localhost:{}/health/ready", port_of(&server.url));
    let ended = healthcheck(&[], &["--url", &named]);
    assert!(ended.success, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_ready_is_unhealthy_and_its_reason_told() {
    let app = Builder::new(Path::new("/no/such/cli")).await.start().await;
    let ended = healthcheck(&[("PORT", port_of(&app.url))], &[]);
    assert_unhealthy(&ended, "/health/ready is not ready: status 503, ");
    assert!(ended.stderr.contains("/no/such/cli"), "{ended}");
}

#[test]
fn nobody_listening_is_unhealthy() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    drop(listener);
    assert_unhealthy(&healthcheck(&[("PORT", &port)], &[]), "did not answer: Connection refused");
}

#[test]
fn an_unknown_port_is_unhealthy() {
    assert_unhealthy(&healthcheck(&[("PORT", "0")], &[]), "PORT is 0");
    assert_unhealthy(&healthcheck(&[("PORT", "eight")], &[]), "PORT");
}

#[test]
fn garbage_and_silence_are_unhealthy() {
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n", "200", ""] {
        let port = server_that_says(garbage, false);
        assert_unhealthy(&healthcheck(&[("PORT", &port)], &[]), "gave no answer in HTTP");
    }
    let port = server_that_says("HTTP/1.1 500 Oh No\r\n\r\n<html>", false);
    assert_unhealthy(&healthcheck(&[("PORT", &port)], &[]), "is not ready: status 500");
}

#[test]
fn a_server_that_hangs_is_unhealthy_after_two_seconds() {
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"] {
        let port = server_that_says(answer, true);
        let begun = Instant::now();
        assert_unhealthy(&healthcheck(&[("PORT", &port)], &[]), "did not answer within 2 s");
        let took = begun.elapsed();
        assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
    }
}
