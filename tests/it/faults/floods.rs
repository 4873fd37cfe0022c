//! The CLI writes without measure.

use couplet::claude::line_reader::MAX_LINE;
use rstest::rstest;

use super::{SOON, said};
use crate::support::app::ask;
use crate::support::couplet_process::CoupletProcess;
use crate::support::fake_cli::FakeCli;
use crate::support::fake_cli::script::Step;

const MIB: usize = 1024 * 1024;

/// How much is written: far more than fits into any buffer on the way.
const MUCH: usize = 200 * MIB;

/// How much memory the server may take for it. The longest line is held twice while its buffer grows.
const LITTLE: u64 = 3 * MAX_LINE as u64;

#[rstest]
#[case::of_lines(Step::FloodStdout { bytes: MUCH, line: 64 * 1024 - 1 }, Some("unmoved"))]
#[case::of_short_lines(Step::FloodStdout { bytes: 10 * MIB, line: 20 }, Some("unmoved"))]
#[case::without_an_end(Step::FloodStdout { bytes: MUCH, line: 0 }, None)]
#[case::on_stderr(Step::FloodStderr(MUCH), Some("unmoved"))]
#[tokio::test]
async fn a_flood_takes_little_memory(#[case] flood: Step, #[case] answer: Option<&str>) {
    let fake = FakeCli::that_does([flood, Step::Answer("unmoved".to_owned())]);
    let couplet = CoupletProcess::start(&fake, &[]).await;
    couplet.health().await;
    let before = couplet.peak_memory();
    let answered = couplet.answer(&ask("hello")).await;
    match answer {
        Some(answer) => assert_eq!(said(&answered), answer),
        None => assert_eq!(answered.0, 502, "{answered:?}"),
    }
    let growth = couplet.peak_memory() - before;
    assert!(growth < LITTLE, "{} MiB", growth / MIB as u64);
    fake.gone_within(SOON).await;
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
    assert_eq!(said(&couplet.answer(&ask("hello")).await), "unmoved");
    let growth = couplet.peak_memory() - before;
    assert!(growth < LITTLE, "{} MiB", growth / MIB as u64);
}
