//! `couplet config`: the settings that count, and the files that document them.

use std::process::ExitCode;

use couplet::config::docs::Example;
use couplet::config::{Config, ServeArguments, Settings, Surroundings, effective};

use super::complain;

/// Arguments of `couplet config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArguments {
    /// Show them as JSON.
    #[arg(long)]
    json: bool,
    /// Show a file with all settings instead: it is made from their definition, and reads nothing.
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "json")]
    example: Option<Example>,
    #[command(flatten)]
    serve: ServeArguments,
}

/// Shows the settings, and says what is wrong with them.
#[expect(clippy::print_stdout, reason = "the settings are the command's output")]
pub fn run(arguments: &ConfigArguments) -> ExitCode {
    if let Some(example) = arguments.example {
        print!("{}", example.text());
        return ExitCode::SUCCESS;
    }
    let around = Surroundings::of_this_process();
    let loaded = match Settings::load(&arguments.serve, &around) {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error),
    };
    if arguments.json {
        println!("{:#}", effective::as_json(&loaded.effective));
    } else {
        print!("{}", effective::as_text(&loaded.effective));
    }
    // Each may be fine by itself, and the server not start all the same.
    match Config::new(loaded.settings, &around) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}
