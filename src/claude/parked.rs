//! Which results can answer the calls of a parked turn.
//!
//! They go to the CLI as the results of its tools, and it changes some of them on their way to the model: an empty one
//! becomes "(f completed with no output)", a document is written to disk, and so is a long text; what a tool that failed says
//! is trimmed, cut in its middle and joined. Such results are laid
//! down afresh instead, as a part of the history, where they stay what they are.

use serde_json::{Map, Value};

use super::conversation_key::canonical_object;
use super::tool_server::{MAX_RESULT_CHARS, WaitingCall};
use crate::turn::{AssistantBlock, Media, Parameters, ResultBlock, UserBlock, is_blank};

/// The results of `calls` in their order, if `question` is just these and each of them reaches the model as it is.
#[must_use]
pub fn results<'a>(calls: &[OpenCall], question: &'a [UserBlock]) -> Option<Vec<Returned<'a>>> {
    if calls.len() != question.len() {
        return None;
    }
    let result_of = |call: &OpenCall| {
        question.iter().find_map(|block| match block {
            UserBlock::ToolResult { call_id, content, is_error } if *call_id == call.id => {
                Some(Returned { content, is_error: *is_error })
            }
            _ => None,
        })
    };
    calls.iter().map(|call| result_of(call).filter(|result| arrives_as_it_is(*result))).collect()
}

/// What a tool said to a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Returned<'a> {
    /// The result.
    pub content: &'a [ResultBlock],
    /// Whether the tool failed.
    pub is_error: bool,
}

/// The longest text of a tool that failed, as JavaScript counts: 9,000 were seen to arrive whole, and 20,000 as 10,040.
const MAX_FAILURE_CHARS: usize = 9_000;

/// A call that the model made and that waits for its result.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenCall {
    /// Its id.
    pub id: String,
    /// Its arguments, as the model wrote them.
    pub arguments: Map<String, Value>,
}

impl OpenCall {
    /// The calls in what the model said.
    #[must_use]
    pub fn all_in(said: &[AssistantBlock]) -> Vec<Self> {
        let call = |block: &AssistantBlock| match block {
            AssistantBlock::ToolUse { id, input, .. } => {
                Some(Self { id: id.clone(), arguments: input.clone() })
            }
            AssistantBlock::Text(_) => None,
        };
        said.iter().filter_map(call).collect()
    }

    /// Whether the CLI has the same arguments. Where a tool is called as one of its own is, it makes them fit that one: a
    /// call of `Edit` gets a `replace_all`, and one of `ExitPlanMode` loses all it has (measured on 2.1.329). The
    /// conversation in the process is then no longer what the client sends back.
    #[must_use]
    pub fn is_same(&self, waiting: &WaitingCall) -> bool {
        canonical_object(&self.arguments) == canonical_object(&waiting.arguments)
    }
}

/// Whether a turn that waits can go on with the parameters `after`. The CLI fixes effort (from 2.1.315 on) and `max_tokens`
/// (2.1.329) when a turn begins, and does not say so; the rest it reads anew for each request.
#[must_use]
pub fn can_change(before: &Parameters, after: &Parameters) -> bool {
    before.effort == after.effort && before.max_tokens == after.max_tokens
}

/// Whether a user turn brings results of tools.
#[must_use]
pub fn holds_results(question: &[UserBlock]) -> bool {
    question.iter().any(|block| matches!(block, UserBlock::ToolResult { .. }))
}

fn arrives_as_it_is(result: Returned<'_>) -> bool {
    if result.is_error {
        let [ResultBlock::Text(text)] = result.content else { return false };
        return text.encode_utf16().count() <= MAX_FAILURE_CHARS && is_trimmed(text);
    }
    let content = result.content;
    let mut length = 0;
    let mut is_empty = true;
    for block in content {
        match block {
            ResultBlock::Text(text) => {
                // As JavaScript counts, and never less than the characters.
                length += text.encode_utf16().count();
                is_empty &= is_blank(text);
            }
            ResultBlock::Media(Media::Image { .. }) => is_empty = false,
            ResultBlock::Media(_) => return false,
        }
    }
    !is_empty && length <= MAX_RESULT_CHARS
}

