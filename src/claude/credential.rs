//! Whose CLI it is.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Stands for a secret.
const REDACTED: &str = "[redacted]";

/// What all of Anthropic's tokens and keys begin with.
const TOKENS_BEGIN: &str = "sk-ant-";

/// So many bytes of a secret are worth hiding.
const TELLING: usize = 4;

/// How the CLI signs in. One credential belongs to one person.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A long-lived subscription token, made by `claude setup-token`.
    OauthToken(SecretString),
    /// An API key of Anthropic's console.
    ApiKey(SecretString),
    /// The CLI's own login, kept in that configuration folder.
    ConfigDir(PathBuf),
    /// Not at all: nothing can be asked.
    Missing,
}

impl Credential {
    /// The variable that tells the CLI from which descriptor to read the secret (undocumented; seen to work on
    /// 2.1.197 and 2.1.329). In the environment itself everything the CLI starts could read it.
    #[must_use]
    pub fn descriptor_variable(&self) -> Option<&'static str> {
        match self {
            Self::OauthToken(_) => Some("CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"),
            Self::ApiKey(_) => Some("CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"),
            Self::ConfigDir(_) | Self::Missing => None,
        }
    }

    /// The secret to be handed over, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::OauthToken(secret) | Self::ApiKey(secret) => Some(secret),
            Self::ConfigDir(_) | Self::Missing => None,
        }
    }

    /// A text without the secret, and without anything else that looks like one of Anthropic's. The end of the text may be the
    /// beginning of the secret: then it goes too.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(secret) =
            self.secret().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty())
        {
            text = text.replace(secret, REDACTED);
            let cut = secret.char_indices().map(|(place, _)| &secret[..place]).rev();
            if let Some(start) =
                cut.filter(|start| start.len() >= TELLING).find(|start| text.ends_with(start))
            {
                text.truncate(text.len() - start.len());
                text.push_str(REDACTED);
            }
        }
        let mut redacted = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, found)) = rest.split_once(TOKENS_BEGIN) {
            let end = found.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            redacted.push_str(before);
            redacted.push_str(REDACTED);
            rest = &found[end.unwrap_or(found.len())..];
        }
        redacted.push_str(rest);
        redacted
    }

    /// A name for the credential's folder: it tells credentials apart and tells nothing of the secret.
    #[must_use]
    pub fn folder_name(&self) -> String {
        let digest = match self {
            Self::OauthToken(secret) | Self::ApiKey(secret) => {
                Sha256::new().chain_update("couplet credential folder\n").chain_update(secret.expose_secret())
            }
            Self::ConfigDir(path) => Sha256::new().chain_update(path.as_os_str().as_encoded_bytes()),
            Self::Missing => Sha256::new(),
        }
        .finalize();
        let mut name = format!("{digest:x}");
        name.truncate(16);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_without_secrets() {
        let credential = Credential::ApiKey("hush-hush-key".into());
        for (text, told) in [
            ("a hush-hush-key, and hush-hush-key", "a [redacted], and [redacted]"),
            ("cut off at hush-hus", "cut off at [redacted]"),
            ("hush, and", "hush, and"),
            ("another: sk-ant-oat01-a_B-9\"}", "another: [redacted]\"}"),
            ("sk-ant-", "[redacted]"),
            ("nothing at all", "nothing at all"),
        ] {
            assert_eq!(credential.redact(text), told);
        }
        assert_eq!(Credential::ConfigDir("/x".into()).redact("in /x: sk-ant-ort01-b"), "in /x: [redacted]");
        assert_eq!(Credential::ApiKey("".into()).redact("plain"), "plain");
    }

    #[test]
    fn a_secret_shows_in_neither_debug_nor_folder_name() {
        let credential = Credential::OauthToken("sk-ant-canary".into());
        assert!(!format!("{credential:?}").contains("canary"));
        let folder = credential.folder_name();
        assert_eq!(folder.len(), 16);
        assert_ne!(folder, Credential::OauthToken("sk-ant-other".into()).folder_name());
    }
}
