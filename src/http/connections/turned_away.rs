//! What is said to those that find no room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The whole answer to nearly all of them.
const NO_ROOM: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\n",
    "content-type: application/json\r\n",
    "content-length: 155\r\n",
    "retry-after: 1\r\n",
    "connection: close\r\n",
    "\r\n",
    r#"{"error":{"message":"All connections of the server are in use. Come again in a moment.","type":"server_error","param":null,"code":"too_many_connections"}}"#,
    "\n"
);

/// The answer to whoever asks whether the process works at all: an orchestrator that is told it does not would end it, and with it
/// all answers that others wait for.
const ALIVE: &str = concat!(
    "HTTP/1.1 200 OK\r\n",
    "content-type: application/json\r\n",
    "content-length: 15\r\n",
    "connection: close\r\n",
    "\r\n",
    r#"{"status":"ok"}"#
);

/// How the question begins.
const ASKS_WHETHER_ALIVE: &[u8] = b"GET /health/live HTTP/1.";

/// So many are told at a time.
const AT_ONCE: usize = 64;

/// How long a client has to begin its request.
const BEGINNING: Duration = Duration::from_millis(200);

/// How long a client has for all of it.
const TIME: Duration = Duration::from_secs(1);

/// Those that are being told, the oldest first.
static TOLD_NOW: Mutex<VecDeque<CancellationToken>> = Mutex::new(VecDeque::new());

/// Tells a client that there is no room, and closes its connection.
pub async fn tell(mut stream: TcpStream) {
    let place = Place::take();
    let telling = async {
        let mut asked = [0; 1024];
        let beginning = read_beginning(&mut stream, &mut asked).await?;
        let (is_alive, is_silent) = (beginning == ASKS_WHETHER_ALIVE, beginning.is_empty());
        stream.write_all(if is_alive { ALIVE } else { NO_ROOM }.as_bytes()).await?;
        stream.shutdown().await?;
        // What it asked is read: closed before that, the connection would be reset, and the answer lost.
        while !is_silent && stream.read(&mut asked).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whether it hears it is its own affair.
    let _ = place.0.run_until_cancelled(tokio::time::timeout(TIME, telling)).await;
}

/// As much of a request's beginning as says whether it is the one question that is answered.
async fn read_beginning<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> std::io::Result<&'a [u8]> {
    let mut length = 0;
    let until = Instant::now() + BEGINNING;
    let Some(buffer) = buffer.get_mut(..ASKS_WHETHER_ALIVE.len()) else { return Ok(&[]) };
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        match tokio::time::timeout_at(until, stream.read(room)).await {
            Ok(Ok(0)) | Err(_) => break,
            Ok(read) => length += read?,
        }
    }
    Ok(buffer.get(..length).unwrap_or_default())
}

/// A place among those that are told. Where there are too many, the newest takes the place of the oldest, which is closed without
/// a word: who says at once what it wants has been told by then.
struct Place(CancellationToken);

impl Place {
    fn take() -> Self {
        let mut told = told_now();
        if told.len() >= AT_ONCE
            && let Some(oldest) = told.pop_front()
        {
            oldest.cancel();
        }
        let displaced = CancellationToken::new();
        told.push_back(displaced.clone());
        Self(displaced)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever was displaced is not among them any more. Cancelling it is how the others are told apart.
        self.0.cancel();
        told_now().retain(|one| !one.is_cancelled());
    }
}

fn told_now() -> MutexGuard<'static, VecDeque<CancellationToken>> {
    TOLD_NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &str) -> serde_json::Value {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length: usize =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        assert_eq!(body.len(), length);
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_newest_is_told_whoever_holds_the_places() {
        let mut places: Vec<_> = (0..=AT_ONCE).map(|_| Place::take()).collect();
        let displaced: Vec<_> = places.iter().map(|place| place.0.is_cancelled()).collect();
        assert!(displaced[0] && !displaced[1..].contains(&true));
        assert_eq!(told_now().len(), AT_ONCE);
        places.remove(7);
        assert_eq!(told_now().len(), AT_ONCE - 1);
        drop(places);
        assert_eq!(told_now().len(), 0);
    }

    #[test]
    fn the_answers_are_as_long_as_they_say() {
        assert_eq!(body(NO_ROOM)["error"]["code"], "too_many_connections");
        assert_eq!(body(ALIVE)["status"], "ok");
    }
}
