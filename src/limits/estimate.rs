//! What is reserved for a turn before it is known what it takes.

use crate::turn::{AssistantBlock, Media, Message, ResultBlock, Turn, UserBlock};

/// Bytes of text that make one token at least: more than there really are are reserved rather than less.
const BYTES_A_TOKEN: u64 = 3;

/// An image of the largest size that passes, or a document whose pages nobody has counted.
const TOKENS_OF_MEDIA: u64 = 1600;

/// The tokens of an answer, where the request sets no limit.
const TOKENS_OF_AN_ANSWER: u64 = 4096;

/// What a turn may take, in tokens. It is good for a reservation only; settled is what the model says it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer.
    pub answer: u64,
}

impl Estimate {
    /// That of a turn.
    #[must_use]
    pub fn of(turn: &Turn) -> Self {
        let mut size = Size::default();
        size.text(&turn.system);
        for message in &turn.history {
            match message {
                Message::User(blocks) => size.user(blocks),
                Message::Assistant(blocks) => blocks.iter().for_each(|block| size.assistant(block)),
            }
        }
        size.user(&turn.question);
        for tool in &turn.tools {
            size.text(&tool.name);
            size.text(&tool.description);
            size.map(&tool.schema);
        }
        let answer = turn.parameters.max_tokens.map_or(TOKENS_OF_AN_ANSWER, u64::from);
        Self { prompt: size.bytes.div_ceil(BYTES_A_TOKEN) + size.media * TOKENS_OF_MEDIA, answer }
    }

    /// The larger of each.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        Self { prompt: self.prompt.max(other.prompt), answer: self.answer.max(other.answer) }
    }

    /// Both together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.prompt.saturating_add(self.answer)
    }

    /// What the prompt has at least: a token has four bytes, mostly.
    #[must_use]
    pub fn least_prompt(self) -> u64 {
        self.prompt / 4 * 3
    }
}

#[derive(Default)]
struct Size {
    bytes: u64,
    media: u64,
}

impl Size {
    fn text(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }

    fn map(&mut self, map: &serde_json::Map<String, serde_json::Value>) {
        let mut counter = Counter(0);
        // Counting cannot fail.
        if serde_json::to_writer(&mut counter, map).is_ok() {
            self.bytes += counter.0;
        }
    }

    fn media(&mut self, media: &Media) {
        match media {
            Media::Text { text, .. } => self.text(text),
            Media::Image { .. } | Media::ImageUrl(_) | Media::Pdf { .. } => self.media += 1,
        }
    }

    fn user(&mut self, blocks: &[UserBlock]) {
        for block in blocks {
            match block {
                UserBlock::Text(text) => self.text(text),
                UserBlock::Media(media) => self.media(media),
                UserBlock::ToolResult { content, .. } => content.iter().for_each(|block| match block {
                    ResultBlock::Text(text) => self.text(text),
                    ResultBlock::Media(media) => self.media(media),
                }),
            }
        }
    }

    fn assistant(&mut self, block: &AssistantBlock) {
        match block {
            AssistantBlock::Text(text) => self.text(text),
            AssistantBlock::ToolUse { name, input, .. } => {
                self.text(name);
                self.map(input);
            }
        }
    }
}

/// Counts what is written to it.
struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Parameters, Tool};
    use serde_json::{Map, json};

    fn turn() -> Turn {
        let input = json!({"path": "/tmp"}).as_object().unwrap().clone();
        Turn {
            model: "m".to_owned(),
            system: "s".repeat(300),
            history: vec![
                Message::User(vec![UserBlock::Text("u".repeat(30))]),
                Message::Assistant(vec![AssistantBlock::ToolUse {
                    id: "1".to_owned(),
                    name: "read".to_owned(),
                    input,
                }]),
            ],
            question: vec![
                UserBlock::ToolResult {
                    call_id: "1".to_owned(),
                    content: vec![
                        ResultBlock::Text("r".repeat(9)),
                        ResultBlock::Media(Media::ImageUrl("https://example.org/x".to_owned())),
                    ],
                    is_error: false,
                },
                UserBlock::Media(Media::Text { title: None, text: "d".repeat(60) }),
            ],
            tools: vec![Tool { name: "read".to_owned(), description: "d".repeat(10), schema: Map::new() }],
            parameters: Parameters::default(),
        }
    }

    #[test]
    fn all_that_the_model_reads_counts_and_the_answer_as_far_as_it_may_go() {
        let bytes: u64 = 300 + 30 + 4 + 15 + 9 + 60 + (4 + 10 + 2);
        let prompt = bytes.div_ceil(3) + 1600;
        assert_eq!(Estimate::of(&turn()), Estimate { prompt, answer: 4096 });
        let mut limited = turn();
        limited.parameters.max_tokens = Some(7);
        assert_eq!(Estimate::of(&limited).total(), prompt + 7);
    }
}
