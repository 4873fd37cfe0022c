//! How many connections there are, and why connections were closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why a connection was closed before its client closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The head of a request did not come to its end.
    Head,
    /// No request came.
    Idle,
    /// The body of a request came too slowly.
    Body,
    /// An answer was not read.
    Unread,
    /// It made room for another one.
    Evicted,
    /// There was no room for it.
    TurnedAway,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Head, Self::Idle, Self::Body, Self::Unread, Self::Evicted, Self::TurnedAway];

    /// The word for it in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Body => "body",
            Self::Unread => "unread",
            Self::Evicted => "evicted",
            Self::TurnedAway => "turned_away",
        }
    }
}

/// The numbers of a server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounts(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    open: AtomicUsize,
    max: AtomicUsize,
    cuts: [AtomicU64; Cut::ALL.len()],
}

impl ConnectionCounts {
    /// Of a server with room for so many.
    #[must_use]
    pub fn with_room_for(max: usize) -> Self {
        let counts = Self::default();
        counts.0.max.store(max, Ordering::Relaxed);
        counts
    }

    /// So many are open now.
    pub fn are_open(&self, open: usize) {
        self.0.open.store(open, Ordering::Relaxed);
    }

    /// One was closed for that reason.
    pub fn was_cut(&self, why: Cut) {
        self.0.cuts[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// How many may be open.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max.load(Ordering::Relaxed)
    }

    /// How many were closed for that reason.
    #[must_use]
    pub fn cut(&self, why: Cut) -> u64 {
        self.0.cuts[why as usize].load(Ordering::Relaxed)
    }
}
