//! Reading the body of a request: so large, so slow and of so many pieces, and no more of them at once than there is room for.

mod places;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tower_http::decompression::RequestDecompressionLayer;

use places::{LARGE, Place, Size};

use super::connections::ConnectionSettings;
use super::connections::connection::Connection;
use super::connections::pace::Pace;
use super::guard::Asker;
use crate::claude::failure::TurnFailure;
use crate::openai::error::ApiError;
use crate::translate::failure;
use crate::wall_clock;
use crate::wire::parse::{Parsed, parse};

/// The largest body, in bytes, unpacked. Anthropic's API takes 32 MB.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// How much faster a body must come while others wait for its place: what is missing of the largest one within little more than a
/// minute.
const HURRY: u32 = 16;

/// How often it is looked whether they do.
const LOOK: Duration = Duration::from_secs(1);

/// So many large bodies are looked at side by side: JSON takes a multiple of its bytes while it is read.
static LARGE_AT_ONCE: Semaphore = Semaphore::const_new(2);

/// Unpacks bodies that come packed; those that it does not know it leaves as they are.
#[must_use]
pub fn unpacking() -> RequestDecompressionLayer {
    RequestDecompressionLayer::new().pass_through_unaccepted(true)
}

/// Reads and parses a JSON body.
///
/// # Errors
/// As [`read_as`].
pub async fn json<T: DeserializeOwned + Send + 'static>(request: Request) -> Result<Parsed<T>, ApiError> {
    read_as(request, parse).await
}

/// Reads a JSON body, and makes of it what `form` does.
///
/// # Errors
/// 415 for another content type (a web page may send `text/plain` without asking first) and for an unknown encoding, 413 for
/// too large a body, 408 for too slow a client; 503 when the server shuts down before it is there; what `form` says.
pub async fn read_as<T: Send + 'static>(
    request: Request,
    form: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let asker = request.extensions().get::<Asker>().cloned();
    let drained = async {
        match asker {
            Some(Asker { claude, .. }) => claude.drained().await,
            None => std::future::pending().await,
        }
    };
    let (body, in_memory) = tokio::select! {
        biased;
        read = bytes(request) => read?,
        // What is not here yet would hold up the end, and then be refused.
        () = drained => return Err(shutting_down()),
    };
    if body.len() <= LARGE.over {
        return form(&body);
    }
    let at_once = LARGE_AT_ONCE.acquire().await;
    let forming = move || {
        // Kept to the end, also where the client is gone by then: the memory is taken until then.
        let _places = (at_once, in_memory);
        form(&body)
    };
    let formed = tokio::task::spawn_blocking(forming).await;
    match formed.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(formed) => formed,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => Err(shutting_down()),
    }
}

fn shutting_down() -> ApiError {
    failure::api_error(&TurnFailure::ShuttingDown, wall_clock::now())
}

/// The bytes, and their place if they need one.
async fn bytes(request: Request) -> Result<(Vec<u8>, Option<Place>), ApiError> {
    let headers = request.headers();
    if !is_json(headers) {
        let message = "The body must be JSON: send `content-type: application/json`.";
        return Err(invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).with_code("unsupported_media_type"));
    }
    if !is_unpacked(headers) {
        let message =
            "The body may be packed by gzip, deflate or br: `content-encoding` names something else.";
        return Err(invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).with_code("unsupported_media_type"));
    }
    // Before anything of it is read: then it need not be sent either.
    if declared_length(headers).is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let fast_enough =
        connection.as_ref().map_or_else(|| ConnectionSettings::default().body, |of| of.body_pace());
    let mut body = Limited::new(request.into_body(), MAX_BODY);
    let (mut read, mut place) = (Vec::new(), None::<Place>);
    let mut begun = Instant::now();
    let mut last = begun;
    // Since when others have waited for its place, and how much had come by then.
    let mut wanted: Option<(Instant, usize)> = None;
    loop {
        let is_wanted = place.as_ref().is_some_and(Place::is_wanted);
        wanted = is_wanted.then(|| wanted.unwrap_or_else(|| (Instant::now(), read.len())));
        let mut now_asked = fast_enough;
        let mut deadline = fast_enough.deadline(begun, last, read.len());
        if let Some((since, had)) = wanted {
            now_asked = hurried(fast_enough);
            deadline = deadline.min(now_asked.deadline(since, last.max(since), read.len() - had));
        }
        // Whether others wait is another matter in a moment.
        let until = if place.is_some() { deadline.min(Instant::now() + LOOK) } else { deadline };
        let frame = match timeout_at(until.into(), body.frame()).await {
            Ok(None) => break,
            Ok(Some(frame)) => frame,
            Err(_elapsed) if Instant::now() < deadline => continue,
            Err(_elapsed) => {
                if let Some(connection) = &connection {
                    connection.body_was_too_slow();
                }
                return Err(too_slow(now_asked));
            }
        };
        last = Instant::now();
        let frame = frame.map_err(|error| unreadable(&*error))?;
        let Ok(piece) = frame.into_data() else { continue };
        if let Some(size) = Size::of(read.len() + piece.len())
            && place.as_ref().is_none_or(|place| !std::ptr::eq(place.size(), size))
        {
            hold(connection.as_deref(), true);
            // The smaller one's place is kept meanwhile: what was read takes it.
            let next = size.place().await;
            hold(connection.as_deref(), false);
            (place, wanted) = (Some(next.ok_or_else(busy)?), None);
            // That was not the client's time.
            begun += last.elapsed();
            last = Instant::now();
        }
        read.extend_from_slice(&piece);
    }
    Ok((read, place))
}

