//! The body of a request to `/v1/messages`, or to `/v1/messages/count_tokens`, becomes a turn or a refusal.

#![no_main]

use couplet::anthropic::messages_request::MessagesRequest;
use couplet::openai::error::ApiError;
use couplet::translate::messages_request::{self, Translated};
use couplet::wire::parse::{Parsed, parse};
use couplet_fuzz::errors::{expect_names, expect_refusal};
use couplet_fuzz::json::rewritten;
use couplet_fuzz::turns;
use libfuzzer_sys::fuzz_target;

fn to_be_counted(body: &[u8]) -> Result<Translated, ApiError> {
    let Parsed { request, ignored } = parse::<MessagesRequest>(body)?;
    expect_names(&ignored);
    messages_request::to_be_counted(request)
}

fn turn(body: &[u8]) -> Result<Translated, ApiError> {
    messages_request::turn(parse::<MessagesRequest>(body)?.request)
}

fuzz_target!(|body: &[u8]| {
    let answered = turn(body);
    if let Err(error) = &answered {
        expect_refusal(error);
    }
    let counted = match to_be_counted(body) {
        Ok(translated) => translated,
        Err(error) => {
            expect_refusal(&error);
            return assert!(answered.is_err(), "what cannot be counted is not answered");
        }
    };
    match answered {
        Ok(answered) => assert_eq!(answered, counted),
        Err(error) => assert_eq!(error.param.as_deref(), Some("max_tokens")),
    }
    let again = to_be_counted(&rewritten(body).expect("it was JSON")).expect("it says the same");
    assert_eq!(again, counted);
    if counted.turn.parameters.max_tokens != Some(0) {
        turns::expect_sound(&counted.turn);
    }
    turns::expect_frames(&turns::ready(counted.turn));
});
