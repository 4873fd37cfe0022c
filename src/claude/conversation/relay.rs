//! An answer on its way from the process to the client.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Afterwards, Conversation, Deadlines};
use crate::answer_schema::Mismatch;
use crate::claude::answer::{AnswerEnd, AnswerEvent, AnswerReader, AtEnd, Progress, StopReason};
use crate::claude::catalog::Catalog;
use crate::claude::failure::TurnFailure;
use crate::claude::frame_out::Frame;
use crate::claude::parked::OpenCall;
use crate::claude::session::{Asked, declined};
use crate::claude::shaping::{Shaped, Shaper, Shaping, Unfit, Unmet};
use crate::claude::sink::{Sink, Stop};
use crate::turn::{AssistantBlock, Turn};

impl Conversation {
    /// Passes the answer on until it ends. The end itself is the caller's to pass on, once he has seen to the process.
    ///
    /// # Errors
    /// When the client goes away, a deadline passes or the turn fails. The first value says what state the process is in.
    pub async fn relay(
        &mut self,
        turn: &Turn,
        shaping: &Shaping,
        sink: &mut Sink,
        deadlines: Deadlines,
        started: Instant,
        catalog: &Catalog,
    ) -> (Afterwards, Result<AnswerEnd, Stop>) {
        let mut reader = AnswerReader::new(&turn.tools);
        let mut shaper = Shaper::new(shaping.clone());
        let mut answering = false;
        // None: the idle time, from when there is nothing left to read. The clock is not looked at for each frame of a burst.
        let mut deadline = Some(started + deadlines.first_frame);
        loop {
            let buffered = match self.session.next_buffered() {
                Ok(buffered) => buffered,
                Err(failure) => return (Afterwards::Kill, Err(failure.into())),
            };
            let frame = if let Some(frame) = buffered {
                frame
            } else {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + deadlines.idle);
                match self.next_until(deadline, sink).await {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return (Afterwards::Kill, Err(deadlines.passed(answering).into())),
                    Err(Stop::Gone) => return (Afterwards::Busy, Err(Stop::Gone)),
                    Err(failed) => return (Afterwards::Kill, Err(failed)),
                }
            };
            match &frame {
                Frame::ControlRequest(request) => {
                    let asked = Asked::from(request);
                    let served = tokio::select! {
                        biased;
                        served = self.session.serve(asked) => served,
                        // It may be in the middle of a line: nothing more can be said to it.
                        () = sink.closed() => return (Afterwards::Kill, Err(Stop::Gone)),
                    };
                    if let Err(failure) = served {
                        return (Afterwards::Kill, Err(failure.into()));
                    }
                    continue;
                }
                Frame::ControlResponse(answer) => {
                    if let Some(error) = &answer.error {
                        return (Afterwards::Kill, Err(declined(error).into()));
                    }
                    let answered = answer.request_id.clone().into_owned();
                    self.session.note_answered(&answered);
                    continue;
                }
                _ => {}
            }
            sink.note(&frame);
            answering |= matches!(frame, Frame::Event(_));
            if answering {
                deadline = None;
            }
            let progress = match reader.on(frame) {
                Ok(progress) => progress,
                // After an error result the process is at rest; in all other cases it is in the middle of something.
                Err(failure @ (TurnFailure::Api { .. } | TurnFailure::UsageLimit { .. })) => {
                    return (Afterwards::AtRest, Err(failure.into()));
                }
                Err(failure) => return (Afterwards::Kill, Err(failure.into())),
            };
            let passed = match progress {
                Progress::Silent => continue,
                Progress::Event(event) => pass(event, &mut shaper, sink, deadlines.idle).await,
                Progress::Events(events) => pass_all(events, &mut shaper, sink, deadlines.idle).await,
                Progress::Complete(end, at) => {
                    if at == AtEnd::GoesOn {
                        // At once: within 3 ms the CLI would send a request of its own. An interrupt, or SIGTERM, comes too
                        // late for that, and the process holds turns that the client will not replay, so it is of no use.
                        self.session.kill();
                    }
                    catalog.learn_sizes(reader.take_model_usage());
                    let (ended, has_altered) = ended(shaper, end).await;
                    let ended = match ended {
                        Ok((events, end)) => sink.pass_all(events, deadlines.idle).await.map(|()| end),
                        Err(unfit) => Err(unfit.into()),
                    };
                    let is_own = |end: &AnswerEnd| at != AtEnd::Rest || end.reason.is_of_the_model_s_own();
                    let is_fit = ended.as_ref().is_ok_and(is_own) && !has_altered;
                    return (self.afterwards(reader.into_said().filter(|_| is_fit), at), ended);
                }
            };
            match passed {
                Ok(None) => {}
                Ok(Some(stop_string)) => {
                    let usage = shaping.spent.plus(reader.usage());
                    let stop_sequence = Some(stop_string);
                    let end = AnswerEnd { reason: StopReason::StopSequence, stop_sequence, usage };
                    return (Afterwards::Busy, Ok(end));
                }
                Err(Stop::Unfit(mut unfit)) => {
                    unfit.usage = unfit.usage.plus(reader.usage());
                    return (Afterwards::Busy, Err(Stop::Unfit(unfit)));
                }
                Err(stop) => return (Afterwards::Busy, Err(stop)),
            }
        }
    }

    /// What is to be done with the process after an answer. `said` is there if it holds what the client will send back.
    fn afterwards(&mut self, said: Option<Vec<AssistantBlock>>, at: AtEnd) -> Afterwards {
        match (at, said) {
            (AtEnd::Rest, said) => said.map_or(Afterwards::AtRest, Afterwards::Keep),
            (AtEnd::Parked, Some(said)) => {
                self.open_calls = OpenCall::all_in(&said);
                Afterwards::Keep(said)
            }
            (AtEnd::Parked, None) | (AtEnd::GoesOn, _) => Afterwards::Kill,
        }
    }

    /// Waits for the next frame of an answer. `None` when the deadline passes.
    async fn next_until(&mut self, deadline: Instant, sink: &Sink) -> Result<Option<Frame<'_>>, Stop> {
        tokio::select! {
            biased;
            read = timeout_at(deadline, self.session.next()) => Ok(read.ok().transpose()?),
            () = sink.closed() => Err(Stop::Gone),
        }
    }
}

