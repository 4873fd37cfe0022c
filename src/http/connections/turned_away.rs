//! What is said to those that find no room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The whole answer. It is written before a request is read, so nothing of it depends on one.
const ANSWER: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\n",
    "content-type: application/json\r\n",
    "content-length: 155\r\n",
    "retry-after: 1\r\n",
    "connection: close\r\n",
    "\r\n",
    r#"{"error":{"message":"All connections of the server are in use. Come again in a moment.","type":"server_error","param":null,"code":"too_many_connections"}}"#,
    "\n"
);

/// So many are told; the others are closed without a word.
const AT_ONCE: usize = 64;

/// How long a client has to read it.
const TIME: Duration = Duration::from_secs(1);

static TOLD_NOW: AtomicUsize = AtomicUsize::new(0);

/// Tells a client that there is no room, and closes its connection.
pub async fn tell(mut stream: TcpStream) {
    let Some(_place) = Place::take() else { return };
    let telling = async {
        stream.write_all(ANSWER.as_bytes()).await?;
        stream.shutdown().await?;
        // What it asked is read: closed before that, the connection would be reset, and the answer lost.
        let mut asked = [0; 1024];
        while stream.read(&mut asked).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whether it hears it is its own affair.
    let _ = tokio::time::timeout(TIME, telling).await;
}

struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken = TOLD_NOW.fetch_add(1, Ordering::Relaxed);
        let place = Self;
        (taken < AT_ONCE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TOLD_NOW.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        let length: usize =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        assert_eq!(body.len(), length);
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "too_many_connections");
    }
}
