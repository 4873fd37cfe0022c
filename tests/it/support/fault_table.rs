//! docs/faults.md: what clients see of each fault, as the tests saw it that caused the fault.
//!
//! A test of a fault tells here what it saw ([`saw`]). What the document says must be just that; with
//! `COUPLET_UPDATE_DOCS=1` the document is changed instead. Tests run in processes of their own, so each changes only its
//! own rows, under a lock. How often a fault was tried is in the document as well: by the ordinary test, and by the long one
//! (ignored, run by hand) where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

/// Where it is, from the root of the project.
const PATH: &str = "docs/faults.md";

/// Parts the outcomes in a row.
pub const OR: &str = "; or ";

const ABOUT: &str = "\
# Faults, and what a client sees of them

This file is made by the tests: each of them causes a fault and writes down what the client saw. A test fails when that is
no longer what is written here. `COUPLET_UPDATE_DOCS=1 cargo nextest run -E 'test(NAME)'` renews the rows of a test.

*Tried* is how often a run of all tests causes the fault. *Long run* is how often a longer test did
(`cargo nextest run --run-ignored only -E 'test(NAME)'`). A broken stream never ends with `[DONE]`, nor with a
`finish_reason`; that the next request is answered as if nothing had been is part of the tests.
";

/// What kind of thing goes wrong; the sections of the document, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Crash,
    Hang,
    Output,
    Start,
    Client,
    Connection,
    Drain,
    Resources,
    Upstream,
    Account,
    Body,
    Hostile,
}

impl Class {
    const ALL: [Self; 12] = [
        Self::Crash,
        Self::Hang,
        Self::Output,
        Self::Start,
        Self::Client,
        Self::Connection,
        Self::Drain,
        Self::Resources,
        Self::Upstream,
        Self::Account,
        Self::Body,
        Self::Hostile,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Crash => "The CLI crashes",
            Self::Hang => "The CLI hangs",
            Self::Output => "The CLI says what it should not",
            Self::Start => "The CLI cannot be started",
            Self::Client => "The client goes away or does not read",
            Self::Connection => "Connections are misused",
            Self::Drain => "The server is stopped or killed",
            Self::Resources => "The system runs short of something",
            Self::Upstream => "The API fails",
            Self::Account => "The account: credential and limits",
            Self::Body => "Bodies that are no requests",
            Self::Hostile => "Hostile input",
        }
    }

    fn titled(title: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.title() == title)
    }
}

/// How the client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    Streaming,
    NotStreaming,
    /// Alike in both ways, or it does not matter.
    Either,
}

impl Asked {
    /// By the request's `stream`.
    pub fn with(stream: bool) -> Self {
        if stream { Self::Streaming } else { Self::NotStreaming }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Streaming => "yes",
            Self::NotStreaming => "no",
            Self::Either => "either",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Streaming, Self::NotStreaming, Self::Either].into_iter().find(|asked| asked.word() == word)
    }
}

/// How often a fault was tried.
#[derive(Debug, Clone, Copy)]
pub enum Tried {
    /// In this test, which runs with all the others.
    Times(u64),
    /// In this test, which is ignored and run by hand.
    LongRun(u64),
}

/// What a row is known by.
type Key = (Class, String, Asked);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    saw: String,
    tried: String,
    long_run: String,
    tests: [String; 2],
}

/// Says what the client saw of a fault: `fault` names it in a few words, `saw` is made of what really came. Rows are
/// known by class, fault and `asked`; the ordinary and the long test of a fault share one.
///
/// Where the moment decides which of several outcomes there is, they are parted by [`OR`]: a run need not see all that are
/// written down, but no other. (One that cannot come any more is removed by hand, with its row, before that is renewed.)
///
/// # Panics
/// When docs/faults.md says something else, except where it is to be renewed.
#[track_caller]
pub fn saw(class: Class, fault: &str, asked: Asked, saw: &str, tried: Tried) {
    assert!(![fault, saw].iter().any(|text| text.contains(['|', '\n'])), "one cell of a table each");
    let test = function(std::thread::current().name().expect("a test's thread has its name"));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH);
    let renews = std::env::var_os("COUPLET_UPDATE_DOCS").is_some();
    let mut file = OpenOptions::new().read(true).write(renews).create(renews).open(path).expect(PATH);
    // Others renew their rows at the same time.
    if renews { file.lock() } else { file.lock_shared() }.expect("a lock");
    let mut table = read(&mut file);
    let key = (class, fault.to_owned(), asked);
    let there = table.get(&key).cloned().unwrap_or_default();
    let mut now = Row { saw: with(&there.saw, saw), ..there.clone() };
    match tried {
        Tried::Times(times) => (now.tried, now.tests[0]) = (grouped(times), test),
        Tried::LongRun(times) => (now.long_run, now.tests[1]) = (grouped(times), test),
    }
    if now == there {
        return;
    }
    assert!(
        renews,
        "{PATH} is not up to date: run this with COUPLET_UPDATE_DOCS=1.\nthere: {there:?}\nnow:   {now:?}"
    );
    table.insert(key, now);
    let document = render(&table);
    file.set_len(0).expect("emptied");
    file.rewind().expect("at the start");
    file.write_all(document.as_bytes()).expect("written");
}

