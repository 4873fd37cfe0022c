//! [`Reply`] → the events of a stream, or the JSON body of an answer that does not stream. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::agent::{self, Act};
use super::reply::{Break, Echo, Part, Place, Reply, Stop};
use super::request::Asked;
use super::script;

/// One step of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Wait.
    Wait(Duration),
    /// Send this event; its `type` is the SSE event name.
    Event(Value),
    /// Say nothing more, on an open connection.
    Stall,
    /// Close the connection in the middle of the response.
    Cut,
}

/// A reply made into a message: the request is known, bounds are applied, deltas are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    id: String,
    model: String,
    blocks: Vec<Block>,
    stop_reason: String,
    stop_sequence: Option<String>,
    stop_details: Option<Value>,
    usage: Value,
}

/// A content block in both of its forms.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    start: Value,
    deltas: Vec<Value>,
    whole: Value,
}

/// A content block before it is cut into deltas.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Text(String),
    Thinking { text: String, signature: String },
    Redacted(String),
    Tool { name: String, input: String },
}

impl Content {
    fn of(part: &Part, asked: &Asked) -> Self {
        match part {
            Part::Text(text) => Self::Text(text.clone()),
            Part::Echo(Echo::Asked) => Self::Text(script::without_directives(&asked.last_user_text())),
            Part::Echo(Echo::Field(path)) => {
                Self::Text(asked.field(path).map_or_else(|| "null".to_owned(), Value::to_string))
            }
            Part::Thinking { text, signature } => {
                Self::Thinking { text: text.clone(), signature: signature.clone() }
            }
            Part::RedactedThinking(data) => Self::Redacted(data.clone()),
            Part::Tool { name, input } => Self::Tool { name: name.clone(), input: input.clone() },
            Part::Structured(json) => {
                match asked.tools().iter().find(|tool| tool["name"] == agent::STRUCTURED_OUTPUT) {
                    Some(tool) => Self::Tool {
                        name: agent::STRUCTURED_OUTPUT.to_owned(),
                        input: wrapped(json, &tool["input_schema"]),
                    },
                    None => Self::Text(json.clone()),
                }
            }
            Part::Agent => match agent::act(asked) {
                Act::Call { name, input } => Self::Tool { name, input },
                Act::Say(text) => Self::Text(text),
            },
        }
    }

    /// Tokens, a word being one. A tool call has one at least.
    fn tokens(&self) -> u64 {
        match self {
            Self::Text(text) | Self::Thinking { text, .. } => words(text),
            Self::Redacted(_) => 0,
            Self::Tool { input, .. } => words(input).max(1),
        }
    }
}

/// A tool's input is an object: an answer that may be anything else goes into its one property `value`, where the tool
/// has that one alone.
fn wrapped(answer: &str, schema: &Value) -> String {
    let names: Vec<_> =
        schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys()).collect();
    let is_wrapped = |value: &Value| value.as_object().is_some_and(|fields| fields.keys().eq(["value"]));
    match serde_json::from_str(answer) {
        Ok(value) if names == ["value"] && !is_wrapped(&value) => json!({"value": value}).to_string(),
        _ => answer.to_owned(),
    }
}

impl Message {
    /// Makes the message that answers `asked`; `number` makes its ids unique.
    #[must_use]
    pub fn new(reply: &Reply, asked: &Asked, number: u64) -> Self {
        let mut contents: Vec<_> = reply.parts.iter().map(|part| Content::of(part, asked)).collect();
        let mut stop = reply.stop.clone();
        if reply.honours_stop_sequences
            && let Some(sequence) = cut_at_stop_sequence(&mut contents, asked)
        {
            stop = Stop::Sequence(sequence);
        }
        if reply.honours_max_tokens
            && let Some(limit) = asked.max_tokens()
            && cut_at_tokens(&mut contents, limit)
        {
            stop = Stop::Reason("max_tokens".to_owned());
        }
        let calls = contents.iter().any(|content| matches!(content, Content::Tool { .. }));
        let (stop_reason, stop_sequence, stop_details) = match stop {
            Stop::Natural if calls => ("tool_use".to_owned(), None, None),
            Stop::Natural => ("end_turn".to_owned(), None, None),
            Stop::Reason(reason) => (reason, None, None),
            Stop::Sequence(sequence) => ("stop_sequence".to_owned(), Some(sequence), None),
            Stop::Refusal(explanation) => {
                let details = json!({"type": "refusal", "category": null, "explanation": explanation});
                ("refusal".to_owned(), None, Some(details))
            }
        };
        let usage = usage(reply, &contents);
        let blocks =
            contents.iter().enumerate().map(|(index, content)| Block::new(content, reply, number, index));
        Self {
            id: format!("msg_{number:06}"),
            model: asked.model().to_owned(),
            blocks: blocks.collect(),
            stop_reason,
            stop_sequence,
            stop_details,
            usage,
        }
    }

