use super::*;
use crate::config::table::Setting;
use clap::Parser;
use proptest::prelude::*;
use proptest::sample::subsequence;
use rstest::rstest;
use secrecy::ExposeSecret;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: ServeArguments,
}

const GOOD: [(&str, &str); 3] =
    [("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-canary"), ("HOME", "/home/ann"), ("COUPLET_API_KEYS", "k1, k2")];

fn around(variables: &[(&str, &str)], folder: &Path) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Surroundings { variables, folder: folder.to_owned() }
}

/// In a folder of that path, or in none that exists.
fn load_in(folder: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let flags = ["couplet", "--claude-cli-path", "/opt/claude"].iter().chain(flags);
    let arguments = Cli::try_parse_from(flags).map(|cli| cli.serve);
    let arguments = arguments.map_err(|error| ConfigError(error.to_string()))?;
    Settings::load(&arguments, &around(variables, folder))
}

fn config(flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let nowhere = Path::new("/no/such/folder");
    Config::new(load_in(nowhere, flags, variables)?.settings, &around(variables, nowhere))
}

/// A folder with these files, which only their owner may read.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[test]
fn defaults_are_loopback_and_port_8000() {
    let config = config(&[], &GOOD).unwrap();
    assert_eq!(config.address.to_string(), "127.0.0.1:8000");
    assert_eq!(config.claude.process.state_dir, Path::new("/home/ann/.local/state/couplet"));
    assert_eq!(config.claude.deadlines.first_frame, Duration::from_secs(120));
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn beyond_loopback_without_keys_it_refuses() {
    let without_keys = &GOOD[..2];
    let error = config(&["--host", "0.0.0.0"], without_keys).unwrap_err().to_string();
    assert!(error.contains("COUPLET_API_KEYS"), "{error}");
    assert!(config(&["--host", "::"], without_keys).is_err());
    assert!(config(&["--host", "::1"], without_keys).is_ok());
    assert!(config(&["--host", "0.0.0.0"], &GOOD).is_ok());
    assert!(config(&["--host", "0.0.0.0"], &[GOOD[0], GOOD[1], ("COUPLET_API_KEYS", " , ")]).is_err());
}

#[test]
fn a_missing_credential_says_how_to_get_one() {
    let error = config(&["--demo", "never"], &[("HOME", "/home/ann")]).unwrap_err().to_string();
    assert!(error.contains("claude setup-token"), "{error}");
    assert!(config(&["--claude-config-dir", "/x"], &[("HOME", "/home/ann")]).is_ok());
}

#[test]
fn a_demo_is_for_those_without_a_credential_and_never_uses_the_owner_s() {
    let mode = |flags: &[&str], variables: &[(&str, &str)]| config(flags, variables).unwrap().http.mode;
    assert_eq!(mode(&[], &GOOD), Mode::Live);
    assert_eq!(mode(&[], &GOOD[1..]), Mode::Demo);
    let always = config(&["--demo", "always", "--claude-config-dir", "/x"], &GOOD).unwrap();
    assert_eq!(always.http.mode, Mode::Demo);
    let credential = always.claude.process.credential;
    assert!(credential.secret().is_some_and(|token| token.expose_secret().starts_with("demo-")));
}

#[rstest]
#[case(&["--image-urls", "maybe"], "Allowed: fetch, pass, refuse.")]
#[case(&["--demo", "perhaps"], "Allowed: auto, always, never.")]
#[case(&["--port", "70000"], "PORT cannot be \"70000\" (flag --port). Allowed: a whole number from 0 to 65535.")]
#[case(&["--port", "-1"], "a whole number")]
#[case(&["--host", "localhost"], "an IP address")]
#[case(&["--idle-timeout", "0"], "COUPLET_IDLE_TIMEOUT cannot be \"0\"")]
#[case(&["--idle-timeout", "soon"], "seconds above 0")]
#[case(&["--total-timeout", "1e40"], "seconds above 0")]
#[case(&["--max-concurrency", "0"], "from 1 to")]
#[case(&["--queue-size", "1.5"], "a whole number")]
#[case(&["--allowed-origins", "*"], "COUPLET_ALLOWED_ORIGINS")]
#[case(&["--anthropic-base-url", "gateway"], "http or https URL")]
#[case(&["--model-aliases", "gpt-4o"], "\"gpt-4o\" is not name=model. Allowed: name=model")]
#[case(&["--model-aliases", "a=sonnet@hgih"], "did you mean \"high\"?")]
#[case(&["--log", "debgu"], "COUPLET_LOG cannot be \"debgu\"")]
#[case(&["--log-format", "xml"], "human, json, auto")]
#[case(&["--config", "/no/such/file"], "/no/such/file cannot be read")]
fn impossible_values_are_refused(#[case] flags: &[&str], #[case] told: &str) {
    let error = config(flags, &GOOD).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn all_problems_are_told_at_once_and_secrets_are_not() {
    let folder = folder(&[
        ("couplet.toml", "queue_size = -1\nanthropic_api_key = \"key canary\"\nprot = 5\n"),
        (".env", "\nPORT=x\nCOUPLET_LOK=info\nANTHROPIC_BASE_URL=https://u:canary@h"),
    ]);
    let variables = [("CLAUDE_CODE_OAUTH_TOKEN", "two canaries"), ("COUPLET_IDEL_TIMEOUT", "5")];
    let error = load_in(folder.path(), &["--max-concurrency", "0"], &variables).unwrap_err().to_string();
    let problems: Vec<&str> = error.lines().collect();
    let (env, toml) = (folder.path().join(".env"), folder.path().join("couplet.toml"));
    let (env, toml) = (env.display(), toml.display());
    for expected in [
        "There is no setting COUPLET_IDEL_TIMEOUT (variable COUPLET_IDEL_TIMEOUT); did you mean \"COUPLET_IDLE_TIMEOUT\"?".to_owned(),
        format!("There is no setting COUPLET_LOK (COUPLET_LOK in {env} line 3); did you mean \"COUPLET_LOG\"?"),
        format!("There is no setting \"prot\" ({toml} line 3); did you mean \"port\"?"),
        "CLAUDE_CODE_OAUTH_TOKEN cannot be what is given (variable CLAUDE_CODE_OAUTH_TOKEN).".to_owned(),
        format!("ANTHROPIC_API_KEY cannot be what is given (anthropic_api_key in {toml} line 2)."),
        format!("ANTHROPIC_BASE_URL cannot be what is given (ANTHROPIC_BASE_URL in {env} line 4)."),
        format!("PORT cannot be \"x\" (PORT in {env} line 2)."),
        format!("COUPLET_QUEUE_SIZE cannot be \"-1\" (queue_size in {toml} line 1)."),
        "COUPLET_MAX_CONCURRENCY cannot be \"0\" (flag --max-concurrency).".to_owned(),
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(&expected)), "{expected}\n---\n{error}");
    }
    assert_eq!(problems.len(), 9, "{error}");
    assert!(!error.contains("canar"), "{error}");
}

