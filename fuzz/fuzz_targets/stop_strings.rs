//! Stop strings in a text that comes in pieces are found where they are in the whole of it.

#![no_main]

use couplet::claude::stop_strings::StopStrings;
use couplet_fuzz::pieces::Sizes;
use libfuzzer_sys::fuzz_target;

/// Where the first of them to be complete ends; of several that are complete there, that which is named first.
fn first_in<'a>(text: &str, strings: &'a [String]) -> Option<(usize, &'a str)> {
    let ends = |string: &'a String| {
        let end = text.match_indices(string.as_str()).map(|(at, _)| at + string.len()).next()?;
        Some((end, string.as_str()))
    };
    // Of equal ones `min_by_key` gives the first.
    strings.iter().filter(|string| !string.is_empty()).filter_map(ends).min_by_key(|(end, _)| *end)
}

fuzz_target!(|input: (u8, Vec<String>, Vec<String>)| {
    let (seed, strings, parts) = input;
    // Texts that hold the strings are likelier than bytes make them.
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        text.push_str(part);
        if let Some(string) = strings.get(index) {
            text.push_str(&string[..string.floor_char_boundary(part.len())]);
        }
    }
    let mut stops = StopStrings::new(strings.clone());
    let (mut shown, mut stop) = (String::new(), None);
    for piece in Sizes::of(seed).cut_text(&text) {
        let looked = stops.look(piece);
        shown.push_str(&looked.text);
        stop = looked.stop;
        if stop.is_some() {
            break;
        }
    }
    if let Some((end, string)) = first_in(&text, &strings) {
        assert_eq!(stop.as_deref(), Some(string));
        assert_eq!(shown, text[..end - string.len()]);
    } else {
        assert_eq!(stop, None);
        assert_eq!(shown + &stops.flush(), text);
    }
});