    /// The body of an answer that does not stream.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = self.shell();
        body["content"] = self.blocks.iter().map(|block| block.whole.clone()).collect();
        body["stop_reason"] = json!(self.stop_reason);
        body["stop_sequence"] = json!(self.stop_sequence);
        if let Some(details) = &self.stop_details {
            body["stop_details"] = details.clone();
        }
        body["usage"] = self.usage.clone();
        body
    }

    /// The steps of an answer that streams, at the reply's pace and with its break. ([`Place::Start`] lies before the
    /// first event and is not seen here.)
    #[must_use]
    pub fn steps(&self, reply: &Reply) -> Vec<Step> {
        let deltas: usize = self.blocks.iter().map(|block| block.deltas.len()).sum();
        let (broken_at, broken) = match &reply.broken {
            Some((Place::Deltas(count), broken)) => (Some((*count).min(deltas)), broken_steps(broken)),
            Some((Place::LastDelta, broken)) => (Some(deltas), broken_steps(broken)),
            Some((Place::Start, _)) | None => (None, Vec::new()),
        };
        let mut start = self.shell();
        start["usage"] = self.usage.clone();
        start["usage"]["output_tokens"] = json!(1);
        if let Some(usage) = start["usage"].as_object_mut() {
            // Not known before the end.
            usage.shift_remove("output_tokens_details");
        }
        let mut steps = vec![Step::Event(json!({"type": "message_start", "message": start}))];
        for _ in 0..reply.pings {
            push_wait(&mut steps, reply.between_pings);
            steps.push(Step::Event(json!({"type": "ping"})));
        }
        push_wait(&mut steps, reply.before_first_delta);

        let mut sent = 0;
        for (index, block) in self.blocks.iter().enumerate() {
            let start = json!({"type": "content_block_start", "index": index, "content_block": block.start});
            steps.push(Step::Event(start));
            for delta in &block.deltas {
                if broken_at == Some(sent) {
                    steps.extend(broken);
                    return steps;
                }
                if sent > 0 {
                    push_wait(&mut steps, reply.between_deltas);
                }
                steps.push(Step::Event(
                    json!({"type": "content_block_delta", "index": index, "delta": delta}),
                ));
                sent += 1;
            }
            if broken_at == Some(sent) && sent == deltas {
                steps.extend(broken);
                return steps;
            }
            steps.push(Step::Event(json!({"type": "content_block_stop", "index": index})));
        }
        if broken_at.is_some() {
            steps.extend(broken);
            return steps;
        }
        let mut delta = json!({"stop_reason": self.stop_reason, "stop_sequence": self.stop_sequence});
        if let Some(details) = &self.stop_details {
            delta["stop_details"] = details.clone();
        }
        steps.push(Step::Event(json!({"type": "message_delta", "delta": delta, "usage": self.usage})));
        steps.push(Step::Event(json!({"type": "message_stop"})));
        steps
    }

    fn shell(&self) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
        })
    }
}

impl Block {
    fn new(content: &Content, reply: &Reply, number: u64, index: usize) -> Self {
        match content {
            Content::Text(text) => Self {
                start: json!({"type": "text", "text": ""}),
                deltas: pieces(text, reply.delta_chars, |piece| json!({"type": "text_delta", "text": piece})),
                whole: json!({"type": "text", "text": text}),
            },
            Content::Thinking { text, signature } => {
                let delta = |piece: &str| json!({"type": "thinking_delta", "thinking": piece});
                let mut deltas = pieces(text, reply.delta_chars, delta);
                deltas.push(json!({"type": "signature_delta", "signature": signature}));
                Self {
                    start: json!({"type": "thinking", "thinking": "", "signature": ""}),
                    deltas,
                    whole: json!({"type": "thinking", "thinking": text, "signature": signature}),
                }
            }
            Content::Redacted(data) => {
                let block = json!({"type": "redacted_thinking", "data": data});
                Self { start: block.clone(), deltas: Vec::new(), whole: block }
            }
            Content::Tool { name, input } => {
                let id = format!("toolu_{number:06}{index}");
                let delta = |piece: &str| json!({"type": "input_json_delta", "partial_json": piece});
                let parsed = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
                Self {
                    start: json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                    deltas: awkward_pieces(input).into_iter().map(delta).collect(),
                    whole: json!({"type": "tool_use", "id": id, "name": name, "input": parsed}),
                }
            }
        }
    }
}

