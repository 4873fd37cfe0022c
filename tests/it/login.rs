//! `couplet login` keeps a token, and the server uses it.

use std::os::unix::fs::PermissionsExt;

use crate::support::server::{Server, login};

#[test]
fn a_token_from_a_pipe_is_kept_for_its_owner_and_used_as_the_sign_in() {
    let state = tempfile::tempdir().expect("a folder");
    let folder = state.path().to_str().expect("UTF-8");
    let variables = [("COUPLET_STATE_DIR", folder), ("PATH", "/nowhere")];
    // Without a token it would be a demo; the kept one makes the missing CLI an error.
    let kept = login(&variables, "sk-ant-oat01-canary\n");
    assert!(kept.success, "{kept}");
    let refused = Server::refused(&variables);
    assert!(refused.contains("CLAUDE_CLI_PATH") && !refused.contains("canary"), "{refused}");

    let token = state.path().join("token");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("the token").permissions().mode() & 0o777;
    assert_eq!(mode(&token), 0o600);
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let refused = Server::refused(&variables);
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn what_is_no_token_is_not_kept() {
    let state = tempfile::tempdir().expect("a folder");
    let folder = state.path().to_str().expect("UTF-8");
    for text in ["", "hello\n", "sk-ant-two words\n"] {
        let refused = login(&[("COUPLET_STATE_DIR", folder)], text);
        assert!(refused.how.ends_with("exit status: 2"), "{refused}");
        assert!(!state.path().join("token").exists());
    }
}
