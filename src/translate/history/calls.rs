//! The calls of a conversation and their results.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::openai::chat_request::{ChatMessage, Content, FunctionCall, ToolCall};
use crate::openai::error::ApiError;
use crate::translate::content::{self, Part};
use crate::translate::tools::expect_name;
use crate::turn::{AssistantBlock, MediaSource, ResultBlock, UserBlock};

/// Reads calls and results, message for message.
pub(super) struct Calls {
    ids: Ids,
    /// The calls that wait for their results, in the order in which they were made.
    open: Vec<OpenCall>,
    /// Where in `open` those are that have none yet.
    unanswered: HashMap<Reference, usize>,
}

struct OpenCall {
    id: String,
    result: Vec<ResultBlock<MediaSource>>,
}

/// How a result refers to its call.
#[derive(PartialEq, Eq, Hash)]
enum Reference {
    /// By the id that the client knows.
    Id(String),
    /// By the function's name, in the older form.
    Name(String),
}

impl Calls {
    /// For the calls of these messages.
    pub(super) fn of(messages: &[ChatMessage]) -> Self {
        Self { ids: Ids::of(messages), open: Vec::new(), unanswered: HashMap::new() }
    }

    /// The calls of an assistant's message.
    pub(super) fn made(
        &mut self,
        field: &str,
        tool_calls: Option<Vec<ToolCall>>,
        function_call: Option<FunctionCall>,
    ) -> Result<Vec<AssistantBlock>, ApiError> {
        let tool_calls = tool_calls.unwrap_or_default();
        let mut blocks = Vec::with_capacity(tool_calls.len());
        if let Some(call) = function_call {
            let field = format!("{field}.function_call");
            if !tool_calls.is_empty() {
                let message =
                    "'function_call' is the older form of 'tool_calls': a message may have one of them.";
                return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
            }
            let id = self.ids.make();
            blocks.push(self.open(&field, Reference::Name(call.name.clone()), id, call)?);
        }
        for (index, call) in tool_calls.into_iter().enumerate() {
            let field = format!("{field}.tool_calls[{index}]");
            let function = function_of(&field, call.r#type.as_deref(), call.function)?;
            let id = self.ids.keep(&call.id);
            let reference = Reference::Id(call.id);
            if self.unanswered.contains_key(&reference) {
                let message = "Each call of a message must have an id of its own.";
                return Err(
                    ApiError::invalid_request(format!("{field}.id"), message).with_code("invalid_value")
                );
            }
            blocks.push(self.open(&format!("{field}.function"), reference, id, function)?);
        }
        Ok(blocks)
    }

    fn open(
        &mut self,
        field: &str,
        reference: Reference,
        id: String,
        call: FunctionCall,
    ) -> Result<AssistantBlock, ApiError> {
        expect_name(&format!("{field}.name"), &call.name)?;
        let input = input(&format!("{field}.arguments"), call.arguments)?;
        self.unanswered.insert(reference, self.open.len());
        self.open.push(OpenCall { id: id.clone(), result: Vec::new() });
        Ok(AssistantBlock::ToolUse { id, name: call.name, input })
    }

    /// A message of role `tool`. Gives the results of all calls, in the order of the calls, once the last is there.
    pub(super) fn tool_message(
        &mut self,
        field: &str,
        call_id: Option<String>,
        content: Option<Content>,
    ) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
        let id_field = format!("{field}.tool_call_id");
        let reference = Reference::Id(call_id.ok_or_else(|| ApiError::missing_parameter(&id_field))?);
        let wrong = "A tool message must answer a call of the assistant message before it.";
        self.answer(&reference, (id_field, wrong), field, content)
    }

