//! What the kernel refuses to a process of the CLI: a program in its place tries what it should not, and what it must.
//!
//! Everything is tried twice: confined, and, to see that the attempt is one, with `COUPLET_SANDBOX=off`.

mod ways_past;

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use couplet::claude::command_line::CliProgram;
use couplet::claude::credential::Credential;
use couplet::claude::process::OutputBounds;
use couplet::claude::sandbox::{MorePath, SandboxMode, SandboxSettings, Support};
use couplet::claude::supply::{ProcessSettings, ProcessSupply};
use couplet::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::{TOKEN, ask};
use crate::support::command::run;
use crate::support::fake_cli::script::Script;
use crate::support::fake_cli::{FakeCli, program};

const BOUNDS: OutputBounds = OutputBounds { bytes: 4096, time: Duration::from_secs(30) };

/// What is confined here, the newest first; a kernel without Landlock leaves these tests nothing to see.
fn confined_here(what: &str) -> bool {
    let support = Support::of_this_kernel();
    let is_confined = support.confines().contains(&what);
    if !is_confined {
        eprintln!("left out: {what} cannot be confined here ({support})");
    }
    is_confined
}

/// A machine with things on it that are not the CLI's business, and a program in the CLI's place.
struct Machine {
    folder: TempDir,
    cli: PathBuf,
    /// What the CLI takes for Anthropic's API.
    api: TcpListener,
    /// Something else that listens.
    other: TcpListener,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in
            [("state/couplet.db", "keys"), ("state/token", TOKEN), ("home/.ssh/id", "key"), (".env", "KEY=k")]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let listen = || TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        Self { folder, cli: program(), api: listen(), other: listen() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn supply(&self, sandbox: SandboxSettings) -> ProcessSupply {
        self.supply_of(Credential::OauthToken(TOKEN.into()), sandbox)
    }

    fn supply_of(&self, credential: Credential, sandbox: SandboxSettings) -> ProcessSupply {
        let passed_through = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        ProcessSupply::new(ProcessSettings {
            program: CliProgram::Installed(self.cli.clone()),
            launcher: env!("CARGO_BIN_EXE_couplet").into(),
            credential,
            state_dir: self.folder.path().join("state"),
            base_url: Some(format!("http://{}", self.api.local_addr().expect("an address"))),
            passed_through: passed_through.into_iter().collect(),
            sandbox,
            version: None,
        })
        .expect("a supply")
    }

    /// The folder of the one credential there is.
    fn own(&self, name: &str) -> String {
        let mut folders = fs::read_dir(self.folder.path().join("state/claude")).expect("a folder");
        let own = folders.next().expect("a credential's folder").expect("a folder").path();
        own.join(name).to_str().expect("UTF-8").to_owned()
    }
}

/// What came of an attempt by a process that is started as all are.
async fn attempt(supply: &ProcessSupply, what: &str, target: &str) -> String {
    let output = supply.run(&["attempt", what, target], BOUNDS).await.expect("it starts");
    assert!(output.exit_code == Some(0) && output.in_time, "{what} {target}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn port(listener: &TcpListener) -> String {
    listener.local_addr().expect("an address").port().to_string()
}

fn off() -> SandboxSettings {
    SandboxSettings { mode: SandboxMode::Off, ..SandboxSettings::auto() }
}

/// Each of these must be refused where it is confined, and succeed where it is not.
async fn only_unconfined(machine: &Machine, attempts: &[(&str, String)]) {
    let (confined, free) = (machine.supply(SandboxSettings::auto()), machine.supply(off()));
    for (what, target) in attempts {
        assert_eq!(attempt(&confined, what, target).await, "PermissionDenied", "{what} {target}");
        assert_eq!(attempt(&free, what, target).await, "done", "{what} {target}, unconfined");
    }
}

#[tokio::test]
async fn no_file_is_read_written_or_executed_that_is_not_the_cli_s() {
    if !confined_here("files") {
        return;
    }
    let machine = Machine::new();
    let server = std::process::id();
    let elsewhere = tempfile::NamedTempFile::new().expect("a file in the folder for temporary files");
    let attempts = [
        ("read", "/etc/passwd".to_owned()),
        ("read", "/proc/1/cmdline".to_owned()),
        ("read", format!("/proc/{server}/environ")),
        ("read", format!("/proc/{server}/cmdline")),
        ("list", "/proc".to_owned()),
        ("read", machine.file("state/couplet.db")),
        ("read", machine.file("state/token")),
        ("read", machine.file(".env")),
        ("read", machine.file("home/.ssh/id")),
        ("list", machine.file("state")),
        ("list", "/tmp".to_owned()),
        ("list", "/".to_owned()),
        ("write", elsewhere.path().to_str().expect("UTF-8").to_owned()),
        ("write", machine.file("state/couplet.db")),
        ("write", machine.file("state/empty/new")),
        ("make-folder", machine.file("made")),
        ("run", "/bin/sh".to_owned()),
        ("run", "/usr/bin/env".to_owned()),
    ];
    let supply = machine.supply(SandboxSettings::auto());
    // Where its binary would be, if it wrote one.
    let planted = machine.own("config/planted");
    fs::copy("/bin/true", &planted).expect("a copy");
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o700)).expect("a program");
    drop(supply);
    only_unconfined(&machine, &attempts).await;
    // What the next process would obey, and what it would run.
    let later = ["config/.claude.json", "config/settings.json", "config/CLAUDE.md", "home/new"];
    let later: Vec<_> = later.iter().map(|name| ("write", machine.own(name))).collect();
    only_unconfined(&machine, &later).await;
    only_unconfined(&machine, &[("run", planted)]).await;
}

