//! What was used: tokens of each caller and model, by the day. Quotas are sums over it, and so is what the operator sees.

use std::sync::Arc;

use jiff::civil::Date;
use rusqlite::{Connection, Row, ToSql, named_params};

use super::{Store, StoreError};
use crate::caller::{CallerId, TenantName};

/// The table.
pub(super) const SCHEMA: &str = "
    CREATE TABLE usage (
        day TEXT NOT NULL,
        caller TEXT NOT NULL,
        caller_name TEXT NOT NULL,
        tenant TEXT NOT NULL,
        model TEXT NOT NULL,
        requests INTEGER NOT NULL,
        input INTEGER NOT NULL,
        cache_creation INTEGER NOT NULL,
        cache_read INTEGER NOT NULL,
        output INTEGER NOT NULL,
        PRIMARY KEY (day, caller, tenant, model)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX usage_of_callers ON usage (caller, day);
    CREATE INDEX usage_of_tenants ON usage (tenant, day);
";

/// The most tokens that are counted at once. Nothing takes so many; a number that nobody meant must not spoil the sums.
const MOST: u64 = 1 << 40;

/// Whose usage, when, of which model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageKey {
    /// The day, in UTC.
    pub day: Date,
    /// Who asked.
    pub caller: CallerId,
    /// With whose credential.
    pub tenant: TenantName,
    /// The model, as it names itself.
    pub model: Arc<str>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Requests that the model was asked for.
    pub requests: u64,
    /// Uncached tokens of prompts.
    pub input: u64,
    /// Tokens of prompts written to the cache.
    pub cache_creation: u64,
    /// Tokens of prompts read from the cache.
    pub cache_read: u64,
    /// Tokens of answers.
    pub output: u64,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose, when, of which model.
    pub key: UsageKey,
    /// The caller's name for people, as it was last.
    pub caller_name: Arc<str>,
    /// What was used.
    pub amounts: Amounts,
}

/// Whose usage is summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// A caller's.
    Caller(CallerId),
    /// That of all callers of a tenant.
    Tenant(TenantName),
    /// Everybody's.
    All,
}

/// Which rows are looked for.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// Only this caller's: its id, or its name.
    pub caller: Option<String>,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only this model's.
    pub model: Option<String>,
    /// How many rows are wanted at most.
    pub limit: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageFound {
    /// The rows, the latest day first.
    pub rows: Vec<UsageRow>,
    /// Whether there are more.
    pub has_more: bool,
    /// The sums over all rows, those that are not here too.
    pub totals: Amounts,
}

impl Whose {
    /// Whether a row belongs to it.
    #[must_use]
    pub fn has(&self, key: &UsageKey) -> bool {
        match self {
            Self::Caller(caller) => *caller == key.caller,
            Self::Tenant(tenant) => *tenant == key.tenant,
            Self::All => true,
        }
    }
}

impl Amounts {
    /// Tokens of any kind.
    #[must_use]
    pub fn tokens(self) -> u64 {
        [self.cache_creation, self.cache_read, self.output].into_iter().fold(self.input, u64::saturating_add)
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input: self.input.saturating_add(other.input),
            cache_creation: self.cache_creation.saturating_add(other.cache_creation),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            output: self.output.saturating_add(other.output),
        }
    }

    /// The same, or as much of it as can be.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            requests: self.requests.min(MOST),
            input: self.input.min(MOST),
            cache_creation: self.cache_creation.min(MOST),
            cache_read: self.cache_read.min(MOST),
            output: self.output.min(MOST),
        }
    }
}

