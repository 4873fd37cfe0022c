//! A process that waits is watched by a task of its own, until somebody claims it.
//!
//! The task reads what the process writes, answers what it asks, and ends it when it need not wait any longer. Whoever holds
//! the [`Claim`] can have it; if the claim is dropped, the process is of no more use.

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::session::Session;

/// Asks the task for what it watches. Dropped, it tells the task to end it.
#[derive(Debug)]
pub struct Claim<T>(oneshot::Sender<oneshot::Sender<T>>);

/// The task's end of a [`Claim`].
#[derive(Debug)]
pub struct Claimed<T>(oneshot::Receiver<oneshot::Sender<T>>);

/// Somebody waits for what was watched.
#[derive(Debug)]
pub struct Claimant<T>(oneshot::Sender<T>);

/// A claim and the end of it that the task holds.
#[must_use]
pub fn handover<T>() -> (Claim<T>, Claimed<T>) {
    let (claim, claimed) = oneshot::channel();
    (Claim(claim), Claimed(claimed))
}

impl<T> Claim<T> {
    /// What the task watches, if it still does.
    pub async fn take(self) -> Option<T> {
        let (claimant, watched) = oneshot::channel();
        self.0.send(claimant).ok()?;
        watched.await.ok()
    }
}

impl<T> Claimed<T> {
    /// Ready when somebody claims it, or with `None` when nobody will any more. Dropping the future loses nothing.
    pub async fn claimant(&mut self) -> Option<Claimant<T>> {
        (&mut self.0).await.ok().map(Claimant)
    }
}

impl<T> Claimant<T> {
    /// Ready when nobody waits any more.
    pub async fn left(&mut self) {
        self.0.closed().await;
    }

    /// Hands it over.
    ///
    /// # Errors
    /// What was to be handed over, where the claimant has left meanwhile.
    pub fn give(self, watched: T) -> Result<(), T> {
        self.0.send(watched)
    }
}

/// Watches over a process at rest until it is claimed; `None` when it need not wait any longer: its time is over, nobody
/// will claim it, the server drains, or it is of no more use.
pub async fn watch<T>(
    session: &mut Session,
    claimed: &mut Claimed<T>,
    until: Instant,
    drain: &CancellationToken,
) -> Option<Claimant<T>> {
    loop {
        let asked = tokio::select! {
            biased;
            claimant = claimed.claimant() => return claimant,
            () = tokio::time::sleep_until(until) => return None,
            () = drain.cancelled() => return None,
            asked = session.at_rest() => asked,
        };
        // Whoever claims it meanwhile waits: it must not be left in the middle of a line.
        let served = match asked {
            Ok(None) => Ok(()),
            Ok(Some(asked)) => tokio::select! {
                biased;
                served = session.serve(asked) => served,
                () = drain.cancelled() => return None,
            },
            Err(failure) => Err(failure),
        };
        if let Err(failure) = served {
            let (failure, pid) = (failure.for_log(), session.process_id());
            tracing::debug!(failure, pid, "a process that waited is of no more use");
            return None;
        }
    }
}
