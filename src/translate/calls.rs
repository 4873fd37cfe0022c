//! The calls of a conversation and their results, whichever wire they came by.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::content::{self, Part};
use super::tools::expect_name;
use crate::openai::error::ApiError;
use crate::turn::{AssistantBlock, MediaSource, ResultBlock, UserBlock};

/// Reads calls and results, in their order.
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
    is_error: bool,
}

/// How a result refers to its call.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Reference {
    /// By the id that the client knows.
    Id(String),
    /// By the function's name, in the older form of OpenAI's.
    Name(String),
}

impl Calls {
    /// For a conversation with calls of these ids.
    pub(super) fn of<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        Self { ids: Ids::of(ids), open: Vec::new(), unanswered: HashMap::new() }
    }

    /// A call, the fields of whose id and name are `fields`.
    pub(super) fn open(
        &mut self,
        fields: (&str, &str),
        id: String,
        name: String,
        input: Map<String, Value>,
    ) -> Result<AssistantBlock, ApiError> {
        let (id_field, name_field) = fields;
        expect_name(name_field, &name)?;
        let kept = self.ids.keep(&id);
        let reference = Reference::Id(id);
        if self.unanswered.contains_key(&reference) {
            let message = "Each call of a message must have an id of its own.";
            return Err(ApiError::invalid_request(id_field, message).with_code("invalid_value"));
        }
        Ok(self.note(reference, kept, name, input))
    }

    /// A call without an id.
    pub(super) fn open_named(
        &mut self,
        name_field: &str,
        name: String,
        input: Map<String, Value>,
    ) -> Result<AssistantBlock, ApiError> {
        expect_name(name_field, &name)?;
        let id = self.ids.make();
        Ok(self.note(Reference::Name(name.clone()), id, name, input))
    }

    fn note(
        &mut self,
        reference: Reference,
        id: String,
        name: String,
        input: Map<String, Value>,
    ) -> AssistantBlock {
        self.unanswered.insert(reference, self.open.len());
        self.open.push(OpenCall { id: id.clone(), result: Vec::new(), is_error: false });
        AssistantBlock::ToolUse { id, name, input }
    }

    /// A result. Gives the results of all calls, in the order of the calls, once the last is there. `wrong` is the field that
    /// refers to the call, and what to say where that is none that waits.
    pub(super) fn answer(
        &mut self,
        reference: &Reference,
        wrong: (String, &str),
        parts: Vec<Part>,
        is_error: bool,
    ) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
        let index = self.unanswered.remove(reference);
        let Some(call) = index.and_then(|index| self.open.get_mut(index)) else {
            return Err(ApiError::invalid_request(wrong.0, wrong.1).with_code("invalid_value"));
        };
        let blocks = content::joined(parts).into_iter().map(|part| match part {
            Part::Text(text) => ResultBlock::Text(text),
            Part::Media(source) => ResultBlock::Media(source),
        });
        call.result = blocks.collect();
        call.is_error = is_error;
        if !self.unanswered.is_empty() {
            return Ok(Vec::new());
        }
        let results = self.open.drain(..).map(|call| {
            let OpenCall { id: call_id, result: content, is_error } = call;
            UserBlock::ToolResult { call_id, content, is_error }
        });
        Ok(results.collect())
    }

    /// Whether no call waits for its result.
    pub(super) fn are_answered(&self) -> bool {
        self.unanswered.is_empty()
    }
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
    fn of<'a>(given: impl IntoIterator<Item = &'a str>) -> Self {
        Self { given: given.into_iter().map(call_id).collect(), used: HashSet::new(), calls: 0 }
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
