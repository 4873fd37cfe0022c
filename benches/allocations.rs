//! How often memory is allocated for a delta on its way from a line of the CLI to a server-sent event.
//!
//!     cargo bench --bench allocations
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark is a program of its own")]

#[path = "codec/dialogue.rs"]
mod dialogue;

use dialogue::{answer, recording};

/// Deltas more in the longer answer.
const MORE: usize = 1000;

fn main() {
    for (name, mark) in
        [("text", "text_delta"), ("thinking", "thinking_delta"), ("tool-call", "input_json_delta")]
    {
        let lines = recording(name);
        let is_delta = |line: &Vec<u8>| String::from_utf8_lossy(line).contains(mark);
        // The last one: the first piece of arguments is empty.
        let delta = lines.iter().rposition(is_delta).unwrap();
        let mut longer = lines.clone();
        longer.splice(delta..delta, std::iter::repeat_n(lines[delta].clone(), MORE));
        let count = |lines: &[Vec<u8>]| {
            allocation_counter::measure(|| drop(std::hint::black_box(answer(lines)))).count_total
        };
        let (whole, more) = (count(&lines), count(&longer) - count(&lines));
        let per_delta = more / u64::try_from(MORE).unwrap();
        println!(
            "{name}: {whole} allocations an answer of {} lines, {per_delta} a delta ({more} for {MORE})",
            lines.len()
        );
    }
}
