//! How slow is too slow.

use std::time::{Duration, Instant};

/// How fast bytes must move: no pause is longer than [`pause`](Self::pause), and from then on they come at a least rate on the
/// whole.
///
/// The pause ends what hangs. The rate ends what trickles: a byte now and then would last for ever. Both leave time to a slow line: a
/// fixed time for the whole of a body would be too short for a large one or much too long for a small one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The longest time in which nothing moves.
    pub pause: Duration,
    /// The least rate, which begins to count after the first pause.
    pub bytes_per_second: u32,
}

impl Pace {
    /// Until when something more must have moved, of what has moved by `last` since it began.
    #[must_use]
    pub fn deadline(&self, begun: Instant, last: Instant, bytes: usize) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "to the second is enough")]
        let worth = Duration::try_from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second.max(1)));
        let whole = begun + self.pause + worth.unwrap_or(Duration::MAX / 4);
        whole.min(last + self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing_came(0, 0, 30)]
    #[case::a_pause(1000, 1_000_000_000, 1030)]
    #[case::fast_enough(100, 3_200_000, 128)]
    #[case::a_byte_now_and_then(29, 29, 30)]
    #[case::behind_its_rate(100, 1_000_000, 61)]
    fn a_pause_and_a_low_rate_have_an_end(#[case] last: u64, #[case] bytes: usize, #[case] deadline: u64) {
        let pace = Pace { pause: Duration::from_secs(30), bytes_per_second: 32 * 1024 };
        let begun = Instant::now();
        let last = begun + Duration::from_secs(last);
        let left = pace.deadline(begun, last, bytes) - begun;
        assert!(left.abs_diff(Duration::from_secs(deadline)) < Duration::from_secs(1), "{left:?}");
    }

    #[test]
    fn the_largest_body_may_take_a_quarter_of_an_hour() {
        let pace = super::super::ConnectionSettings::default().body;
        let (begun, mut now, mut sent) = (Instant::now(), Instant::now(), 0);
        // A line of 300 kbit/s.
        while sent < 32 << 20 {
            now += Duration::from_secs(1);
            sent += 37_500;
            assert!(now < pace.deadline(begun, now, sent), "after {sent} bytes");
        }
    }
}
