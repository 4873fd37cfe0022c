//! What is known of a connection, and when it is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::ConnectionSettings;
use super::pace::Pace;
use crate::metrics::connections::{ConnectionCounts, Cut};

/// A connection that came or moved less than this ago makes no room: its request may be on its way.
const YOUNG: Duration = Duration::from_secs(1);

/// Who owes the server something, and does it at this pace, makes no room either: lines are slow at times.
const OWED: Pace = Pace { pause: Duration::from_secs(10), bytes_per_second: 64 * 1024 };

/// So long its first request may be on its way over a connection that came when the server was told to end.
const MOMENT: Duration = Duration::from_millis(500);

/// A connection, as its stream and its requests tell of it.
#[derive(Debug)]
pub struct Connection {
    settings: ConnectionSettings,
    counts: ConnectionCounts,
    close: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests whose answers are not at their end.
    open: u32,
    /// For how many of them the client waits for the server, not the server for the client.
    ours: u32,
    /// When it was accepted.
    came: Instant,
    /// When a client last did its part: came, or took a piece of an answer; or an answer ended.
    moved: Instant,
    /// Whether anything came.
    has_begun: bool,
    /// When the first byte came of a request whose head is not complete.
    head_since: Option<Instant>,
    /// Whether the server let one of its requests in.
    is_let_in: bool,
    /// The body of a request that was not read to its end.
    body: Option<OpenBody>,
    /// What the client has taken since the system took no more for it.
    stuck: Option<Stuck>,
    /// Since when what still comes is thrown away.
    leaving_since: Option<Instant>,
}

/// A body on its way.
#[derive(Debug)]
struct OpenBody {
    /// When its head was complete, or the server began to read it on.
    since: Instant,
    /// When the last bytes were read.
    moved: Instant,
    /// How many were, since then.
    bytes: usize,
    /// Whether the server does not read on for now: meanwhile the client waits for it.
    is_held: bool,
}

impl OpenBody {
    fn begins(is_held: bool) -> Self {
        let now = Instant::now();
        Self { since: now, moved: now, bytes: 0, is_held }
    }
}

#[derive(Debug)]
struct Stuck {
    since: Instant,
    moved: Instant,
    taken: usize,
}

/// How a connection's client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has time.
    InTime,
    /// It has not done its part.
    Overdue(Cut),
    /// It has its answer; what it still sends has been thrown away for long enough.
    HasLeft,
}

/// How well a connection can be spared: the greatest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spare {
    kind: SpareKind,
    time: Duration,
}

/// Those that can be spared, the ones that can least first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SpareKind {
    /// Its client owes the server something.
    Owes,
    /// Nothing is asked on it.
    Idle,
    /// Its client was never let in.
    Stranger,
}

impl State {
    /// Whether what comes now belongs to a request that nobody read to its end. hyper reads on past its answer, or closes the
    /// connection, and tells neither: what comes later belongs to another request.
    fn awaits_rest(&self, now: Instant) -> bool {
        self.body.is_some() && (self.open > 0 || now.saturating_duration_since(self.moved) < YOUNG)
    }

    /// How well it can be spared, if it can: not one whose client waits for the server, nor one that has come just now.
    fn spare(&self, now: Instant) -> Option<Spare> {
        let is_idle = self.open == 0 && self.stuck.is_none();
        let (kind, since) = if !self.is_let_in {
            // What strangers are told earns them nothing: who asks again and again is no younger for it.
            (SpareKind::Stranger, (is_idle || self.ours == 0).then_some(self.came))
        } else if is_idle {
            (SpareKind::Idle, Some(self.head_since.map_or(self.moved, |head| head.max(self.moved))))
        } else {
            (SpareKind::Owes, self.owes_since(now))
        };
        let time = now.saturating_duration_since(since?);
        let can_go = time > YOUNG || self.leaving_since.is_some();
        can_go.then_some(Spare { kind, time })
    }

    /// Since when its client has been at what it owes the server, if it is slow at it.
    fn owes_since(&self, now: Instant) -> Option<Instant> {
        let (since, moved, bytes) = match (&self.stuck, &self.body) {
            (Some(stuck), _) => (stuck.since, stuck.moved, stuck.taken),
            (None, Some(body)) if !body.is_held => (body.since, body.moved, body.bytes),
            (None, _) if self.ours == 0 => (self.moved, self.moved, 0),
            (None, _) => return None,
        };
        (now > OWED.deadline(since, moved, bytes)).then_some(since)
    }
}

impl Connection {
    /// One that has come just now, which `close` closes.
    #[must_use]
    pub(super) fn new(
        settings: ConnectionSettings,
        counts: ConnectionCounts,
        close: CancellationToken,
        now: Instant,
    ) -> Self {
        let state = State {
            open: 0,
            ours: 0,
            came: now,
            moved: now,
            has_begun: false,
            head_since: None,
            is_let_in: false,
            body: None,
            stuck: None,
            leaving_since: None,
        };
        Self { settings, counts, close, state: Mutex::new(state) }
    }

    /// The server let one of its requests in.
    pub fn let_in(&self) {
        self.state().is_let_in = true;
    }

    /// Whether its first request may be on its way: nothing of it came, and the connection came just now.
    #[must_use]
    pub fn is_new(&self, now: Instant) -> bool {
        let state = self.state();
        !state.has_begun && now.saturating_duration_since(state.moved) < MOMENT
    }

    /// How fast the body of a request must come.
    #[must_use]
    pub fn body_pace(&self) -> Pace {
        self.settings.body
    }

    /// A body was too slow, and its client is told so.
    pub fn body_was_too_slow(&self) {
        self.counts.was_cut(Cut::Body);
    }

