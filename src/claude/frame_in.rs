//! Frames written to the CLI's stdin, one JSON object a line.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::turn::{AssistantBlock, Effort, Media, Message, Parameters, ResultBlock, Turn, UserBlock};

/// A question, a control request or a piece of history on its way into the CLI.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FrameIn<'a> {
    /// Asks the CLI to do something; it answers with a control response of the same id.
    ControlRequest {
        /// Chosen by the sender, unique in the process.
        request_id: String,
        /// What to do.
        request: ControlRequest<'a>,
    },
    /// Answers a control request of the CLI.
    ControlResponse {
        /// The answer.
        response: ControlAnswer<'a>,
    },
    /// A user turn: a question, or with `should_query: false` a piece of history.
    User {
        /// The turn itself.
        message: MessageIn<'a>,
        /// Always null: no subagent speaks here.
        parent_tool_use_id: Option<()>,
        /// Left empty: the CLI knows its session.
        session_id: &'static str,
        /// Present and false where the turn is history only; the CLI answers with an empty `result`.
        #[serde(rename = "shouldQuery", skip_serializing_if = "Option::is_none")]
        should_query: Option<bool>,
        /// Always true: the text is delivered as written, with no look for commands and file mentions in it. Not
        /// documented; seen to work on 2.1.270 and 2.1.329, unknown to 2.1.197. See `user_content` for the second lock.
        client_composed: bool,
    },
    /// An assistant turn of the history. It is appended at once, while user frames queue: it may be written only after
    /// the `result` of the user frame before it.
    Assistant {
        /// The turn itself.
        message: MessageIn<'a>,
        /// Always null.
        parent_tool_use_id: Option<()>,
        /// Left empty.
        session_id: &'static str,
    },
}

/// What a control request asks for.
#[derive(Debug, Serialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub enum ControlRequest<'a> {
    /// The first frame of a process. Without `systemPrompt` the CLI would send its own long one; an empty one sends none.
    Initialize {
        /// The system prompt.
        #[serde(rename = "systemPrompt")]
        system_prompt: &'a str,
    },
    /// Settings for the requests from now on.
    ApplyFlagSettings {
        /// See [`flag_settings`].
        settings: Value,
    },
    /// 0 turns thinking off, where the model allows that.
    SetMaxThinkingTokens {
        /// Tokens.
        max_thinking_tokens: u32,
    },
    /// Ends the running answer.
    Interrupt,
}

/// The answer to a control request of the CLI.
#[derive(Debug, Serialize)]
pub struct ControlAnswer<'a> {
    subtype: &'static str,
    request_id: &'a str,
    error: &'static str,
}

/// `message` of a user or assistant frame.
#[derive(Debug, Serialize)]
pub struct MessageIn<'a> {
    role: &'static str,
    content: ContentIn<'a>,
}