#[test]
fn a_mistake_in_a_table_is_told_with_its_own_line() {
    let text =
        "[model_aliases.a]\nmodel = \"sonnet\"\n\n[model_aliases.b]\nmodel = \"opus\"\nefort = \"high\"\n";
    let folder = folder(&[("couplet.toml", text)]);
    let error = load_in(folder.path(), &[], &GOOD).unwrap_err().to_string();
    assert!(
        error.contains("couplet.toml line 6): \"b\" has the unknown key \"efort\"; did you mean"),
        "{error}"
    );
}

#[test]
fn tenants_are_read_from_couplet_toml_with_numbers_and_lines() {
    let text = "[tenants.ann]\nclaude_config_dir = \"/home/ann\"\ntokens_per_day = 2_000_000\n\n[tenants.bob]\nmax_concurency = 4\n";
    let folder = folder(&[("couplet.toml", text)]);
    let error = load_in(folder.path(), &[], &GOOD).unwrap_err().to_string();
    assert!(
        error.contains("couplet.toml line 6): \"bob\" has the unknown key \"max_concurency\"; did you mean"),
        "{error}"
    );
    let good = text.replace("max_concurency = 4", "claude_config_dir = \"/home/bob\"");
    fs::write(folder.path().join("couplet.toml"), good).unwrap();
    let loaded = load_in(folder.path(), &[], &GOOD).unwrap();
    let shown = loaded.effective.iter().find(|row| row.setting.key == "tenants").unwrap();
    assert_eq!(shown.value["ann"]["tokens_per_day"], 2_000_000);
    let config = Config::new(loaded.settings, &around(&GOOD, folder.path())).unwrap();
    let ann = &config.tenants[&TenantName::new("ann").unwrap()];
    assert_eq!(ann.limits.tokens_per_day.map(std::num::NonZeroU64::get), Some(2_000_000));
    assert_eq!(config.tenants.len(), 2);
}

