//! What the model said in an answer, as a client will send it back.

use serde_json::{Map, Value};

use crate::turn::{AssistantBlock, Tool, is_blank};

/// What the model said in an answer: its text and its calls, piece by piece.
#[derive(Debug, Default)]
pub struct Said {
    /// The names of the tools it may call.
    known: Vec<String>,
    text: String,
    calls: Vec<Call>,
    /// Whether the last call is still being written.
    call_is_open: bool,
}

/// A call.
#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

impl Said {
    /// Nothing yet, by a model that has these tools.
    #[must_use]
    pub fn new(tools: &[Tool]) -> Self {
        Self { known: tools.iter().map(|tool| tool.name.clone()).collect(), ..Self::default() }
    }

    /// The tools that the CLI does not have, though it was told of them.
    #[must_use]
    pub fn missing_in(&self, taken: &[String]) -> Vec<String> {
        // It calls one by the older name of its own tool.
        let is_taken = |name: &String| {
            taken.contains(name) || (name == "Agent" && taken.iter().any(|name| name == "Task"))
        };
        self.known.iter().filter(|name| !is_taken(name)).cloned().collect()
    }

    /// A piece of text.
    pub fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A call begins.
    pub fn call(&mut self, id: &str, name: &str) {
        self.calls.push(Call { id: id.to_owned(), name: name.to_owned(), arguments: String::new() });
        self.call_is_open = true;
    }

    /// A piece of the arguments of the call that began last.
    pub fn arguments(&mut self, json: &str) {
        if let Some(call) = self.calls.last_mut() {
            call.arguments.push_str(json);
        }
    }

    /// A block ends. If it was a call without arguments, they are these.
    pub fn end_block(&mut self) -> Option<&'static str> {
        const NONE: &str = "{}";
        let was_open = std::mem::take(&mut self.call_is_open);
        let call = self.calls.last_mut().filter(|call| was_open && call.arguments.is_empty())?;
        call.arguments.push_str(NONE);
        Some(NONE)
    }

    /// Whether there is a call.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether the CLI waits for the results of all calls. It answers by itself, with an error, calls of tools that it does
    /// not have and arguments that are no JSON, and it makes something else of JSON that is no object.
    #[must_use]
    pub fn calls_can_wait(&self) -> bool {
        let is_sound = |(index, call): (usize, &Call)| {
            self.known.contains(&call.name)
                && call.input().is_some()
                && self.calls[..index].iter().all(|earlier| earlier.id != call.id)
        };
        self.has_calls() && self.calls.iter().enumerate().all(is_sound)
    }

    /// The answer as a turn of a later request: its text in one piece, then its calls. `None` where a client cannot send it
    /// back as it was: when there is nothing but white space, or arguments that are no JSON object.
    #[must_use]
    pub fn into_blocks(self) -> Option<Vec<AssistantBlock>> {
        let mut blocks = Vec::with_capacity(1 + self.calls.len());
        if !is_blank(&self.text) {
            blocks.push(AssistantBlock::Text(self.text));
        }
        for call in self.calls {
            let input = call.input()?;
            blocks.push(AssistantBlock::ToolUse { id: call.id, name: call.name, input });
        }
        (!blocks.is_empty()).then_some(blocks)
    }
}

impl Call {
    fn input(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(&self.arguments).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn said(calls: &[(&str, &str, &str)]) -> Said {
        let tool =
            |name: &str| Tool { name: name.to_owned(), description: String::new(), schema: Map::new() };
        let mut said = Said::new(&[tool("f"), tool("g")]);
        for (id, name, arguments) in calls {
            said.call(id, name);
            arguments.split_inclusive(':').for_each(|piece| said.arguments(piece));
            said.end_block();
        }
        said
    }

    #[rstest]
    #[case::one(&[("a", "f", "{}")], true)]
    #[case::several(&[("a", "f", r#"{"x":1}"#), ("b", "g", "{}"), ("c", "f", "{}")], true)]
    #[case::none(&[], false)]
    #[case::of_no_tool(&[("a", "f", "{}"), ("b", "h", "{}")], false)]
    #[case::twice_the_same(&[("a", "f", "{}"), ("a", "f", "{}")], false)]
    #[case::half(&[("a", "f", r#"{"x":"#)], false)]
    #[case::no_object(&[("a", "f", "[1]")], false)]
    fn calls_wait_if_the_cli_can_make_them(#[case] calls: &[(&str, &str, &str)], #[case] can_wait: bool) {
        assert_eq!(said(calls).calls_can_wait(), can_wait);
    }

    #[test]
    fn a_tool_that_the_cli_did_not_take_is_missing() {
        let taken = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(said(&[]).missing_in(&taken(&["g", "f"])), Vec::<String>::new());
        assert_eq!(said(&[]).missing_in(&taken(&["g"])), ["f"]);
    }

    #[test]
    fn a_call_without_arguments_has_empty_ones() {
        let mut said = said(&[]);
        said.call("a", "f");
        assert_eq!((said.end_block(), said.end_block()), (Some("{}"), None));
        assert!(said.calls_can_wait());
    }

    #[test]
    fn texts_are_one_text_before_the_calls() {
        let mut said = said(&[("a", "f", "{}")]);
        said.text("b");
        said.text("c");
        let blocks = said.into_blocks().unwrap();
        assert_eq!(blocks[0], AssistantBlock::Text("bc".to_owned()));
        assert!(matches!(&blocks[1], AssistantBlock::ToolUse { id, .. } if id == "a"));
    }

    #[test]
    fn what_no_client_sends_back_is_nothing() {
        assert_eq!(Said::default().into_blocks(), None);
        let mut blank = Said::default();
        blank.text(" \n");
        assert_eq!(blank.into_blocks(), None);
        assert_eq!(said(&[("a", "f", "[1]")]).into_blocks(), None);
    }
}
