//! How many connections there is room for.

use rustix::process::{Resource, getrlimit};

/// The most, whatever the system allows: what is read of a head, and what of an answer nobody takes, is kept for each.
const MOST: usize = 4096;

/// The fewest, if the system allows next to nothing.
const FEWEST: usize = 16;

/// Descriptors of the server itself: its store, its log, its listener, images that it fetches.
const OWN: usize = 256;

/// Descriptors of a process of the CLI: its pipes and files, and twice as many while one is started and another ends.
const OF_A_PROCESS: usize = 10;

/// How many connections this process has descriptors for, beside so many processes of the CLI.
#[must_use]
pub fn for_connections(processes: usize) -> usize {
    let allowed = getrlimit(Resource::Nofile).current;
    beside(allowed.and_then(|allowed| usize::try_from(allowed).ok()).unwrap_or(usize::MAX), processes)
}

/// The same where so many descriptors are allowed.
fn beside(allowed: usize, processes: usize) -> usize {
    let others = processes.saturating_mul(OF_A_PROCESS).saturating_add(OWN);
    // If there is not even room for the processes, connections still have half.
    allowed.saturating_sub(others).max(allowed / 2).clamp(FEWEST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(usize::MAX, 40, MOST)]
    #[case(4096, 40, 4096 - 256 - 400)]
    #[case(1024, 40, 512)]
    #[case(0, 40, FEWEST)]
    fn processes_and_files_have_theirs_first(
        #[case] allowed: usize,
        #[case] processes: usize,
        #[case] connections: usize,
    ) {
        assert_eq!(beside(allowed, processes), connections);
    }
}
