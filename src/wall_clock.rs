//! The time of day, as the system has it.
//!
//! It may be wrong, and be put right at any moment. It counts where people or the API count in it: the end of a key or a token,
//! the days and months of quotas, `created`, when a usage limit is lifted. All that waits, all deadlines, rates and ages go by
//! the monotonic clock (`Instant`), which no correction touches; what the API gives as a time of day becomes a span as soon as
//! it is heard. Nobody else asks the system for the time of day (`tests/it/tidy.rs` looks).

use std::time::SystemTime;

use jiff::Timestamp;

/// The time of day.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The same for calendars.
#[must_use]
pub fn timestamp() -> Timestamp {
    Timestamp::now()
}

/// Whole seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
