//! The body of a text completion request becomes turns or a refusal.

#![no_main]

use couplet::openai::completion_request::CompletionRequest;
use couplet::openai::error::ApiError;
use couplet::translate::completion_request::{self, Translated};
use couplet::wire::parse::{Parsed, parse};
use couplet_fuzz::errors::{expect_names, expect_refusal};
use couplet_fuzz::json::rewritten;
use couplet_fuzz::turns;
use libfuzzer_sys::fuzz_target;

/// More answers at once are refused, as a server does it.
const PLACES: usize = 16;

fn read(body: &[u8]) -> Result<(Translated, Vec<String>), ApiError> {
    let Parsed { request, ignored } = parse::<CompletionRequest>(body)?;
    let expect_room = |prompts: usize, n: usize| {
        let error = ApiError::invalid_request("n", "Too many.");
        if prompts.saturating_mul(n) <= PLACES { Ok(()) } else { Err(error) }
    };
    Ok((completion_request::turns(request, expect_room)?, ignored))
}

fuzz_target!(|body: &[u8]| {
    let (translated, ignored) = match read(body) {
        Ok(read) => read,
        Err(error) => return expect_refusal(&error),
    };
    expect_names(&ignored);
    assert_eq!(translated.begin_with.len(), translated.turns.len() * translated.n);
    translated.turns.iter().for_each(turns::expect_sound);
    let (again, _) = read(&rewritten(body).expect("it was JSON")).expect("it says the same");
    assert_eq!(again, translated);
    for turn in translated.turns {
        turns::expect_frames(&turns::ready(turn));
    }
});
