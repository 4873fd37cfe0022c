//! The flags of `couplet serve`, made from the table of settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, Error};

use super::settings::Settings;
use super::table::Setting;
use super::values::Shape;

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "COUPLET_CONFIG";

const CONFIG: &str = "config";
const NO_ENV_FILE: &str = "no-env-file";

/// What was said on the command line. Secrets are not among it.
#[derive(Debug, Clone, Default)]
pub struct ServeArguments {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether `.env` is left alone.
    pub no_env_file: bool,
    /// The texts of the flags, by their names.
    pub flags: BTreeMap<String, String>,
}

impl clap::FromArgMatches for ServeArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut arguments = Self::default();
        arguments.update_from_arg_matches(matches)?;
        Ok(arguments)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        if let Some(path) = matches.get_one::<PathBuf>(CONFIG) {
            self.config = Some(path.clone());
        }
        self.no_env_file |= matches.get_flag(NO_ENV_FILE);
        for (flag, _) in Settings::table().iter().filter_map(flag) {
            if let Some(texts) = matches.get_many::<String>(&flag) {
                self.flags.insert(flag, texts.map(String::as_str).collect::<Vec<_>>().join(","));
            }
        }
        Ok(())
    }
}

impl clap::Args for ServeArguments {
    fn augment_args(command: Command) -> Command {
        let config =
            Arg::new(CONFIG).long(CONFIG).value_name("FILE").value_parser(clap::value_parser!(PathBuf)).help(
                format!(
                    "File with settings [env: {CONFIG_VARIABLE}] [default: ./couplet.toml, if it is there]"
                ),
            );
        let no_env_file = Arg::new(NO_ENV_FILE)
            .long(NO_ENV_FILE)
            .action(ArgAction::SetTrue)
            .help("Do not read variables from .env in the working directory");
        let settings = Settings::table().iter().filter_map(|setting| Some(argument(setting, flag(setting)?)));
        command.args([config, no_env_file]).args(settings)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag of a setting and the variable it stands for: of a secret, those of the file with it.
fn flag(setting: &Setting) -> Option<(String, String)> {
    let of_value = || Some((setting.flag()?, setting.variable.to_owned()));
    setting.of_file().map(|file| (file.flag, file.variable)).or_else(of_value)
}

fn argument(setting: &Setting, (flag, variable): (String, String)) -> Arg {
    let about = setting.about.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let about = if setting.secret { format!("File with this secret: {about}") } else { about };
    let fallback = match (setting.default, setting.unset) {
        ("", unset) => format!("[default: {unset}]"),
        (default, _) => format!("[default: {default}]"),
    };
    let is_list = matches!(setting.shape, Shape::List | Shape::Table) && !setting.secret;
    let value_name = if setting.secret { "FILE" } else { value_name(setting.shape) };
    Arg::new(flag.clone())
        .long(flag)
        .value_name(value_name)
        .value_parser(NonEmptyStringValueParser::new())
        .action(if is_list { ArgAction::Append } else { ArgAction::Set })
        .allow_negative_numbers(true)
        .help(format!("{about} [env: {variable}] {fallback}"))
}

fn value_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "VALUE",
        Shape::Number => "NUMBER",
        Shape::List | Shape::Table => "LIST",
    }
}
