//! The table of tenants: who else has a sign-in of his own, and how much may be asked with it.
//!
//! It names files and folders, never a secret. They are looked into when the configuration of a server is made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde_json::{Map, Value as Json, json};

use super::nearest::did_you_mean;
use super::values::{OneWord, Refusal, Shape, Value};
use super::{limit_fields, secrets};
use crate::caller::{Limits, TenantName};
use crate::claude::credential::Credential;
use crate::tenants::TenantSettings;

/// The keys for how a tenant signs in.
const SIGN_INS: [&str; 3] = ["claude_code_oauth_token_file", "anthropic_api_key_file", "claude_config_dir"];

const MAX_CONCURRENCY: &str = "max_concurrency";

/// The tenants by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantTable(BTreeMap<TenantName, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    sign_in: SignIn,
    max_concurrency: Option<NonZeroUsize>,
    limits: Limits,
}

/// How a tenant signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SignIn {
    /// One of [`SIGN_INS`].
    key: &'static str,
    /// The file or folder.
    path: PathBuf,
}

impl TenantTable {
    /// Whether there is a tenant of that name, beside the default one.
    #[must_use]
    pub fn has(&self, name: &TenantName) -> bool {
        self.0.contains_key(name)
    }
}

impl Value for TenantTable {
    const SHAPE: Shape = Shape::Table;

    fn allowed() -> String {
        format!(
            "a table, or JSON, of names with one of {}; and {MAX_CONCURRENCY}, {}",
            SIGN_INS.join(", "),
            limit_fields::FIELDS.join(", ")
        )
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let tables: Map<String, Json> = serde_json::from_str(text)
            .map_err(|error| Refusal::because(format!("it is no JSON object: {error}")))?;
        let entries = tables.iter().map(|(name, fields)| Ok((name_of(name)?, entry(name, fields)?)));
        entries.collect::<Result<_, _>>().map(Self)
    }

