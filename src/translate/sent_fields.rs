//! What the fields of a chat completion request were called in the Responses API's request that it was made of.

/// Where the messages of a conversation came from.
#[derive(Debug, Default)]
pub(super) struct Origins(pub(super) Vec<Origin>);

/// Where a message came from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The item, as `input[2]`; the last one, where several became one message.
    pub(super) item: String,
    /// What it says: `input[2].content`.
    pub(super) content: String,
    /// Each part of that.
    pub(super) parts: Vec<String>,
    /// The item of each call.
    pub(super) calls: Vec<String>,
}

impl Origins {
    /// What a field was called, where that was something else.
    pub(super) fn sent_as(&self, field: &str) -> Option<String> {
        let Some(rest) = field.strip_prefix("messages[") else { return sent_as(field) };
        let (index, rest) = index_and_rest(rest)?;
        let origin = self.0.get(index)?;
        let part = |list: &[String], rest: &str, tail: fn(&str) -> String| {
            let (index, rest) = index_and_rest(rest)?;
            Some(format!("{}{}", list.get(index)?, tail(rest)))
        };
        if let Some(rest) = rest.strip_prefix(".content[") {
            part(&origin.parts, rest, of_part)
        } else if let Some(rest) = rest.strip_prefix(".tool_calls[") {
            part(&origin.calls, rest, of_call)
        } else {
            Some(match rest {
                ".content" => origin.content.clone(),
                ".tool_call_id" => format!("{}.call_id", origin.item),
                // Calls have none, nor has a text that is the whole input.
                ".role" if !origin.calls.is_empty() || origin.item == origin.content => origin.item.clone(),
                rest => format!("{}{rest}", origin.item),
            })
        }
    }
}

/// What a field outside of the conversation was called, where that was something else.
#[must_use]
pub fn sent_as(field: &str) -> Option<String> {
    let renamed = match field {
        "messages" => "input",
        "max_completion_tokens" => "max_output_tokens",
        "reasoning_effort" => "reasoning.effort",
        "tool_choice.function" => "tool_choice.name",
        _ => {
            return if let Some(rest) = field.strip_prefix("response_format") {
                Some(format!("text.format{}", rest.strip_prefix(".json_schema").unwrap_or(rest)))
            } else if field.starts_with("tools[") {
                field.contains(".function").then(|| field.replacen(".function", "", 1))
            } else if field.starts_with("tool_choice.") {
                Some(field.replacen(".allowed_tools", "", 1).replacen(".function", "", 1))
            } else {
                None
            };
        }
    };
    Some(renamed.to_owned())
}

/// `2].content` as 2 and `.content`.
fn index_and_rest(text: &str) -> Option<(usize, &str)> {
    let (index, rest) = text.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

fn of_part(rest: &str) -> String {
    match rest {
        ".image_url.url" => ".image_url".to_owned(),
        rest => rest
            .strip_prefix(".file")
            .filter(|rest| rest.is_empty() || rest.starts_with('.'))
            .unwrap_or(rest)
            .to_owned(),
    }
}

fn of_call(rest: &str) -> String {
    match rest {
        ".id" => ".call_id".to_owned(),
        rest => rest.strip_prefix(".function").unwrap_or(rest).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn origin(item: &str, content: &str, parts: &[&str], calls: &[&str]) -> Origin {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Origin {
            item: item.to_owned(),
            content: content.to_owned(),
            parts: owned(parts),
            calls: owned(calls),
        }
    }

    #[rstest]
    #[case("messages", "input")]
    #[case("messages[0].content", "input")]
    #[case("messages[0].role", "input")]
    #[case("messages[1]", "input[0]")]
    #[case("messages[1].role", "input[0].role")]
    #[case("messages[1].content[1].image_url.url", "input[0].content[1].image_url")]
    #[case("messages[1].content[1].image_url", "input[0].content[1].image_url")]
    #[case("messages[1].content[0].file.file_data", "input[0].content[0].file_data")]
    #[case("messages[1].content[0].file", "input[0].content[0]")]
    #[case("messages[1].content[0].text", "input[0].content[0].text")]
    #[case("messages[2].tool_calls[1].function.arguments", "input[4].arguments")]
    #[case("messages[2].tool_calls[0].id", "input[3].call_id")]
    #[case("messages[2].content[0]", "input[2].content")]
    #[case("messages[2].role", "input[4]")]
    #[case("messages[3].tool_call_id", "input[5].call_id")]
    #[case("messages[3].content[0].file.filename", "input[5].output[0].filename")]
    #[case("max_completion_tokens", "max_output_tokens")]
    #[case("reasoning_effort", "reasoning.effort")]
    #[case("response_format", "text.format")]
    #[case("response_format.type", "text.format.type")]
    #[case("response_format.json_schema", "text.format")]
    #[case("response_format.json_schema.schema", "text.format.schema")]
    #[case("tools[3].function.parameters.type", "tools[3].parameters.type")]
    #[case("tool_choice.function", "tool_choice.name")]
    #[case("tool_choice.function.name", "tool_choice.name")]
    #[case("tool_choice.allowed_tools.tools[0].function.name", "tool_choice.tools[0].name")]
    fn a_field_is_named_as_it_was_sent(#[case] field: &str, #[case] sent: &str) {
        let origins = Origins(vec![
            origin("input", "input", &[], &[]),
            origin("input[0]", "input[0].content", &["input[0].content[0]", "input[0].content[1]"], &[]),
            origin("input[4]", "input[2].content", &["input[2].content"], &["input[3]", "input[4]"]),
            origin("input[5]", "input[5].output", &["input[5].output[0]"], &[]),
        ]);
        assert_eq!(origins.sent_as(field).as_deref(), Some(sent));
    }

    #[rstest]
    #[case("temperature")]
    #[case("tools")]
    #[case("tools[0].type")]
    #[case("messages[7].content")]
    fn what_is_called_the_same_stays(#[case] field: &str) {
        assert_eq!(Origins::default().sent_as(field), None);
    }
}
