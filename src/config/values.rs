//! What the text of a setting can mean: a type for each kind of value.

mod lists;
mod numbers;

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::Uri;
use secrecy::SecretString;
use serde_json::json;

use crate::access::jwt::JwtAlgorithm;
use crate::claude::sandbox::SandboxMode;
use crate::media::ImageUrls;

pub use lists::{HostName, Item, Origin, Words, parts};
pub use numbers::{Bytes, Seconds, Whole};

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

/// Makes an enum a kind of value: one word each.
macro_rules! choices {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// As it is written in settings.
            #[must_use]
            pub fn as_str(&self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

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
                serde_json::json!(self.as_str())
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
