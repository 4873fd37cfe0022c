//! The `couplet` binary: arguments in, exit status out.

mod commands;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use commands::Arguments;
use couplet::claude::launcher;
use couplet::stand_in;

/// The system's own keeps what many streams once took.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else: a process that is about to become the CLI, or stands in for it.
    match arguments.get(1).and_then(|command| command.to_str()) {
        Some(launcher::SUBCOMMAND) => return launcher::main(&arguments[2..]),
        Some(stand_in::SUBCOMMAND) => return stand_in::main(&arguments[2..]),
        _ => {}
    }
    Arguments::parse_from(arguments).run()
}
