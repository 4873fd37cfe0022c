//! Processes as the system sees them.

use std::time::{Duration, Instant};

/// How long something must have been at rest.
const REST: Duration = Duration::from_millis(60);

/// How long it may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    id: u32,
    parent: u32,
    /// Not ended and waited for no more.
    lives: bool,
    /// Time on a core, in clock ticks of 10 ms.
    ticks: u64,
}

impl Process {
    fn look(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name before it may hold anything.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        Some(Self { id, parent: fields[1].parse().ok()?, lives: fields[0] != "Z", ticks })
    }
}

/// The children of a process.
pub fn children_of(parent: u32) -> Vec<Process> {
    family_of(parent).filter(|process| process.lives).collect()
}

/// How many children of a process have ended and were not waited for.
pub fn zombies_of(parent: u32) -> usize {
    family_of(parent).filter(|process| !process.lives).count()
}

fn family_of(parent: u32) -> impl Iterator<Item = Process> {
    let names =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let processes = names.filter_map(|name| Process::look(name.parse().ok()?));
    processes.filter(move |process| process.parent == parent)
}

/// Waits until a process and its children do nothing: no child comes or goes, and none takes a core.
pub fn wait_for_rest(id: u32) {
    let begun = Instant::now();
    let mut before = seen(id);
    loop {
        std::thread::sleep(REST);
        let now = seen(id);
        // One tick may be anything's.
        if now.0 == before.0 && now.1 <= before.1 + 1 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "process {id} does not come to rest");
        before = now;
    }
}

/// Who there is, and the ticks of all.
fn seen(id: u32) -> (Vec<u32>, u64) {
    let all: Vec<_> = Process::look(id).into_iter().chain(children_of(id)).collect();
    (all.iter().map(|process| process.id).collect(), all.iter().map(|process| process.ticks).sum())
}

impl Process {
    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// Waits until processes that were killed are gone.
pub fn wait_for_end(processes: &[Process]) {
    let begun = Instant::now();
    let lives = |process: &Process| Process::look(process.id).is_some_and(|now| now.lives);
    while processes.iter().any(lives) {
        assert!(begun.elapsed() < PATIENCE, "a process outlived its server");
        std::thread::sleep(Duration::from_millis(2));
    }
}
