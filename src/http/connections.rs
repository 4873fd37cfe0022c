//! The connections that are open: how many there may be, which must go, and what became of those that went.
//!
//! Clients that are slow on purpose cost nothing but connections, so these are what is kept for honest ones. Each connection is in
//! one of few states ([`Connection`]), and in each there is a time until the client must have done its part. Once a second all are
//! looked at: a timer for each would be wound up for each request. Where there are as many as there may be, the one that has given
//! the least reason to be kept makes room.
//!
//! - [`connection`]: what is known of one, and when it is over.
//! - [`pace`]: how slow is too slow.
//! - [`stream`], [`service`]: what tells it: bytes, requests and answers as they pass.
//! - [`framing`]: requests that can be read in two ways.
//! - [`room`]: how many there is room for.
//! - [`turned_away`]: what is said to those that find no room.

pub mod connection;
pub mod framing;
pub mod pace;
pub mod room;
pub mod service;
pub mod stream;
pub mod turned_away;

use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use connection::Connection;
use pace::Pace;

use crate::metrics::connections::{ConnectionCounts, Cut};

/// How many connections there may be, and how long clients may take for their part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Open at once; `None` for what there are descriptors for.
    pub max: Option<usize>,
    /// For a request's head, from its first byte to its last.
    pub head: Duration,
    /// Without a request, of a client that was never let in.
    pub idle: Duration,
    /// Without another request, of one that was. More than the ten minutes that load balancers keep a connection to use it again: who
    /// closes first must not be the server, since a request may be on its way.
    pub kept: Duration,
    /// For a request's body.
    pub body: Pace,
    /// For reading an answer, of those who were let in.
    pub answer: Pace,
    /// For reading an answer, of everybody else.
    pub refusal: Pace,
    /// For sending the rest of a request that nobody reads, so that the answer reaches the client.
    pub leaving: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max: None,
            head: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            kept: Duration::from_secs(620),
            body: Pace { pause: Duration::from_secs(30), bytes_per_second: 32 * 1024 },
            // Beyond the five minutes after which a turn that nobody reads ends with an error.
            answer: Pace { pause: Duration::from_secs(330), bytes_per_second: 1024 },
            refusal: Pace { pause: Duration::from_secs(30), bytes_per_second: 1024 },
            leaving: Duration::from_secs(5),
        }
    }
}

/// After it was looked in vain for one that can be spared: so long nobody looks again. It takes a look at each.
const NO_LOOK: Duration = Duration::from_millis(50);

/// How often it is looked whether answers are at their end.
const LOOK: Duration = Duration::from_millis(20);

/// All connections of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: ConnectionSettings,
    open: Mutex<Open>,
    counts: ConnectionCounts,
}

#[derive(Debug, Default)]
struct Open {
    each: HashMap<u64, Arc<Connection>>,
    next: u64,
    /// None can be spared until then.
    all_needed_until: Option<Instant>,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    /// What is known of it.
    pub connection: Arc<Connection>,
    number: u64,
    all: Connections,
}

impl Connections {
    /// None yet. `max` of them have room where the settings do not say how many.
    #[must_use]
    pub fn new(settings: ConnectionSettings, max: usize) -> Self {
        let counts = ConnectionCounts::with_room_for(settings.max.unwrap_or(max));
        Self(Arc::new(Inner { settings, open: Mutex::default(), counts }))
    }

    /// A place for a connection that has come just now, which `cut` cuts with all others. Where all are taken, another connection
    /// makes room. `None` if all of them are needed.
    #[must_use]
    pub fn admit(&self, cut: &CancellationToken) -> Option<Place> {
        let now = Instant::now();
        let mut open = self.open();
        if open.each.len() >= self.0.counts.max() && !self.make_room(&mut open, now) {
            self.0.counts.was_cut(Cut::TurnedAway);
            return None;
        }
        let connection =
            Arc::new(Connection::new(self.0.settings, self.0.counts.clone(), cut.child_token(), now));
        let number = open.next;
        open.next += 1;
        open.each.insert(number, connection.clone());
        self.0.counts.are_open(open.each.len());
        Some(Place { connection, number, all: self.clone() })
    }

    /// Closes the connection that can best be spared, where one can.
    #[must_use]
    pub fn evict(&self) -> bool {
        self.make_room(&mut self.open(), Instant::now())
    }

