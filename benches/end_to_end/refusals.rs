//! How many requests are refused in a second, beside the least that a server could do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use super::Bench;
use super::bare_handler::BareHandler;
use super::interleaved::interleaved;
use super::support::couplet::Couplet;
use super::support::report::{Section, Table, verdict};
use super::support::statistics::{Estimate, Samples, Stopwatch};

/// Requests that are sent in a run.
const REQUESTS: u32 = 8000;

/// Over so many connections, each of which waits for an answer before it sends the next request.
const CONNECTIONS: u32 = 8;

/// The least share of the bare handler's rate.
const BAR: f64 = 0.8;

const KEY: &str = "a-key-of-the-benchmark";

/// Measures them.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let bare = BareHandler::start();
    let log = std::fs::File::create(bench.ground.state.join("refusals.log")).unwrap();
    let limited = [("COUPLET_API_KEYS", KEY), ("COUPLET_LOG", "info"), ("COUPLET_RATE_LIMIT_RPM", "1")];
    let couplet = Couplet::start_with_log(&bench.ground, &limited, Stdio::from(log));
    let wrong = "authorization: Bearer a-key-that-is-wrong\r\n";
    let right = format!("authorization: Bearer {KEY}\r\n");
    // Uses up what the key may ask.
    let _ = Connection::open(couplet.port()).ask(&request(&right));
    let mut of_bare = || run(bare.port, wrong, 401);
    let mut without_key = || run(couplet.port(), "", 401);
    let mut with_wrong_key = || run(couplet.port(), wrong, 401);
    let mut beyond_limit = || run(couplet.port(), &right, 429);
    let [bare, keyless, wrong, limited] = interleaved(
        bench.runs,
        &mut [&mut of_bare, &mut without_key, &mut with_wrong_key, &mut beyond_limit],
    );
    let row = |table: Table, case: &str, times: &Samples| {
        let Estimate { value, low, high } = Estimate::of(times, &bare, |couplet, bare| bare / couplet);
        let share = format!("{value:.3} ({low:.3} … {high:.3})");
        table.row(case, [rate(times), share, verdict(&format!("≥ {BAR}"), value >= BAR)])
    };
    let table = Table::new(&["refused", "requests/s", "share of the bare handler's (95 %)", "bar"]);
    let table = table.row("by a bare handler", [rate(&bare), String::new(), String::new()]);
    let table = row(table, "401, without a key", &keyless);
    let table = row(table, "401, with a wrong key", &wrong);
    let table = row(table, "429, beyond the key's limit", &limited);
    let about = format!(
        "`GET /v1/models`, {REQUESTS} requests over {CONNECTIONS} connections, one after the other on each. The bare handler is \
         one of axum's with the same body, served by `axum::serve`; Couplet has its default log, in a file."
    );
    vec![Section { title: "Refusals", about, tables: vec![table] }]
}

fn rate(times: &Samples) -> String {
    format!("{:.0}", f64::from(REQUESTS) * 1000.0 / times.median())
}

fn request(header: &str) -> String {
    format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{header}\r\n")
}

/// One run, in milliseconds.
fn run(port: u16, header: &str, status: u16) -> f64 {
    let request = request(header);
    let connections: Vec<Connection> = (0..CONNECTIONS).map(|_| Connection::open(port)).collect();
    let begun = Stopwatch::start();
    std::thread::scope(|scope| {
        for mut connection in connections {
            let request = &request;
            scope.spawn(move || {
                for _ in 0..REQUESTS / CONNECTIONS {
                    assert_eq!(connection.ask(request), status);
                }
            });
        }
    });
    begun.milliseconds()
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// The status of the answer, of which all is read.
    fn ask(&mut self, request: &str) -> u16 {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status.is_none() {
                status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            } else if let Some((name, value)) = text.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        status.unwrap()
    }
}