    /// A message of role `function`, which answers the older form of a call.
    pub(super) fn function_message(
        &mut self,
        field: &str,
        name: Option<String>,
        content: Option<Content>,
    ) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
        let name_field = format!("{field}.name");
        let reference = Reference::Name(name.ok_or_else(|| ApiError::missing_parameter(&name_field))?);
        let wrong = "A function message must answer the 'function_call' of the assistant message before it, by its name.";
        self.answer(&reference, (name_field, wrong), field, content)
    }

    fn answer(
        &mut self,
        reference: &Reference,
        wrong: (String, &str),
        field: &str,
        content: Option<Content>,
    ) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
        let index = self.unanswered.remove(reference);
        let Some(call) = index.and_then(|index| self.open.get_mut(index)) else {
            return Err(ApiError::invalid_request(wrong.0, wrong.1).with_code("invalid_value"));
        };
        let parts = content::joined(content::parts(field, content)?);
        let blocks = parts.into_iter().map(|part| match part {
            Part::Text(text) => ResultBlock::Text(text),
            Part::Media(source) => ResultBlock::Media(source),
        });
        call.result = blocks.collect();
        if !self.unanswered.is_empty() {
            return Ok(Vec::new());
        }
        let results = self.open.drain(..);
        Ok(results.map(|call| UserBlock::ToolResult { call_id: call.id, content: call.result }).collect())
    }

    /// Refuses a message that stands where a result should.
    pub(super) fn expect_answered(&self, field: &str) -> Result<(), ApiError> {
        if self.unanswered.is_empty() {
            return Ok(());
        }
        let message = "Every call in 'tool_calls' (or 'function_call') must be answered by a message of role 'tool' \
                       (or 'function') directly after its message.";
        Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
    }
}

fn function_of(
    field: &str,
    kind: Option<&str>,
    function: Option<FunctionCall>,
) -> Result<FunctionCall, ApiError> {
    if !matches!(kind, None | Some("function")) {
        let message = "Only calls of type 'function' are supported.";
        return Err(ApiError::invalid_request(format!("{field}.type"), message).with_code("invalid_value"));
    }
    function.ok_or_else(|| ApiError::missing_parameter(&format!("{field}.function")))
}

fn input(field: &str, arguments: Option<String>) -> Result<Map<String, Value>, ApiError> {
    let Some(text) = arguments.filter(|text| !text.trim().is_empty()) else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|_| {
        let message = "The arguments of a call must be a JSON object.";
        ApiError::invalid_request(field, message).with_code("invalid_value")
    })
}

/// Gives each call of a conversation an id that Anthropic's API takes and that no other call has.
///
/// The client's own are kept where they can be. Some providers count calls anew in each answer (`call_0`), and the older
/// form of calls has no ids at all.
struct Ids {
    /// Those of the client, wherever in the conversation they are.
    given: HashSet<String>,
    used: HashSet<String>,
    /// How many calls there were so far.
    calls: usize,
}

impl Ids {
    fn of(messages: &[ChatMessage]) -> Self {
        let calls = messages.iter().flat_map(|message| message.tool_calls.iter().flatten());
        Self { given: calls.map(|call| call_id(&call.id)).collect(), used: HashSet::new(), calls: 0 }
    }

    /// The id of the next call, which the client calls so.
    fn keep(&mut self, id: &str) -> String {
        let id = call_id(id);
        if self.used.insert(id.clone()) {
            self.calls += 1;
            return id;
        }
        self.numbered(&id)
    }

    /// The id of the next call, which has none.
    fn make(&mut self) -> String {
        self.numbered("call")
    }

    fn numbered(&mut self, base: &str) -> String {
        self.calls += 1;
        let mut id = format!("{base}_{}", self.calls);
        while self.given.contains(&id) || self.used.contains(&id) {
            id.push('_');
        }
        self.used.insert(id.clone());
        id
    }
}

/// A call's id as Anthropic's API takes it (`[A-Za-z0-9_-]+`). Ids of other providers may hold more; two that differ
/// stay different, because what does not fit is written as its code point.
pub(super) fn call_id(id: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(fits) {
        return id.to_owned();
    }
    let mut written = String::from("id_");
    for c in id.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '-' => written.push(c),
            c => written.extend(["_", &format!("{:x}", u32::from(c)), "_"]),
        }
    }
    written
}
