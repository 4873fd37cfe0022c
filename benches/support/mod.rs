//! What the benchmarks of the whole have in common.

pub mod children;
pub mod couplet;
pub mod processes;
pub mod report;
pub mod statistics;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The credential of the CLI here; nothing takes it for a real one.
pub const TOKEN: &str = "sk-ant-oat01-benchmark";

/// `PATH`, which every program here gets.
pub fn path() -> Vec<(OsString, OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect()
}

/// The stand-in for the CLI, as a program without arguments of its own.
pub fn stand_in(folder: &Path) -> PathBuf {
    let script = folder.join("claude");
    let couplet = env!("CARGO_BIN_EXE_couplet");
    std::fs::write(&script, format!("#!/bin/sh\nexec '{couplet}' __stand-in \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    script
}

/// What was measured on.
pub fn machine(cli: &Path) -> String {
    let said = std::process::Command::new(cli).arg("--version").env_clear().output().unwrap().stdout;
    let cores = std::thread::available_parallelism().unwrap();
    let (own, cli) = (env!("CARGO_PKG_VERSION"), String::from_utf8(said).unwrap());
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(": "));
    format!(
        "Couplet {own}, Claude Code CLI {}, {cores} cores ({})",
        cli.split_whitespace().next().unwrap_or("?"),
        model.unwrap_or("of an unknown kind")
    )
}
