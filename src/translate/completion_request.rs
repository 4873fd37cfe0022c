//! A text completion request becomes [`Turn`]s: a chat model is asked to go on with a text.

use std::sync::Arc;

use serde_json::Value;

use super::chat_request;
use crate::openai::completion_request::CompletionRequest;
use crate::openai::error::ApiError;
use crate::turn::{MediaSource, Parameters, Turn, UserBlock, is_blank};
use crate::wire::text_or::TextOrList;

/// Asks for what follows a text. Always the same, so that processes can wait for it and Anthropic's cache knows it.
const CONTINUE: &str = "\
You are a text completion engine, not an assistant. The user's message is the beginning of a document: source code, prose, a \
list, a dialogue or anything else. Reply with the text that comes next in that document, and with nothing else.

- Begin with the very character that follows the last character of the message, be it in the middle of a word or a line. If a \
space or a line break belongs there, begin with it.
- Repeat nothing of the message. Do not introduce, explain or comment. Put no quotation marks and no code fences around the reply.
- Keep to the document's language, style, indentation and format.
- If the message ends in a question or an instruction, the text that comes next is what it asks for.
- If the message is marked up for filling in the middle (as with <fim_prefix>, <fim_suffix> and <fim_middle>, or <PRE>, <SUF> and \
<MID>), reply with the missing middle only, without any marks.
- What you are told in <system-reminder> tags about the environment, the model or the date is not part of the document.
- Stop where the document, or the passage in question, is complete.";

/// Asks for what stands between two texts.
const FILL_IN: &str = "\
You are a text completion engine, not an assistant. The user's message is a document with a gap: all that stands between \
<before_gap> and </before_gap> comes before the gap, all that stands between <after_gap> and </after_gap> comes behind it. These \
tags are not part of the document; everything between them is, to the character. Reply with the text that fills the gap, and \
with nothing else.

- What comes before the gap, your reply, and what comes behind the gap, put together without anything between them, must read as \
one document. If a space or a line break belongs at either end of the gap, write it.
- Repeat nothing of what stands before or behind the gap. Do not introduce, explain or comment. Put no quotation marks and no code \
fences around the reply.
- Keep to the document's language, style, indentation and format.
- What you are told in <system-reminder> tags about the environment, the model or the date is not part of the document.
- Write no more than the gap needs.";

/// A translated request.
#[derive(Debug, PartialEq)]
pub struct Translated {
    /// What is asked: a turn for each prompt.
    pub turns: Vec<Turn<MediaSource>>,
    /// How many answers to each.
    pub n: usize,
    /// What each answer begins with, all answers to the first prompt first.
    pub begin_with: Vec<Option<Arc<str>>>,
    /// Fields that were read, but are honoured in part or not at all.
    pub adjusted: Vec<&'static str>,
}

/// What a field of a chat completion request is called here, where that is something else.
#[must_use]
pub fn sent_as(field: &str) -> Option<String> {
    (field == "messages").then(|| "prompt".to_owned())
}