/// A plain text, or blocks.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ContentIn<'a> {
    Text(&'a str),
    Blocks(Vec<BlockIn<'a>>),
}

/// A content block as Anthropic's API has it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockIn<'a> {
    Text {
        text: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a serde_json::Map<String, Value>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: ContentIn<'a>,
    },
    Image {
        source: SourceIn<'a>,
    },
    Document {
        source: SourceIn<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
}

/// Where the bytes of an image or document are.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SourceIn<'a> {
    Base64 { media_type: &'static str, data: Base64<'a> },
    Text { media_type: &'static str, data: &'a str },
    Url { url: &'a str },
}

/// Bytes that are written as base64, with no copy of it in between.
#[derive(Debug)]
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

impl<'a> FrameIn<'a> {
    /// A user turn that is history.
    #[must_use]
    pub fn history_user(blocks: &'a [UserBlock]) -> Self {
        Self::user(blocks, Some(false))
    }

    /// A user turn that the model is to answer.
    #[must_use]
    pub fn question(blocks: &'a [UserBlock]) -> Self {
        Self::user(blocks, None)
    }

    fn user(blocks: &'a [UserBlock], should_query: Option<bool>) -> Self {
        let message = MessageIn { role: "user", content: user_content(blocks) };
        Self::User { message, parent_tool_use_id: None, session_id: "", should_query, client_composed: true }
    }

    /// An assistant turn of the history.
    #[must_use]
    pub fn history_assistant(blocks: &'a [AssistantBlock]) -> Self {
        let mut written = Vec::with_capacity(blocks.len());
        for block in blocks {
            match block {
                // The CLI leaves a turn of exactly this text out; cut in two it is kept.
                AssistantBlock::Text(text) if text == "(no content)" => {
                    written.extend([BlockIn::Text { text: "(no " }, BlockIn::Text { text: "content)" }]);
                }
                AssistantBlock::Text(text) => written.push(BlockIn::Text { text }),
                AssistantBlock::ToolUse { id, name, input } => {
                    written.push(BlockIn::ToolUse { id, name, input });
                }
            }
        }
        let message = MessageIn { role: "assistant", content: ContentIn::Blocks(written) };
        Self::Assistant { message, parent_tool_use_id: None, session_id: "" }
    }

    /// Declines a control request of the CLI that Couplet does not know, so that the CLI does not wait for it.
    #[must_use]
    pub fn decline(request_id: &'a str) -> Self {
        Self::ControlResponse {
            response: ControlAnswer { subtype: "error", request_id, error: "not supported by this host" },
        }
    }

    /// Whether the CLI confirms the frame with an empty `result`: a user turn of the history.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::User { should_query: Some(false), .. })
    }

    /// Appends the frame as one line to `lines`.
    pub fn write_to(&self, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *lines, self)?;
        lines.push(b'\n');
        Ok(())
    }
}

/// All frames of a turn in a fresh process, in their order: set-up, history, question.
#[must_use]
pub fn of_turn(turn: &Turn) -> Vec<FrameIn<'_>> {
    let settings = flag_settings(&turn.model, &turn.parameters);
    let mut setup = vec![
        ControlRequest::Initialize { system_prompt: &turn.system },
        ControlRequest::ApplyFlagSettings { settings },
    ];
    if turn.parameters.effort == Some(Effort::Off) {
        // Models that always think do not mind.
        setup.push(ControlRequest::SetMaxThinkingTokens { max_thinking_tokens: 0 });
    }
    let setup = setup
        .into_iter()
        .enumerate()
        .map(|(index, request)| FrameIn::ControlRequest { request_id: format!("setup-{index}"), request });
    let history = turn.history.iter().map(|message| match message {
        Message::User(blocks) => FrameIn::history_user(blocks),
        Message::Assistant(blocks) => FrameIn::history_assistant(blocks),
    });
    setup.chain(history).chain([FrameIn::question(&turn.question)]).collect()
}

/// The content of a user turn, byte for byte what the client sent.
///
/// A text block that begins with `/` would be taken for a command of the CLI, in the history too, where nothing else
/// forbids that. Cut into two blocks it arrives as it was: the model reads a turn's text blocks as one text.
fn user_content(blocks: &[UserBlock]) -> ContentIn<'_> {
    if let [UserBlock::Text(text)] = blocks
        && command_slash(text).is_none()
    {
        return ContentIn::Text(text);
    }
    let mut written = Vec::with_capacity(blocks.len() + 1);
    for block in blocks {
        match block {
            UserBlock::Text(text) => match command_slash(text) {
                Some(end) => {
                    let (slash, rest) = text.split_at(end);
                    written.extend([BlockIn::Text { text: slash }, BlockIn::Text { text: rest }]);
                }
                None => written.push(BlockIn::Text { text }),
            },
            UserBlock::Media(media) => written.push(media_block(media)),
            UserBlock::ToolResult { call_id, content } => {
                written.push(BlockIn::ToolResult { tool_use_id: call_id, content: result_content(content) });
            }
        }
    }
    ContentIn::Blocks(written)
}