#[tokio::test]
async fn what_the_cli_needs_it_gets() {
    let machine = Machine::new();
    for sandbox in [SandboxSettings::auto(), off()] {
        let supply = machine.supply(sandbox);
        let needed = [
            ("list", machine.file("state/empty")),
            ("read", machine.own("config/.claude.json")),
            ("list", machine.own("home")),
            ("list", machine.own("tmp")),
            ("read", "/etc/hosts".to_owned()),
            ("write", "/dev/null".to_owned()),
            ("read", "/dev/null".to_owned()),
            ("read", "/proc/self/status".to_owned()),
            ("connect", port(&machine.api)),
            ("run", machine.cli.to_str().expect("UTF-8").to_owned()),
        ];
        for (what, target) in needed {
            assert_eq!(attempt(&supply, what, &target).await, "done", "{what} {target}");
        }
    }
}

#[tokio::test]
async fn no_port_is_reached_but_the_api_s_and_none_is_opened() {
    if !confined_here("network") {
        return;
    }
    let machine = Machine::new();
    let attempts = [("connect", port(&machine.other)), ("listen", String::new())];
    only_unconfined(&machine, &attempts).await;
}

#[tokio::test]
async fn no_process_outside_is_signalled_and_no_socket_without_a_path_is_reached() {
    if !confined_here("signals") {
        return;
    }
    let machine = Machine::new();
    let name = format!("couplet-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listening = UnixListener::bind_addr(&address).expect("a socket");
    let attempts = [("signal", std::process::id().to_string()), ("abstract-socket", name)];
    only_unconfined(&machine, &attempts).await;
}

#[tokio::test]
async fn a_cli_behind_scripts_finds_their_interpreters_and_runs_nothing_else() {
    if !confined_here("files") {
        return;
    }
    let mut machine = Machine::new();
    let wrapper = machine.folder.path().join("claude");
    fs::write(&wrapper, format!("#!/usr/bin/env sh\nexec '{}' \"$@\"\n", machine.cli.display()))
        .expect("a script");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o700)).expect("a script");
    let cli = std::mem::replace(&mut machine.cli, wrapper);
    // What a shell script goes on to run, nobody can know.
    let refused = machine
        .supply(SandboxSettings::auto())
        .start_process()
        .await
        .expect_err("it may not be run")
        .to_string();
    assert!(refused.contains("COUPLET_SANDBOX_PATHS") || refused.contains("exit status: 126"), "{refused}");
    let more = vec![MorePath { path: cli, is_writable: false }];
    let supply = machine.supply(SandboxSettings { more, ..SandboxSettings::auto() });
    assert_eq!(attempt(&supply, "list", &machine.file("state/empty")).await, "done");
    assert_eq!(attempt(&supply, "read", "/etc/passwd").await, "PermissionDenied");
    assert_eq!(attempt(&supply, "run", "/bin/true").await, "PermissionDenied");
}

#[tokio::test]
async fn a_cli_that_the_sandbox_stops_says_so_and_names_the_setting() {
    if !confined_here("files") {
        return;
    }
    let fake = FakeCli::new(&Script::default());
    let app = fake.app_with(|config: &mut Config| {
        config.claude.process.sandbox.more.clear();
        config.claude.process.program = CliProgram::Installed(fake.file("claude"));
    });
    let script =
        "#!/bin/sh\necho 'libx.so: cannot open shared object file: Permission denied' >&2\nexit 127\n";
    fs::write(fake.file("claude"), script).expect("a script");
    fs::set_permissions(fake.file("claude"), fs::Permissions::from_mode(0o700)).expect("a script");
    let (status, body) = app.await.answer(&ask("hello")).await;
    let sentence = body["error"]["message"].as_str().expect("a sentence");
    assert_eq!(status, 503);
    assert!(sentence.contains("libx.so") && sentence.contains("COUPLET_SANDBOX=off"), "{sentence}");
}

#[tokio::test]
async fn health_says_what_is_confined() {
    let fake = FakeCli::new(&Script::default());
    for (mode, word) in [(SandboxMode::Auto, "auto"), (SandboxMode::Off, "off")] {
        let app = fake.app_with(|config: &mut Config| config.claude.process.sandbox.mode = mode).await;
        let confines =
            if mode == SandboxMode::Off { Vec::new() } else { Support::of_this_kernel().confines() };
        let expected = json!({"mode": word, "confines": confines});
        let health: Value = app.health().await;
        assert_eq!(health["sandbox"], expected);
    }
}

#[test]
fn the_launcher_starts_nothing_by_rules_it_does_not_understand() {
    let couplet = Path::new(env!("CARGO_BIN_EXE_couplet"));
    for rules in [["1", "reads=/"], ["2", "read=/"], ["1", "connect=x"]] {
        let [number, rule] = rules;
        let arguments = ["__exec", "-", "-", number, rule, "/bin/echo", "it ran"];
        let ended = run(couplet, &arguments, &[], None, BOUNDS.time).expect("it starts");
        assert!(!ended.success && !ended.stdout.contains("it ran"), "{rules:?}: {ended}");
    }
}