#[test]
fn tenants_without_a_sign_in_of_the_server_s_are_no_demo_unless_one_is_wanted() {
    let ann = r#"{"ann": {"claude_config_dir": "/home/ann/.claude"}}"#;
    let tenants = [("HOME", "/home/x"), ("COUPLET_TENANTS", ann)];
    for demo in ["auto", "never"] {
        let config = config(&["--demo", demo], &tenants).unwrap();
        assert_eq!((config.http.mode, config.tenants.len()), (Mode::Live, 1), "{demo}");
        assert!(matches!(config.claude.process.credential, Credential::Missing));
    }
    let demo = config(&["--demo", "always"], &tenants).unwrap();
    assert_eq!(demo.http.mode, Mode::Demo);
    let mut signed_in =
        demo.tenants.values().map(|tenant| tenant.credential.secret().unwrap().expose_secret());
    assert!(signed_in.all(|secret| secret.starts_with("demo-")));
    let twice = [tenants[0], tenants[1], ("COUPLET_CLAUDE_CONFIG_DIR", "/home/ann/.claude")];
    let error = config(&[], &twice).unwrap_err().to_string();
    assert!(error.contains("\"ann\" has the same credential as the other settings"), "{error}");
}

#[test]
fn a_secret_may_be_in_a_file_and_must_be_one_word() {
    let folder = folder(&[("token", "sk-ant-from-file\n")]);
    let file = folder.path().join("token");
    let variables = [("HOME", "/home/ann"), ("CLAUDE_CODE_OAUTH_TOKEN_FILE", file.to_str().unwrap())];
    let Credential::OauthToken(token) = config(&[], &variables).unwrap().claude.process.credential else {
        panic!("no token")
    };
    assert_eq!(token.expose_secret(), "sk-ant-from-file");
    fs::write(&file, "two words").unwrap();
    let error = config(&[], &variables).unwrap_err().to_string();
    assert!(error.contains("CLAUDE_CODE_OAUTH_TOKEN") && !error.contains("two words"), "{error}");
    let missing = [("HOME", "/home/ann"), ("CLAUDE_CODE_OAUTH_TOKEN_FILE", "/no/such/file")];
    assert!(config(&[], &missing).unwrap_err().to_string().contains("/no/such/file"));
}

#[test]
fn couplet_toml_holds_secrets_only_if_nobody_else_can_read_it() {
    let folder =
        folder(&[("couplet.toml", "claude_code_oauth_token = \"sk-canary\"\napi_keys = [\"a\", \"b\"]")]);
    let load = || load_in(folder.path(), &[], &[]);
    let settings = load().unwrap().settings;
    assert_eq!(settings.claude_code_oauth_token.unwrap().0.expose_secret(), "sk-canary");
    assert_eq!(settings.api_keys.0.len(), 2);
    for mode in [0o640, 0o604] {
        fs::set_permissions(folder.path().join("couplet.toml"), fs::Permissions::from_mode(mode)).unwrap();
        let error = load().unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("canary"), "{error}");
    }
    fs::write(folder.path().join("couplet.toml"), "claude_code_oauth_token_file = \"/x\"\nport = 1").unwrap();
    assert!(load().unwrap_err().to_string().contains("claude_code_oauth_token_file"), "a path is no secret");
}

