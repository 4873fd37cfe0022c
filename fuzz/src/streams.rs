//! Answers as the endpoints write them, read as clients read them.

use std::sync::Arc;

use couplet::claude::answer::AnswerEvent;
use couplet::claude::failure::TurnFailure;
use couplet::http::sse::StreamForm;
use couplet::http::{chat_completions, completions, messages};
use couplet::openai::error::ApiError;
use couplet::translate::chat_answer::{CallForm, ChunkFold, ChunkWriter};
use couplet::translate::completion_answer::{CompletionFold, CompletionWriter};
use couplet::translate::failure;
use couplet::translate::messages_answer::{MessageFold, MessageWriter};
use serde_json::{Value, json};

use crate::clients::{self, ServerSentEvent};
use crate::pieces::Sizes;

/// Events of several answers in the order in which they come, each with its answer's number.
type Events = Vec<(usize, AnswerEvent)>;

/// Looks whether streams of these events, and of a failure where their end is missing, can be read, and say event for event what
/// is to be said. The events need not make sense.
///
/// # Panics
/// When they do not.
pub fn expect_readable(events: &[AnswerEvent], sizes: &mut Sizes) {
    let events: Events = events.iter().map(|event| (0, event.clone())).collect();
    for form in [CallForm::ToolCalls, CallForm::FunctionCall] {
        let mut writer = chat_writer(1, form);
        let said = events.iter().flat_map(|(of, event)| writer.on(*of, event.clone()));
        let said: Vec<_> = said.map(|chunk| plain(&json!(chunk))).collect();
        expect_data(&mut chat_completions::ChunkStream(chat_writer(1, form)), &events, said, sizes);
    }
    let mut writer = completion_writer(1);
    let said = events.iter().flat_map(|(of, event)| writer.on(*of, event.clone()));
    let said: Vec<_> = said.map(|chunk| plain(&json!(chunk))).collect();
    expect_data(&mut completions::ChunkStream(completion_writer(1)), &events, said, sizes);
    let mut writer = MessageWriter::new("msg_1");
    let said = events.iter().flat_map(|(_, event)| writer.on(event.clone()));
    let said: Vec<_> = said.map(|event| (event.name().to_owned(), json!(event))).collect();
    expect_data(&mut messages::EventStream(MessageWriter::new("msg_1")), &events, said, sizes);
}

fn chat_writer(answers: usize, form: CallForm) -> ChunkWriter {
    ChunkWriter::new("chatcmpl-1", 1, "couplet", true, form).with_answers(answers)
}

fn completion_writer(answers: usize) -> CompletionWriter {
    let begin_with = (0..answers).map(|of| (of % 2 == 1).then(|| Arc::from("echo\r\n")));
    CompletionWriter::new("cmpl-1", 1, "couplet", true, begin_with.collect())
}

fn plain(document: &Value) -> (String, Value) {
    ("message".to_owned(), document.clone())
}

fn is_end((_, event): &(usize, AnswerEvent)) -> bool {
    matches!(event, AnswerEvent::Ended(_))
}

fn expect_data<F: StreamForm>(
    form: &mut F,
    events: &Events,
    mut said: Vec<(String, Value)>,
    sizes: &mut Sizes,
) {
    let (mut stream, mut end) = (F::KEEP_ALIVE.to_vec(), Vec::new());
    for (index, (of, event)) in events.iter().enumerate() {
        if index % 3 == 1 {
            stream.extend_from_slice(F::KEEP_ALIVE);
        }
        form.event(*of, event.clone(), &mut stream);
    }
    if events.last().is_some_and(is_end) {
        form.done(&mut end);
    } else {
        form.failure(&broken_off(), &mut end);
    }
    stream.extend_from_slice(&end);
    let (read, how_it_ends) = split_end(clients::read(&stream, sizes), &end);
    said.retain(|(name, _)| name != "ping");
    let read: Vec<_> = read
        .into_iter()
        .map(|event| (event.name, serde_json::from_str::<Value>(&event.data).expect("JSON")))
        .collect();
    assert_eq!(read, said);
    if !events.last().is_some_and(is_end) {
        let error: Value = serde_json::from_str(&how_it_ends.expect("an error").data).expect("JSON");
        assert!(error["error"]["message"].is_string(), "{error}");
    }
}

fn broken_off() -> ApiError {
    failure::api_error(&TurnFailure::BrokenOff, std::time::SystemTime::UNIX_EPOCH)
}

