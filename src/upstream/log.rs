//! What was received, and whether the client waited for the answer's end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use tokio::sync::watch;

use super::request::Asked;

/// At most so many requests are kept; older ones are dropped, but stay counted.
pub const KEPT_REQUESTS: usize = 512;
/// At most so many bytes of bodies are kept, the newest body aside, which always is.
pub const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its place among all requests, from 0.
    pub index: usize,
    /// When its body was complete.
    pub at: Instant,
    /// Method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// The query, without the question mark; empty where there is none.
    pub query: String,
    /// Headers; credentials in them are marked sensitive and do not show in `{:?}`.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// How far the answer is.
    pub progress: Progress,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Under way.
    Answering,
    /// Everything was handed to the connection, so long after the request.
    Finished(Duration),
    /// The client left before that, so long after the request. (An answer that was to be cut counts as finished.)
    Gone(Duration),
}

impl Received {
    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body, read as a Messages request.
    #[must_use]
    pub fn asked(&self) -> Asked {
        Asked::new(self.json())
    }

    /// A header's value, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether this asks the model, as opposed to counting tokens and all else.
    #[must_use]
    pub fn asks_model(&self) -> bool {
        self.method == Method::POST && self.path == "/v1/messages"
    }

    /// After what time the client left without the answer's end.
    #[must_use]
    pub fn gone(&self) -> Option<Duration> {
        match self.progress {
            Progress::Gone(after) => Some(after),
            Progress::Answering | Progress::Finished(_) => None,
        }
    }

    /// The joined text of the last user message.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        self.asked().last_user_text()
    }

    /// The joined text of a turn, counted from 0; messages of role `system` are no turns.
    #[must_use]
    pub fn turn_text(&self, index: usize) -> Option<String> {
        self.asked().turn_text(index)
    }
}

/// What was waited for did not come in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after {waited:?}: {found}")]
pub struct TimedOut {
    /// How long was waited.
    pub waited: Duration,
    /// What there was instead.
    pub found: String,
}

/// The requests of a scripted API, oldest first.
#[derive(Debug)]
pub struct Log {
    kept: watch::Sender<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<Received>,
    bytes: usize,
    count: usize,
    model_count: usize,
}

impl Kept {
    fn at(&mut self, index: usize) -> Option<&mut Received> {
        let first = self.requests.front()?.index;
        self.requests.get_mut(index.checked_sub(first)?)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { kept: watch::Sender::new(Kept::default()) }
    }
}

