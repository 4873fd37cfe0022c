//! The process groups that this program has started and that run: so that all of them can be killed when there is no time left
//! to end each where it is used.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Of the whole program: whoever ends it at once knows nothing of its servers.
static RUNNING: Mutex<Running> = Mutex::new(Running { groups: Vec::new(), is_over: false });

struct Running {
    /// Their ids, which are those of their first processes.
    groups: Vec<Pid>,
    is_over: bool,
}

/// A group on the list, until it is dropped.
#[derive(Debug)]
pub struct Listed(Pid);

impl Listed {
    /// Lists the group of a child that leads it.
    #[must_use]
    pub fn new(id: Pid) -> Self {
        let mut running = running();
        running.groups.push(id);
        if running.is_over {
            kill(id);
        }
        Self(id)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut running = running();
        if let Some(place) = running.groups.iter().position(|id| *id == self.0) {
            running.groups.swap_remove(place);
        }
    }
}

/// Kills all groups, without waiting for their ends, and from now on each that is started. For the end of the program.
pub fn kill_all() {
    let mut running = running();
    running.is_over = true;
    running.groups.iter().copied().for_each(kill);
}

fn kill(id: Pid) {
    // The id of one that was waited for may be a stranger's by now; a child's, dead or alive, is its own.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if waitid(WaitId::Pid(id), look).is_ok() {
        let _ = kill_process_group(id, Signal::KILL);
    }
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