/// What becomes of the model's end, and whether the client has read something else than the model said.
async fn ended(mut shaper: Shaper, end: AnswerEnd) -> (Result<(Vec<AnswerEvent>, AnswerEnd), Unfit>, bool) {
    if !shaper.checks() {
        return (shaper.end(end), shaper.has_altered());
    }
    // Schema and answer may be such that it takes a while; nobody else should have to wait for that.
    let usage = end.usage;
    let checking = tokio::task::spawn_blocking(move || (shaper.end(end), shaper.has_altered()));
    checking.await.unwrap_or_else(|_panicked| {
        (Err(Unfit { unmet: Unmet::Json(Mismatch::NotChecked), said: String::new(), usage }), true)
    })
}

/// Passes on what becomes of an event; the stop string, if the answer ends there.
async fn pass(
    event: AnswerEvent,
    shaper: &mut Shaper,
    sink: &mut Sink,
    patience: Duration,
) -> Result<Option<String>, Stop> {
    match shaper.on(event) {
        Shaped::Nothing => Ok(None),
        Shaped::Event(event) => sink.pass(event, patience).await.map(|()| None),
        Shaped::Events(events) => sink.pass_all(events, patience).await.map(|()| None),
        Shaped::Cut(events, stop) => sink.pass_all(events, patience).await.map(|()| Some(stop)),
        Shaped::Unfit(unfit) => Err(unfit.into()),
    }
}

async fn pass_all(
    events: Vec<AnswerEvent>,
    shaper: &mut Shaper,
    sink: &mut Sink,
    patience: Duration,
) -> Result<Option<String>, Stop> {
    for event in events {
        if let Some(stop) = pass(event, shaper, sink, patience).await? {
            return Ok(Some(stop));
        }
    }
    Ok(None)
}
