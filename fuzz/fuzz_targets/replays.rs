//! A client sends an answer back as it got it: the process that gave it is found again, in either API's form.

#![no_main]

use arbitrary::Arbitrary;
use couplet::anthropic::messages_request::MessagesRequest;
use couplet::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use couplet::claude::said::Said;
use couplet::translate::chat_answer::{CallForm, ChunkFold, ChunkWriter};
use couplet::translate::messages_answer::{MessageFold, MessageWriter};
use couplet::translate::{chat_body, messages_request};
use couplet::turn::{AssistantBlock, MediaSource, Message, Tool, Turn};
use couplet::wire::parse::parse;
use couplet_fuzz::json::MadeUpObject;
use couplet_fuzz::turns;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

#[derive(Debug, Arbitrary)]
struct Given {
    pieces: Vec<Piece>,
    calls: Vec<Call>,
    is_refused: bool,
}

#[derive(Debug, Arbitrary)]
enum Piece {
    Text(String),
    Reasoning(String),
    Signature(String),
}

#[derive(Debug, Arbitrary)]
struct Call {
    is_of_second_tool: bool,
    arguments: Option<MadeUpObject>,
    cut: u8,
    result: String,
}

const TOOLS: [&str; 2] = ["f", "get_weather"];

impl Given {
    fn events(&self) -> Vec<AnswerEvent> {
        let mut events = vec![AnswerEvent::Started {
            model: "m".to_owned(),
            usage: Usage::default(),
            unheeded: Vec::new(),
        }];
        events.extend(self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => AnswerEvent::Text(text.clone()),
            Piece::Reasoning(text) => AnswerEvent::Reasoning(text.clone()),
            Piece::Signature(text) => AnswerEvent::Signature(text.clone()),
        }));
        for (index, call) in self.calls.iter().enumerate() {
            let name = TOOLS[usize::from(call.is_of_second_tool)].to_owned();
            events.push(AnswerEvent::ToolCall { id: format!("toolu_{index}"), name });
            let arguments = call.arguments();
            let (first, second) =
                arguments.split_at(arguments.ceil_char_boundary(usize::from(call.cut).min(arguments.len())));
            let pieces = [first, second].into_iter().filter(|piece| !piece.is_empty());
            events.extend(pieces.map(|piece| AnswerEvent::ToolArguments(piece.to_owned())));
        }
        let reason = match (self.is_refused, self.calls.is_empty()) {
            (true, _) => StopReason::Refusal,
            (false, true) => StopReason::EndTurn,
            (false, false) => StopReason::ToolUse,
        };
        events.push(AnswerEvent::Ended(AnswerEnd { reason, stop_sequence: None, usage: Usage::default() }));
        events
    }

    /// What the process remembers that it said.
    fn said(&self) -> Option<Vec<AssistantBlock>> {
        let tool =
            |name: &str| Tool { name: name.to_owned(), description: String::new(), schema: Map::new() };
        let mut said = Said::new(&TOOLS.map(tool));
        for event in self.events() {
            match event {
                AnswerEvent::Text(text) => said.text(&text),
                AnswerEvent::ToolCall { id, name } => said.call(&id, &name),
                AnswerEvent::ToolArguments(piece) => said.arguments(&piece),
                _ => {}
            }
        }
        assert!(self.calls.is_empty() || said.calls_can_wait());
        said.into_blocks()
    }
}

impl Call {
    fn arguments(&self) -> String {
        self.arguments.as_ref().map_or_else(|| "{}".to_owned(), |object| json!(object.0).to_string())
    }
}

fn chat_request(given: &Given) -> Value {
    let mut writer = ChunkWriter::new("chatcmpl-1", 1, "couplet", true, CallForm::ToolCalls);
    let mut fold = ChunkFold::default();
    for event in given.events() {
        writer.on(0, event).into_iter().for_each(|chunk| fold.push(chunk));
    }
    let body = json!(fold.finish().expect("it is complete"));
    let mut messages = vec![json!({"role": "user", "content": "q"}), body["choices"][0]["message"].clone()];
    // In the other order: that does not count.
    for (index, call) in given.calls.iter().enumerate().rev() {
        messages
            .push(json!({"role": "tool", "tool_call_id": format!("toolu_{index}"), "content": call.result}));
    }
    messages.push(json!({"role": "user", "content": "next"}));
    json!({"model": "m", "messages": messages})
}

fn messages_body(given: &Given) -> Value {
    let (mut writer, mut fold) = (MessageWriter::new("msg_1"), MessageFold::default());
    for event in given.events() {
        writer.on(event).into_iter().for_each(|event| fold.push(event));
    }
    let body = json!(fold.finish().expect("it is complete"));
    let results = given.calls.iter().enumerate().map(|(index, call)| {
        json!({"type": "tool_result", "tool_use_id": format!("toolu_{index}"), "content": call.result})
    });
    let next: Vec<_> = results.chain([json!({"type": "text", "text": "next"})]).collect();
    json!({"model": "m", "max_tokens": 100, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": body["content"]},
        {"role": "user", "content": next},
    ]})
}

/// The key that the process is under, and that which it is looked for by.
fn expect_found(turn: Turn<MediaSource>, said: &[AssistantBlock]) {
    let turn = turns::ready(turn);
    let [Message::User(question), Message::Assistant(answer)] = &turn.history[..] else {
        panic!("a question and its answer: {turn:?}")
    };
    assert_eq!(answer, said);
    let first = Turn { history: Vec::new(), question: question.clone(), ..turn.clone() };
    assert_eq!(turns::key(&turn), turns::key(&first).then_user(question).then_assistant(said));
}

fuzz_target!(|given: Given| {
    let chat = chat_body::read(chat_request(&given).to_string().as_bytes());
    let chat = chat.expect("what was answered can be sent back").translated.turn;
    let messages = parse::<MessagesRequest>(messages_body(&given).to_string().as_bytes());
    let messages = messages.and_then(|parsed| messages_request::turn(parsed.request));
    let messages = messages.expect("what was answered can be sent back").turn;
    turns::expect_sound(&chat);
    turns::expect_sound(&messages);
    // A refusal has a sentence of its own that the model did not say.
    if let Some(said) = given.said().filter(|_| !given.is_refused) {
        expect_found(chat, &said);
        expect_found(messages, &said);
    }
});