    fn make_room(&self, open: &mut Open, now: Instant) -> bool {
        if open.all_needed_until.is_some_and(|until| now < until) {
            return false;
        }
        let spare = open.each.iter().filter_map(|(number, one)| Some((one.spare(now)?, *number)));
        let mut spare: BinaryHeap<_> = spare.collect();
        while let Some((_, number)) = spare.pop() {
            // It may have asked something since it was looked at.
            if open.each.get(&number).is_some_and(|one| one.evict(now)) {
                open.each.remove(&number);
                self.0.counts.are_open(open.each.len());
                return true;
            }
        }
        open.all_needed_until = Some(now + NO_LOOK);
        false
    }

    /// Waits until no answer is on its way any more to a client that was let in, or until then.
    pub async fn answers_ended(&self, until: Instant) {
        let hold_it_up = || self.open().each.values().any(|one| one.holds_up_the_end());
        while hold_it_up() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes those whose clients have not done their part in time.
    pub fn cut_overdue(&self) {
        let now = Instant::now();
        for connection in self.open().each.values() {
            connection.cut_if_overdue(now);
        }
    }

    /// On how many of them an answer is not at its end.
    #[must_use]
    pub fn in_the_middle(&self) -> usize {
        self.open().each.values().filter(|connection| connection.is_in_the_middle()).count()
    }

    /// How often all of them must be looked at, so that none has much more than its time.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let ConnectionSettings { head, idle, kept, answer, refusal, leaving, .. } = self.0.settings;
        let shortest =
            [head, idle, kept, answer.pause, refusal.pause, leaving].into_iter().min().unwrap_or_default();
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// How many there are, and what became of others.
    #[must_use]
    pub fn counts(&self) -> &ConnectionCounts {
        &self.0.counts
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.open();
        open.each.remove(&self.number);
        self.all.0.counts.are_open(open.each.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: &Connections, count: usize) -> Vec<Place> {
        (0..count).map(|_| connections.admit(&CancellationToken::new()).unwrap()).collect()
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_one_goes() {
        let connections = Connections::new(ConnectionSettings::default(), 3);
        let mut places = places(&connections, 3);
        assert!(connections.admit(&CancellationToken::new()).is_none(), "those that came just now stay");
        assert_eq!((connections.counts().open(), connections.counts().cut(Cut::TurnedAway)), (3, 1));
        places.pop();
        assert!(connections.admit(&CancellationToken::new()).is_some());
        drop(places);
        assert_eq!(connections.counts().open(), 0);
    }

    #[test]
    fn the_stranger_that_came_first_makes_room() {
        let connections = Connections::new(ConnectionSettings::default(), 3);
        let places = places(&connections, 3);
        let later = Instant::now() + Duration::from_secs(10);
        places[0].connection.let_in();
        assert!(connections.make_room(&mut connections.open(), later));
        let closed: Vec<_> = places.iter().map(|place| place.connection.is_cut()).collect();
        assert_eq!(closed, [false, true, false], "the one that was let in is spared");
        assert_eq!((connections.counts().open(), connections.counts().cut(Cut::Evicted)), (2, 1));
    }

    #[tokio::test]
    async fn who_ends_waits_for_answers_on_their_way_but_not_for_ever() {
        let connections = Connections::new(ConnectionSettings::default(), 1);
        let places = places(&connections, 1);
        let connection = &places[0].connection;
        let (moment, long) = (Duration::from_millis(200), Duration::from_secs(20));
        connection.request_came(false);
        connections.answers_ended(Instant::now() + long).await;
        assert_eq!(connections.in_the_middle(), 1, "for strangers nobody waits");
        connection.let_in();
        let begun = Instant::now();
        connections.answers_ended(begun + moment).await;
        assert!(begun.elapsed() >= moment, "the answer is not at its end");
        connection.answer_handed_out(true);
        connection.bytes_went(1, false);
        connection.answer_ended(false);
        let mut ended = std::pin::pin!(connections.answers_ended(Instant::now() + long));
        assert!(tokio::time::timeout(moment, &mut ended).await.is_err(), "its client has not taken it");
        connection.bytes_went(1, true);
        tokio::time::timeout(long, ended).await.unwrap();
    }

    #[test]
    fn one_that_waits_for_an_answer_is_never_evicted() {
        let connections = Connections::new(ConnectionSettings::default(), 1);
        let places = places(&connections, 1);
        let connection = &places[0].connection;
        connection.let_in();
        connection.request_came(false);
        let later = Instant::now() + Duration::from_secs(1000);
        assert!(!connections.make_room(&mut connections.open(), later));
        connection.answer_handed_out(true);
        connection.answer_ended(false);
        assert!(!connections.make_room(&mut connections.open(), later), "it was looked just now");
        let later = later + NO_LOOK;
        assert!(connections.make_room(&mut connections.open(), later), "but while it is idle");
        assert!(connection.is_cut());
    }
}
