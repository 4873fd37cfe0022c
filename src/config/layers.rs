//! The layers that settings come from: flag over environment over `.env` over couplet.toml over default.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::flags::{CONFIG_VARIABLE, ServeArguments};
use super::settings::Settings;
use super::table::Setting;
use super::{env_file, secrets, toml_file, unknown};

/// The name of the configuration file where it is looked for.
const CONFIG_FILE: &str = "couplet.toml";

/// What Couplet finds around it when it starts.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// The working directory; an empty path will do.
    pub folder: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { variables: std::env::vars_os().collect(), folder: PathBuf::new() }
    }

    /// A variable that is set and not empty. Compose files and their like set variables to nothing to say that they
    /// are not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// The text of a setting and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The text; `None` where nobody sets it and it has no default.
    pub text: Option<String>,
    /// Where it comes from, as `flag --port` or `couplet.toml line 3`.
    pub source: String,
    /// The lines of the keys within it, where it is a table of couplet.toml.
    pub lines: BTreeMap<String, usize>,
}

/// All layers, read.
#[derive(Debug)]
pub struct Layers {
    flags: BTreeMap<String, String>,
    /// By their names; a value that is no text is refused when it is asked for.
    variables: BTreeMap<String, OsString>,
    env_file: BTreeMap<String, (String, String)>,
    toml: Option<(PathBuf, BTreeMap<String, toml_file::Entry>)>,
    /// What should be told to the operator, though nothing is wrong.
    pub hints: Vec<String>,
}

impl Layers {
    /// Reads the layers. What is wrong is added to `problems`.
    pub fn read(arguments: &ServeArguments, around: &Surroundings, problems: &mut Vec<String>) -> Self {
        let mut layers = Self {
            flags: arguments.flags.clone(),
            variables: BTreeMap::new(),
            env_file: BTreeMap::new(),
            toml: None,
            hints: Vec::new(),
        };
        for (name, value) in &around.variables {
            if let Some(name) = name.to_str().filter(|_| !value.is_empty()) {
                problems.extend(unknown::variable(name, value, &format!("variable {name}")));
                layers.variables.insert(name.to_owned(), value.clone());
            }
        }
        if !arguments.no_env_file {
            layers.read_env_file(&around.folder.join(".env"), problems);
        }
        match layers.config_file(arguments, around) {
            Ok(Some((path, text))) => layers.read_toml(&path, &text, problems),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
        layers
    }

    fn read_env_file(&mut self, path: &Path, problems: &mut Vec<String>) {
        let text = match read_unnamed(path) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(problem) => {
                problems.push(format!("{problem} Mend that, or start with --no-env-file."));
                return;
            }
        };
        let shown = path.display();
        match env_file::parse(&text) {
            Ok(entries) => {
                for env_file::Entry { name, value, line } in
                    entries.into_iter().filter(|e| !e.value.is_empty())
                {
                    let source = format!("{name} in {shown} line {line}");
                    problems.extend(unknown::variable(&name, OsStr::new(&value), &source));
                    self.env_file.insert(name, (value, source));
                }
            }
            Err((line, reason)) => problems.push(format!("{shown} line {line} cannot be read: {reason}.")),
        }
        let secret =
            Settings::table().iter().find(|row| row.secret && self.env_file.contains_key(row.variable));
        if let (Some(row), Ok(file)) = (secret, fs::metadata(path))
            && secrets::is_open_to_others(&file)
        {
            let variable = row.variable;
            self.hints.push(format!("{shown} holds {variable} and can be read by others: chmod 600 {shown}"));
        }
    }

    /// The configuration file: the one that is named, or the first that is there.
    fn config_file(
        &self,
        arguments: &ServeArguments,
        around: &Surroundings,
    ) -> Result<Option<(PathBuf, String)>, String> {
        let variable = self.variables.get(CONFIG_VARIABLE).map(PathBuf::from);
        let of_env_file = || self.env_file.get(CONFIG_VARIABLE).map(|(value, _)| PathBuf::from(value));
        if let Some(named) = arguments.config.clone().or(variable).or_else(of_env_file) {
            let path = around.folder.join(&named);
            let text = fs::read_to_string(&path).map_err(|error| {
                format!("The configuration file {} cannot be read: {error}.", path.display())
            })?;
            return Ok(Some((path, text)));
        }
        let of_home = || around.path("HOME").map(|home| home.join(".config"));
        let of_user = around.path("XDG_CONFIG_HOME").or_else(of_home);
        let of_user = of_user.map(|folder| folder.join("couplet").join(CONFIG_FILE));
        for path in [Some(around.folder.join(CONFIG_FILE)), of_user].into_iter().flatten() {
            let unnamed = read_unnamed(&path).map_err(|problem| {
                format!("{problem} Mend that, or name the file you mean with --config.")
            })?;
            if let Some(text) = unnamed {
                return Ok(Some((path, text)));
            }
        }
        Ok(None)
    }

