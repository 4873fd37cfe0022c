//! Directives in a prompt → [`Reply`]. Pure.

use super::reply::Reply;
use super::request::Asked;

/// What the script in the last user message says, if there is one.
#[must_use]
pub fn parse(asked: &Asked) -> Option<Reply> {
    let text = asked.last_user_text();
    let words = text.split_once("[[words ")?.1.split_once("]]")?.0;
    Some(Reply::words(words.parse().ok()?))
}

/// A text less its directives.
#[must_use]
pub fn without_directives(text: &str) -> String {
    text.to_owned()
}

/// The answer to a prompt without a script: says what it is, and shortly what was asked.
#[must_use]
pub fn demo(asked: &Asked) -> Reply {
    Reply::text(format!("This is a scripted demo answer. You wrote: {}", asked.last_user_text()))
}
