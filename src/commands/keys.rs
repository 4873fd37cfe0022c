//! `couplet keys`: makes, lists and revokes the keys that open the server.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::process::ExitCode;

use couplet::access::api_key;
use couplet::caller::Limits;
use couplet::caller::TenantName;
use couplet::config::{ServeArguments, Settings, Surroundings, state_dir};
use couplet::store::Store;
use couplet::store::keys::{StoredKey, StoredKeys};
use couplet::wall_clock;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::complain;

/// Arguments of `couplet keys`.
#[derive(Debug, clap::Args)]
pub struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Make a key. It is printed once, on stdout, and kept nowhere; a running server takes it at once.
    New(NewArguments),
    /// List the keys: all about them but the keys themselves.
    List {
        /// As JSON, with those that were revoked or have expired.
        #[arg(long)]
        json: bool,
        /// Those that were revoked or have expired too.
        #[arg(long)]
        all: bool,
    },
    /// Revoke a key, by its name or id. What a running server is doing for it ends within a second.
    Revoke {
        /// The key's name, or its id.
        #[arg(value_name = "NAME")]
        key: String,
    },
}

#[derive(Debug, clap::Args)]
struct NewArguments {
    /// What the key is called, in lists and accounts.
    #[arg(long)]
    name: String,
    /// The tenant with whose credential the key asks: one of those in the settings, or the default one.
    #[arg(long, value_name = "NAME", value_parser = tenant)]
    tenant: Option<TenantName>,
    /// When it expires: after a time (90d, 12h, 30m), or with the beginning of a day (2027-01-31, UTC).
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Timestamp>,
    /// A model that it may ask, for each of them. Without, it may ask all.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Requests in a minute.
    #[arg(long, value_name = "N")]
    rpm: Option<NonZeroU32>,
    /// Tokens in a minute.
    #[arg(long, value_name = "N")]
    tpm: Option<NonZeroU32>,
    /// Answers at the same time.
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroU32>,
    /// Tokens in a day (UTC).
    #[arg(long, value_name = "N")]
    daily_tokens: Option<NonZeroU64>,
    /// Tokens in a month (UTC).
    #[arg(long, value_name = "N")]
    monthly_tokens: Option<NonZeroU64>,
    /// Print the key and all about it as JSON.
    #[arg(long)]
    json: bool,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Does it.
pub fn run(arguments: KeysArguments) -> ExitCode {
    let done = match arguments.command {
        KeysCommand::New(arguments) => new(arguments),
        KeysCommand::List { json, all } => list(json, all),
        KeysCommand::Revoke { key } => revoke(&key),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&*error),
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to its user")]
fn new(arguments: NewArguments) -> Outcome {
    if let Some(problem) = api_key::problem_of_name(&arguments.name) {
        return Err(format!("{:?} cannot be the name of a key: {problem}.", arguments.name).into());
    }
    let (settings, store) = open()?;
    let tenant = arguments.tenant.unwrap_or_default();
    check_tenant(&tenant, &settings)?;
    let (id, key) = api_key::make()?;
    let models: BTreeSet<String> = arguments.models.into_iter().collect();
    let stored = StoredKey {
        id,
        hash: api_key::hash_of(&key),
        name: arguments.name,
        tenant,
        models: (!models.is_empty()).then(|| models.into_iter().collect()),
        limits: Limits {
            requests_per_minute: arguments.rpm,
            tokens_per_minute: arguments.tpm,
            concurrent_turns: arguments.concurrency,
            tokens_per_day: arguments.daily_tokens,
            tokens_per_month: arguments.monthly_tokens,
        },
        created_at: wall_clock::timestamp(),
        expires_at: arguments.expires,
        revoked_at: None,
    };
    if !store.add_key(&stored)? {
        return Err(format!(
            "There is a key named {:?} already. Revoke it, or take another name.",
            stored.name
        )
        .into());
    }
    if arguments.json {
        let mut shown = stored.shown();
        if let Value::Object(fields) = &mut shown {
            fields.insert("key".to_owned(), json!(key.expose_secret()));
        }
        println!("{shown:#}");
    } else {
        // Alone on stdout, so that a script can take it.
        println!("{}", key.expose_secret());
        eprintln!("This is the key {:?} ({}). It is shown only now: keep it.", stored.name, stored.id);
    }
    Ok(())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the list is the command's output")]
fn list(as_json: bool, all: bool) -> Outcome {
    let (_, store) = open()?;
    let now = wall_clock::timestamp();
    let StoredKeys { readable, unreadable } = store.keys()?;
    for error in &unreadable {
        eprintln!("{error}. It opens nothing.");
    }
    let keys = readable.into_iter().filter(|key| all || as_json || key.is_in_use(now));
    if as_json {
        let keys: Vec<Value> = keys.map(|key| key.shown()).collect();
        println!("{:#}", json!({"object": "list", "data": keys}));
        return Ok(());
    }
    let heading =
        ["ID", "NAME", "TENANT", "MODELS", "LIMITS", "CREATED", "EXPIRES", "STATE"].map(ToOwned::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(heading).chain(keys.map(|key| row(&key, now))).collect();
    for row in &rows {
        let widths =
            (0..row.len()).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "it talks to its user")]
fn revoke(key: &str) -> Outcome {
    let (_, store) = open()?;
    match store.revoke_key(key, wall_clock::timestamp())? {
        Some(revoked) => {
            eprintln!("The key {:?} ({}) is revoked.", revoked.name, revoked.id);
            Ok(())
        }
        None => Err(format!(
            "There is no key in use with the name or id {key:?}. `couplet keys list` shows them."
        )
        .into()),
    }
}

/// The settings, and the database in the state folder that they name.
fn open() -> Result<(Settings, Store), Box<dyn std::error::Error + Send + Sync>> {
    let around = Surroundings::of_this_process();
    let settings = Settings::load(&ServeArguments::default(), &around)?.settings;
    let store = Store::open(&state_dir(settings.state_dir.clone(), &around)?)?;
    Ok((settings, store))
}

/// A key of a tenant that there is not would open nothing.
fn check_tenant(tenant: &TenantName, settings: &Settings) -> Outcome {
    if *tenant == TenantName::default() || settings.tenants.has(tenant) {
        return Ok(());
    }
    Err(format!("There is no tenant {:?}: it must be one of COUPLET_TENANTS.", tenant.as_str()).into())
}

fn row(key: &StoredKey, now: Timestamp) -> [String; 8] {
    let state = match (key.revoked_at, key.is_in_use(now)) {
        (Some(_), _) => "revoked",
        (None, false) => "expired",
        (None, true) => "in use",
    };
    [
        key.id.to_string(),
        key.name.clone(),
        key.tenant.to_string(),
        key.models.as_ref().map_or("all".to_owned(), |models| models.join(",")),
        limits(&key.limits),
        minute(key.created_at),
        key.expires_at.map_or("never".to_owned(), minute),
        state.to_owned(),
    ]
}

/// The limits in one word, `-` for none.
fn limits(limits: &Limits) -> String {
    let Limits { requests_per_minute, tokens_per_minute, concurrent_turns, tokens_per_day, tokens_per_month } =
        limits;
    let parts = [
        requests_per_minute.map(|n| format!("{n}rpm")),
        tokens_per_minute.map(|n| format!("{n}tpm")),
        concurrent_turns.map(|n| format!("{n}at-once")),
        tokens_per_day.map(|n| format!("{n}/day")),
        tokens_per_month.map(|n| format!("{n}/month")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

fn tenant(name: &str) -> Result<TenantName, String> {
    TenantName::new(name).ok_or_else(|| {
        format!("a tenant's name has letters, digits, -, _ and ., at most {}", TenantName::MAX)
    })
}

/// A point in the future.
fn expiry(text: &str) -> Result<Timestamp, String> {
    let now = wall_clock::timestamp();
    let at = match text.parse::<Date>() {
        Ok(date) => TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok(),
        Err(_) => text
            .parse::<SignedDuration>()
            .ok()
            .or_else(|| days(text))
            .and_then(|time| now.checked_add(time).ok()),
    };
    match at {
        Some(at) if at > now => Ok(at),
        Some(_) => Err("that is over already".to_owned()),
        None => Err("a time as 90d, 12h or 30m, or a day as 2027-01-31".to_owned()),
    }
}

/// Days of 24 hours, as `90d`.
fn days(text: &str) -> Option<SignedDuration> {
    let days: i64 = text.strip_suffix('d')?.trim().parse().ok()?;
    SignedDuration::from_secs(days.checked_mul(24 * 60 * 60)?).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_from_now_or_a_day() {
        let hours =
            |text: &str| (expiry(text).unwrap().duration_since(Timestamp::now())).as_secs_f64() / 3600.0;
        assert!((hours("90d") - 90.0 * 24.0).abs() < 1.0);
        assert!((hours("12h") - 12.0).abs() < 1.0);
        assert_eq!(expiry("2999-01-31").unwrap().to_string(), "2999-01-31T00:00:00Z");
        for wrong in ["", "soon", "-1d", "0d", "2001-01-01", "2999-02-30", "99999999999999d"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