/// What a tool said: plain text where that is all.
fn result_content(blocks: &[ResultBlock]) -> ContentIn<'_> {
    match blocks {
        [] => ContentIn::Text(""),
        [ResultBlock::Text(text)] => ContentIn::Text(text),
        blocks => ContentIn::Blocks(
            blocks
                .iter()
                .map(|block| match block {
                    ResultBlock::Text(text) => BlockIn::Text { text },
                    ResultBlock::Media(media) => media_block(media),
                })
                .collect(),
        ),
    }
}

fn media_block(media: &Media) -> BlockIn<'_> {
    match media {
        Media::Image { format, bytes } => {
            let data = Base64(bytes);
            BlockIn::Image { source: SourceIn::Base64 { media_type: format.media_type(), data } }
        }
        Media::ImageUrl(url) => BlockIn::Image { source: SourceIn::Url { url } },
        Media::Pdf { title, bytes } => {
            let source = SourceIn::Base64 { media_type: "application/pdf", data: Base64(bytes) };
            BlockIn::Document { source, title: title.as_deref() }
        }
        Media::Text { title, text } => {
            let source = SourceIn::Text { media_type: "text/plain", data: text };
            BlockIn::Document { source, title: title.as_deref() }
        }
    }
}

/// Where to cut a text that the CLI could take for a command: behind all of its leading slashes, so that neither block
/// looks like a command. The rest must hold something: a blank block would be dropped.
fn command_slash(text: &str) -> Option<usize> {
    let rest = text.trim_start_matches('/');
    let end = text.len() - rest.len();
    (end > 0 && !crate::turn::is_blank(rest)).then_some(end)
}

/// The settings that bring a turn's model and parameters to the API.
///
/// `model` is an alias or a full id; any text is taken, and an unknown model fails at the API. (The control request
/// `set_model` would do too, but for a model that the CLI does not list it first sends a request of its own, "Hi" with one
/// token to answer: a round trip, and tokens nobody counts.)
/// `CLAUDE_CODE_EXTRA_BODY` is merged into the top level of the request body; `CLAUDE_CODE_MAX_OUTPUT_TOKENS` sets
/// `max_tokens`; `effortLevel` sets `output_config.effort`.
#[must_use]
pub fn flag_settings(model: &str, parameters: &Parameters) -> Value {
    let mut body = serde_json::Map::new();
    if let Some(temperature) = parameters.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = parameters.top_p {
        body.insert("top_p".to_owned(), json!(top_p));
    }
    if !parameters.stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(parameters.stop));
    }
    let mut env = serde_json::Map::new();
    if !body.is_empty() {
        env.insert("CLAUDE_CODE_EXTRA_BODY".to_owned(), Value::Object(body).to_string().into());
    }
    if let Some(tokens) = parameters.max_tokens {
        env.insert("CLAUDE_CODE_MAX_OUTPUT_TOKENS".to_owned(), tokens.to_string().into());
    }
    let mut settings = serde_json::Map::new();
    settings.insert("model".to_owned(), model.into());
    if !env.is_empty() {
        settings.insert("env".to_owned(), Value::Object(env));
    }
    if let Some(effort) = parameters.effort {
        settings.insert("effortLevel".to_owned(), effort_level(effort).into());
    }
    Value::Object(settings)
}

