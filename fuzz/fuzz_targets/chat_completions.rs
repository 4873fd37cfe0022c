//! The body of a chat completion request, in OpenAI's form or that of the Responses API, becomes a turn or a refusal.

#![no_main]

use couplet::translate::chat_body;
use couplet_fuzz::errors::{expect_names, expect_refusal};
use couplet_fuzz::json::rewritten;
use couplet_fuzz::turns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let read = match chat_body::read(body) {
        Ok(read) => read,
        Err(error) => return expect_refusal(&error),
    };
    assert!((1..=128).contains(&read.translated.n));
    expect_names(&read.ignored);
    turns::expect_sound(&read.translated.turn);
    let written_anew = rewritten(body).expect("it was JSON");
    let again = chat_body::read(&written_anew).expect("it says the same");
    assert_eq!(again.translated, read.translated);
    assert_eq!(again.ignored, read.ignored);
    let turn = turns::ready(read.translated.turn);
    turns::expect_frames(&turn);
    assert_eq!(turns::key(&turns::ready(again.translated.turn)), turns::key(&turn));
});