    fn read_toml(&mut self, path: &Path, text: &str, problems: &mut Vec<String>) {
        let shown = path.display();
        let entries = match toml_file::parse(text, unknown::shape_of_key) {
            Ok(entries) => entries,
            Err(mistakes) => {
                let told = mistakes.into_iter().map(|it| format!("{shown} line {}: {}.", it.line, it.reason));
                problems.extend(told);
                return;
            }
        };
        for (key, entry) in &entries {
            problems.extend(unknown::key(key, &format!("{shown} line {}", entry.line)));
        }
        let secret = Settings::table().iter().find(|row| row.secret && entries.contains_key(row.key));
        if let (Some(row), Ok(file)) = (secret, fs::metadata(path))
            && secrets::is_open_to_others(&file)
        {
            problems.push(format!(
                "{shown} holds the secret {:?} and can be read by others than its owner. Make it private (chmod 600 \
                 {shown}), or put the secret into a file of its own and name that as \"{}_file\".",
                row.key, row.key
            ));
        }
        self.toml = Some((path.to_owned(), entries));
    }

    /// The text of a setting, from the layer that has the last word; `None`, with a problem, where it cannot be read.
    pub fn find(&self, setting: &Setting, problems: &mut Vec<String>) -> Option<Found> {
        for layer in [Self::flag, Self::variable, Self::env_file_entry, Self::toml_entry] {
            let found = layer(self, &setting.flag().unwrap_or_default(), setting.variable, setting.key);
            let in_file = || {
                let file = setting.of_file()?;
                let named = layer(self, &file.flag, &file.variable, &file.key)?;
                Some(named.and_then(content))
            };
            match found.or_else(in_file) {
                None => {}
                Some(Ok(found)) => return Some(found),
                Some(Err(problem)) => {
                    problems.push(problem);
                    return None;
                }
            }
        }
        let text = (!setting.default.is_empty()).then(|| setting.default.to_owned());
        let source =
            if text.is_some() { "default".to_owned() } else { format!("default: {}", setting.unset) };
        Some(Found { text, source, lines: BTreeMap::new() })
    }

    fn flag(&self, flag: &str, _: &str, _: &str) -> Option<Result<Found, String>> {
        let text = self.flags.get(flag)?;
        Some(Ok(Found::new(text, format!("flag --{flag}"))))
    }

    fn variable(&self, _: &str, variable: &str, _: &str) -> Option<Result<Found, String>> {
        let value = self.variables.get(variable)?;
        let source = format!("variable {variable}");
        let not_text = || format!("{variable} ({source}) is not valid UTF-8.");
        Some(value.to_str().map(|text| Found::new(text, source.clone())).ok_or_else(not_text))
    }

    fn env_file_entry(&self, _: &str, variable: &str, _: &str) -> Option<Result<Found, String>> {
        let (text, source) = self.env_file.get(variable)?;
        Some(Ok(Found::new(text, source.clone())))
    }

    fn toml_entry(&self, _: &str, _: &str, key: &str) -> Option<Result<Found, String>> {
        let (path, entries) = self.toml.as_ref()?;
        let entry = entries.get(key)?;
        let source = format!("{key} in {} line {}", path.display(), entry.line);
        Some(Ok(Found { lines: entry.lines.clone(), ..Found::new(&entry.text, source) }))
    }
}

impl Found {
    fn new(text: &str, source: String) -> Self {
        Self { text: Some(text.to_owned()), source, lines: BTreeMap::new() }
    }
}

/// The content of the file that was found to be named.
fn content(named: Found) -> Result<Found, String> {
    let path = PathBuf::from(named.text.unwrap_or_default());
    let text = secrets::read(&path, &named.source)?;
    Ok(Found::new(&text, format!("file {}, {}", path.display(), named.source)))
}

/// A file that nobody named, if it is there.
fn read_unnamed(path: &Path) -> Result<Option<String>, String> {
    let problem = |error: io::Error| format!("{} cannot be read: {error}.", path.display());
    let file = match fs::metadata(path) {
        Ok(file) if file.is_file() => file,
        // A folder of that name is something else: Python's environments are often called `.env`.
        Ok(_) => return Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(problem(error)),
    };
    match secrets::distrust(&file, rustix::process::geteuid().as_raw()) {
        Some(reason) => Err(format!("{} is not read: {reason}.", path.display())),
        None => fs::read_to_string(path).map(Some).map_err(problem),
    }
}
