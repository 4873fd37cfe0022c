//! Stop strings that are looked for here: those of white space, which the API does not take, and all of them for a model
//! that refuses stop sequences.

/// Looks for stop strings in a text that comes in pieces.
#[derive(Debug, Default)]
pub struct StopStrings {
    strings: Vec<StopString>,
    /// The end of the text so far that may be the beginning of a stop string.
    held: String,
}

/// One of them, and how much of it the text ends with (after Knuth, Morris and Pratt).
#[derive(Debug)]
struct StopString {
    text: String,
    /// For each length of a beginning, that of the longest shorter beginning which it ends with.
    fallback: Vec<usize>,
    matched: usize,
}

/// What a piece of text came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked {
    /// What may be shown.
    pub text: String,
    /// The stop string behind that, where the text ends.
    pub stop: Option<String>,
}

impl StopStrings {
    /// Looks for these. Empty ones are left out.
    #[must_use]
    pub fn new(strings: Vec<String>) -> Self {
        let strings = strings.into_iter().filter(|text| !text.is_empty()).map(StopString::new).collect();
        Self { strings, held: String::new() }
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// Takes the next piece. After a stop string nothing more may be given.
    pub fn look(&mut self, piece: &str) -> Looked {
        let before = self.held.len();
        self.held.push_str(piece);
        for (at, byte) in piece.bytes().enumerate() {
            for string in &mut self.strings {
                if string.advance(byte) {
                    // A stop string begins where a character begins, so its place can be cut at.
                    self.held.truncate(before + at + 1 - string.text.len());
                    let text = std::mem::take(&mut self.held);
                    return Looked { text, stop: Some(string.text.clone()) };
                }
            }
        }
        let open = self.strings.iter().map(|string| string.matched).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - open);
        Looked { text: std::mem::replace(&mut self.held, held), stop: None }
    }

    /// What was held back, when the text has ended or something else than text follows.
    pub fn flush(&mut self) -> String {
        for string in &mut self.strings {
            string.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

impl StopString {
    fn new(text: String) -> Self {
        let bytes = text.as_bytes();
        let mut fallback = vec![0; bytes.len()];
        for at in 1..bytes.len() {
            let mut length = fallback[at - 1];
            while length > 0 && bytes[at] != bytes[length] {
                length = fallback[length - 1];
            }
            fallback[at] = length + usize::from(bytes[at] == bytes[length]);
        }
        Self { text, fallback, matched: 0 }
    }

    /// Takes the next byte; whether the text now ends with the whole string.
    fn advance(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes[self.matched] != byte {
            self.matched = self.fallback[self.matched - 1];
        }
        self.matched += usize::from(bytes[self.matched] == byte);
        let is_whole = self.matched == bytes.len();
        if is_whole {
            self.matched = 0;
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is shown of a text in these pieces, and the stop string.
    fn shown(strings: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut looking = StopStrings::new(strings.iter().map(|&text| text.to_owned()).collect());
        let mut shown = String::new();
        for piece in pieces {
            let Looked { text, stop } = looking.look(piece);
            shown.push_str(&text);
            if stop.is_some() {
                return (shown, stop);
            }
        }
        shown.push_str(&looking.flush());
        (shown, None)
    }

    #[test]
    fn a_stop_string_split_over_pieces_is_never_shown() {
        let mut looking = StopStrings::new(vec!["\n\n".to_owned()]);
        assert_eq!(looking.look("one\n"), Looked { text: "one".to_owned(), stop: None });
        assert_eq!(looking.look("two\n"), Looked { text: "\ntwo".to_owned(), stop: None });
        assert_eq!(looking.look("\nthree"), Looked { text: String::new(), stop: Some("\n\n".to_owned()) });
    }

    #[test]
    fn what_only_began_like_one_is_shown_when_nothing_follows() {
        assert_eq!(shown(&["\n\n"], &["a", "\n"]), ("a\n".to_owned(), None));
        assert_eq!(shown(&["aab"], &["aa", "aab", "x"]), ("aa".to_owned(), Some("aab".to_owned())));
        assert_eq!(shown(&[""], &["a"]), ("a".to_owned(), None));
    }

    proptest! {
        #[test]
        fn the_first_one_that_is_complete_ends_the_text_however_it_comes(
            text in "[ab\u{e9} \n]{0,40}",
            strings in proptest::collection::vec("[ab\u{e9} \n]{1,4}", 1..4),
            cuts in proptest::collection::vec(0_usize..80, 0..8),
        ) {
            let end = |string: &String| text.find(string.as_str()).map(|at| at + string.len());
            let first = strings.iter().filter_map(|string| Some((end(string)?, string))).min_by_key(|(end, _)| *end);
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let strings: Vec<_> = strings.iter().map(String::as_str).collect();
            let (shown, stop) = shown(&strings, &pieces);
            match first {
                None => prop_assert_eq!((shown, stop), (text, None)),
                Some((end, _)) => {
                    let stop = stop.expect("a stop string");
                    prop_assert_eq!(shown + &stop, &text[..end]);
                }
            }
        }
    }
}
