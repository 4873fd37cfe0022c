//! The token that `couplet login` keeps.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::secrets;

/// Where it is kept: in the folder for what the CLI keeps, for its owner's eyes only.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("token")
}

/// Reads the kept token; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or others than its owner can.
pub fn read(state_dir: &Path) -> Result<Option<SecretString>, String> {
    let path = path(state_dir);
    let Ok(file) = fs::metadata(&path) else { return Ok(None) };
    if secrets::is_open_to_others(&file) {
        return Err(format!(
            "{} can be read by others. Run `chmod 600 {}`, or `couplet login` again.",
            path.display(),
            path.display()
        ));
    }
    let text =
        fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}.", path.display()))?;
    let token = text.trim();
    Ok((!token.is_empty()).then(|| token.into()))
}

/// Keeps a token in place of the one before, and returns where.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn keep(state_dir: &Path, token: &SecretString) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let path = path(state_dir);
    let new = state_dir.join("token.new");
    // A file left behind by an earlier try could have another mode.
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(token.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_kept_token_is_for_its_owner_only_and_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert!(read(&state).unwrap().is_none());
        keep(&state, &"sk-ant-one".into()).unwrap();
        let kept = keep(&state, &"sk-ant-two".into()).unwrap();
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&state).unwrap().unwrap().expose_secret(), "sk-ant-two");
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&state).unwrap_err().contains("chmod 600"));
    }
}
