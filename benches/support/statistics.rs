//! Times, their medians, and how sure those are.

use std::time::Instant;

/// Measures milliseconds.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since its start.
    pub fn milliseconds(self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1000.0
    }
}

/// What was measured, in rounds. What was measured at the same moment belongs together: it is resampled as one.
#[derive(Clone)]
pub struct Samples {
    rounds: Vec<Vec<f64>>,
}

impl Samples {
    /// None yet.
    pub const fn new() -> Self {
        Self { rounds: Vec::new() }
    }

    /// One more, that stands for itself.
    pub fn push(&mut self, value: f64) {
        self.rounds.push(vec![value]);
    }

    /// Several of the same moment.
    pub fn push_round(&mut self, values: Vec<f64>) {
        self.rounds.push(values);
    }

    /// The median of all.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The 95th percentile of all.
    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }

    /// The largest.
    pub fn most(&self) -> f64 {
        self.quantile(1.0)
    }

    fn quantile(&self, share: f64) -> f64 {
        quantile(self.rounds.iter().flatten().copied().collect(), share)
    }

    fn resampled_median(&self, random: &mut Random) -> f64 {
        let picked = (0..self.rounds.len()).flat_map(|_| &self.rounds[random.below(self.rounds.len())]);
        quantile(picked.copied().collect(), 0.5)
    }
}

/// Between two neighbours in the order, in proportion.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * f64::from(u32::try_from(values.len() - 1).unwrap());
    let (mut below, mut rest) = (0, place);
    while rest >= 1.0 {
        below += 1;
        rest -= 1.0;
    }
    let above = values.get(below + 1).copied().unwrap_or(values[below]);
    values[below] + (above - values[below]) * rest
}

/// A value and the middle 95 % of it over 2,000 resamples.
#[derive(Clone, Copy)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Estimate {
    /// Compares the medians of two.
    pub fn of(couplet: &Samples, bare: &Samples, compare: fn(f64, f64) -> f64) -> Self {
        // Always the same sequence: the same data give the same interval.
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut resample =
            || compare(couplet.resampled_median(&mut random), bare.resampled_median(&mut random));
        let mut compared: Vec<f64> = (0..2000).map(|_| resample()).collect();
        compared.sort_by(f64::total_cmp);
        Self { value: compare(couplet.median(), bare.median()), low: compared[50], high: compared[1949] }
    }
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}
