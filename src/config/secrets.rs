//! Where secrets may be kept, and which files may be believed.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Reads the file that a variable, key or flag names.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path, named_by: &str) -> Result<String, String> {
    fs::read_to_string(path)
        .map_err(|error| format!("{named_by} names {}, which cannot be read: {error}.", path.display()))
}

/// Whether others than the owner can read the file.
#[must_use]
pub fn is_open_to_others(file: &Metadata) -> bool {
    file.permissions().mode() & 0o044 != 0
}

/// Why a file that nobody named, but that lies where Couplet is started, is not to be believed: somebody else could have
/// put it there, to have the owner's token sent to an address of his.
#[must_use]
pub fn distrust(file: &Metadata, own_user: u32) -> Option<&'static str> {
    if file.uid() != own_user && file.uid() != 0 {
        Some("it belongs to another user")
    } else if file.permissions().mode() & 0o002 != 0 {
        Some("everybody may write to it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_and_files_for_all_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "").unwrap();
        let with_mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(&path).unwrap()
        };
        let owner = with_mode(0o644).uid();
        assert_eq!(distrust(&with_mode(0o644), owner), None);
        assert!(distrust(&with_mode(0o646), owner).is_some());
        assert_eq!(distrust(&with_mode(0o644), owner + 1).is_some(), owner != 0);
        assert!(is_open_to_others(&with_mode(0o644)) && is_open_to_others(&with_mode(0o604)));
        assert!(is_open_to_others(&with_mode(0o640)) && !is_open_to_others(&with_mode(0o600)));
    }
}
