//! Medians, and how sure they are.

use std::time::Duration;

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The middle 95 % of `compare` of two medians over 2,000 resamples. A fixed generator: the same data give the same interval.
pub fn confidence(through: &[f64], alone: &[f64], compare: fn(f64, f64) -> f64) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut resample = |values: &[f64]| -> f64 {
        let picked: Vec<f64> = (0..values.len())
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                values[usize::try_from(state % values.len() as u64).unwrap()]
            })
            .collect();
        median(&picked)
    };
    let mut compared: Vec<f64> = (0..2000).map(|_| compare(resample(through), resample(alone))).collect();
    compared.sort_by(f64::total_cmp);
    (compared[50], compared[1949])
}
