//! The signals that ask the server to end: SIGTERM by process managers, SIGINT by Ctrl-C.
//!
//! They are watched by a thread of its own, which needs nothing of the rest: a second signal, and the end of the time there is,
//! end the program whatever hangs.

use std::io;
use std::process;
use std::thread;
use std::time::Duration;

use couplet::claude::running;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;
use tokio_util::sync::CancellationToken;

/// How long all may take that follows the grace time: last words to clients, to the store, to the receiver of traces. With
/// what an exit takes, three seconds.
const CLOSING: Duration = Duration::from_millis(2700);

/// How long the log is given for its last line. It may be a pipe that nobody reads.
const LAST_LINE: Duration = Duration::from_millis(100);

/// From now on a first signal cancels the token. Then the program has the grace time and three seconds more; what is left
/// after that is killed, and its exit status is 0 all the same. A second signal, of either kind, ends it at once, with 128 and
/// the signal's number as its status, as if it had died of that.
///
/// Each signal that the kernel delivers counts, however soon it follows the one before. Two of one kind may be one to the kernel:
/// where the second is sent before the first was delivered.
///
/// # Errors
/// When the signals cannot be caught, or there is no thread to be had.
pub fn end_when_asked(grace: Duration) -> io::Result<CancellationToken> {
    // Of each signal there is its information, where they would otherwise be counted as one.
    let mut signals = SignalsInfo::<WithRawSiginfo>::new([SIGTERM, SIGINT])?;
    let asked = CancellationToken::new();
    let token = asked.clone();
    thread::Builder::new().name("couplet-signals".to_owned()).spawn(move || {
        let mut signals = signals.forever().map(|signal| signal.si_signo);
        if signals.next().is_none() {
            return;
        }
        token.cancel();
        let last = thread::Builder::new().name("couplet-ending".to_owned()).spawn(move || {
            thread::sleep(grace + CLOSING);
            end(0, "not all could be ended in time: what is left is killed");
        });
        if let Err(error) = last {
            tracing::warn!(%error, "nothing but another signal bounds the time until the end");
        }
        if let Some(signal) = signals.next() {
            end(128 + signal, "asked to end for a second time: everything is killed");
        }
    })?;
    Ok(asked)
}

/// Ends the program with all its processes.
fn end(status: i32, why: &'static str) -> ! {
    tracing::warn!("{why}");
    // The log is written by a thread of its own.
    thread::sleep(LAST_LINE);
    // Last: once their processes are gone the answers end, and so would the program, with another status.
    running::kill_all();
    process::exit(status)
}
