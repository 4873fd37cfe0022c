//! How long it takes to refuse a key tells nothing of the keys there are.

use std::hint::black_box;
use std::time::Instant;

use couplet::access::{Access, AccessSettings};
use couplet::store::Store;

use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

/// How many keys there are.
const KEYS: usize = 400;

/// The share of the slowest measurements that is left out: other programs had the core meanwhile.
const DISTURBED: f64 = 0.02;

/// From here on two sets of times are taken for different. Welch's t of two samples of the same kind is beyond it once in a
/// hundred thousand tries.
const DIFFERENT: f64 = 4.5;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn key(&mut self) -> String {
        format!("sk-couplet-{:016x}{:016x}", self.next(), self.next())
    }
}

/// Mean and variance of the mean.
fn moments(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a number"
    )]
    times.truncate((times.len() as f64 * (1.0 - DISTURBED)) as usize);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let number = times.len() as f64;
    let mean = times.iter().sum::<f64>() / number;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (number - 1.0);
    (mean, variance / number)
}

/// Welch's t of the times that two kinds of wrong keys take: such as begin as a key of the server does, and any of that
/// length.
fn compare(samples: usize) -> f64 {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let keys: Vec<String> = (0..KEYS).map(|_| random.key()).collect();
    let settings = AccessSettings {
        keys: keys.iter().map(|key| key.as_str().into()).collect(),
        ..AccessSettings::default()
    };
    let access = Access::new(&settings, Store::in_memory().expect("a database")).expect("a store");
    // By chance, so that nothing that comes and goes falls on one of them alone; all beforehand, so that what was done last
    // before each measurement is the same for both.
    let kinds: Vec<usize> = (0..samples).map(|_| usize::from(random.next() & (1 << 40) == 0)).collect();
    let make = |kind: &usize| if *kind == 0 { nearly_right(&mut random, &keys) } else { random.key() };
    let wrong: Vec<String> = kinds.iter().map(make).collect();
    let mut offered = String::new();
    let measure = |wrong: &String| {
        offered.clone_from(wrong);
        let begun = Instant::now();
        let verdict = black_box(access.caller(Some(black_box(offered.as_bytes()))));
        let time = begun.elapsed();
        assert!(verdict.is_err());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let time = time.as_nanos() as f64;
        time
    };
    let measured: Vec<f64> = wrong.iter().map(measure).collect();
    let of_kind = |wanted: usize| {
        kinds.iter().zip(&measured).filter(move |(kind, _)| **kind == wanted).map(|(_, time)| *time)
    };
    let times = [of_kind(0).collect::<Vec<_>>(), of_kind(1).collect()];
    let [one, other] = times.map(moments);
    let t = (one.0 - other.0) / (one.1 + other.1).sqrt();
    println!("{samples} samples: means {:.1} and {:.1} ns, t = {t:.2}", one.0, other.0);
    t
}

/// A key of the server but for its last eight characters. With fewer there were so few of them that each came several times, and
/// what comes again is faster, right or wrong.
fn nearly_right(random: &mut Random, keys: &[String]) -> String {
    let key = &keys[usize::try_from(random.next() % keys.len() as u64).expect("small")];
    format!("{}{:08x}", &key[..key.len() - 8], random.next() & 0xffff_ffff)
}

#[test]
fn a_nearly_right_key_takes_as_long_as_a_quite_wrong_one_in_a_million_samples() {
    let t = compare(1_000_000);
    // Once in a hundred thousand, chance alone; a leak would show again.
    assert!(t.abs() < DIFFERENT || compare(1_000_000).abs() < DIFFERENT, "t = {t}");
    let mut seen = Seen::default();
    seen.note_all("refused, in a time that tells nothing", 1_000_000);
    seen.tell(Class::Hostile, "nearly right keys, against quite wrong ones", Asked::Either);
}

/// The measurement would see a comparison that stops at the first difference.
#[test]
fn a_leak_would_be_seen() {
    let mut random = Random(7);
    let right = random.key().repeat(40);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..20_000 {
        let kind = usize::from(random.next() & (1 << 40) == 0);
        let mut wrong = right.clone().into_bytes();
        let place = if kind == 0 { 0 } else { wrong.len() - 1 };
        wrong[place] ^= 1;
        let begun = Instant::now();
        let same = black_box(&wrong).iter().zip(right.as_bytes()).all(|(one, other)| one == other);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        times[kind].push(begun.elapsed().as_nanos() as f64);
        assert!(!same);
    }
    let [early, late] = times.map(moments);
    assert!((late.0 - early.0) / (early.1 + late.1).sqrt() > DIFFERENT);
}