/// All outcomes of both.
fn with(there: &str, seen: &str) -> String {
    let outcomes: BTreeSet<_> =
        there.split(OR).chain(seen.split(OR)).filter(|outcome| !outcome.is_empty()).collect();
    outcomes.into_iter().collect::<Vec<_>>().join(OR)
}

/// The path of a test's function: its name without the cases that rstest makes of it.
fn function(test: &str) -> String {
    let is_case = |part: &&str| part.split('_').nth(1).is_some_and(|number| number.parse::<u32>().is_ok());
    test.split("::").take_while(|part| !is_case(part)).collect::<Vec<_>>().join("::")
}

/// The rows of the document.
fn read(file: &mut File) -> BTreeMap<Key, Row> {
    let mut text = String::new();
    file.read_to_string(&mut text).expect(PATH);
    let (mut class, mut rows) = (None, BTreeMap::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            class = Class::titled(title);
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(class), [fault, asked, saw, tried, long_run, tests]) = (class, &cells[..]) else {
            continue;
        };
        let Some(asked) = Asked::of_word(asked) else { continue };
        let mut names = tests.split(", ").map(|name| name.trim_matches('`').to_owned());
        let tests = std::array::from_fn(|_| names.next().unwrap_or_default());
        let row = Row { saw: (*saw).into(), tried: (*tried).into(), long_run: (*long_run).into(), tests };
        rows.insert((class, (*fault).to_owned(), asked), row);
    }
    rows
}

fn render(table: &BTreeMap<Key, Row>) -> String {
    let (mut text, mut section) = (ABOUT.to_owned(), None);
    for ((class, fault, asked), row) in table {
        if section != Some(*class) {
            section = Some(*class);
            let _ = write!(
                text,
                "\n## {}\n\n| fault | streaming | what the client saw | tried | long run | test |\n\
                 | --- | --- | --- | ---: | ---: | --- |\n",
                class.title()
            );
        }
        let Row { saw, tried, long_run, tests: [ordinary, long] } = row;
        let long = if long.is_empty() { String::new() } else { format!(", `{long}`") };
        let asked = asked.word();
        let _ = writeln!(text, "| {fault} | {asked} | {saw} | {tried} | {long_run} | `{ordinary}`{long} |");
    }
    text
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect::<Vec<_>>();
    grouped.join(",")
}

#[test]
fn the_document_holds_every_class_and_no_row_of_a_test_that_is_gone() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH);
    let table = read(&mut File::open(path).expect(PATH));
    for class in Class::ALL {
        assert!(table.keys().any(|key| key.0 == class), "no fault of {class:?}");
    }
    #[expect(clippy::disallowed_types, reason = "this program itself, for the names of its tests")]
    let listed = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--list", "--format", "terse"])
        .output()
        .expect("a list");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let tests: Vec<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for (key, row) in &table {
        for test in row.tests.iter().filter(|test| !test.is_empty()) {
            assert!(
                tests.iter().any(|there| function(there) == *test),
                "{key:?} is of {test}, which is gone"
            );
        }
    }
}

#[test]
fn a_document_is_read_as_it_was_written() {
    let row = Row {
        saw: "502 `cli_crashed`".to_owned(),
        tried: grouped(1_234_567),
        long_run: String::new(),
        tests: [function("a::b::case_1_dies::stream_2_false"), String::new()],
    };
    let long = Row { long_run: "7".to_owned(), tests: ["a".to_owned(), "b".to_owned()], ..row.clone() };
    let table = BTreeMap::from([
        ((Class::Crash, "at a frame".to_owned(), Asked::NotStreaming), row.clone()),
        ((Class::Crash, "at a frame".to_owned(), Asked::Streaming), row),
        ((Class::Hostile, "a prompt".to_owned(), Asked::Either), long),
    ]);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(render(&table).as_bytes()).expect("written");
    file.rewind().expect("at the start");
    assert_eq!(read(&mut file), table);
    assert!(render(&table).contains("| 1,234,567 |  | `a::b` |"));
    assert_eq!(
        (with("a; or b", "b"), with("", "c"), with("b", "c; or a")),
        ("a; or b".into(), "c".into(), "a; or b; or c".into())
    );
}
