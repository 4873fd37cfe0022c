//! `couplet login`: gets a token from the CLI's `setup-token` and keeps it.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use couplet::claude::process::run_in_terminal;
use couplet::config::{ServeArguments, Settings, Surroundings, kept_token, state_dir};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

use super::{in_runtime, installed_cli};

/// The longest token that is read, in bytes.
const MOST: usize = 4096;

/// Keeps a token where the server finds it.
pub fn run() -> ExitCode {
    in_runtime(work())
}

#[expect(clippy::print_stdout, reason = "it talks to its user")]
async fn work() -> std::io::Result<()> {
    let around = Surroundings::of_this_process();
    let settings =
        Settings::load(&ServeArguments::default(), &around).map_err(std::io::Error::other)?.settings;
    let folder = state_dir(settings.state_dir, &around).map_err(std::io::Error::other)?;
    let token = if std::io::stdin().is_terminal() {
        let cli = installed_cli(None).map_err(std::io::Error::other)?;
        let status = run_in_terminal(&cli, &["setup-token"]).await?;
        if !status.success() {
            return Err(std::io::Error::other(format!(
                "`{} setup-token` ended with {status}",
                cli.display()
            )));
        }
        print!("\nPaste the token it printed (it is not shown): ");
        std::io::stdout().flush()?;
        let token = without_echo(read_line)?;
        println!();
        token
    } else {
        // From a pipe: `couplet login < file`.
        read_line()?
    };
    let path = kept_token::keep(&folder, &checked(&token)?)?;
    println!("The token is kept in {}. Couplet uses it from its next start on.", path.display());
    Ok(())
}

fn read_line() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::Read::take(std::io::stdin().lock(), MOST as u64).read_line(&mut line)?;
    Ok(line)
}

fn checked(line: &str) -> std::io::Result<SecretString> {
    let token = line.trim();
    if !token.starts_with("sk-ant-") || token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(std::io::Error::other(
            "That is no token: `claude setup-token` prints one that begins with sk-ant-. Nothing was kept.",
        ));
    }
    Ok(token.into())
}

/// Reads from the terminal without showing what is typed.
fn without_echo<T>(read: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Now, &silent)?;
    let outcome = read();
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    outcome
}
