//! [`Reply`] + request → the HTTP response, as data: status, headers, and what is done one after the other. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::events::{Message, Step};
use super::reply::{ApiError, Break, Place, Reply};
use super::request::Asked;
use super::rules;

/// A response to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Waited before anything else.
    pub wait: Duration,
    /// Whether there is a response at all.
    pub start: Start,
    /// HTTP status.
    pub status: u16,
    /// Headers; a later one replaces an earlier one of the same name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub pieces: Vec<Piece>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Status and headers.
    Respond,
    /// Nothing, on an open connection.
    Stall,
    /// The end of the connection.
    Cut,
}

/// A piece of the body. Bytes with nothing between them are one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, sent at once.
    Bytes(Bytes),
    /// Wait.
    Wait(Duration),
    /// Nothing more, on an open connection.
    Stall,
    /// The end of the connection, before that of the body.
    Cut,
}

impl Answer {
    /// The response to a Messages request; `number` makes ids unique and `now` is in seconds since 1970.
    #[must_use]
    pub fn new(reply: &Reply, asked: &Asked, number: u64, now: u64) -> Self {
        let mut answer = match refusal(reply, asked).or_else(|| reply.error.clone()) {
            Some(error) => Self::error(&error),
            None => Self::message(reply, asked, number),
        };
        let limits = reply.limits.as_ref().map(|limits| limits.headers(now)).unwrap_or_default();
        let request_id = ("request-id".to_owned(), format!("req_{number:06}"));
        answer.headers.extend(limits.into_iter().chain([request_id]).chain(reply.headers.iter().cloned()));
        answer.wait += reply.before_headers;
        match &reply.broken {
            Some((Place::Start, Break::Stall)) => answer.start = Start::Stall,
            Some((Place::Start, Break::Cut)) => answer.start = Start::Cut,
            _ => {}
        }
        answer
    }

    /// An error response.
    #[must_use]
    pub fn error(error: &ApiError) -> Self {
        Self::whole(error.status, error.body().to_string())
    }

    /// A JSON body.
    #[must_use]
    pub fn whole(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            wait: Duration::ZERO,
            start: Start::Respond,
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            pieces: vec![Piece::Bytes(body.into())],
        }
    }

    fn message(reply: &Reply, asked: &Asked, number: u64) -> Self {
        if let Some((place, Break::Error(error))) = &reply.broken
            && (*place == Place::Start || !asked.streams())
        {
            return Self::error(error);
        }
        let message = Message::new(reply, asked, number);
        let steps = message.steps(reply);
        if asked.streams() {
            return Self {
                headers: vec![
                    ("content-type".to_owned(), "text/event-stream; charset=utf-8".to_owned()),
                    ("cache-control".to_owned(), "no-cache".to_owned()),
                ],
                pieces: stream_pieces(steps),
                ..Self::whole(200, Bytes::new())
            };
        }
        // The whole answer comes when its last delta would have.
        let mut answer = Self::whole(200, message.body().to_string());
        for step in steps {
            match step {
                Step::Wait(wait) => answer.wait += wait,
                Step::Event(_) => {}
                Step::Stall => answer.pieces = vec![Piece::Stall],
                Step::Cut => answer.pieces = vec![Piece::Bytes(Bytes::from_static(b"{")), Piece::Cut],
            }
        }
        answer
    }
}

/// The error for the first field of the request that the reply refuses.
fn refusal(reply: &Reply, asked: &Asked) -> Option<ApiError> {
    reply.refuses.iter().find_map(|(field, message)| rules::refusal(asked, field, message))
}

fn stream_pieces(steps: Vec<Step>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    for step in steps {
        let piece = match step {
            Step::Event(event) => {
                let name = event["type"].as_str().unwrap_or_default();
                // Writing to a string cannot fail.
                let _ = write!(text, "event: {name}\ndata: {event}\n\n");
                continue;
            }
            Step::Wait(wait) => Piece::Wait(wait),
            Step::Stall => Piece::Stall,
            Step::Cut => Piece::Cut,
        };
        pieces.extend(bytes(&mut text));
        pieces.push(piece);
    }
    pieces.extend(bytes(&mut text));
    pieces
}

fn bytes(text: &mut String) -> Option<Piece> {
    (!text.is_empty()).then(|| Piece::Bytes(std::mem::take(text).into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(reply: &Reply, stream: bool) -> Answer {
        let body = json!({"stream": stream, "temperature": 1, "messages": []});
        Answer::new(reply, &Asked::new(body), 1, 0)
    }

    #[test]
    fn a_stream_without_waits_is_one_piece() {
        assert_eq!(answer(&Reply::words(100), true).pieces.len(), 1);
        let slow = Reply::words(3).between_deltas(Duration::from_secs(1));
        let waits = answer(&slow, true).pieces.iter().filter(|piece| matches!(piece, Piece::Wait(_))).count();
        assert_eq!(waits, 2);
    }

    #[test]
    fn an_answer_that_does_not_stream_comes_when_its_last_delta_would() {
        let second = Duration::from_secs(1);
        let reply = Reply::words(3).before_headers(second).before_first_delta(second).between_deltas(second);
        assert_eq!(answer(&reply, false).wait, second * 4);
        assert_eq!(answer(&reply, true).wait, second);
    }

    #[test]
    fn a_field_is_refused_only_where_it_is_sent() {
        assert_eq!(answer(&Reply::words(1).refuse("temperature"), true).status, 400);
        assert_eq!(answer(&Reply::words(1).refuse("top_p"), true).status, 200);
    }

    #[test]
    fn given_headers_come_behind_those_they_replace() {
        let answer = answer(&Reply::words(1).header("request-id", "mine"), true);
        let ids: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "request-id").map(|(_, value)| value).collect();
        assert_eq!(ids, ["req_000001", "mine"]);
    }
}
