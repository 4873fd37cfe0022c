//! `couplet keys`, with a server beside it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::command::{Ended, run_in};
use crate::support::server::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_couplet");

/// Runs `couplet keys` in the home of a server.
fn keys(home: &Path, arguments: &[&str]) -> Ended {
    let arguments = [&["keys"], arguments].concat();
    let home_text = home.to_str().expect("UTF-8");
    run_in(home, Path::new(PROGRAM), &arguments, &[("HOME", home_text)], Duration::from_secs(20))
        .expect("it starts")
}

fn is_refused(ended: &Ended) -> bool {
    !ended.success && ended.how.ends_with("exit status: 2")
}

async fn status(server: &Server, key: &str) -> u16 {
    let request = reqwest::Client::new().get(format!("{}/v1/models", server.url)).bearer_auth(key);
    request.send().await.expect("an answer").status().as_u16()
}

async fn until(server: &Server, key: &str, expected: u16) {
    let begun = Instant::now();
    while status(server, key).await != expected {
        assert!(begun.elapsed() < Duration::from_secs(2), "not {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_key_is_made_listed_and_revoked_while_the_server_runs() {
    let server = Server::start(&[("PATH", "/nowhere")]).await;
    let home = server.home();
    assert_eq!(status(&server, "anything").await, 200);

    let made = keys(home, &["new", "--name", "Ann's laptop", "--expires", "90d", "--rpm", "60"]);
    assert!(made.success, "{made}");
    let key = made.stdout.trim();
    assert!(key.starts_with("sk-couplet-") && key.len() == 43 && made.stdout.lines().count() == 1, "{made}");
    assert!(!made.stderr.contains(key));
    until(&server, "anything", 401).await;
    assert_eq!(status(&server, key).await, 200);

    let taken = keys(home, &["new", "--name", "Ann's laptop"]);
    assert!(is_refused(&taken) && taken.stderr.contains("already"), "{taken}");
    let list = keys(home, &["list"]).stdout;
    assert!(list.contains("Ann's laptop") && list.contains("60rpm") && !list.contains(key), "{list}");
    let list: Value = serde_json::from_str(&keys(home, &["list", "--json"]).stdout).expect("JSON");
    let listed = &list["data"][0];
    assert_eq!(
        (&listed["name"], &listed["limits"]["requests_per_minute"]),
        (&json!("Ann's laptop"), &json!(60))
    );
    assert!(!list.to_string().contains(key) && listed.get("hash").is_none(), "{list}");

    let id = listed["id"].as_str().expect("an id");
    assert!(keys(home, &["revoke", id]).success);
    until(&server, key, 401).await;
    assert!(is_refused(&keys(home, &["revoke", id])));
    assert!(!keys(home, &["list"]).stdout.contains("Ann's"));
    assert!(keys(home, &["list", "--all"]).stdout.contains("revoked"));
    // The key stands in no file, and was told to nobody but whoever made it.
    for file in files(home) {
        let content = std::fs::read(&file).expect("a file");
        assert!(!content.windows(key.len()).any(|part| part == key.as_bytes()), "{}", file.display());
    }
    assert!(!server.stop().await.contains(key));
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}

#[tokio::test]
async fn beyond_loopback_a_key_that_was_made_is_enough() {
    let home = tempfile::tempdir().expect("a folder");
    let home_text = home.path().to_str().expect("UTF-8");
    let config = || {
        let variables = [("HOME", home_text), ("HOST", "0.0.0.0"), ("PATH", "/nowhere")];
        run_in(home.path(), Path::new(PROGRAM), &["config"], &variables, Duration::from_secs(20))
            .expect("it starts")
    };
    let refused = config();
    assert!(is_refused(&refused) && refused.stderr.contains("couplet keys new"), "{refused}");
    assert!(keys(home.path(), &["new", "--name", "one"]).success);
    assert!(config().success);
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_with_the_reason() {
    let home = tempfile::tempdir().expect("a folder");
    for (arguments, reason) in [
        (&["new", "--name", ""][..], "1 to 64 characters"),
        (&["new", "--name", "key_1"], "begin with key_"),
        (&["new", "--name", "a", "--expires", "yesterday"], "90d"),
        (&["new", "--name", "a", "--rpm", "0"], "--rpm"),
        (&["new", "--name", "a", "--tenant", "no/name"], "tenant's name"),
        (&["new", "--name", "a", "--tenant", "nobody"], "COUPLET_TENANTS"),
        (&["revoke", "nobody"], "couplet keys list"),
    ] {
        let refused = keys(home.path(), arguments);
        assert!(is_refused(&refused) && refused.stderr.contains(reason), "{arguments:?}: {refused}");
    }
}
