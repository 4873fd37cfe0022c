//! Processes that end with this program, however it ends.

use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Those that live.
static LIVING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A child that is killed when this is dropped, so after a panic too.
pub struct Bound(pub Child);

impl Bound {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        // Held over the start: no child is missed at the end.
        let mut living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn().unwrap();
        living.push(Pid::from_child(&child));
        Self(child)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let id = Pid::from_child(&self.0);
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).retain(|living| *living != id);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A signal that ends this program ends its children first. (A killed Couplet takes its own with it.) So does its running
/// for longer than this: something hangs then.
pub fn end_with_this_program(runtime: &Runtime, longest: Duration) {
    let _guard = runtime.enter();
    let mut asked = signal(SignalKind::interrupt()).unwrap();
    let mut told = signal(SignalKind::terminate()).unwrap();
    runtime.spawn(async move {
        tokio::select! {
            _ = asked.recv() => {}
            _ = told.recv() => {}
            () = tokio::time::sleep(longest) => eprintln!("it takes too long"),
        }
        let living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        for child in living.iter() {
            let _ = kill_process(*child, Signal::KILL);
        }
        std::process::exit(1);
    });
}