/// Whether a text holds something, and neither begins nor ends with white space.
fn is_trimmed(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| !is_blank(c.encode_utf8(&mut [0; 4])));
    edge(text.chars().next()) && edge(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Effort, ImageFormat};
    use rstest::rstest;
    use serde_json::json;

    fn text(text: &str) -> Vec<ResultBlock> {
        vec![ResultBlock::Text(text.to_owned())]
    }

    fn result(call_id: &str, content: Vec<ResultBlock>) -> UserBlock {
        UserBlock::ToolResult { call_id: call_id.to_owned(), content, is_error: false }
    }

    fn calls(ids: &[&str]) -> Vec<OpenCall> {
        ids.iter().map(|id| OpenCall { id: (*id).to_owned(), arguments: Map::new() }).collect()
    }

    #[rstest]
    #[case::the_same(json!({"a": 1.0, "b": [null]}), json!({"b": [null], "a": 1}), true)]
    #[case::more(json!({"a": 1}), json!({"a": 1, "replace_all": false}), false)]
    #[case::less(json!({"plan": "x"}), json!({}), false)]
    #[case::another_type(json!({"a": "1"}), json!({"a": 1}), false)]
    fn a_call_is_the_same_with_the_same_arguments(
        #[case] said: Value,
        #[case] asked: Value,
        #[case] same: bool,
    ) {
        let object = |value: &Value| value.as_object().cloned().unwrap();
        let call = OpenCall { id: "a".to_owned(), arguments: object(&said) };
        let waiting = WaitingCall {
            request_id: "r".to_owned(),
            rpc_id: json!(1),
            call_id: "a".to_owned(),
            arguments: object(&asked),
        };
        assert_eq!(call.is_same(&waiting), same);
    }

    #[rstest]
    #[case::nothing(Parameters::default(), true)]
    #[case::read_anew(Parameters { temperature: Some(0.5), stop: vec!["x".to_owned()], ..Parameters::default() }, true)]
    #[case::effort(Parameters { effort: Some(Effort::Low), ..Parameters::default() }, false)]
    #[case::max_tokens(Parameters { max_tokens: Some(9), ..Parameters::default() }, false)]
    fn what_a_turn_fixes_at_its_beginning_stays(#[case] after: Parameters, #[case] can: bool) {
        assert_eq!(can_change(&Parameters::default(), &after), can);
    }

    #[test]
    fn results_come_in_the_order_of_the_calls() {
        let question = [result("b", text("2")), result("a", text("1"))];
        let (one, two) = (text("1"), text("2"));
        let returned = |content| Returned { content, is_error: false };
        assert_eq!(
            results(&calls(&["a", "b"]), &question),
            Some(vec![returned(&one[..]), returned(&two[..])])
        );
    }

    #[rstest]
    #[case::one_is_missing(&["a", "b"], vec![result("a", text("1"))])]
    #[case::one_too_many(&["a"], vec![result("a", text("1")), result("b", text("2"))])]
    #[case::another_call(&["a"], vec![result("b", text("1"))])]
    #[case::one_twice(&["a", "b"], vec![result("a", text("1")), result("a", text("2"))])]
    #[case::a_text_beside(&["a"], vec![result("a", text("1")), UserBlock::Text("and?".to_owned())])]
    #[case::only_a_text(&["a"], vec![UserBlock::Text("stop".to_owned())])]
    fn nothing_but_the_results_of_all_calls_will_do(#[case] open: &[&str], #[case] question: Vec<UserBlock>) {
        assert_eq!(results(&calls(open), &question), None);
    }

    #[rstest]
    #[case::text(text("1"), true)]
    #[case::the_longest(text(&"x".repeat(MAX_RESULT_CHARS)), true)]
    #[case::too_long(text(&"x".repeat(MAX_RESULT_CHARS + 1)), false)]
    #[case::too_long_together([text(&"x".repeat(MAX_RESULT_CHARS)), text("x")].concat(), false)]
    #[case::counted_in_utf16(text(&"\u{1f600}".repeat(MAX_RESULT_CHARS / 2 + 1)), false)]
    #[case::nothing(Vec::new(), false)]
    #[case::white_space(text(" \n"), false)]
    #[case::an_image(vec![ResultBlock::Media(Media::Image { format: ImageFormat::Png, bytes: (&b"x"[..]).into() })], true)]
    #[case::an_image_elsewhere(vec![ResultBlock::Media(Media::ImageUrl("https://e.org/x".to_owned()))], false)]
    #[case::a_pdf(vec![ResultBlock::Media(Media::Pdf { title: None, bytes: (&b"x"[..]).into() })], false)]
    #[case::a_text_file(vec![ResultBlock::Media(Media::Text { title: None, text: "x".to_owned() })], false)]
    fn what_the_cli_would_change_is_left_out(#[case] content: Vec<ResultBlock>, #[case] fits: bool) {
        assert_eq!(results(&calls(&["a"]), &[result("a", content)]).is_some(), fits);
    }

    #[rstest]
    #[case::text(text("no such\n city"), true)]
    #[case::the_longest(text(&"x".repeat(MAX_FAILURE_CHARS)), true)]
    #[case::too_long(text(&"x".repeat(MAX_FAILURE_CHARS + 1)), false)]
    #[case::with_space_around(text("no\n"), false)]
    #[case::with_space_before(text("\u{feff}no"), false)]
    #[case::nothing(Vec::new(), false)]
    #[case::several([text("a"), text("b")].concat(), false)]
    #[case::an_image(vec![ResultBlock::Media(Media::Image { format: ImageFormat::Png, bytes: (&b"x"[..]).into() })], false)]
    fn of_a_tool_that_failed_only_a_short_text_is_told_as_it_is(
        #[case] content: Vec<ResultBlock>,
        #[case] fits: bool,
    ) {
        let failed = UserBlock::ToolResult { call_id: "a".to_owned(), content, is_error: true };
        assert_eq!(results(&calls(&["a"]), &[failed]).is_some(), fits);
    }
}
