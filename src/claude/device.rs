//! Who the CLI says it is: it makes up an id for the device it runs on, keeps it in its configuration folder and tells the API.
//!
//! A confined CLI may not write there, so that nothing it is talked into outlives its process: variables in `.claude.json`
//! would send the credential and all later conversations to another server (seen on 2.1.329, `env.ANTHROPIC_BASE_URL`).
//! Without an id in its place every process would be another device.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use tempfile::NamedTempFile;
use uuid::Uuid;

/// The CLI's file.
const FILE: &str = ".claude.json";

/// Puts an id into a configuration folder in which there is no file of the CLI's yet. What is there is left as it is.
///
/// # Errors
/// When the file cannot be written.
pub fn name_in(config: &Path) -> io::Result<()> {
    let file = config.join(FILE);
    if file.exists() {
        return Ok(());
    }
    // What the CLI writes by itself: 32 random bytes each, in hexadecimal digits.
    let id = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let mut unfinished = NamedTempFile::new_in(config)?;
    writeln!(unfinished, "{}", json!({"userID": id(), "machineID": id()}))?;
    match unfinished.persist_noclobber(file) {
        // Another server on this folder, or a process that is not confined, was faster.
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_device_has_one_id_for_good() {
        let folder = tempfile::tempdir().unwrap();
        name_in(folder.path()).unwrap();
        let written = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let ids: Value = serde_json::from_str(&written).unwrap();
        let is_id = |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_id(ids["userID"].as_str().unwrap()) && is_id(ids["machineID"].as_str().unwrap()));
        assert_ne!(ids["userID"], ids["machineID"]);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        name_in(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), written);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    }
}