    /// Ends when it is to be closed.
    #[must_use]
    pub fn close(&self) -> &CancellationToken {
        &self.close
    }

    /// Bytes came.
    pub(super) fn bytes_came(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        state.has_begun = true;
        if state.open == 0 && state.head_since.is_none() && !state.awaits_rest(now) {
            state.head_since = Some(now);
        }
    }

    /// The system took bytes for the client, all there were or some.
    pub(super) fn bytes_went(&self, bytes: usize, all: bool) {
        let mut state = self.state();
        if all {
            // Only now can the client be expected to ask something else.
            if state.stuck.take().is_some() {
                state.moved = Instant::now();
            }
        } else {
            let now = Instant::now();
            let stuck = state.stuck.get_or_insert(Stuck { since: now, moved: now, taken: 0 });
            if bytes > 0 {
                stuck.moved = now;
                stuck.taken = stuck.taken.saturating_add(bytes);
            }
        }
    }

    /// The head of a request is complete; `has_body` says whether more belongs to it.
    pub(super) fn request_came(&self, has_body: bool) {
        let mut state = self.state();
        state.open += 1;
        state.ours += 1;
        state.head_since = None;
        state.body = has_body.then(|| OpenBody::begins(false));
    }

    /// So much of the body of a request was read.
    pub(super) fn body_bytes_came(&self, bytes: usize) {
        if let Some(body) = &mut self.state().body {
            body.bytes = body.bytes.saturating_add(bytes);
            body.moved = Instant::now();
        }
    }

    /// The server does not read the body on for now, or does again.
    pub fn hold_body(&self, is_held: bool) {
        if let Some(body) = &mut self.state().body {
            *body = OpenBody::begins(is_held);
        }
    }

    /// The body of a request came to its end.
    pub(super) fn body_came(&self) {
        self.state().body = None;
    }

    /// Whether a request's body was not read to its end.
    pub(super) fn body_is_open(&self) -> bool {
        self.state().body.is_some()
    }

    /// An answer, or a piece of one, was handed out; the client waited for it if `was_ours`.
    pub(super) fn answer_handed_out(&self, was_ours: bool) {
        let mut state = self.state();
        state.ours = state.ours.saturating_sub(u32::from(was_ours));
        state.moved = Instant::now();
    }

    /// The client has read all there is of an answer.
    pub(super) fn answer_awaited(&self) {
        self.state().ours += 1;
    }

    /// An answer is at its end, or will never be; the client waited for it if `was_ours`.
    pub(super) fn answer_ended(&self, was_ours: bool) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        state.ours = state.ours.saturating_sub(u32::from(was_ours));
        state.moved = Instant::now();
    }

    /// Whether the client may still be sending what nobody will read.
    pub(super) fn has_more_to_say(&self) -> bool {
        let state = self.state();
        state.leaving_since.is_some() || state.head_since.is_some() || state.awaits_rest(Instant::now())
    }

    /// What still comes is thrown away from now on.
    pub(super) fn leaves(&self) {
        self.state().leaving_since.get_or_insert_with(Instant::now);
    }

    /// Closes it if its client has not done its part.
    pub(super) fn cut_if_overdue(&self, now: Instant) {
        // Nothing happens on it meanwhile: a request that comes in this moment finds it closed, or keeps it open.
        let state = self.state();
        match self.standing(&state, now) {
            Standing::InTime => {}
            Standing::HasLeft => self.close.cancel(),
            Standing::Overdue(why) => self.cut(why),
        }
    }

    /// Closes it if it can be spared.
    pub(super) fn evict(&self, now: Instant) -> bool {
        let state = self.state();
        let can_go = state.spare(now).is_some();
        if can_go {
            self.cut(Cut::Evicted);
        }
        can_go
    }

    fn cut(&self, why: Cut) {
        if !self.close.is_cancelled() {
            self.counts.was_cut(why);
            self.close.cancel();
        }
    }

    #[cfg(test)]
    pub(super) fn is_cut(&self) -> bool {
        self.close.is_cancelled()
    }

    /// Whether the time is over for what its client has to do.
    fn standing(&self, state: &State, now: Instant) -> Standing {
        let ConnectionSettings { head, idle, kept, answer, refusal, leaving, .. } = self.settings;
        let is_over = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        if let Some(since) = state.leaving_since {
            return if is_over(since, leaving) { Standing::HasLeft } else { Standing::InTime };
        }
        let overdue =
            |is_over: bool, why: Cut| if is_over { Standing::Overdue(why) } else { Standing::InTime };
        let (reading, idle) = if state.is_let_in { (answer, kept) } else { (refusal, idle) };
        if let Some(Stuck { since, moved, taken }) = state.stuck {
            return overdue(now > reading.deadline(since, moved, taken), Cut::Unread);
        }
        if state.open > 0 {
            return overdue(state.ours == 0 && is_over(state.moved, reading.pause), Cut::Unread);
        }
        match state.head_since {
            Some(since) => overdue(is_over(since, head), Cut::Head),
            None => overdue(is_over(state.moved, idle), Cut::Idle),
        }
    }

    /// Whether the end of the server is put off for it, within the grace time: for those alone who were let in.
    pub(super) fn holds_up_the_end(&self) -> bool {
        self.is_in_the_middle() && self.state().is_let_in
    }

    /// Whether an answer is not at its end, or its client has not taken it.
    pub(super) fn is_in_the_middle(&self) -> bool {
        let state = self.state();
        state.leaving_since.is_none() && (state.open > 0 || state.stuck.is_some())
    }

    /// How well it can be spared, if it can.
    pub(super) fn spare(&self, now: Instant) -> Option<Spare> {
        self.state().spare(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
