//! Numbers, times and sizes.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::json;

use super::{Refusal, Shape, Value};

/// A whole number within limits that belong to the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: usize, const MAX: usize>(pub(super) usize);

impl<const MIN: usize, const MAX: usize> Whole<MIN, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> Value for Whole<MIN, MAX> {
    const SHAPE: Shape = Shape::Number;

    fn allowed() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let number = text.trim().parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number.map(Self).ok_or_else(Refusal::default)
    }

    fn shown(&self) -> serde_json::Value {
        json!(self.0)
    }
}

impl Value for u16 {
    const SHAPE: Shape = Shape::Number;

    fn allowed() -> String {
        format!("a whole number from 0 to {}", Self::MAX)
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        text.trim().parse().map_err(|_| Refusal::default())
    }

    fn shown(&self) -> serde_json::Value {
        json!(self)
    }
}

/// A whole number of at least 1.
macro_rules! counts {
    ($($type:ty),+) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Number;

            fn allowed() -> String {
                format!("a whole number from 1 to {}", Self::MAX)
            }

            fn read(text: &str) -> Result<Self, Refusal> {
                text.trim().parse().map_err(|_| Refusal::default())
            }

            fn shown(&self) -> serde_json::Value {
                json!(self.get())
            }
        }
    )+};
}

counts!(NonZeroU32, NonZeroU64);

/// A time in seconds, whole or with a fraction, more than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// A week. Longer than any answer, and far from what the arithmetic of clocks does not bear.
    const MAX: f64 = 604_800.0;
}

impl Value for Seconds {
    const SHAPE: Shape = Shape::Number;

    fn allowed() -> String {
        format!("a number of seconds above 0, at most {}", Self::MAX)
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let seconds = text.trim().parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= Self::MAX);
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.filter(|time| !time.is_zero()).map(Self).ok_or_else(Refusal::default)
    }

    fn shown(&self) -> serde_json::Value {
        if self.0.subsec_nanos() == 0 { json!(self.0.as_secs()) } else { json!(self.0.as_secs_f64()) }
    }
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Value for Bytes {
    fn allowed() -> String {
        "an amount such as 2GiB, 1500MB or a number of bytes".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        text.trim().parse::<ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| Refusal::default())
    }

    fn shown(&self) -> serde_json::Value {
        json!(ByteSize(self.0).to_string())
    }
}
