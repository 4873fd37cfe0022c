//! The texts that end an answer: limits and a rule that all endpoints share.

use crate::openai::error::ApiError;

/// How long the texts of a request may be together, in bytes. Each piece of an answer is compared with them, and they
/// reach the CLI in its settings.
const MAX_BYTES: usize = 16 * 1024;

/// Refuses too many, and too long ones.
pub(super) fn expect_few(field: &'static str, texts: &[String], most: usize) -> Result<(), ApiError> {
    let bytes: usize = texts.iter().map(String::len).sum();
    if texts.len() <= most && bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("'{field}' may hold up to {most} texts of {MAX_BYTES} bytes in all.");
    Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
}

/// The texts, but none where the answer must be JSON, be it arguments of a call: JSON that ended at one would be none.
pub(super) fn unless_formed(
    field: &'static str,
    texts: Vec<String>,
    has_form: bool,
    adjusted: &mut Vec<&'static str>,
) -> Vec<String> {
    if texts.is_empty() || !has_form {
        return texts;
    }
    adjusted.push(field);
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_so_many_and_they_may_be_so_long() {
        let few = vec!["a".to_owned(), "b".repeat(MAX_BYTES - 1)];
        assert!(expect_few("stop", &few, 2).is_ok() && expect_few("stop", &few, 1).is_err());
        assert!(expect_few("stop", &["b".repeat(MAX_BYTES + 1)], 2).is_err());
    }

    #[test]
    fn json_ends_where_it_ends_and_the_texts_are_named() {
        let mut adjusted = Vec::new();
        let texts = || vec!["}".to_owned()];
        assert_eq!(unless_formed("stop", texts(), false, &mut adjusted), texts());
        assert_eq!(unless_formed("stop", Vec::new(), true, &mut adjusted), Vec::<String>::new());
        assert!(adjusted.is_empty());
        assert_eq!(unless_formed("stop", texts(), true, &mut adjusted), Vec::<String>::new());
        assert_eq!(adjusted, ["stop"]);
    }
}
