//! The documentation of the settings, made from the table: .env.example, couplet.example.toml, docs/configuration.md.
//!
//! The files in the repository are compared with what is made here (`tests/it/settings.rs`).

use std::fmt::Write as _;

use super::settings::Settings;
use super::table::Setting;
use super::values::Shape;

/// What stands in docs/configuration.md before the list.
const INTRODUCTION: &str = include_str!("docs/introduction.md");

/// A file made from the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Example {
    /// .env.example: all settings as environment variables.
    Env,
    /// couplet.example.toml: all settings as keys of couplet.toml.
    Toml,
    /// docs/configuration.md: what each setting means.
    Markdown,
}

impl Example {
    /// Where it is in the repository.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Env => ".env.example",
            Self::Toml => "couplet.example.toml",
            Self::Markdown => "docs/configuration.md",
        }
    }

    /// Its text.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Env => env(),
            Self::Toml => toml(),
            Self::Markdown => markdown(),
        }
    }
}

fn env() -> String {
    let mut text = "# Settings of Couplet as environment variables. What is commented out shows the default or an example.\n\
                    # More about each: docs/configuration.md. Made by `couplet config --example env`.\n"
        .to_owned();
    for (group, settings) in groups() {
        push(&mut text, &format!("\n## {group}\n"));
        for setting in settings {
            push(&mut text, &format!("\n{}#{}={}\n", comments(setting), setting.variable, value(setting)));
            if let Some(file) = setting.of_file() {
                push(&mut text, &format!("#{}=/run/secrets/{}\n", file.variable, setting.key));
            }
        }
    }
    text
}

fn toml() -> String {
    let mut text =
        "# Settings of Couplet, for couplet.toml. What is commented out shows the default or an example.\n\
                    # More about each: docs/configuration.md. Made by `couplet config --example toml`.\n"
            .to_owned();
    for (group, settings) in groups() {
        push(&mut text, &format!("\n## {group}\n"));
        for setting in settings {
            push(&mut text, &format!("\n{}", comments(setting)));
            let example = value(setting);
            match setting.shape {
                _ if setting.secret => {}
                Shape::Number => push(&mut text, &format!("#{} = {example}\n", setting.key)),
                Shape::Text => push(&mut text, &format!("#{} = {example:?}\n", setting.key)),
                Shape::List => push(
                    &mut text,
                    &format!("#{} = {:?}\n", setting.key, example.split(',').collect::<Vec<_>>()),
                ),
                // A key that follows the heading of a table belongs to it: tables are the last in the table of settings.
                Shape::Table => {
                    for line in setting.table.lines() {
                        push(&mut text, &format!("#{line}\n"));
                    }
                }
            }
            if let Some(file) = setting.of_file() {
                push(&mut text, &format!("#{} = \"/run/secrets/{}\"\n", file.key, setting.key));
            }
        }
    }
    text
}

fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (group, settings) in groups() {
        push(&mut text, &format!("\n## {group}\n"));
        for setting in settings {
            push(&mut text, &format!("\n### `{}`\n\n", setting.variable));
            for line in setting.about {
                push(&mut text, &format!("{}\n", line.trim()));
            }
            push(&mut text, "\n");
            let key = setting.key;
            let names = match (setting.flag(), setting.of_file()) {
                (_, Some(file)) => format!(
                    "secret: no flag, in couplet.toml `{key}`; a file with it: variable `{}`, flag `--{}`, in couplet.toml \
                     `{}`",
                    file.variable, file.flag, file.key
                ),
                (flag, None) => format!("flag `--{}`, in couplet.toml `{key}`", flag.unwrap_or_default()),
            };
            let fallback = match setting.default {
                "" => format!("if not set: {}", setting.unset),
                default => format!("default: `{default}`"),
            };
            let list = format!("- {names}\n- allowed: {}\n- {fallback}\n", setting.allowed);
            push(&mut text, &list);
            if !setting.example.is_empty() {
                push(&mut text, &format!("- example: `{}`\n", setting.example));
            }
        }
    }
    text
}

/// The settings under their headings, in the order of the table.
fn groups() -> Vec<(&'static str, &'static [Setting])> {
    let same_group = |a: &Setting, b: &Setting| a.group == b.group;
    Settings::table().chunk_by(same_group).map(|settings| (settings[0].group, settings)).collect()
}

fn comments(setting: &Setting) -> String {
    let mut text = setting.about.iter().fold(String::new(), |text, line| text + "# " + line.trim() + "\n");
    push(&mut text, &format!("# Allowed: {}.\n", setting.allowed));
    if setting.default.is_empty() {
        push(&mut text, &format!("# If not set: {}.\n", setting.unset));
    }
    text
}

/// The default, or an example.
fn value(setting: &Setting) -> &'static str {
    if setting.default.is_empty() { setting.example } else { setting.default }
}

fn push(text: &mut String, more: &str) {
    // Writing to a text cannot fail.
    let _ = text.write_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServeArguments, Surroundings};

    /// The examples with their values taken for real.
    fn uncommented(example: &str) -> String {
        let lines = example.lines().map(|line| match line.strip_prefix('#') {
            Some(value) if !value.starts_with([' ', '#']) && !value.contains("/run/secrets") => value,
            _ => "",
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_examples_are_read_without_complaint_and_defaults_in_them_are_the_defaults() {
        let by_itself = Settings::load(&ServeArguments::default(), &Surroundings::default()).unwrap();
        for (file, example) in [("couplet.toml", Example::Toml), (".env", Example::Env)] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(file), uncommented(&example.text())).unwrap();
            let around = Surroundings { folder: folder.path().to_owned(), ..Surroundings::default() };
            let loaded = Settings::load(&ServeArguments::default(), &around).unwrap();
            for (row, default) in loaded.effective.iter().zip(&by_itself.effective) {
                let is_empty = row.setting.secret;
                assert_eq!(row.source.contains(file), !is_empty, "{row:?}");
                if !row.setting.default.is_empty() {
                    assert_eq!(row.value, default.value, "{row:?}");
                }
            }
        }
    }

    #[test]
    fn every_setting_is_documented_with_what_happens_without_it() {
        for setting in Settings::table() {
            assert!(!setting.about.is_empty() && !setting.allowed.is_empty(), "{setting:?}");
            assert_ne!(setting.default.is_empty(), setting.unset.is_empty(), "{setting:?}");
            assert!(setting.secret || !value(setting).is_empty(), "{setting:?}");
            for example in [Example::Env, Example::Markdown] {
                assert!(example.text().contains(setting.variable), "{setting:?}");
            }
            assert!(Example::Toml.text().contains(setting.key), "{setting:?}");
        }
        let is_table = |setting: &Setting| setting.shape == Shape::Table;
        assert!(Settings::table().is_sorted_by_key(is_table), "tables come last");
    }
}