impl Log {
    /// How many requests came, dropped ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.borrow().count
    }

    /// How many requests asked the model, dropped ones included.
    #[must_use]
    pub fn model_count(&self) -> usize {
        self.kept.borrow().model_count
    }

    /// All kept requests.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.kept.borrow().requests.iter().cloned().collect()
    }

    /// The kept requests that asked the model.
    #[must_use]
    pub fn model_requests(&self) -> Vec<Received> {
        self.kept.borrow().requests.iter().filter(|received| received.asks_model()).cloned().collect()
    }

    /// The newest request that asked the model.
    #[must_use]
    pub fn last(&self) -> Option<Received> {
        self.kept.borrow().requests.iter().rev().find(|received| received.asks_model()).cloned()
    }

    /// Waits until `count` requests have asked the model, and returns those kept.
    pub async fn wait_for(&self, count: usize, timeout: Duration) -> Result<Vec<Received>, TimedOut> {
        self.wait(timeout, |kept| kept.model_count >= count).await?;
        Ok(self.model_requests())
    }

    /// Waits until the answer to the request with this [`Received::index`] is over, and returns it.
    pub async fn wait_until_over(&self, index: usize, timeout: Duration) -> Result<Received, TimedOut> {
        let over = |received: &Received| received.progress != Progress::Answering;
        self.wait_until(index, timeout, over).await
    }

    /// Waits until the client of the request with this [`Received::index`] has left before the answer's end, and
    /// returns after what time it did.
    pub async fn wait_for_disconnect(&self, index: usize, timeout: Duration) -> Result<Duration, TimedOut> {
        let received = self.wait_until(index, timeout, |received| received.gone().is_some()).await?;
        Ok(received.gone().unwrap_or_default())
    }

    async fn wait_until(
        &self,
        index: usize,
        timeout: Duration,
        done: impl Fn(&Received) -> bool,
    ) -> Result<Received, TimedOut> {
        let find = |kept: &Kept| kept.requests.iter().find(|received| received.index == index).cloned();
        self.wait(timeout, |kept| find(kept).is_some_and(|received| done(&received))).await?;
        find(&self.kept.borrow())
            .ok_or(TimedOut { waited: Duration::ZERO, found: "the request was dropped".to_owned() })
    }

    async fn wait(&self, timeout: Duration, done: impl Fn(&Kept) -> bool) -> Result<(), TimedOut> {
        let mut kept = self.kept.subscribe();
        if let Ok(Ok(_)) = tokio::time::timeout(timeout, kept.wait_for(done)).await {
            return Ok(());
        }
        let kept = self.kept.borrow();
        let line = |received: &Received| {
            format!("#{} {} {} {:?}", received.index, received.method, received.path, received.progress)
        };
        let found = match kept.count {
            0 => "no request".to_owned(),
            count => {
                format!("{count} requests: {}", kept.requests.iter().map(line).collect::<Vec<_>>().join(", "))
            }
        };
        Err(TimedOut { waited: timeout, found })
    }

    /// Keeps a request and returns its index.
    pub(super) fn add(&self, mut received: Received) -> usize {
        let mut index = 0;
        self.kept.send_modify(|kept| {
            index = kept.count;
            received.index = index;
            kept.count += 1;
            kept.model_count += usize::from(received.asks_model());
            kept.bytes += received.body.len();
            kept.requests.push_back(received);
            while kept.requests.len() > KEPT_REQUESTS || (kept.bytes > KEPT_BYTES && kept.requests.len() > 1)
            {
                kept.bytes -= kept.requests.pop_front().map_or(0, |dropped| dropped.body.len());
            }
        });
        index
    }

    /// Notes how an answer ended.
    pub(super) fn end(&self, index: usize, progress: impl Fn(Duration) -> Progress) {
        self.kept.send_modify(|kept| {
            if let Some(received) = kept.at(index) {
                received.progress = progress(received.at.elapsed());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(path: &str, size: usize) -> Received {
        Received {
            index: 0,
            at: Instant::now(),
            method: Method::POST,
            path: path.to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: vec![b' '; size].into(),
            progress: Progress::Answering,
        }
    }

    #[test]
    fn the_oldest_requests_are_dropped_but_counted() {
        let log = Log::default();
        for _ in 0..KEPT_REQUESTS + 3 {
            log.add(received("/v1/messages", 1));
        }
        assert_eq!((log.count(), log.model_count()), (KEPT_REQUESTS + 3, KEPT_REQUESTS + 3));
        let kept = log.requests();
        assert_eq!((kept.len(), kept[0].index), (KEPT_REQUESTS, 3));
        log.end(1, Progress::Gone);
        log.end(3, Progress::Gone);
        let gone: Vec<_> =
            log.requests().iter().filter(|received| received.gone().is_some()).map(|one| one.index).collect();
        assert_eq!(gone, [3], "a dropped request is nobody else");
    }

    #[test]
    fn large_bodies_drop_older_ones_but_never_the_newest() {
        let log = Log::default();
        log.add(received("/a", KEPT_BYTES / 2));
        log.add(received("/b", KEPT_BYTES / 2));
        assert_eq!(log.requests().len(), 2);
        log.add(received("/c", 1));
        assert_eq!(log.requests()[0].path, "/b");
        log.add(received("/d", KEPT_BYTES + 1));
        assert_eq!(log.requests().iter().map(|received| received.path.as_str()).collect::<Vec<_>>(), ["/d"]);
        assert_eq!((log.count(), log.model_count()), (4, 0));
        assert!(log.last().is_none());
    }
}