/// The events without what keeps a stream alive, and that which is its end and no event of the answer.
fn split_end(events: Vec<ServerSentEvent>, end: &[u8]) -> (Vec<ServerSentEvent>, Option<ServerSentEvent>) {
    let mut events: Vec<_> = events.into_iter().filter(|event| event.name != "ping").collect();
    let last = if end.is_empty() { None } else { events.pop() };
    (events, last)
}

/// Looks whether clients make the same of streams as Couplet does where it answers as a whole. The events must make sense.
///
/// # Panics
/// When they do not.
pub fn expect_same_as_whole(answers: &[Vec<AnswerEvent>], sizes: &mut Sizes) {
    let events = interleaved(answers, sizes);
    for form in [CallForm::ToolCalls, CallForm::FunctionCall] {
        let writer = chat_writer(answers.len(), form);
        let (chunks, end) = data(&mut chat_completions::ChunkStream(writer), &events, sizes);
        assert_eq!(end.expect("an end").data, "[DONE]");
        let (mut writer, mut fold) = (chat_writer(answers.len(), form), ChunkFold::default());
        for (of, event) in &events {
            writer.on(*of, event.clone()).into_iter().for_each(|chunk| fold.push(chunk));
        }
        let whole = json!(fold.finish().expect("it is complete"));
        assert_eq!(clients::chat_answers(&chunks), clients::chat_answers_of_body(&whole));
        expect_text(&whole, answers);
        assert_eq!(chunks.last().map(|chunk| &chunk["usage"]), Some(&whole["usage"]));
    }
    let writer = completion_writer(answers.len());
    let (chunks, _) = data(&mut completions::ChunkStream(writer), &events, sizes);
    let (mut writer, mut fold) = (completion_writer(answers.len()), CompletionFold::default());
    for (of, event) in &events {
        writer.on(*of, event.clone()).into_iter().for_each(|chunk| fold.push(chunk));
    }
    let whole = json!(fold.finish().expect("it is complete"));
    for choice in whole["choices"].as_array().expect("a list") {
        let pieces = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().expect("a list"));
        let text: String = pieces
            .filter(|piece| piece["index"] == choice["index"])
            .map(|piece| piece["text"].as_str().expect("a text"))
            .collect();
        assert_eq!(choice["text"], text);
    }
    if let [answer] = answers {
        expect_same_message(answer, sizes);
    }
}

fn expect_same_message(answer: &[AnswerEvent], sizes: &mut Sizes) {
    let events: Events = answer.iter().map(|event| (0, event.clone())).collect();
    let mut stream = Vec::new();
    let mut form = messages::EventStream(MessageWriter::new("msg_1"));
    for (of, event) in &events {
        form.event(*of, event.clone(), &mut stream);
    }
    let (mut writer, mut fold) = (MessageWriter::new("msg_1"), MessageFold::default());
    for (_, event) in &events {
        writer.on(event.clone()).into_iter().for_each(|event| fold.push(event));
    }
    let whole = json!(fold.finish().expect("it is complete"));
    assert_eq!(clients::message(&clients::read(&stream, sizes)), whole);
}

/// Nothing of a text is lost, and nothing is added.
fn expect_text(whole: &Value, answers: &[Vec<AnswerEvent>]) {
    for (of, events) in answers.iter().enumerate() {
        let text: String = events
            .iter()
            .filter_map(|event| if let AnswerEvent::Text(text) = event { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(whole["choices"][of]["message"]["content"].as_str().unwrap_or_default(), text);
    }
}

fn data(
    form: &mut impl StreamForm,
    events: &Events,
    sizes: &mut Sizes,
) -> (Vec<Value>, Option<ServerSentEvent>) {
    let mut stream = Vec::new();
    for (of, event) in events {
        form.event(*of, event.clone(), &mut stream);
    }
    form.done(&mut stream);
    let mut read = clients::read(&stream, sizes);
    let end = read.pop();
    (read.iter().map(|event| serde_json::from_str(&event.data).expect("JSON")).collect(), end)
}

/// The events of all answers, in some order that keeps that of each.
fn interleaved(answers: &[Vec<AnswerEvent>], sizes: &mut Sizes) -> Events {
    let mut rest: Vec<_> = answers.iter().map(|events| events.iter()).collect();
    let mut events = Vec::new();
    while rest.iter().any(|events| !events.as_slice().is_empty()) {
        let (first, count) = (sizes.next_size() % rest.len(), rest.len());
        let mut turn = (0..count).map(|after| (first + after) % count);
        let next = turn.find_map(|of| Some((of, rest[of].next()?.clone())));
        events.extend(next);
    }
    events
}
