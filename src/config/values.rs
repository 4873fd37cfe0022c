//! What the text of a setting can mean: a type for each kind of value.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use bytesize::ByteSize;
use secrecy::SecretString;
use serde_json::json;

use crate::access::jwt::JwtAlgorithm;
use crate::claude::sandbox::{MorePath, SandboxMode};
use crate::media::ImageUrls;

/// How a kind of value is written in couplet.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `"text"`.
    Text,
    /// `8000`.
    Number,
    /// `["one", "two"]`.
    List,
    /// A table; elsewhere a list or JSON.
    Table,
}

/// Why a text is no such value. What is allowed is said by the type, and need not be repeated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong with it, where the value and what is allowed do not say it all.
    pub reason: Option<String>,
    /// The place within a table, as `gpt-4o.effort`.
    pub place: Option<String>,
}

impl Refusal {
    /// With a reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), place: None }
    }

    /// With a reason, at a place within a table.
    pub fn at(place: &str, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), place: Some(place.to_owned()) }
    }
}

/// A kind of value.
pub trait Value: Sized {
    /// How it is written in couplet.toml.
    const SHAPE: Shape = Shape::Text;
    /// Whether it is never shown, has no flag, and may come from a file that another variable names.
    const SECRET: bool = false;

    /// What is allowed, as the end of "Allowed: …".
    fn allowed() -> String;

    /// Reads it.
    fn read(text: &str) -> Result<Self, Refusal>;

    /// As `couplet config` shows it.
    fn shown(&self) -> serde_json::Value;

    /// What it is where nobody sets it, if that can be.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Value> Value for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const SECRET: bool = T::SECRET;

    fn allowed() -> String {
        T::allowed()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        T::read(text).map(Some)
    }

    fn shown(&self) -> serde_json::Value {
        self.as_ref().map_or(serde_json::Value::Null, T::shown)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl Value for IpAddr {
    fn allowed() -> String {
        "an IP address as 127.0.0.1, 0.0.0.0 or ::1; not a name".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        text.trim().parse().map_err(|_| Refusal::default())
    }

    fn shown(&self) -> serde_json::Value {
        json!(self.to_string())
    }
}

/// A whole number within limits that belong to the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: usize, const MAX: usize>(usize);

impl<const MIN: usize, const MAX: usize> Whole<MIN, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> Value for Whole<MIN, MAX> {
    const SHAPE: Shape = Shape::Number;

    fn allowed() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let number = text.trim().parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number.map(Self).ok_or_else(Refusal::default)
    }

    fn shown(&self) -> serde_json::Value {
        json!(self.0)
    }
}

impl Value for u16 {
    const SHAPE: Shape = Shape::Number;

    fn allowed() -> String {
        format!("a whole number from 0 to {}", Self::MAX)
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        text.trim().parse().map_err(|_| Refusal::default())
    }

    fn shown(&self) -> serde_json::Value {
        json!(self)
    }
}

/// A whole number of at least 1.
macro_rules! counts {
    ($($type:ty),+) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Number;

            fn allowed() -> String {
                format!("a whole number from 1 to {}", Self::MAX)
            }

            fn read(text: &str) -> Result<Self, Refusal> {
                text.trim().parse().map_err(|_| Refusal::default())
            }

            fn shown(&self) -> serde_json::Value {
                json!(self.get())
            }
        }
    )+};
}

counts!(NonZeroU32, NonZeroU64);

/// A time in seconds, whole or with a fraction, more than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// A week. Longer than any answer, and far from what the arithmetic of clocks does not bear.
    const MAX: f64 = 604_800.0;
}

impl Value for Seconds {
    const SHAPE: Shape = Shape::Number;

    fn allowed() -> String {
        format!("a number of seconds above 0, at most {}", Self::MAX)
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let seconds = text.trim().parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= Self::MAX);
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.filter(|time| !time.is_zero()).map(Self).ok_or_else(Refusal::default)
    }

    fn shown(&self) -> serde_json::Value {
        if self.0.subsec_nanos() == 0 { json!(self.0.as_secs()) } else { json!(self.0.as_secs_f64()) }
    }
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Value for Bytes {
    fn allowed() -> String {
        "an amount such as 2GiB, 1500MB or a number of bytes".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        text.trim().parse::<ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| Refusal::default())
    }

    fn shown(&self) -> serde_json::Value {
        json!(ByteSize(self.0).to_string())
    }
}

impl Value for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        if text.trim().is_empty() { Err(Refusal::default()) } else { Ok(text.into()) }
    }

    fn shown(&self) -> serde_json::Value {
        json!(self.to_string_lossy())
    }
}

/// The address of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(pub String);