/// Translates a request. The model stays as the client named it. `expect_room` is told the number of prompts and that of
/// answers to each, before each of them takes memory of its own.
///
/// # Errors
/// 400 that names the field, for what is wrong and for what Couplet cannot do; what `expect_room` says.
pub fn turns(
    request: CompletionRequest,
    expect_room: impl FnOnce(usize, usize) -> Result<(), ApiError>,
) -> Result<Translated, ApiError> {
    let mut adjusted = Vec::new();
    let n = chat_request::n(request.n)?;
    if request.best_of.is_some_and(|best_of| usize::try_from(best_of) != Ok(n)) {
        let message =
            "Claude tells no probabilities to choose the best by: 'best_of' must be the same as 'n'.";
        return Err(ApiError::invalid_request("best_of", message).with_code("unsupported_parameter"));
    }
    let parameters = Parameters {
        max_tokens: chat_request::max_tokens("max_tokens", request.max_tokens)?,
        stop: chat_request::stop(request.stop)?,
        temperature: chat_request::temperature(request.temperature, &mut adjusted)?,
        top_p: chat_request::in_range("top_p", request.top_p, 1.0)?,
        is_last: true,
        ..Parameters::default()
    };
    if request.model.trim().is_empty() {
        return Err(ApiError::invalid_request("model", "'model' must name a model."));
    }
    let suffix = request.suffix.filter(|suffix| !suffix.is_empty());
    let prompts = prompts(request.prompt, suffix.as_deref().is_some_and(|suffix| !is_blank(suffix)))?;
    expect_room(prompts.len(), n)?;
    let turn = |prompt: &String| {
        let (system, question) = match &suffix {
            None => (CONTINUE, prompt.clone()),
            Some(suffix) => {
                (FILL_IN, format!("<before_gap>{prompt}</before_gap><after_gap>{suffix}</after_gap>"))
            }
        };
        Turn {
            model: request.model.clone(),
            system: system.to_owned(),
            history: Vec::new(),
            question: vec![UserBlock::Text(question)],
            tools: Vec::new(),
            parameters: parameters.clone(),
        }
    };
    let turns = prompts.iter().map(turn).collect();
    let echo = request.echo.unwrap_or(false);
    let begin_with = prompts.into_iter().map(|prompt| echo.then(|| Arc::from(prompt)));
    let begin_with = begin_with.flat_map(|prompt| std::iter::repeat_n(prompt, n)).collect();
    Ok(Translated { turns, n, begin_with, adjusted })
}