fn busy() -> ApiError {
    failure::api_error(&TurnFailure::Busy, wall_clock::now())
}

/// Says whether a body is not read on for now.
fn hold(connection: Option<&Connection>, is_held: bool) {
    if let Some(connection) = connection {
        connection.hold_body(is_held);
    }
}

/// How fast a body must come while others wait for its place: faster than a slow line is. A few senders who take their time would
/// keep everybody else's bodies out.
fn hurried(pace: Pace) -> Pace {
    Pace { pause: pace.pause / 3, bytes_per_second: pace.bytes_per_second.saturating_mul(HURRY) }
}

fn unreadable(error: &(dyn Error + Send + Sync + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        return too_large();
    }
    invalid(StatusCode::BAD_REQUEST, "The body could not be read to its end.")
}

fn too_slow(Pace { pause, bytes_per_second }: Pace) -> ApiError {
    let message = format!(
        "The body came too slowly: pauses may take {} s, and after these it must come at {} KiB/s on the whole.",
        pause.as_secs(),
        bytes_per_second / 1024
    );
    invalid(StatusCode::REQUEST_TIMEOUT, message).with_code("request_timeout")
}

fn invalid(status: StatusCode, message: impl Into<String>) -> ApiError {
    ApiError::new(status, "invalid_request_error", message)
}

fn too_large() -> ApiError {
    let message = format!("The body is larger than {} MiB.", MAX_BODY / 1024 / 1024);
    invalid(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("request_too_large")
}

/// The length as the client tells it; of a packed body that of what is sent.
fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether no encoding is left: [`unpacking`] takes the name of one that it knows away.
fn is_unpacked(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.all(|encoding| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::places::MEDIUM;
    use super::*;
    use axum::body::Body;
    use futures_util::StreamExt;
    use std::sync::mpsc;

    fn posted(body: Body) -> Request {
        Request::post("/").header(CONTENT_TYPE, "application/json").body(body).unwrap()
    }

    /// A body of so many bytes.
    fn of(bytes: usize) -> Request {
        posted(Body::from(vec![b' '; bytes]))
    }

    async fn until(is_so: impl Fn() -> bool) {
        let looking = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looking).await.unwrap();
    }

    #[tokio::test]
    async fn a_large_body_that_is_looked_at_keeps_its_places_though_its_client_is_gone() {
        let request = of(LARGE.over + 1);
        let free = || (LARGE_AT_ONCE.available_permits(), LARGE.free());
        let before = free();
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let (end, ends) = mpsc::channel::<()>();
        let read = tokio::spawn(read_as(request, move |_body| {
            let _ = begun.try_send(());
            let _ = ends.recv();
            Ok(())
        }));
        begins.recv().await.unwrap();
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
        assert_eq!(free(), (before.0 - 1, before.1 - 1));
        drop(end);
        until(|| free() == before).await;
    }

    /// A body whose end never comes.
    fn held_open(bytes: usize) -> Request {
        let begun = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![b' '; bytes])]);
        posted(Body::from_stream(begun.chain(futures_util::stream::pending())))
    }

    #[tokio::test]
    async fn bodies_that_are_no_small_ones_have_a_bound_on_their_sum() {
        let read = |request| tokio::spawn(read_as(request, |body| Ok(body.len())));
        let held: Vec<_> = (0..MEDIUM.free()).map(|_| read(held_open(MEDIUM.over + 1))).collect();
        until(|| MEDIUM.free() == 0).await;
        assert_eq!(
            read(of(MEDIUM.over)).await.unwrap().unwrap(),
            MEDIUM.over,
            "a small one waits for nobody"
        );
        let mut next = read(of(MEDIUM.over + 1));
        let in_time = tokio::time::timeout(Duration::from_millis(300), &mut next).await;
        assert!(in_time.is_err(), "it waits for a place");
        held[0].abort();
        assert_eq!(next.await.unwrap().unwrap(), MEDIUM.over + 1);
        for one in held {
            one.abort();
        }
    }
}