impl Value for BaseUrl {
    fn allowed() -> String {
        "an http or https URL without user name and password, as https://gateway.example.org".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let url: Option<Uri> = text.trim().parse().ok();
        let fits = url.is_some_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && url.query().is_none()
        });
        if fits { Ok(Self(text.trim().to_owned())) } else { Err(Refusal::default()) }
    }

    fn shown(&self) -> serde_json::Value {
        json!(self.0)
    }
}

/// One entry of a list.
pub trait Item: Sized {
    /// What is allowed, for several of them.
    const ALLOWED: &str;

    /// Whether `text`, which is not empty and has no white space around it, is one.
    fn read(text: &str) -> Option<Self>;

    /// As it was written.
    fn text(&self) -> String;
}

impl<T: Item> Value for Vec<T> {
    const SHAPE: Shape = Shape::List;

    fn allowed() -> String {
        T::ALLOWED.to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let item = |part| T::read(part).ok_or_else(|| Refusal::because(format!("{part:?} is none")));
        parts(text).map(item).collect()
    }

    fn shown(&self) -> serde_json::Value {
        self.iter().map(T::text).collect()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

/// The parts of a list, separated by commas or lines, that hold something.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty())
}

/// A name of the server, as a client puts it into the `host` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(pub String);

impl Item for HostName {
    const ALLOWED: &str = "host names with or without a port, as chat.example.org; no URLs, no wildcards";

    fn read(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        text.chars().all(fits).then(|| Self(text.to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// The origin of a web page, as a browser puts it into the `origin` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub String);

impl Item for Origin {
    const ALLOWED: &str = "origins as https://chat.example.org; no paths, no wildcards";

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let scheme_fits =
            !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        (scheme_fits && !host.is_empty() && HostName::read(host).is_some()).then(|| Self(text.to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

impl Item for MorePath {
    const ALLOWED: &str =
        "absolute paths, each with `:rw` behind it where the CLI may write, as /opt/node,/srv/notes:rw";

    fn read(text: &str) -> Option<Self> {
        let (path, is_writable) = text.strip_suffix(":rw").map_or((text, false), |path| (path, true));
        path.starts_with('/').then(|| Self { path: path.into(), is_writable })
    }

    fn text(&self) -> String {
        format!("{}{}", self.path.display(), if self.is_writable { ":rw" } else { "" })
    }
}

/// A secret of one word.
#[derive(Debug, Clone)]
pub struct OneWord(pub SecretString);

impl Value for OneWord {
    const SECRET: bool = true;

    fn allowed() -> String {
        "one word without white space".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Refusal::default());
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> serde_json::Value {
        json!("set")
    }
}

/// A secret of one or more lines.
#[derive(Debug, Clone)]
pub struct SecretText(pub SecretString);

impl Value for SecretText {
    const SECRET: bool = true;

    fn allowed() -> String {
        "a text that is not blank; a public key in PEM with its first and last line".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        if text.trim().is_empty() { Err(Refusal::default()) } else { Ok(Self(text.into())) }
    }

    fn shown(&self) -> serde_json::Value {
        json!("set")
    }
}

/// A line of text.
#[derive(Debug, Clone)]
pub struct Text(pub String);

impl Value for Text {
    fn allowed() -> String {
        "a line of text".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if text.is_empty() || text.contains(char::is_control) {
            return Err(Refusal::default());
        }
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> serde_json::Value {
        json!(self.0)
    }
}

/// Secrets, separated by commas or lines.
#[derive(Debug, Clone, Default)]
pub struct Words(pub Vec<SecretString>);

impl Value for Words {
    const SHAPE: Shape = Shape::List;
    const SECRET: bool = true;

    fn allowed() -> String {
        "words, separated by commas or lines".to_owned()
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        Ok(Self(parts(text).map(SecretString::from).collect()))
    }

    fn shown(&self) -> serde_json::Value {
        if self.0.is_empty() { serde_json::Value::Null } else { json!("set") }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// Makes an enum a kind of value: one word each.
macro_rules! choices {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $crate::config::values::Value for $type {
            fn allowed() -> String {
                [$($word),+].join(", ")
            }

            fn read(text: &str) -> Result<Self, $crate::config::values::Refusal> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::config::values::Refusal::default()),
                }
            }

            fn shown(&self) -> serde_json::Value {
                serde_json::json!(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}
pub(crate) use choices;

/// When to run in demo mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoChoice {
    /// Where no sign-in is configured.
    Auto,
    /// Even where one is.
    Always,
    /// Never: without a sign-in the server does not start.
    Never,
}

choices!(DemoChoice { Auto = "auto", Always = "always", Never = "never" });

choices!(JwtAlgorithm { Hs256 = "HS256", Rs256 = "RS256", EdDsa = "EdDSA" });

choices!(SandboxMode { Auto = "auto", Require = "require", Off = "off" });

choices!(ImageUrls { Fetch = "fetch", Pass = "pass", Refuse = "refuse" });

#[cfg(test)]
mod tests;
