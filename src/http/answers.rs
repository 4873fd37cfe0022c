//! Several answers to one request, read side by side.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::claude::Answer;
use crate::claude::answer::AnswerEvent;
use crate::claude::failure::TurnFailure;
use crate::limits::permit::Permit;

/// The answers to one request, counted from 0. Dropped, they interrupt the model.
///
/// Nothing is read ahead: who reads slowly slows all of them down, as he would one.
#[derive(Debug)]
pub struct Answers {
    /// In their order; one that has ended is gone.
    each: Vec<Option<Answer>>,
    /// What they were let in with. They see what passes by, and are settled with the answers, or when nobody reads any more.
    permits: Vec<Permit>,
    /// How many are not at their end.
    open: usize,
    /// Which is looked at first: the one behind that which was heard last, so that none drowns out the others.
    next: usize,
}

impl Answers {
    /// Reads these.
    #[must_use]
    pub fn new(answers: Vec<Answer>) -> Self {
        let each: Vec<_> = answers.into_iter().map(Some).collect();
        Self { open: each.len(), each, permits: Vec::new(), next: 0 }
    }

    /// The same, settled with these: one for each.
    #[must_use]
    pub fn settled_with(self, permits: Vec<Permit>) -> Self {
        Self { permits, ..self }
    }

    /// The next event of any of the answers, with the answer's number.
    ///
    /// # Errors
    /// When one of the turns failed: then the others are interrupted. Also when all answers are complete.
    pub async fn next(&mut self) -> Result<(usize, AnswerEvent), TurnFailure> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Whether all answers have ended.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.open == 0
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(usize, AnswerEvent), TurnFailure>> {
        if self.open == 0 {
            let failure = TurnFailure::Protocol("there is no answer left to be read".to_owned());
            return Poll::Ready(Err(failure));
        }
        let count = self.each.len();
        for of in (self.next..count).chain(0..self.next) {
            let Some(Some(answer)) = self.each.get_mut(of) else { continue };
            match answer.poll_next(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(event)) => {
                    self.next = (of + 1) % count;
                    if let Some(permit) = self.permits.get_mut(of) {
                        permit.event(&event);
                    }
                    if matches!(event, AnswerEvent::Ended(_)) {
                        self.each[of] = None;
                        self.open -= 1;
                    }
                    return Poll::Ready(Ok((of, event)));
                }
                Poll::Ready(Err(failure)) => {
                    self.each.clear();
                    self.open = 0;
                    for mut permit in self.permits.drain(..) {
                        permit.failed(&failure);
                    }
                    return Poll::Ready(Err(failure));
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::answer::{AnswerEnd, StopReason, Usage};
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    type Sender = mpsc::Sender<Result<AnswerEvent, TurnFailure>>;

    fn answers(count: usize) -> (Vec<Sender>, Answers) {
        let (senders, answers) = (0..count)
            .map(|_| {
                let (sender, events) = mpsc::channel(10);
                (sender, Answer::of_events(events))
            })
            .unzip();
        (senders, Answers::new(answers))
    }

    fn text(text: &str) -> AnswerEvent {
        AnswerEvent::Text(text.to_owned())
    }

    fn end() -> AnswerEvent {
        let usage = Usage::default();
        AnswerEvent::Ended(AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage })
    }

    #[tokio::test]
    async fn they_are_read_in_turn_and_complete_when_the_last_has_ended() {
        let (senders, mut answers) = answers(3);
        for piece in ["a", "b"] {
            senders[2].send(Ok(text(piece))).await.unwrap();
            senders[0].send(Ok(text(piece))).await.unwrap();
        }
        for sender in &senders {
            sender.send(Ok(end())).await.unwrap();
        }
        let mut read = Vec::new();
        while !answers.are_complete() {
            let (of, event) = answers.next().await.unwrap();
            read.push((of, if let AnswerEvent::Text(piece) = event { piece } else { "end".to_owned() }));
        }
        let read: Vec<_> = read.iter().map(|(of, event)| (*of, event.as_str())).collect();
        let in_turn = [(0, "a"), (1, "end"), (2, "a"), (0, "b"), (2, "b"), (0, "end"), (2, "end")];
        assert_eq!(read, in_turn);
        assert!(answers.next().await.is_err(), "and nothing follows");
    }

    #[tokio::test]
    async fn whichever_has_something_new_wakes_the_reader() {
        let (senders, mut answers) = answers(2);
        assert!(answers.next().now_or_never().is_none());
        let reader = tokio::spawn(async move { answers.next().await });
        tokio::task::yield_now().await;
        senders[1].send(Ok(text("a"))).await.unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), (1, text("a")));
    }

    #[tokio::test]
    async fn one_that_fails_interrupts_the_others() {
        let (senders, mut answers) = answers(3);
        senders[1].send(Err(TurnFailure::Busy)).await.unwrap();
        assert!(matches!(answers.next().await, Err(TurnFailure::Busy)));
        assert!(senders.iter().all(Sender::is_closed), "nobody reads them any more");
        assert!(answers.are_complete());
    }
}
