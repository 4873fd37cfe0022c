//! Ways past what Landlock looks at, and from the process of one tenant to what is another's.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};

use couplet::claude::command_line::CommandLine;
use couplet::claude::credential::Credential;
use couplet::claude::process::Spawner;
use couplet::claude::sandbox::{Configuration, Rules, SandboxSettings};

use super::{Machine, attempt, confined_here, off, only_unconfined, port};

#[tokio::test]
async fn a_port_is_not_reached_by_what_is_no_connect_nor_opened_without_a_bind() {
    if !confined_here("network") {
        return;
    }
    let machine = Machine::new();
    let attempts = ["multipath-connect", "fast-open", "listen-without-a-name"];
    let attempts = attempts.map(|what| (what, port(&machine.other)));
    only_unconfined(&machine, &attempts).await;
}

#[tokio::test]
async fn a_socket_with_a_path_is_not_reached() {
    if !confined_here("files") {
        return;
    }
    let machine = Machine::new();
    let _stream = UnixListener::bind(machine.file("stream")).expect("a socket");
    let _datagram = UnixDatagram::bind(machine.file("datagram")).expect("a socket");
    let attempts = [("path-socket", machine.file("stream")), ("path-datagram", machine.file("datagram"))];
    only_unconfined(&machine, &attempts).await;
}

#[tokio::test]
async fn no_file_is_opened_to_others_and_no_process_s_limits_are_changed() {
    if !confined_here("files") {
        return;
    }
    let machine = Machine::new();
    let attempts = [("open-to-all", machine.file("state/token")), ("limit", std::process::id().to_string())];
    only_unconfined(&machine, &attempts).await;
}

#[tokio::test]
async fn nothing_comes_out_of_a_folder_that_is_written_nor_into_it() {
    if !confined_here("files") {
        return;
    }
    let machine = Machine::new();
    let config = machine.folder.path().join("owners");
    fs::create_dir(&config).expect("a folder");
    let login = Credential::ConfigDir(config.clone());
    let confined = machine.supply_of(login.clone(), SandboxSettings::auto());
    let free = machine.supply_of(login, off());
    assert_eq!(attempt(&confined, "write", &machine.file("owners/own")).await, "done");
    assert_eq!(attempt(&confined, "open-to-all", &machine.file("owners/own")).await, "done");
    let between = |from: &str, to: &str| format!("{} -> {}", machine.file(from), machine.file(to));
    let attempts = [
        ("link", between("state/token", "owners/token")),
        ("link-and-read", between("state/token", "owners/symbolic")),
        ("link", between("owners/own", "linked")),
        ("rename", between("owners/own", "moved")),
        ("rename", between(".env", "owners/env")),
    ];
    for (what, target) in attempts {
        let refused = attempt(&confined, what, &target).await;
        // What may be read where it is may not be put where more may be done with it.
        assert!(
            ["PermissionDenied", "CrossesDevices"].contains(&refused.as_str()),
            "{what} {target}: {refused}"
        );
        let _ = fs::remove_file(machine.file("owners/symbolic"));
        assert_eq!(attempt(&free, what, &target).await, "done", "{what} {target}, unconfined");
    }
}

#[tokio::test]
async fn a_tenant_s_process_reaches_neither_another_s_files_nor_its_process() {
    if !confined_here("signals") {
        return;
    }
    let machine = Machine::new();
    let secret = Credential::OauthToken("sk-ant-oat01-of-another".into());
    let _other = machine.supply_of(secret.clone(), SandboxSettings::auto());
    let folders = fs::read_dir(machine.folder.path().join("state/claude")).expect("a folder");
    let folder = folders.last().expect("a credential's").expect("a folder").path();
    let of_other = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    // Something that stays, in the place of the other's CLI.
    let line = CommandLine {
        program: "/bin/sleep".into(),
        arguments: vec!["60".into()],
        environment: Vec::new(),
        work: folder.clone(),
        rules: Some(Rules::of(&SandboxSettings::auto(), None, &[], Configuration::Couplets)),
    };
    let spawner = Spawner::start(env!("CARGO_BIN_EXE_couplet").into()).expect("a thread");
    let process = spawner.spawn(&line, &secret).await.expect("a process");
    let id = process.id();
    let mut attempts = vec![
        ("read", of_other("config/.claude.json")),
        ("list", of_other("config")),
        ("write", of_other("config/settings.json")),
        ("list", of_other("home")),
        ("signal", id.to_string()),
        ("limit", id.to_string()),
        ("list", format!("/proc/{id}/fd")),
        ("list", format!("/proc/{id}/cwd/")),
        ("open", format!("/proc/{id}/root/etc/passwd")),
    ];
    for name in ["environ", "mem", "maps", "cmdline", "fd/0"] {
        attempts.push(("open", format!("/proc/{id}/{name}")));
    }
    only_unconfined(&machine, &attempts).await;
    process.kill_and_wait().await;
}
