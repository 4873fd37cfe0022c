use super::*;
use rstest::rstest;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn table(json: &Json) -> TenantTable {
    TenantTable::read(&json.to_string()).unwrap()
}

/// A folder with files, which only their owner may read.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

fn default() -> Credential {
    Credential::OauthToken("of-the-default".into())
}

#[test]
fn a_table_is_shown_as_it_was_read() {
    let json = json!({
        "ann": {"claude_code_oauth_token_file": "/run/ann", "max_concurrency": 4, "tokens_per_day": 1_000_000},
        "bob": {"claude_config_dir": "/home/bob/.claude"},
        "c-3.po_x": {"anthropic_api_key_file": "key", "requests_per_minute": 60}
    });
    assert_eq!(table(&json).shown(), json);
    assert_eq!(TenantTable::absent().unwrap().shown(), json!({}));
}

#[rstest]
#[case(json!({"default": {"claude_config_dir": "/x"}}), "default", "the other settings")]
#[case(json!({"a b": {"claude_config_dir": "/x"}}), "a b", "is no name")]
#[case(json!({"..": {"claude_config_dir": "/x"}}), "..", "is no name")]
#[case(json!({"": {"claude_config_dir": "/x"}}), "", "is no name")]
#[case(json!({"ann": "/x"}), "ann", "must be a table")]
#[case(json!({"ann": {}}), "ann", "must have one of")]
#[case(json!({"ann": {"max_concurrency": 1}}), "ann", "must have one of")]
#[case(json!({"ann": {"claude_config_dir": "/x", "anthropic_api_key_file": "/y"}}), "ann.claude_config_dir", "has more")]
#[case(json!({"ann": {"claude_config_dir": ""}}), "ann.claude_config_dir", "must be a path")]
#[case(json!({"ann": {"claude_config_dir": 5}}), "ann.claude_config_dir", "must be a path")]
#[case(json!({"ann": {"claude_config_dri": "/x"}}), "ann.claude_config_dri", "did you mean \"claude_config_dir\"?")]
#[case(json!({"ann": {"anthropic_api_key": "k"}}), "ann.anthropic_api_key", "a file of its own: \"anthropic_api_key_file\"")]
#[case(json!({"ann": {"claude_config_dir": "/x", "max_concurrency": 0}}), "ann.max_concurrency", "from 1")]
#[case(json!({"ann": {"claude_config_dir": "/x", "tokens_per_day": "9"}}), "ann.tokens_per_day", "from 1")]
fn what_is_no_tenant_is_refused_with_reason_and_place(
    #[case] json: Json,
    #[case] place: &str,
    #[case] told: &str,
) {
    let refusal = TenantTable::read(&json.to_string()).unwrap_err();
    assert_eq!(refusal.place.as_deref(), Some(place), "{refusal:?}");
    assert!(refusal.reason.as_deref().unwrap().contains(told), "{refusal:?}");
}

#[test]
fn files_are_read_once_they_are_needed_and_only_their_owner_may_read_them() {
    let folder =
        folder(&[("ann", "token-of-ann\n"), ("bob", "key-of-bob"), ("two", "two words"), ("none", "")]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let json = json!({
        "ann": {"claude_code_oauth_token_file": path("ann"), "max_concurrency": 2, "requests_per_minute": 9},
        "bob": {"anthropic_api_key_file": path("bob")},
        "carl": {"claude_config_dir": "/home/carl"}
    });
    let tenants = table(&json).signed_in(&default()).unwrap();
    let of = |name: &str| &tenants[&TenantName::new(name).unwrap()];
    let secret = |credential: &Credential| credential.secret().unwrap().expose_secret().to_owned();
    assert!(matches!(&of("ann").credential, Credential::OauthToken(_)));
    assert_eq!(secret(&of("ann").credential), "token-of-ann");
    assert!(matches!(&of("bob").credential, Credential::ApiKey(_)));
    assert_eq!(secret(&of("bob").credential), "key-of-bob");
    assert!(matches!(&of("carl").credential, Credential::ConfigDir(path) if path == Path::new("/home/carl")));
    assert_eq!(of("ann").max_concurrency.map(NonZeroUsize::get), Some(2));
    assert_eq!(of("ann").limits.requests_per_minute.map(std::num::NonZeroU32::get), Some(9));
    assert!(!format!("{tenants:?}").contains("of-ann"));

    for (name, told) in
        [("two", "does not hold one word"), ("none", "does not hold one word"), ("no", "cannot be read")]
    {
        let table = table(&json!({"ann": {"claude_code_oauth_token_file": path(name)}}));
        let problem = table.signed_in(&default()).unwrap_err();
        assert!(
            problem.contains(told) && problem.contains("\"ann\"") && !problem.contains("two words"),
            "{problem}"
        );
    }
    for mode in [0o640, 0o604] {
        fs::set_permissions(path("ann"), fs::Permissions::from_mode(mode)).unwrap();
        let problem = table(&json).signed_in(&default()).unwrap_err();
        assert!(problem.contains("chmod 600") && !problem.contains("token-of"), "{problem}");
    }
    assert!(table(&json).for_demo(&default()).is_ok(), "in a demo no file is looked into");
}

#[test]
fn no_two_have_the_same_credential() {
    let folder = folder(&[("one", "same"), ("two", " same\n"), ("default", "of-the-default")]);
    fs::create_dir(folder.path().join("login")).unwrap();
    symlink(folder.path().join("login"), folder.path().join("link")).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let problem = |json: Json, default: &Credential| table(&json).signed_in(default).unwrap_err();
    let told = problem(
        json!({"ann": {"claude_code_oauth_token_file": path("one")}, "bob": {"anthropic_api_key_file": path("two")}}),
        &default(),
    );
    assert!(told.contains("\"bob\"") && told.contains("\"ann\"") && told.contains("one person"), "{told}");
    let told = problem(json!({"ann": {"anthropic_api_key_file": path("default")}}), &default());
    assert!(told.contains("the other settings"), "{told}");
    let told = problem(
        json!({"ann": {"claude_config_dir": path("login")}, "bob": {"claude_config_dir": path("link")}}),
        &default(),
    );
    assert!(told.contains("\"bob\""), "{told}");
    let told = problem(
        json!({"ann": {"claude_config_dir": path("link")}}),
        &Credential::ConfigDir(folder.path().join("login")),
    );
    assert!(told.contains("the other settings"), "{told}");
}

#[test]
fn in_a_demo_each_has_a_made_up_credential_of_its_own() {
    let json = json!({"ann": {"claude_config_dir": "/x"}, "bob": {"claude_config_dir": "/x"}});
    let tenants = table(&json).for_demo(&default()).unwrap();
    let secrets: Vec<_> =
        tenants.values().map(|tenant| tenant.credential.secret().unwrap().expose_secret()).collect();
    assert!(
        secrets.iter().all(|secret| secret.starts_with("demo-")) && secrets[0] != secrets[1],
        "{secrets:?}"
    );
}
