//! The listener.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Collected, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::answer::{Answer, Piece, Start};
use super::log::{Log, Progress, Received};
use super::reply::{ApiError, Reply};
use super::request::Asked;
use super::rules::Rules;
use super::script;

/// How long a scripted cut waits before it, so that the client has read what came before: readers drop what they have
/// not looked at when they see the end.
const BEFORE_CUT: Duration = Duration::from_millis(30);
/// So many prompts that have failed once are remembered.
const REMEMBERED: usize = 1024;
/// Larger bodies get a 413.
pub const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// A scripted Messages API that listens. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    log: Log,
    script: Mutex<Script>,
    answers: AtomicU64,
}

/// What is answered regardless of the prompt.
#[derive(Debug, Default)]
struct Script {
    queue: VecDeque<Reply>,
    default: Option<Reply>,
    /// The last user texts that have met a [`Reply::once`].
    failed: VecDeque<String>,
    rules: Rules,
}

impl Script {
    fn reply(&mut self, asked: &Asked) -> Reply {
        // Before the next reply is taken: a request that is refused uses none up.
        if let Some(error) = self.rules.error(asked) {
            return Reply::error(error);
        }
        let mut reply = self.queue.pop_front().unwrap_or_else(|| {
            let base = self.default.clone().unwrap_or_else(|| script::demo(asked));
            script::apply(asked, base)
        });
        if reply.once {
            let text = asked.last_user_text();
            if self.failed.contains(&text) {
                (reply.error, reply.broken) = (None, None);
                reply.refuses.clear();
            } else {
                self.failed.push_back(text);
                if self.failed.len() > REMEMBERED {
                    self.failed.pop_front();
                }
            }
        }
        reply
    }
}

impl Upstream {
    /// Serves on a listener, which must be on loopback. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// The listener has no address, or one beyond loopback.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the scripted API listens on loopback only",
            ));
        }
        let shared = Arc::<Shared>::default();
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let accepting = accept(listener, Arc::clone(&shared), tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        tasks.close();
        Ok(Self { address, shared, tasks, _stop_on_drop: stop.clone().drop_guard(), stop })
    }

    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start_on_loopback() -> io::Result<Self> {
        Self::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `ANTHROPIC_BASE_URL` is to be.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was received.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Answers one of the next requests to the model with this, whatever its prompt says: first in, first out.
    pub fn push_reply(&self, reply: Reply) {
        self.shared.with_script(|script| script.queue.push_back(reply));
    }

    /// Answers with this instead of the demo text; directives in a prompt change it.
    pub fn set_default(&self, reply: Reply) {
        self.shared.with_script(|script| script.default = Some(reply));
    }

    /// Answers 400 to every request that has this body field (dotted path; `PATH=VALUE` means that value only) from now on,
    /// whatever else is scripted. The message is the API's; empty, it is a stock one that names the field.
    pub fn refuse(&self, field: &str, message: &str) {
        self.shared.with_script(|script| script.rules.refuse(None, field, message));
    }

    /// The same for one model, named as in the request.
    pub fn refuse_for(&self, model: &str, field: &str, message: &str) {
        self.shared.with_script(|script| script.rules.refuse(Some(model), field, message));
    }

    /// Refuses from now on what Anthropic's API would by its own rules, in its words: what does not go together with thinking
    /// (a forced choice of tools, temperature, `top_p`, `top_k`, too few tokens), temperature with `top_p`, blank texts and stop
    /// sequences, a choice without tools, and schemas with more in them than it can hold an answer to.
    pub fn be_strict(&self) {
        self.shared.with_script(|script| script.rules.be_strict());
    }

    /// Closes the listener and every connection, and returns when all is closed.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Shared {
    fn with_script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, received: &Received) -> Answer {
        let path = received.path.as_str();
        if received.method != Method::POST || !matches!(path, "/v1/messages" | "/v1/messages/count_tokens") {
            return Answer::error(&ApiError::new(
                404,
                "not_found_error",
                format!("{} {path}", received.method),
            ));
        }
        let asked = received.asked();
        if asked.body().is_null() {
            return Answer::error(&ApiError::new(400, "invalid_request_error", "the body is not JSON"));
        }
        if !received.asks_model() {
            return Answer::whole(200, format!(r#"{{"input_tokens":{}}}"#, received.body.len() / 4));
        }
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Answer::new(&self.with_script(|script| script.reply(&asked)), &asked, number, now.as_secs())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve(stream, Arc::clone(&shared));
                tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
            }
            // Out of descriptors, most likely: others will close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Small events must not wait for each other; where that cannot be had the answers are merely later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(request, Arc::clone(&shared)));
    let mut connection = hyper::server::conn::http1::Builder::new();
    connection.timer(TokioTimer::new());
    // An error here is a client that left, which the log has already, or a cut that was asked for.
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
}

type Body = UnsyncBoxBody<Bytes, Cut>;

/// The connection is to end here.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("cut as scripted")]
struct Cut;

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    let too_large = body.is_err();
    let mut received = Received {
        index: 0,
        at: Instant::now(),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.map(Collected::to_bytes).unwrap_or_default(),
        progress: Progress::Answering,
    };
    for name in [AUTHORIZATION, HeaderName::from_static("x-api-key")] {
        if let Some(value) = received.headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    let mut waiting = Waiting { index: shared.log.add(received.clone()), shared, over: false };
    let answer =
        if too_large { Answer::error(&ApiError::of_status(413)) } else { waiting.shared.answer(&received) };
    // A sleep of zero still takes a millisecond.
    if !answer.wait.is_zero() {
        tokio::time::sleep(answer.wait).await;
    }
    match answer.start {
        Start::Respond => {}
        Start::Stall => std::future::pending().await,
        Start::Cut => {
            waiting.finish();
            return Err(Cut);
        }
    }
    let mut response = Response::new(body_of(answer.pieces, waiting));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn body_of(pieces: Vec<Piece>, waiting: Waiting) -> Body {
    let frames = stream::unfold((pieces.into_iter(), waiting), async |(mut pieces, mut waiting)| {
        loop {
            match pieces.next() {
                Some(Piece::Bytes(bytes)) => return Some((Ok(Frame::data(bytes)), (pieces, waiting))),
                Some(Piece::Wait(wait)) => tokio::time::sleep(wait).await,
                Some(Piece::Stall) => std::future::pending().await,
                Some(Piece::Cut) => {
                    tokio::time::sleep(BEFORE_CUT).await;
                    waiting.finish();
                    return Some((Err(Cut), (pieces, waiting)));
                }
                None => {
                    waiting.finish();
                    return None;
                }
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A client that waits for its answer. Dropped before the answer is over, it has left.
struct Waiting {
    index: usize,
    shared: Arc<Shared>,
    over: bool,
}

impl Waiting {
    fn finish(&mut self) {
        self.over = true;
        self.shared.log.end(self.index, Progress::Finished);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.over {
            self.shared.log.end(self.index, Progress::Gone);
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("index", &self.index).finish_non_exhaustive()
    }
}