#[rstest]
#[case::the_operator_s_is_a_client_s(
    "COUPLET_ADMIN_KEY",
    "one,two",
    "COUPLET_ADMIN_KEY is in COUPLET_API_KEYS"
)]
#[case::a_client_s_signs_tokens("COUPLET_JWT_KEY", "two", "COUPLET_JWT_KEY is in COUPLET_API_KEYS")]
fn a_key_that_would_open_more_than_it_is_for_is_refused(
    #[case] name: &str,
    #[case] keys: &str,
    #[case] refused: &str,
) {
    let variables = |value| [("HOME", "/home/ann"), ("COUPLET_API_KEYS", keys), (name, value)];
    let error = config(&[], &variables("two")).unwrap_err().to_string();
    assert!(error.contains(refused) && !error.contains("two"), "{error}");
    let admin = [("HOME", "/home/ann"), ("COUPLET_ADMIN_KEY", "three"), ("COUPLET_JWT_KEY", "three")];
    let error = config(&[], &admin).unwrap_err().to_string();
    assert!(error.contains("COUPLET_ADMIN_KEY is in COUPLET_JWT_KEY"), "{error}");
    assert!(
        config(&[], &[("HOME", "/home/ann"), ("COUPLET_API_KEYS", keys), ("COUPLET_ADMIN_KEY", "three")])
            .is_ok()
    );
}

#[test]
fn a_secret_in_an_open_env_file_is_no_error_but_is_told() {
    let folder = folder(&[(".env", "ANTHROPIC_API_KEY=k\n")]);
    assert!(load_in(folder.path(), &[], &[]).unwrap().hints.is_empty());
    fs::set_permissions(folder.path().join(".env"), fs::Permissions::from_mode(0o644)).unwrap();
    let hints = load_in(folder.path(), &[], &[]).unwrap().hints;
    assert!(hints.len() == 1 && hints[0].contains("ANTHROPIC_API_KEY"), "{hints:?}");
}

#[test]
fn files_that_everybody_may_write_are_not_read_unless_they_are_named() {
    for name in [".env", "couplet.toml"] {
        let folder = folder(&[(name, "")]);
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o666)).unwrap();
        let error = load_in(folder.path(), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("everybody may write"), "{error}");
        assert!(
            load_in(folder.path(), &["--no-env-file", "--config", "couplet.toml"], &[]).is_ok()
                == (name != ".env")
        );
    }
}

