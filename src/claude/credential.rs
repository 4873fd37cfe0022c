//! Whose CLI it is.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

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
    fn a_secret_shows_in_neither_debug_nor_folder_name() {
        let credential = Credential::OauthToken("sk-ant-canary".into());
        assert!(!format!("{credential:?}").contains("canary"));
        let folder = credential.folder_name();
        assert_eq!(folder.len(), 16);
        assert_ne!(folder, Credential::OauthToken("sk-ant-other".into()).folder_name());
    }
}
