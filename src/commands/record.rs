//! `couplet record`: records dialogues with the installed CLI.

use std::path::PathBuf;
use std::process::ExitCode;

use couplet::claude::process::own_program;
use couplet::recorder::record;

use super::in_runtime;

/// Arguments of `couplet record`.
#[derive(Debug, clap::Args)]
pub struct RecordArguments {
    /// The Claude Code CLI.
    #[arg(long, env = "CLAUDE_CLI_PATH")]
    claude_cli_path: PathBuf,
    /// Where the recordings go, a folder for each version.
    #[arg(long, default_value = "fixtures")]
    folder: PathBuf,
}

/// Records all scenarios.
pub fn run(arguments: RecordArguments) -> ExitCode {
    in_runtime(work(arguments))
}

#[expect(clippy::print_stdout, reason = "the folder is the command's output")]
async fn work(arguments: RecordArguments) -> std::io::Result<()> {
    let folder = record(arguments.claude_cli_path, own_program()?, &arguments.folder).await?;
    println!("{}", folder.display());
    Ok(())
}
