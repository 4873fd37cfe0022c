//! The CLI writes without measure.

use couplet::claude::line_reader::MAX_LINE;

use super::{SOON, said};
use crate::support::app::{Streamed, ask};
use crate::support::couplet_process::CoupletProcess;
use crate::support::fake_cli::FakeCli;
use crate::support::fake_cli::script::Step;
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

const MIB: usize = 1024 * 1024;

/// How much is written: far more than fits into any buffer on the way.
const MUCH: usize = 200 * MIB;

/// How much memory the server may take for it. The longest line is held twice while its buffer grows.
const LITTLE: u64 = 3 * MAX_LINE as u64;

/// How much is written when there is time for it.
const GIB: usize = 1024 * MIB;

/// Floods of so many bytes, and whether an answer can follow.
fn floods(bytes: usize) -> [(&'static str, Step, bool); 3] {
    [
        ("stdout, in lines that are no frames", Step::FloodStdout { bytes, line: 64 * 1024 - 1 }, true),
        ("stdout, without a line end", Step::FloodStdout { bytes, line: 0 }, false),
        ("stderr", Step::FloodStderr(bytes), true),
    ]
}

#[tokio::test]
async fn a_flood_takes_little_memory() {
    flood_with(MUCH, |seen, fault| seen.tell(Class::Output, fault, Asked::Either)).await;
}

#[tokio::test]
#[ignore = "a gigabyte each"]
async fn a_flood_of_a_gigabyte_takes_little_memory() {
    flood_with(GIB, |seen, fault| seen.tell_of_long_run(Class::Output, fault, Asked::Either)).await;
}

async fn flood_with(bytes: usize, tell: impl Fn(&Seen, &str)) {
    for (where_to, flood, goes_on) in floods(bytes) {
        let mut seen = Seen::default();
        for stream in [false, true] {
            let fake = FakeCli::that_does([flood.clone(), Step::Answer("unmoved".to_owned())]);
            let couplet = CoupletProcess::start(&fake, &[]).await;
            couplet.health().await;
            let before = couplet.peak_memory();
            let mut question = ask("hello");
            question["stream"] = stream.into();
            let answer = Streamed::read(couplet.chat(&question).await).await;
            if goes_on {
                assert!(answer.error().is_none(), "{where_to}: {answer:?}");
            } else {
                assert_eq!(answer.status, 502, "{where_to}: {answer:?}");
            }
            let growth = couplet.peak_memory() - before;
            assert!(growth < LITTLE, "{where_to}: {} MiB", growth / MIB as u64);
            fake.gone_within(SOON).await;
            seen.note(seen::of_answer(&answer));
        }
        // Also the size of the flood: the test run by hand has the greater one.
        tell(&seen, &format!("a flood on {where_to} (200 MiB; in the long run 1 GiB), with little memory"));
    }
}

#[tokio::test]
async fn a_flood_of_short_lines_takes_little_memory() {
    let flood = Step::FloodStdout { bytes: 10 * MIB, line: 20 };
    let fake = FakeCli::that_does([flood, Step::Answer("unmoved".to_owned())]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    couplet.health().await;
    let before = couplet.peak_memory();
    let answer = couplet.answer(&ask("hello")).await;
    assert_eq!(said(&answer), "unmoved");
    let growth = couplet.peak_memory() - before;
    assert!(growth < LITTLE, "{} MiB", growth / MIB as u64);
    let fault = "half a million short lines that are no frames";
    seen::tell(Class::Output, fault, Asked::NotStreaming, seen::of_whole(&answer));
}

#[tokio::test]
async fn many_lines_of_the_greatest_length_take_no_more_memory_than_a_few() {
    let line = [
        Step::Bytes(br#"{"type":"system","subtype":"long","padding":""#.to_vec()),
        Step::FloodStdout { bytes: 15 * MIB, line: 0 },
        Step::Bytes(b"\"}\n".to_vec()),
    ];
    let lines = Step::Repeat { times: 8, steps: line.into() };
    let fake = FakeCli::that_does([lines, Step::Answer("unmoved".to_owned())]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    couplet.health().await;
    let before = couplet.peak_memory();
    let answer = couplet.answer(&ask("hello")).await;
    assert_eq!(said(&answer), "unmoved");
    let growth = couplet.peak_memory() - before;
    assert!(growth < LITTLE, "{} MiB", growth / MIB as u64);
    let fault = "eight frames of 15 MiB, with no more memory than a few";
    seen::tell(Class::Output, fault, Asked::NotStreaming, seen::of_whole(&answer));
}
