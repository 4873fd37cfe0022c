//! How long honest clients wait beside two thousand that are slow on purpose.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Bench;
use super::interleaved::interleaved;
use super::support::couplet::Couplet;
use super::support::report::{Section, Table, milliseconds, verdict};
use super::support::statistics::{Estimate, Samples, Stopwatch};

/// Clients that are slow.
const SLOW: usize = 2000;

/// Honest requests of each kind in a run: enough for a 99th percentile.
const REQUESTS: usize = 400;

/// The most that the 99th percentile may be, against that without slow clients.
const BAR: f64 = 2.0;

/// How often each slow client sends a byte. All of them together send some three thousand a second, evenly.
const PAUSE: Duration = Duration::from_millis(500);

/// How often some of the slow clients send.
const TICK: Duration = Duration::from_millis(2);

/// Between two honest requests: so they are spread over seconds, as the bytes of the slow clients are.
const THINKS: Duration = Duration::from_millis(5);

const KEY: &str = "a-key-of-the-benchmark";

/// Measures them.
pub fn measure(bench: &Bench) -> Vec<Section> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let settings = [("COUPLET_API_KEYS", KEY), ("COUPLET_MAX_CONNECTIONS", "4000")];
    let couplet = Couplet::start(&bench.ground, &settings);
    let port = couplet.port();
    let mut kept_alone = || run(port, false, 0);
    let mut kept_beside = || run(port, false, SLOW);
    let mut new_alone = || run(port, true, 0);
    let mut new_beside = || run(port, true, SLOW);
    let [kept_alone, kept_beside, new_alone, new_beside] =
        interleaved(bench.runs, &mut [&mut kept_alone, &mut kept_beside, &mut new_alone, &mut new_beside]);
    let row = |table: Table, case: &str, alone: &Samples, beside: &Samples| {
        let Estimate { value, low, high } = Estimate::of(beside, alone, |beside, alone| beside / alone);
        let ratio = format!("{value:.2} ({low:.2} … {high:.2})");
        let bar = verdict(&format!("≤ {BAR} ×"), value <= BAR);
        table.row(case, [precise(alone), precise(beside), ratio, bar])
    };
    let table =
        Table::new(&["honest requests", "alone, p99 ms", "beside slow ones, p99 ms", "ratio (95 %)", "bar"]);
    let table = row(table, "over a connection that is kept", &kept_alone, &kept_beside);
    let table = row(table, "each over a new connection", &new_alone, &new_beside);
    let about = format!(
        "`GET /v1/models`, {REQUESTS} requests one after the other, {} ms apart, and their 99th percentile; beside them {SLOW} slow \
         clients: a third each sends a head or a body, a byte every {} ms, or nothing at all.",
        THINKS.as_millis(),
        PAUSE.as_millis()
    );
    vec![Section { title: "Slow clients", about, tables: vec![table] }]
}

fn precise(times: &Samples) -> String {
    let time = times.median();
    if time < 10.0 { format!("{time:.2}") } else { milliseconds(time) }
}

/// One run: the 99th percentile, in milliseconds.
fn run(port: u16, is_new: bool, slow: usize) -> f64 {
    let over = AtomicBool::new(false);
    let slow: Vec<TcpStream> = (0..slow).map(|number| begin_slowly(port, number)).collect();
    let connections = slow.len();
    std::thread::scope(|scope| {
        scope.spawn(|| dribble(slow, &over));
        // All that send anything have done so.
        std::thread::sleep(PAUSE);
        let mut times = honest(port, is_new);
        over.store(true, Ordering::Relaxed);
        times.sort_by(f64::total_cmp);
        // Those whose connections ended in between would be no longer beside it.
        assert!(
            connections == 0 || times.iter().sum::<f64>() < 20_000.0,
            "slow ones are sent away after 30 s"
        );
        times[times.len() * 99 / 100]
    })
}

/// The times of honest requests, in milliseconds.
fn honest(port: u16, is_new: bool) -> Vec<f64> {
    let request =
        format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let connect = || {
        let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.set_nodelay(true).unwrap();
        connection
    };
    let mut kept = connect();
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begun = Stopwatch::start();
        if is_new {
            kept = connect();
        }
        kept.write_all(request.as_bytes()).unwrap();
        read_answer(&mut kept);
        times.push(begun.milliseconds());
        std::thread::sleep(THINKS);
    }
    times
}

fn read_answer(connection: &mut TcpStream) {
    let (mut read, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let length = connection.read(&mut piece).unwrap();
        assert!(length > 0, "a whole answer");
        read.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            return;
        }
    }
}

fn begin_slowly(port: u16, number: usize) -> TcpStream {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let body = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    );
    let begin = match number % 3 {
        0 => "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: ",
        1 => &body,
        _ => "",
    };
    connection.write_all(begin.as_bytes()).unwrap();
    connection.set_nonblocking(true).unwrap();
    connection
}

/// Sends a byte over each now and then, except over those that send nothing.
fn dribble(slow: Vec<TcpStream>, over: &AtomicBool) {
    // Those that send nothing stay open.
    let (mut sending, _silent): (Vec<_>, Vec<_>) =
        slow.into_iter().enumerate().partition(|(number, _)| number % 3 != 2);
    let (begun, mut sent) = (Instant::now(), 0);
    while !over.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_millis() * sending.len() as u128 / PAUSE.as_millis();
        while sent < due && !sending.is_empty() {
            let next = usize::try_from(sent % sending.len() as u128).unwrap();
            let (number, connection) = &mut sending[next];
            if let Err(error) = connection.write_all(b" ") {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "slow client {number} was sent away");
            }
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
}