#[test]
fn the_configuration_file_is_the_named_one_or_the_first_that_is_there() {
    let folder = folder(&[
        ("here/couplet.toml", "port = 1"),
        ("xdg/couplet/couplet.toml", "port = 2"),
        ("home/.config/couplet/couplet.toml", "port = 3"),
        ("named.toml", "port = 4"),
        ("other.toml", "port = 5"),
    ]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (here, nowhere) = (folder.path().join("here"), folder.path().join("nowhere"));
    let (xdg, home, named, other) = (path("xdg"), path("home"), path("named.toml"), path("other.toml"));
    let (xdg, home) = (("XDG_CONFIG_HOME", xdg.as_str()), ("HOME", home.as_str()));
    let named = ("COUPLET_CONFIG", named.as_str());
    let port = |folder, flags: &[&str], variables: &[(&str, &str)]| {
        load_in(folder, flags, variables).unwrap().settings.port
    };
    assert_eq!(port(&here, &[], &[xdg, home]), 1);
    assert_eq!(port(&nowhere, &[], &[xdg, home]), 2);
    assert_eq!(port(&nowhere, &[], &[home]), 3);
    assert_eq!(port(&here, &[], &[xdg, home, named]), 4);
    assert_eq!(port(&here, &["--config", &other], &[xdg, home, named]), 5);
    assert_eq!(port(&here, &[], &[("COUPLET_CONFIG", "")]), 1);
}

#[test]
fn a_folder_called_env_is_left_alone() {
    let folder = folder(&[(".env/bin/python", "")]);
    assert!(load_in(folder.path(), &[], &[]).is_ok());
}

/// Two values of a setting that it takes, as a variable has them.
fn values(setting: &Setting) -> [&'static str; 2] {
    match setting.key {
        "host" => ["127.0.0.2", "::1"],
        "port" | "max_concurrency" | "max_connections" | "queue_size" | "max_kept" | "warm_min"
        | "warm_max" => ["77", "78"],
        "anthropic_base_url" | "allowed_origins" => ["https://a.example", "https://b.example"],
        "model_aliases" => ["a=sonnet", "a=opus"],
        "tenants" => [r#"{"ann": {"claude_config_dir": "/a"}}"#, r#"{"ann": {"claude_config_dir": "/b"}}"#],
        "log" => ["warn", "error"],
        "log_format" => ["json", "auto"],
        "demo" => ["always", "never"],
        "sandbox" => ["require", "off"],
        "sandbox_paths" => ["/opt/a", "/opt/b:rw"],
        "jwt_algorithm" => ["HS256", "EdDSA"],
        "image_urls" => ["pass", "refuse"],
        "memory_budget" => ["2GiB", "77"],
        key if key.ends_with("timeout")
            || key.ends_with("ttl")
            || key.starts_with("warm")
            || key == "shutdown_grace" =>
        {
            ["7", "7.5"]
        }
        key if ["rate_limit_", "quota_", "total_"].iter().any(|group| key.starts_with(group)) => ["7", "8"],
        _ => ["first", "second"],
    }
}

fn as_toml(setting: &Setting, value: &str) -> String {
    match setting.shape {
        values::Shape::Number => format!("{} = {value}\n", setting.key),
        _ => format!("{} = {value:?}\n", setting.key),
    }
}

const LAYERS: [&str; 4] = ["flag", "variable", ".env", "couplet.toml"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whichever layers set a setting, the highest of them counts, and the others change nothing.
    #[test]
    fn the_highest_layer_that_sets_a_setting_counts(
        row in 0..Settings::table().len(),
        present in subsequence(LAYERS.to_vec(), 0..=4),
        by_file in subsequence(LAYERS.to_vec(), 0..=4),
    ) {
        let setting = &Settings::table()[row];
        let [wanted, other] = values(setting);
        let has_flag = |layer: &&str| *layer != "flag" || setting.flag().is_some();
        let winner = LAYERS.iter().find(|layer| present.contains(layer) && (has_flag(layer) || by_file.contains(layer)));
        let secret_file = folder(&[("wanted", wanted), ("other", other)]);
        let (mut flags, mut variables) = (Vec::new(), Vec::new());
        let (mut env, mut toml) = (String::new(), String::new());
        for layer in &present {
            let value = if Some(layer) == winner { wanted } else { other };
            // A secret may be in a file that the layer names.
            let in_file = setting.of_file().filter(|_| by_file.contains(layer));
            let (flag, variable, key, value) = match in_file {
                Some(file) => {
                    let name = if value == wanted { "wanted" } else { "other" };
                    let path = secret_file.path().join(name).to_str().unwrap().to_owned();
                    (Some(file.flag), file.variable, file.key, path)
                }
                None => (setting.flag(), setting.variable.to_owned(), setting.key.to_owned(), value.to_owned()),
            };
            match *layer {
                "flag" => flags.extend(flag.map(|flag| (flag, value))),
                "variable" => variables.push((variable, value)),
                ".env" => env = format!("{variable}='{value}'\n"),
                _ if setting.secret => toml = format!("{key} = {value:?}\n"),
                _ => toml = as_toml(setting, &value),
            }
        }
        let folder = folder(&[(".env", &env), ("couplet.toml", &toml)]);
        let arguments = ServeArguments { flags: flags.into_iter().collect(), ..ServeArguments::default() };
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let loaded = Settings::load(&arguments, &around(&variables, folder.path())).unwrap();
        let effective = &loaded.effective[row];
        match winner {
            None => prop_assert!(effective.source.starts_with("default")),
            Some(winner) => {
                prop_assert!(effective.source.contains(winner), "{} of {present:?}", effective.source);
                let alone = [(setting.variable, wanted)];
                let alone = Settings::load(&ServeArguments::default(), &around(&alone, Path::new("/no"))).unwrap();
                prop_assert_eq!(&effective.value, &alone.effective[row].value);
                if setting.key == "anthropic_api_key" {
                    let key = loaded.settings.anthropic_api_key.unwrap();
                    prop_assert_eq!(key.0.expose_secret(), wanted);
                }
            }
        }
        let defaults = loaded.effective.iter().filter(|row| row.source.starts_with("default")).count();
        prop_assert_eq!(defaults, Settings::table().len() - usize::from(winner.is_some()));
    }
}
