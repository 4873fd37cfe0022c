//! What was used, on its way into the store: added up in memory, and written by one thread, many at once.
//!
//! A store that cannot be written to changes nothing for callers. What is not written yet counts for quotas like the rest, and
//! is tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::civil::Date;

use super::quota::Used;
use crate::store::usage::{Amounts, UsageFound, UsageKey, UsageQuery, UsageRow, Whose};
use crate::store::{Store, StoreError};

/// How long what was used is added up before it is written.
const GATHER: Duration = Duration::from_millis(200);

/// How long to wait after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How often the log tells that writing fails.
const COMPLAIN: Duration = Duration::from_secs(60);

/// The most rows that wait to be written: of so many callers and models in as many days. What comes on top while the disk is
/// full is lost, and the log says so.
const MAX_WAITING: usize = 100_000;

/// The accounts of all callers. Cheap to clone; what waits is written when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<Writer>);

/// What is not written yet.
#[derive(Debug, Default)]
struct Waiting {
    rows: BTreeMap<UsageKey, (Arc<str>, Amounts)>,
    /// Rows that found no room.
    lost: u64,
    is_over: bool,
}

#[derive(Debug)]
struct Books {
    store: Store,
    waiting: Mutex<Waiting>,
    /// Woken when something waits, or it is over.
    news: Condvar,
    /// Held while rows are on their way from memory to the store, where they would be seen neither here nor there.
    moving: Mutex<()>,
}

/// Ends the thread.
#[derive(Debug)]
struct Writer {
    books: Arc<Books>,
    thread: Option<JoinHandle<()>>,
}

impl Accounts {
    /// Accounts in that store.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(store: Store) -> std::io::Result<Self> {
        let books = Arc::new(Books {
            store,
            waiting: Mutex::default(),
            news: Condvar::new(),
            moving: Mutex::default(),
        });
        let of_thread = Arc::clone(&books);
        let thread = std::thread::Builder::new()
            .name("accounts".to_owned())
            .spawn(move || of_thread.keep_writing())?;
        Ok(Self(Arc::new(Writer { books, thread: Some(thread) })))
    }

    /// Adds something that was used. It does not wait for the disk.
    pub fn add(&self, row: UsageRow) {
        self.books().waiting().add(row);
        self.books().news.notify_one();
    }

    /// Looks up what somebody has used that day and in its month. It waits for the disk.
    ///
    /// `then` gets a function that tells it, including all that was [added](Self::add) before that is called. If it is called
    /// while nobody can add anything, what is added later can be counted on from there: nothing is missed, nothing is twice.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look_up(
        &self,
        whose: &Whose,
        day: Date,
        then: impl FnOnce(&dyn Fn() -> Used),
    ) -> Result<(), StoreError> {
        let books = self.books();
        let _nothing_moves = lock(&books.moving);
        let (of_day, of_month) = books.store.used_tokens(whose, day)?;
        then(&|| {
            let mut used = Used { day: of_day, month: of_month };
            for (key, (_, amounts)) in &books.waiting().rows {
                if whose.has(key) && key.day.first_of_month() == day.first_of_month() {
                    used.month = used.month.saturating_add(amounts.tokens());
                    if key.day == day {
                        used.day = used.day.saturating_add(amounts.tokens());
                    }
                }
            }
            used
        });
        Ok(())
    }

    /// What was used, for the operator. It waits for the disk.
    ///
    /// # Errors
    /// When the store cannot be read. Where it cannot be written to, what waits is not told.
    pub fn find(&self, query: &UsageQuery) -> Result<UsageFound, StoreError> {
        if let Err(error) = self.write() {
            tracing::warn!(%error, "what was used of late is not shown: it cannot be written");
        }
        self.books().store.usage(query)
    }

    /// Writes what waits. It waits for the disk.
    ///
    /// # Errors
    /// When the store cannot be written to. Then all is as before.
    pub fn write(&self) -> Result<(), StoreError> {
        self.books().write()
    }

    fn books(&self) -> &Books {
        &self.0.books
    }
}

impl Waiting {
    fn add(&mut self, row: UsageRow) {
        let is_full = self.rows.len() >= MAX_WAITING;
        if is_full && !self.rows.contains_key(&row.key) {
            self.lost += 1;
            return;
        }
        let (name, amounts) = self.rows.entry(row.key).or_default();
        *name = row.caller_name;
        *amounts = amounts.plus(row.amounts.bounded());
    }
}

impl Books {
    fn write(&self) -> Result<(), StoreError> {
        let _moving = lock(&self.moving);
        let rows = std::mem::take(&mut self.waiting().rows);
        if rows.is_empty() {
            return Ok(());
        }
        let copies = rows.iter().map(|(key, (caller_name, amounts))| UsageRow {
            key: key.clone(),
            caller_name: Arc::clone(caller_name),
            amounts: *amounts,
        });
        let written = self.store.add_usage(copies);
        if written.is_err() {
            let mut waiting = self.waiting();
            for (key, (caller_name, amounts)) in rows {
                // Those that came meanwhile have the newer names.
                let (_, sum) = waiting.rows.entry(key).or_insert((caller_name, Amounts::default()));
                *sum = sum.plus(amounts);
            }
        }
        written
    }

    /// The thread.
    fn keep_writing(&self) {
        let mut complained: Option<Instant> = None;
        while self.wait_for_news() {
            self.pause(GATHER);
            let Err(error) = self.write() else { continue };
            if complained.is_none_or(|last| last.elapsed() > COMPLAIN) {
                let (rows, lost) = {
                    let waiting = self.waiting();
                    (waiting.rows.len(), waiting.lost)
                };
                tracing::error!(%error, rows, lost, "what was used cannot be written; it is tried again");
                complained = Some(Instant::now());
            }
            self.pause(RETRY);
        }
        if let Err(error) = self.write() {
            tracing::error!(%error, "what was used last is lost: it cannot be written");
        }
    }

    /// Whether something waits; `false` when it is over.
    fn wait_for_news(&self) -> bool {
        let idle = |waiting: &mut Waiting| waiting.rows.is_empty() && !waiting.is_over;
        let waiting = self.news.wait_while(self.waiting(), idle).unwrap_or_else(PoisonError::into_inner);
        !waiting.is_over
    }

    /// Waits so long, or until it is over.
    fn pause(&self, time: Duration) {
        let goes_on = |waiting: &mut Waiting| !waiting.is_over;
        drop(self.news.wait_timeout_while(self.waiting(), time, goes_on));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.books.waiting().is_over = true;
        self.books.news.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes what was used has panicked");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