fn broken_steps(broken: &Break) -> Vec<Step> {
    vec![match broken {
        Break::Stall => Step::Stall,
        Break::Cut => Step::Cut,
        Break::Error(error) => Step::Event(error.body()),
    }]
}

fn push_wait(steps: &mut Vec<Step>, wait: Duration) {
    if !wait.is_zero() {
        steps.push(Step::Wait(wait));
    }
}

fn usage(reply: &Reply, contents: &[Content]) -> Value {
    let thought = contents.iter().filter(|content| matches!(content, Content::Thinking { .. }));
    let thinking = reply.usage.thinking.unwrap_or_else(|| thought.map(Content::tokens).sum());
    let output = reply.usage.output.unwrap_or_else(|| contents.iter().map(Content::tokens).sum());
    let mut usage = json!({
        "input_tokens": reply.usage.input,
        "cache_creation_input_tokens": reply.usage.cache_creation,
        "cache_read_input_tokens": reply.usage.cache_read,
        "output_tokens": output,
        "service_tier": "standard",
    });
    if thinking > 0 {
        usage["output_tokens_details"] = json!({"thinking_tokens": thinking});
    }
    usage
}

/// Cuts the text before the first stop sequence in it, drops what follows, and says which sequence it was.
fn cut_at_stop_sequence(contents: &mut Vec<Content>, asked: &Asked) -> Option<String> {
    for index in 0..contents.len() {
        let Content::Text(text) = &mut contents[index] else { continue };
        let met = asked.stop_sequences().filter_map(|sequence| Some((text.find(sequence)?, sequence)));
        if let Some((at, sequence)) = met.min_by_key(|(at, sequence)| (*at, sequence.len())) {
            text.truncate(at);
            contents.truncate(index + 1);
            return Some(sequence.to_owned());
        }
    }
    None
}

/// Cuts after so many tokens; a tool call that does not fit is left out. True if anything was cut.
fn cut_at_tokens(contents: &mut Vec<Content>, limit: u64) -> bool {
    let mut left = limit;
    for index in 0..contents.len() {
        let tokens = contents[index].tokens();
        if tokens <= left {
            left -= tokens;
            continue;
        }
        let cut = match &mut contents[index] {
            Content::Text(text) | Content::Thinking { text, .. } => {
                let kept = usize::try_from(left).unwrap_or(usize::MAX);
                let end = text.split_inclusive(char::is_whitespace).scan(0, |end, piece| {
                    *end += piece.len();
                    Some((*end, !piece.trim().is_empty()))
                });
                let end = end.filter_map(|(end, is_word)| is_word.then_some(end)).take(kept).last();
                text.truncate(end.unwrap_or_default());
                text.truncate(text.trim_end().len());
                !text.is_empty()
            }
            Content::Redacted(_) | Content::Tool { .. } => false,
        };
        contents.truncate(index + usize::from(cut));
        return true;
    }
    false
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// Cuts a text into deltas: after each blank, or after so many characters.
fn pieces(text: &str, chars: Option<usize>, delta: impl Fn(&str) -> Value) -> Vec<Value> {
    match chars {
        None => text.split_inclusive(char::is_whitespace).map(delta).collect(),
        Some(chars) => split_chars(text, std::iter::repeat(chars.max(1))).into_iter().map(delta).collect(),
    }
}

/// Cuts JSON where it hurts a careless reader: an empty piece first (as the API has it), then pieces of changing
/// length that part keys, escapes and numbers. Long inputs are cut into longer pieces.
fn awkward_pieces(input: &str) -> Vec<&str> {
    let scale = 1 + input.len() / 4000;
    let lengths = [1, 7, 2, 5, 1, 3].into_iter().cycle().map(move |length| length * scale);
    let mut pieces = vec![""];
    pieces.extend(split_chars(input, lengths));
    pieces
}

/// Cuts a text into pieces of so many characters each.
fn split_chars(text: &str, mut lengths: impl Iterator<Item = usize>) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(usize::MAX);
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(end, _)| end);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests;
