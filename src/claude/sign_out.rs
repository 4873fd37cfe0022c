//! The end of a sign-in.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::Claude;
use super::account::CredentialOrigin;
use super::credential::Credential;
use super::process::OutputBounds;

/// The CLI's own end of a login: it tells Anthropic, if it can, and takes 2 s at most where it cannot be reached.
const LOGOUT: OutputBounds = OutputBounds { bytes: 4 * 1024, time: Duration::from_secs(20) };

/// What became of a credential that is not used any more.
#[derive(Debug)]
pub enum Fate {
    /// The file that `couplet login` wrote was deleted.
    Deleted(PathBuf),
    /// That file holds another token by now, and was left alone.
    ReplacedBefore(PathBuf),
    /// That file is still there.
    NotDeleted(PathBuf, io::Error),
    /// The CLI ended its own login; what it said.
    LoggedOut(String),
    /// The CLI could not; what it said, or why it could not be asked.
    NotLoggedOut(String),
    /// It stays where the operator put it: in that setting.
    Elsewhere(String),
    /// There was none.
    MadeUp,
}

impl Claude {
    /// Ends the use of the credential at once and for good: all processes end, open answers with an error, and nothing is
    /// asked any more. Then deletes what Couplet may delete of it.
    pub async fn sign_out(&self) -> Fate {
        let inner = &self.inner;
        inner.account.sign_out();
        // Those that wait end as they do before the server's end.
        inner.drain.cancel();
        tracing::warn!("the sign-in to Claude was ended; nothing is asked any more until a restart");
        let credential = inner.supply.credential();
        match inner.account.origin() {
            CredentialOrigin::MadeUp => Fate::MadeUp,
            CredentialOrigin::Kept(path) => delete(path, credential),
            CredentialOrigin::Setting(_) if matches!(credential, Credential::ConfigDir(_)) => {
                self.log_out().await
            }
            CredentialOrigin::Setting(name) => Fate::Elsewhere(name.clone()),
        }
    }

    async fn log_out(&self) -> Fate {
        let output = match self.inner.supply.run(&["auth", "logout"], LOGOUT).await {
            Ok(output) => output,
            Err(failure) => return Fate::NotLoggedOut(failure.to_string()),
        };
        let said = [output.stdout, output.stderr].concat();
        let said = self.inner.supply.credential().redact(String::from_utf8_lossy(&said).trim());
        if output.exit_code == Some(0) { Fate::LoggedOut(said) } else { Fate::NotLoggedOut(said) }
    }
}

/// Deletes a file that holds the credential.
fn delete(path: &Path, credential: &Credential) -> Fate {
    let held = match std::fs::read_to_string(path) {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Fate::Deleted(path.to_owned()),
        Err(error) => return Fate::NotDeleted(path.to_owned(), error),
    };
    if credential.secret().is_none_or(|secret| secret.expose_secret() != held.trim()) {
        return Fate::ReplacedBefore(path.to_owned());
    }
    match std::fs::remove_file(path) {
        Ok(()) => Fate::Deleted(path.to_owned()),
        Err(error) => Fate::NotDeleted(path.to_owned(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_that_was_in_use_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let credential = Credential::OauthToken("sk-ant-old".into());
        std::fs::write(&path, "sk-ant-new\n").unwrap();
        assert!(matches!(delete(&path, &credential), Fate::ReplacedBefore(_)));
        assert!(path.exists());
        std::fs::write(&path, "sk-ant-old\n").unwrap();
        assert!(matches!(delete(&path, &credential), Fate::Deleted(_)));
        assert!(!path.exists());
        assert!(matches!(delete(&path, &credential), Fate::Deleted(_)));
        assert!(matches!(delete(folder.path(), &credential), Fate::NotDeleted(..)));
    }
}
