//! Runs of several cases, one beside the other.

use super::support::statistics::Samples;

/// Something to measure; each call is one run and gives its milliseconds.
pub type Case<'a> = &'a mut dyn FnMut() -> f64;

/// Runs all cases so often, in turn, each time beginning with another one. The first round fills caches and does not
/// count.
pub fn interleaved<const CASES: usize>(runs: usize, cases: &mut [Case<'_>; CASES]) -> [Samples; CASES] {
    let mut samples = [const { Samples::new() }; CASES];
    for round in 0..=runs {
        eprint!("\r  {round} of {runs} ");
        for place in 0..CASES {
            let case = (place + round) % CASES;
            let time = cases[case]();
            if round > 0 {
                samples[case].push(time);
            }
        }
    }
    eprintln!();
    samples
}
