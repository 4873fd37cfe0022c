//! How much memory there is, and how much of it a process holds.

use super::command_line::CliProgram;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// What a process of the CLI takes, in bytes (measured: about 180 MB).
pub const OF_A_PROCESS: u64 = 180 * 1024 * 1024;

/// What a process of the stand-in takes, in bytes.
const OF_A_STAND_IN: u64 = 8 * 1024 * 1024;

/// How much more readily than others the kernel ends a process of the CLI (`oom_score_adj`, -1000 to 1000): as if it held half of
/// all memory more than it does. One conversation is lost then, and not the server with all of them.
const OOM_SCORE: i32 = 500;

/// What a process of that program will take, in bytes, until it is looked at.
#[must_use]
pub fn expected_of(program: &CliProgram) -> u64 {
    match program {
        CliProgram::Installed(_) => OF_A_PROCESS,
        CliProgram::StandIn { .. } => OF_A_STAND_IN,
    }
}

/// The memory of this machine in bytes, or of this container where its limit is lower.
#[must_use]
pub fn available() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    let machine = system.total_memory();
    system.cgroup_limits().map_or(machine, |container| container.total_memory.min(machine))
}

/// What processes may take together where nothing else is set: half of what there is.
#[must_use]
pub fn default_budget() -> u64 {
    available() / 2
}

/// The memory that a process holds, in bytes; [`OF_A_PROCESS`] where the system does not tell.
#[must_use]
pub fn of_process(id: i32) -> u64 {
    let Ok(id) = u32::try_from(id) else { return OF_A_PROCESS };
    let pid = Pid::from_u32(id);
    let mut system = System::new();
    let memory_only = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory_only);
    system.process(pid).map_or(OF_A_PROCESS, sysinfo::Process::memory)
}

/// Has the kernel end this process, and what it becomes, rather than the server, when memory runs out. Everybody may make his
/// own score worse; where there is none to be had, all stays as it is.
pub fn be_ended_first() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(SCORE).ok().and_then(|score| score.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now < OOM_SCORE) {
        let _ = std::fs::write(SCORE, OOM_SCORE.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes() {
        let own = of_process(i32::try_from(std::process::id()).unwrap());
        assert!((1 << 20..available()).contains(&own), "{own}");
    }
}