    fn shown(&self) -> Json {
        let shown = |entry: &Entry| {
            let mut fields = Map::new();
            fields.insert(entry.sign_in.key.to_owned(), entry.sign_in.path.shown());
            fields.extend(entry.max_concurrency.map(|most| (MAX_CONCURRENCY.to_owned(), json!(most))));
            fields.extend(limit_fields::shown(&entry.limits));
            Json::Object(fields)
        };
        self.0.iter().map(|(name, entry)| (name.to_string(), shown(entry))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

fn name_of(name: &str) -> Result<TenantName, Refusal> {
    if name == TenantName::DEFAULT {
        let reason = format!("{name:?} is the tenant whose sign-in is that of the other settings");
        return Err(Refusal::at(name, reason));
    }
    TenantName::new(name).ok_or_else(|| {
        let most = TenantName::MAX;
        let reason =
            format!("{name:?} is no name: letters, digits, '-', '_' and '.' (not first), at most {most}");
        Refusal::at(name, reason)
    })
}

fn entry(name: &str, value: &Json) -> Result<Entry, Refusal> {
    let known = || SIGN_INS.into_iter().chain([MAX_CONCURRENCY]).chain(limit_fields::FIELDS);
    let Json::Object(fields) = value else {
        let known: Vec<_> = known().collect();
        return Err(Refusal::at(name, format!("{name:?} must be a table of {}", known.join(", "))));
    };
    if let Some(unknown) = fields.keys().find(|field| known().all(|known| known != field.as_str())) {
        let of_file = SIGN_INS.iter().find(|key| key.strip_suffix("_file") == Some(unknown));
        let hint = match of_file {
            Some(key) => format!("; a secret must be in a file of its own: {key:?}"),
            None => did_you_mean(unknown, known()),
        };
        let reason = format!("{name:?} has the unknown key {unknown:?}{hint}");
        return Err(Refusal::at(&format!("{name}.{unknown}"), reason));
    }
    let mut sign_ins = SIGN_INS.into_iter().filter_map(|key| Some((key, fields.get(key)?)));
    let one_of = || format!("{name:?} must have one of {}", SIGN_INS.join(", "));
    let (key, path) = sign_ins.next().ok_or_else(|| Refusal::at(name, one_of()))?;
    if let Some((second, _)) = sign_ins.next() {
        return Err(Refusal::at(&format!("{name}.{second}"), format!("{}, and has more", one_of())));
    }
    let path = path.as_str().filter(|path| !path.trim().is_empty()).map(PathBuf::from);
    let no_path = || Refusal::at(&format!("{name}.{key}"), format!("{key:?} of {name:?} must be a path"));
    Ok(Entry {
        sign_in: SignIn { key, path: path.ok_or_else(no_path)? },
        max_concurrency: limit_fields::number(name, MAX_CONCURRENCY, fields)?,
        limits: limit_fields::read(name, fields)?,
    })
}

impl TenantTable {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tenants with what their files hold, beside the default one with that credential.
    ///
    /// # Errors
    /// When a file cannot be used, or two have the same credential: each problem a line.
    pub fn signed_in(self, default: &Credential) -> Result<BTreeMap<TenantName, TenantSettings>, String> {
        self.with(SignIn::credential, default)
    }

    /// The tenants of a demo: none of their files is looked into.
    ///
    /// # Errors
    /// Never: each has a credential that is made up for it alone.
    pub fn for_demo(self, default: &Credential) -> Result<BTreeMap<TenantName, TenantSettings>, String> {
        let mut number = 0;
        let made_up = |_: &SignIn| {
            number += 1;
            Ok(Credential::OauthToken(format!("demo-mode-has-no-token-of-tenant-{number}").into()))
        };
        self.with(made_up, default)
    }

    fn with(
        self,
        mut credential: impl FnMut(&SignIn) -> Result<Credential, String>,
        default: &Credential,
    ) -> Result<BTreeMap<TenantName, TenantSettings>, String> {
        let (mut tenants, mut problems) = (BTreeMap::<TenantName, TenantSettings>::new(), Vec::new());
        for (name, Entry { sign_in, max_concurrency, limits }) in self.0 {
            let credential = match credential(&sign_in) {
                Ok(credential) => credential,
                Err(problem) => {
                    problems.push(format!(
                        "COUPLET_TENANTS: {:?} of {:?}: {problem}",
                        sign_in.key,
                        name.as_str()
                    ));
                    continue;
                }
            };
            let twin = tenants.iter().find(|(_, other)| is_same(&other.credential, &credential));
            let twin = match twin {
                Some((other, _)) => Some(format!("the tenant {:?}", other.as_str())),
                None => is_same(default, &credential).then(|| "the other settings".to_owned()),
            };
            problems.extend(twin.map(|twin| {
                format!(
                    "COUPLET_TENANTS: the tenant {:?} has the same credential as {twin}. One credential belongs to one \
                     person: give each a sign-in of its own, or leave one of them out.",
                    name.as_str()
                )
            }));
            tenants.insert(name, TenantSettings { credential, max_concurrency, limits });
        }
        if problems.is_empty() { Ok(tenants) } else { Err(problems.join("\n")) }
    }
}

impl SignIn {
    fn credential(&self) -> Result<Credential, String> {
        let [token, key, _] = SIGN_INS;
        match self.key {
            of if of == token => Ok(Credential::OauthToken(secret(&self.path)?.0)),
            of if of == key => Ok(Credential::ApiKey(secret(&self.path)?.0)),
            _ => std::path::absolute(&self.path)
                .map(Credential::ConfigDir)
                .map_err(|error| format!("{} is no folder to be used: {error}.", self.path.display())),
        }
    }
}

/// The secret in a file that only its owner can read.
fn secret(path: &Path) -> Result<OneWord, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("{shown} cannot be read: {error}.");
    let mut file = File::open(path).map_err(unreadable)?;
    if secrets::is_open_to_others(&file.metadata().map_err(unreadable)?) {
        return Err(format!(
            "{shown} can be read by others than its owner. Make it private: chmod 600 {shown}"
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    OneWord::read(&text).map_err(|_| format!("{shown} does not hold {}.", OneWord::allowed()))
}

/// Whether it is one sign-in, whichever way it is given.
fn is_same(one: &Credential, other: &Credential) -> bool {
    match (one, other) {
        (Credential::ConfigDir(one), Credential::ConfigDir(other)) => real(one) == real(other),
        _ => match (one.secret(), other.secret()) {
            (Some(one), Some(other)) => one.expose_secret() == other.expose_secret(),
            _ => false,
        },
    }
}

fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().or_else(|_| std::path::absolute(folder)).unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests;
