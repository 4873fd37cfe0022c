//! `couplet record`: records dialogues with the installed CLI.

use std::path::PathBuf;
use std::process::ExitCode;

use couplet::claude::process::own_program;
use couplet::recorder::record;

use super::{in_runtime, installed_cli};

/// Arguments of `couplet record`.
#[derive(Debug, clap::Args)]
pub struct RecordArguments {
    /// The Claude Code CLI; without it that of the settings, or the first that is found.
    #[arg(long)]
    claude_cli_path: Option<PathBuf>,
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
    let cli = installed_cli(arguments.claude_cli_path).map_err(std::io::Error::other)?;
    let folder = record(cli, own_program()?, &arguments.folder).await?;
    println!("{}", folder.display());
    Ok(())
}