impl Store {
    /// Adds these to what there is, all or none of them.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn add_usage(&self, rows: impl Iterator<Item = UsageRow>) -> Result<(), StoreError> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            {
                let mut add = transaction.prepare_cached(
                    "INSERT INTO usage VALUES (:day, :caller, :caller_name, :tenant, :model, :requests, :input, \
                     :cache_creation, :cache_read, :output) \
                     ON CONFLICT DO UPDATE SET caller_name = excluded.caller_name, \
                     requests = requests + excluded.requests, input = input + excluded.input, \
                     cache_creation = cache_creation + excluded.cache_creation, \
                     cache_read = cache_read + excluded.cache_read, output = output + excluded.output",
                )?;
                for UsageRow { key, caller_name, amounts } in rows {
                    add.execute(named_params! {
                        ":day": key.day.to_string(),
                        ":caller": key.caller.as_str(),
                        ":caller_name": caller_name,
                        ":tenant": key.tenant.as_str(),
                        ":model": key.model,
                        ":requests": signed(amounts.requests),
                        ":input": signed(amounts.input),
                        ":cache_creation": signed(amounts.cache_creation),
                        ":cache_read": signed(amounts.cache_read),
                        ":output": signed(amounts.output),
                    })?;
                }
            }
            transaction.commit()
        })
    }

    /// The tokens that somebody has used that day, and in its month up to its end.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn used_tokens(&self, whose: &Whose, day: Date) -> Result<(u64, u64), StoreError> {
        let (condition, name) = match whose {
            Whose::Caller(caller) => ("caller = ?1", caller.as_str()),
            Whose::Tenant(tenant) => ("tenant = ?1", tenant.as_str()),
            Whose::All => ("?1 = ''", ""),
        };
        let sql = format!(
            "SELECT total(tokens) FILTER (WHERE day = ?2), total(tokens) FROM \
             (SELECT day, input + cache_creation + cache_read + output AS tokens FROM usage \
             WHERE {condition} AND day BETWEEN ?3 AND ?4)"
        );
        let [today, first, last] =
            [day, day.first_of_month(), day.last_of_month()].map(|day| day.to_string());
        self.with(|connection| {
            let mut sum = connection.prepare_cached(&sql)?;
            sum.query_row((name, today, first, last), |row| Ok((whole(row.get(0)?), whole(row.get(1)?))))
        })
    }

    /// Looks for rows.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn usage(&self, query: &UsageQuery) -> Result<UsageFound, StoreError> {
        let condition = "day BETWEEN :from AND :to \
            AND (:caller IS NULL OR caller = :caller OR caller_name = :caller) \
            AND (:tenant IS NULL OR tenant = :tenant) AND (:model IS NULL OR model = :model)";
        let (from, to) = (query.from.to_string(), query.to.to_string());
        let conditions: [(&str, &dyn ToSql); 5] = [
            (":from", &from),
            (":to", &to),
            (":caller", &query.caller),
            (":tenant", &query.tenant),
            (":model", &query.model),
        ];
        let one_more = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
        let find = |connection: &mut Connection| {
            // Both see the same rows.
            let transaction = connection.transaction()?;
            let totals = transaction.query_row(
                &format!(
                    "SELECT total(requests) AS requests, total(input) AS input, total(cache_creation) AS cache_creation, \
                     total(cache_read) AS cache_read, total(output) AS output FROM usage WHERE {condition}"
                ),
                &conditions,
                |row| amounts(row, |row, name| Ok(whole(row.get(name)?))),
            )?;
            let mut select = transaction.prepare(&format!(
                "SELECT * FROM usage WHERE {condition} ORDER BY day DESC, caller, tenant, model LIMIT {one_more}"
            ))?;
            let rows = select.query_map(&conditions, |row| Ok(read(row)))?;
            Ok((rows.collect::<rusqlite::Result<Vec<_>>>()?, totals))
        };
        let (rows, totals) = self.with(find)?;
        let has_more = rows.len() > query.limit;
        let rows = rows.into_iter().take(query.limit).collect::<Result<_, _>>()?;
        Ok(UsageFound { rows, has_more, totals })
    }
}

fn read(row: &Row<'_>) -> Result<UsageRow, StoreError> {
    let day: String = row.get("day")?;
    let unreadable = |what: &str| StoreError::Content(format!("the usage of {day}: {what}"));
    let tenant: String = row.get("tenant")?;
    let caller: String = row.get("caller")?;
    let key = UsageKey {
        day: day.parse().map_err(|_| unreadable("no day"))?,
        caller: CallerId::new(&caller),
        tenant: TenantName::new(&tenant).ok_or_else(|| unreadable("its tenant has no name"))?,
        model: row.get("model")?,
    };
    let count = |row: &Row<'_>, name: &str| Ok(row.get::<_, i64>(name)?.unsigned_abs());
    Ok(UsageRow { key, caller_name: row.get("caller_name")?, amounts: amounts(row, count)? })
}

fn amounts(
    row: &Row<'_>,
    count: impl Fn(&Row<'_>, &str) -> rusqlite::Result<u64>,
) -> rusqlite::Result<Amounts> {
    Ok(Amounts {
        requests: count(row, "requests")?,
        input: count(row, "input")?,
        cache_creation: count(row, "cache_creation")?,
        cache_read: count(row, "cache_read")?,
        output: count(row, "output")?,
    })
}

/// As SQLite has it.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// SQLite's `total`, which unlike `sum` never overflows. It is exact up to 2⁵³.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of whole numbers that are not negative"
)]
fn whole(total: f64) -> u64 {
    total as u64
}

#[cfg(test)]
mod tests;