/// The prompts as texts. A blank one says nothing unless something stands behind the gap: an editor may be at the very
/// beginning of a file.
fn prompts(prompt: TextOrList<Value>, has_suffix: bool) -> Result<Vec<String>, ApiError> {
    let is_list = matches!(prompt, TextOrList::List(_));
    let values = match prompt {
        TextOrList::Text(text) => vec![Value::String(text)],
        TextOrList::List(values) => values,
    };
    if values.is_empty() {
        let message = "'prompt' must hold at least one text.";
        return Err(ApiError::invalid_request("prompt", message).with_code("invalid_value"));
    }
    let text = |(index, value)| match value {
        Value::String(text) if has_suffix || !is_blank(&text) => Ok(text),
        Value::String(_) => {
            let field = if is_list { format!("prompt[{index}]") } else { "prompt".to_owned() };
            let message = format!("'{field}' must hold more than white space.");
            Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
        }
        _ => {
            let message = "'prompt' must be a text or a list of texts: the tokens of other models mean nothing to Claude.";
            Err(ApiError::invalid_request("prompt", message).with_code("invalid_value"))
        }
    };
    values.into_iter().enumerate().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::parse;
    use rstest::rstest;
    use serde_json::json;

    fn translate(extra: &Value) -> Result<Translated, ApiError> {
        let mut body = json!({"model": "sonnet", "prompt": "def f():"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        turns(parse(body.to_string().as_bytes())?.request, |_, _| Ok(()))
    }

    fn asked(extra: &Value) -> Vec<(String, Vec<UserBlock<MediaSource>>)> {
        translate(extra).unwrap().turns.into_iter().map(|turn| (turn.system, turn.question)).collect()
    }

    fn question(text: &str) -> Vec<UserBlock<MediaSource>> {
        vec![UserBlock::Text(text.to_owned())]
    }

    #[rstest]
    #[case(json!({}), CONTINUE, "def f():")]
    #[case(json!({"prompt": " \tx = \r\n"}), CONTINUE, " \tx = \r\n")]
    #[case(json!({"prompt": ["/help @x"], "suffix": ""}), CONTINUE, "/help @x")]
    #[case(json!({"prompt": "<PRE>a<SUF>b<MID>"}), CONTINUE, "<PRE>a<SUF>b<MID>")]
    #[case(json!({"prompt": "a\n", "suffix": "\nb"}), FILL_IN,
        "<before_gap>a\n</before_gap><after_gap>\nb</after_gap>")]
    #[case(json!({"prompt": "", "suffix": "b"}), FILL_IN, "<before_gap></before_gap><after_gap>b</after_gap>")]
    #[case(json!({"prompt": "a", "suffix": "\n"}), FILL_IN, "<before_gap>a</before_gap><after_gap>\n</after_gap>")]
    fn the_prompt_arrives_as_it_was(#[case] extra: Value, #[case] system: &str, #[case] text: &str) {
        assert_eq!(asked(&extra), [(system.to_owned(), question(text))]);
    }

    #[test]
    fn each_prompt_is_a_turn_and_each_answer_begins_with_its_own() {
        let translated =
            translate(&json!({"prompt": ["a", "b"], "n": 2, "best_of": 2, "echo": true})).unwrap();
        let questions: Vec<_> = translated.turns.into_iter().map(|turn| turn.question).collect();
        assert_eq!((questions, translated.n), (vec![question("a"), question("b")], 2));
        assert_eq!(translated.begin_with, ["a", "a", "b", "b"].map(|text| Some(text.into())));
        assert_eq!(translate(&json!({"prompt": ["a", "b"], "n": 2})).unwrap().begin_with, vec![None; 4]);
    }

    #[test]
    fn parameters_arrive_in_the_turn() {
        let translated =
            translate(&json!({"max_tokens": 5, "stop": ["END", "\n"], "temperature": 1.5, "top_p": 0.9}))
                .unwrap();
        let expected = Parameters {
            max_tokens: Some(5),
            stop: vec!["END".to_owned(), "\n".to_owned()],
            temperature: Some(1.0),
            top_p: Some(0.9),
            is_last: true,
            ..Parameters::default()
        };
        assert_eq!((&translated.turns[0].parameters, translated.adjusted), (&expected, vec!["temperature"]));
        let plain = Parameters { is_last: true, ..Parameters::default() };
        assert_eq!(translate(&json!({})).unwrap().turns[0].parameters, plain);
    }

    #[rstest]
    #[case(json!({"prompt": null}), "prompt")]
    #[case(json!({"prompt": ""}), "prompt")]
    #[case(json!({"prompt": " \n\u{feff}"}), "prompt")]
    #[case(json!({"prompt": "", "suffix": " "}), "prompt")]
    #[case(json!({"prompt": []}), "prompt")]
    #[case(json!({"prompt": ["a", ""]}), "prompt[1]")]
    #[case(json!({"prompt": [1, 2]}), "prompt")]
    #[case(json!({"prompt": [[1, 2], [3]]}), "prompt")]
    #[case(json!({"prompt": {"text": "a"}}), "prompt")]
    #[case(json!({"prompt": 5}), "prompt")]
    #[case(json!({"model": ""}), "model")]
    #[case(json!({"suffix": 5}), "suffix")]
    #[case(json!({"n": 0}), "n")]
    #[case(json!({"n": 129}), "n")]
    #[case(json!({"best_of": 2}), "best_of")]
    #[case(json!({"n": 2, "best_of": 1}), "best_of")]
    #[case(json!({"max_tokens": 0}), "max_tokens")]
    #[case(json!({"temperature": 2.5}), "temperature")]
    #[case(json!({"top_p": 1.5}), "top_p")]
    #[case(json!({"stop": ["a", "b", "c", "d", "e"]}), "stop")]
    #[case(json!({"stop": ["a", ""]}), "stop[1]")]
    #[case(json!({"echo": "yes"}), "echo")]
    fn what_cannot_be_honoured_is_refused_by_name(#[case] extra: Value, #[case] param: &str) {
        let error = translate(&extra).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{error:?}");
    }

    #[test]
    fn what_claude_does_not_have_is_ignored_and_named() {
        let body = json!({"model": "m", "prompt": "a", "logprobs": 2, "seed": 1, "user": "u", "logit_bias": {"1": 1},
            "frequency_penalty": 0.5, "presence_penalty": 0.5});
        let ignored = parse::<CompletionRequest>(body.to_string().as_bytes()).unwrap().ignored;
        assert_eq!(
            ignored,
            ["logprobs", "seed", "user", "logit_bias", "frequency_penalty", "presence_penalty"]
        );
    }
}
