//! Lists, of what is separated by commas or lines.

use secrecy::SecretString;
use serde_json::json;

use super::{Refusal, Shape, Value};
use crate::claude::sandbox::MorePath;

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
