//! The arguments of a directive, taken one after the other.

use std::time::Duration;

use super::limits::{Limits, Standing};
use super::reply::{ApiError, Place, Usage};

/// The most words or pings that a directive may ask for: prompts reach this from outside in demo mode.
const MOST: usize = 100_000;

/// The arguments of a directive that are not taken yet.
pub(super) struct Arguments<'a>(&'a str);

impl<'a> Arguments<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn word(&mut self) -> Option<&'a str> {
        let (word, rest) = self.0.split_once(char::is_whitespace).unwrap_or((self.0, ""));
        self.0 = rest.trim_start();
        (!word.is_empty()).then_some(word)
    }

    pub(super) fn needed(&mut self, what: &str) -> Result<&'a str, String> {
        self.word().ok_or_else(|| format!("needs {what}"))
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.needed(what)?;
        word.parse().map_err(|_| format!("{word:?} is not {what}"))
    }

    pub(super) fn parsed_or<T: std::str::FromStr>(&mut self, default: T) -> Result<T, String> {
        if self.0.is_empty() { Ok(default) } else { self.parsed("a number") }
    }

    pub(super) fn count(&mut self) -> Result<usize, String> {
        let count = self.parsed("a number")?;
        if count > MOST { Err(format!("at most {MOST}")) } else { Ok(count) }
    }

    pub(super) fn seconds(&mut self) -> Result<Duration, String> {
        let seconds = self.parsed("a number of seconds")?;
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    }

    pub(super) fn rest(&mut self) -> &'a str {
        std::mem::take(&mut self.0)
    }

    /// The rest as text; a JSON string stands for what it encodes.
    pub(super) fn text(&mut self) -> String {
        let rest = self.rest();
        serde_json::from_str(rest).unwrap_or_else(|_| rest.to_owned())
    }

    /// `TYPE MESSAGE`, both optional.
    pub(super) fn error(&mut self, stock: ApiError) -> ApiError {
        let kind = self.word().map(str::to_owned);
        self.message(ApiError { kind: kind.unwrap_or(stock.kind), ..stock })
    }

    pub(super) fn message(&mut self, stock: ApiError) -> ApiError {
        match self.rest() {
            "" => stock,
            message => ApiError { message: message.to_owned(), ..stock },
        }
    }

    /// `start`, a number of deltas, or nothing: after the last delta.
    pub(super) fn place(&mut self) -> Place {
        let before = self.0;
        let word = self.word().unwrap_or_default();
        if word == "start" {
            return Place::Start;
        }
        if let Ok(deltas) = word.parse() {
            return Place::Deltas(deltas);
        }
        self.0 = before;
        Place::LastDelta
    }

    pub(super) fn usage(&mut self, usage: &mut Usage) -> Result<(), String> {
        while let Some(word) = self.word() {
            let number = word.split_once('=').and_then(|(key, number)| Some((key, number.parse().ok()?)));
            match number {
                Some(("input", number)) => usage.input = number,
                Some(("cache_creation", number)) => usage.cache_creation = number,
                Some(("cache_read", number)) => usage.cache_read = number,
                Some(("output", number)) => usage.output = Some(number),
                Some(("thinking", number)) => usage.thinking = Some(number),
                _ => {
                    return Err(format!(
                        "{word:?} is none of input=N cache_creation=N cache_read=N output=N thinking=N"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn limits(&mut self) -> Result<Option<Limits>, String> {
        let stock = Limits::default();
        let standing = match self.needed("off, allowed, allowed_warning or rejected")? {
            "off" => return Ok(None),
            "allowed" => Standing::Allowed,
            "allowed_warning" => Standing::Warning,
            "rejected" => Standing::Rejected,
            other => return Err(format!("{other:?} is not off, allowed, allowed_warning or rejected")),
        };
        Ok(Some(Limits {
            standing,
            utilization: self.parsed_or(stock.utilization)?,
            resets_in_seconds: self.parsed_or(stock.resets_in_seconds)?,
            claim: self.word().map_or(stock.claim, str::to_owned),
        }))
    }

    pub(super) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{:?} is too much", self.0)) }
    }
}
