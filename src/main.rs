//! The `couplet` binary: arguments in, exit status out.

mod commands;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use commands::Arguments;
use couplet::claude::launcher;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|command| command == launcher::SUBCOMMAND) {
        // Before anything else: this process is about to become the CLI.
        return launcher::main(&arguments[2..]);
    }
    Arguments::parse_from(arguments).run()
}