fn effort_level(effort: Effort) -> &'static str {
    match effort {
        // Models that always think get the least of it.
        Effort::Off | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::ImageFormat;
    use proptest::prelude::*;
    use rstest::rstest;

    fn line(frame: &FrameIn<'_>) -> String {
        let mut line = Vec::new();
        frame.write_to(&mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    fn text(text: &str) -> Vec<UserBlock> {
        vec![UserBlock::Text(text.to_owned())]
    }

    #[test]
    fn frames_are_lines_of_the_cli_s_own_form() {
        let initialize = FrameIn::ControlRequest {
            request_id: "1".to_owned(),
            request: ControlRequest::Initialize { system_prompt: "be brief" },
        };
        let interrupt =
            FrameIn::ControlRequest { request_id: "2".to_owned(), request: ControlRequest::Interrupt };
        let call = AssistantBlock::ToolUse {
            id: "call_1".to_owned(),
            name: "f".to_owned(),
            input: serde_json::from_str(r#"{"z":1,"a":null}"#).unwrap(),
        };
        let result = |content| UserBlock::ToolResult { call_id: "call_1".to_owned(), content };
        let plain = result(vec![ResultBlock::Text("22".to_owned())]);
        let image = Media::Image { format: ImageFormat::Png, bytes: (&[0xff, 0xef, 1, 2][..]).into() };
        let pdf = Media::Pdf { title: Some("a.pdf".to_owned()), bytes: (&b"%PDF-"[..]).into() };
        let file = Media::Text { title: None, text: "a\nb".to_owned() };
        let url = Media::ImageUrl("https://e.org/x".to_owned());
        let seen = result(vec![ResultBlock::Text("see".to_owned()), ResultBlock::Media(image.clone())]);
        let lines = [
            line(&initialize),
            line(&interrupt),
            line(&FrameIn::history_user(&text("a\nb"))),
            line(&FrameIn::history_assistant(&[AssistantBlock::Text("c".to_owned()), call])),
            line(&FrameIn::question(&[plain, UserBlock::Text("and?".to_owned())])),
            line(&FrameIn::question(&[seen, result(Vec::new())])),
            line(&FrameIn::question(&[
                UserBlock::Media(image),
                UserBlock::Text("/this".to_owned()),
                UserBlock::Media(pdf),
                UserBlock::Media(file),
                UserBlock::Media(url),
            ])),
            line(&FrameIn::question(&text("/help me"))),
            line(&FrameIn::decline("9")),
        ];
        insta::assert_snapshot!(lines.concat());
    }

    #[rstest]
    #[case("/help", Some(1))]
    #[case("//x", Some(2))]
    #[case("/", None)]
    #[case("// \n", None)]
    #[case(" /help", None)]
    #[case("a/b", None)]
    #[case("", None)]
    fn a_command_is_cut_behind_its_slashes(#[case] text: &str, #[case] end: Option<usize>) {
        assert_eq!(command_slash(text), end);
    }

    #[rstest]
    #[case(Parameters::default(), json!({"model": "opus"}))]
    #[case(Parameters { effort: Some(Effort::Off), ..Parameters::default() }, json!({"model": "opus", "effortLevel": "low"}))]
    #[case(
        Parameters { max_tokens: Some(9), stop: vec!["a\"b".into()], temperature: Some(0.5), top_p: Some(1.0), effort: Some(Effort::Max), ..Parameters::default() },
        json!({"model": "opus", "env": {"CLAUDE_CODE_EXTRA_BODY": r#"{"temperature":0.5,"top_p":1.0,"stop_sequences":["a\"b"]}"#,
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9"}, "effortLevel": "max"})
    )]
    fn model_and_parameters_become_settings(#[case] parameters: Parameters, #[case] settings: Value) {
        assert_eq!(flag_settings("opus", &parameters), settings);
    }

    proptest! {
        #[test]
        fn the_texts_of_a_user_turn_join_to_what_was_sent(said in "(?s)[ \n/a\u{0}\u{2028}\u{1b}]{0,6}.{0,20}") {
            let blocks = text(&said);
            let frame = line(&FrameIn::question(&blocks));
            prop_assert_eq!(frame.matches('\n').count(), 1, "one frame, one line");
            let frame: Value = serde_json::from_str(&frame).unwrap();
            let joined = match &frame["message"]["content"] {
                Value::String(text) => text.clone(),
                blocks => blocks.as_array().unwrap().iter().map(|block| block["text"].as_str().unwrap()).collect(),
            };
            prop_assert_eq!(joined, said);
        }
    }
}
