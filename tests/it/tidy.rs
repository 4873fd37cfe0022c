//! The house rules that no tool checks.

use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The source files in a folder, and in those below it.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source file")
}

/// Dependencies run one way: `http` → `translate` → `openai`, `claude`, `media` → `turn`.
#[rstest]
#[case("src/claude", &["crate::http", "crate::anthropic", "crate::media", "crate::openai", "crate::translate", "crate::config", "crate::upstream"])]
#[case("src/media", &["crate::http", "crate::anthropic", "crate::claude", "crate::openai", "crate::translate", "crate::config", "crate::upstream"])]
#[case("src/translate", &["crate::http", "crate::config", "crate::upstream"])]
#[case("src/wire", &["crate::anthropic", "crate::http", "crate::claude", "crate::media", "crate::translate", "crate::turn", "crate::config"])]
#[case("src/anthropic", &["crate::http", "crate::claude", "crate::media", "crate::translate", "crate::turn", "crate::config"])]
#[case("src/openai", &["crate::anthropic", "crate::http", "crate::claude", "crate::media", "crate::translate", "crate::turn", "crate::config"])]
#[case("src/upstream", &["crate::http", "crate::claude", "crate::translate", "crate::openai", "crate::config"])]
#[case("src/access", &["crate::http", "crate::anthropic", "crate::claude", "crate::openai", "crate::translate", "crate::config", "crate::upstream", "crate::tenants"])]
#[case("src/limits", &["crate::access", "crate::http", "crate::anthropic", "crate::openai", "crate::translate", "crate::config", "crate::upstream", "crate::tenants"])]
#[case("src/metrics", &["crate::access", "crate::http", "crate::anthropic", "crate::openai", "crate::config", "crate::upstream"])]
#[case("src/store", &["crate::access", "crate::limits", "crate::http", "crate::anthropic", "crate::claude", "crate::openai", "crate::translate", "crate::config", "crate::upstream", "crate::tenants"])]
#[case("src/http", &["crate::upstream", "crate::config"])]
fn dependencies_run_one_way(#[case] folder: &str, #[case] forbidden: &[&str]) {
    let sources = sources(&Path::new(ROOT).join(folder));
    assert!(sources.len() > 2, "{folder} was found");
    for source in sources {
        let text = read(&source);
        // Documentation may point anywhere.
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let breach = forbidden.iter().find(|name| line.contains(*name));
            assert_eq!(breach, None, "{}: {line}", source.display());
        }
    }
}

#[test]
fn source_files_stay_readable() {
    for source in sources(&Path::new(ROOT).join("src")) {
        let lines = read(&source).lines().count();
        assert!(lines <= 500, "{} has {lines} lines: split it", source.display());
    }
}

/// Only monotonic time decides what waits, and what is over: who needs the time of day says so by `wall_clock`. The scripted API
/// is another program, as it were.
#[test]
fn the_time_of_day_is_asked_for_in_one_file() {
    let root = Path::new(ROOT).join("src");
    let mut asked = Vec::new();
    for source in sources(&root) {
        let text = read(&source);
        // Tests may ask.
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let is_test =
            source.ends_with("tests.rs") || source.components().any(|part| part.as_os_str() == "tests");
        if !is_test
            && ["SystemTime::now()", "Timestamp::now()", "Zoned::now()"].iter().any(|it| code.contains(it))
        {
            asked.push(source.strip_prefix(&root).expect("a source").display().to_string());
        }
    }
    asked.sort();
    assert_eq!(asked, ["upstream/server.rs", "wall_clock.rs"]);
}
