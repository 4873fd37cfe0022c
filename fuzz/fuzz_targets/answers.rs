//! What the model says reaches clients, streamed or as a whole, in three forms.

#![no_main]

use couplet_fuzz::answers::MadeUpAnswer;
use couplet_fuzz::pieces::Sizes;
use couplet_fuzz::streams;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, MadeUpAnswer, Vec<MadeUpAnswer>)| {
    let (seed, first, others) = input;
    let answers: Vec<_> = [first].iter().chain(others.iter().take(2)).map(MadeUpAnswer::events).collect();
    let mut sizes = Sizes::of(seed);
    streams::expect_readable(&answers[0], &mut sizes);
    streams::expect_same_as_whole(&answers, &mut sizes);
    // Broken off in the middle.
    streams::expect_readable(&answers[0][..answers[0].len() / 2], &mut sizes);
});
