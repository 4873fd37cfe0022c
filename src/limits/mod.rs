//! How much a caller may ask.
//!
//! - [`limiter`]: counts requests and lets turns in, by the limits of the caller, its tenant and the server; [`permit`]: what a
//!   turn was let in with, and how it is settled; [`refusal`], [`standing`]: what is told of it.
//! - [`estimate`]: what is reserved for a turn before it is known what it takes.
//! - [`meter`]: what is known of one holder of limits; [`callers`]: those of the callers, in bounded memory.
//! - [`bucket`], [`tokens`]: rates; [`quota`]: days and months; [`clock`]: their times.
//! - [`accounts`]: what was used, on its way into the store.

pub mod accounts;
pub mod bucket;
pub mod callers;
pub mod clock;
pub mod estimate;
pub mod limiter;
pub mod meter;
pub mod permit;
pub mod quota;
pub mod refusal;
pub mod standing;
pub mod tokens;

use std::time::Duration;

/// What somebody should wait where a turn may end any time.
const SOON: Duration = Duration::from_secs(2);
