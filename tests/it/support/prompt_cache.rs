//! Anthropic's prompt cache, as its documentation has it: what a request would read from it.
//!
//! A prompt is its tools, then the system prompt, then the messages, block by block. An entry is written at each
//! breakpoint and holds everything up to there. A request looks for entries at each of its breakpoints and the blocks
//! before it, 20 places in all, and reads the longest one. Times to live, and the least size of an entry, are left out.

use std::collections::HashSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::received::without_breakpoints;

/// Places looked at for each breakpoint, its own included.
const LOOKBACK: usize = 20;

/// The entries so far.
#[derive(Default)]
pub struct PromptCache(HashSet<[u8; 32]>);

/// What a request finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Blocks read from the cache.
    pub read: usize,
    /// Blocks of the prompt.
    pub of: usize,
}

/// A prompt, block by block.
pub struct Prompt {
    blocks: Vec<Block>,
}

struct Block {
    /// As `system.1` or `messages.3.0`.
    place: String,
    /// Of everything up to its end.
    hash: [u8; 32],
    /// Its `cache_control`.
    breakpoint: Option<Value>,
}

impl PromptCache {
    /// What the request reads; then what it writes is there for the next one.
    pub fn ask(&mut self, body: &Value) -> Found {
        let Prompt { blocks } = Prompt::of(body);
        let ends = || (0..blocks.len()).filter(|place| blocks[*place].breakpoint.is_some());
        let seen = ends().flat_map(|end| (end + 1).saturating_sub(LOOKBACK)..=end);
        let read = seen.filter(|place| self.0.contains(&blocks[*place].hash)).max();
        self.0.extend(ends().map(|end| blocks[end].hash));
        Found { read: read.map_or(0, |place| place + 1), of: blocks.len() }
    }
}

impl Prompt {
    /// The prompt of a request body.
    pub fn of(body: &Value) -> Self {
        let mut prompt = Self { blocks: Vec::new() };
        let mut hash = Sha256::new().chain_update(body["model"].to_string());
        for part in ["tools", "system"] {
            for (index, block) in blocks(&body[part]).into_iter().enumerate() {
                prompt.push(&mut hash, format!("{part}.{index}"), part, block);
            }
        }
        // These change what is read from the first message on.
        hash.update(json!([body["tool_choice"], body["thinking"]]).to_string());
        for (at, message) in body["messages"].as_array().into_iter().flatten().enumerate() {
            let role = message["role"].as_str().unwrap_or_default();
            for (index, block) in blocks(&message["content"]).into_iter().enumerate() {
                prompt.push(&mut hash, format!("messages.{at}.{index}"), role, block);
            }
        }
        prompt
    }

    fn push(&mut self, hash: &mut Sha256, place: String, role: &str, mut block: Value) {
        let breakpoint = block.as_object_mut().and_then(|block| block.remove("cache_control"));
        hash.update(json!([role, block]).to_string());
        self.blocks.push(Block { place, hash: hash.clone().finalize().into(), breakpoint });
    }

    /// How many blocks it has.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The places of the breakpoints, as `messages.3.0`, each with its `cache_control` and the blocks up to its end.
    pub fn breakpoints(&self) -> Vec<(&str, &Value, usize)> {
        let numbered = self.blocks.iter().enumerate();
        let marked =
            numbered.filter_map(|(at, block)| Some((&*block.place, block.breakpoint.as_ref()?, at + 1)));
        marked.collect()
    }
}

/// How many messages both requests begin with, breakpoints aside.
pub fn same_messages(one: &Value, other: &Value) -> usize {
    let messages = |body: &Value| -> Vec<Value> {
        let messages = body["messages"].as_array().into_iter().flatten();
        let bare = messages.map(|message| {
            let mut bare = json!([message["role"], blocks(&message["content"])]);
            without_breakpoints(&mut bare);
            bare
        });
        bare.collect()
    };
    messages(one).iter().zip(messages(other)).take_while(|(one, other)| *one == other).count()
}

/// The blocks of a `content`, `system` or `tools`; a plain text is short for one block.
fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(blocks) => blocks.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn marked(words: &str) -> Value {
        json!({"type": "text", "text": words, "cache_control": {"type": "ephemeral"}})
    }

    fn body(system: &[Value], messages: &[(&str, Value)]) -> Value {
        let messages: Vec<_> =
            messages.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        json!({"model": "m", "system": system, "messages": messages})
    }

    fn found(requests: &[Value]) -> Vec<(usize, usize)> {
        let mut cache = PromptCache::default();
        requests.iter().map(|request| cache.ask(request)).map(|found| (found.read, found.of)).collect()
    }

    #[test]
    fn what_ends_at_a_breakpoint_is_read_again_and_nothing_else() {
        let first = body(&[marked("s")], &[("user", json!([text("a"), marked("b")]))]);
        let longer = body(
            &[marked("s")],
            &[
                ("user", json!([text("a"), text("b")])),
                ("assistant", json!("c")),
                ("user", json!([marked("d")])),
            ],
        );
        let other = body(&[marked("s")], &[("user", json!([text("a"), marked("x")]))]);
        assert_eq!(found(&[first.clone(), longer.clone(), other]), [(0, 3), (3, 5), (1, 3)]);
        let unmarked = body(&[text("s")], &[("user", json!("a")), ("user", json!("b"))]);
        assert_eq!(found(&[first, unmarked]), [(0, 3), (0, 3)]);
        let mut other_model = longer.clone();
        other_model["model"] = json!("n");
        assert_eq!(found(&[longer.clone(), other_model, longer]), [(0, 5), (0, 5), (5, 5)]);
    }

    #[test]
    fn a_text_is_short_for_a_block() {
        let short = body(&[], &[("user", json!("a")), ("user", json!([marked("b")]))]);
        let long = body(&[], &[("user", json!([text("a")])), ("user", json!([marked("b")]))]);
        assert_eq!(found(&[short, long]), [(0, 2), (2, 2)]);
    }

    #[test]
    fn twenty_places_are_looked_at() {
        let request = |more: usize| {
            let mut blocks = vec![if more == 0 { marked("a") } else { text("a") }];
            blocks.extend((1..more).map(|index| text(&index.to_string())));
            blocks.extend((more > 0).then(|| marked("end")));
            body(&[], &[("user", json!(blocks))])
        };
        assert_eq!(found(&[request(0), request(19)]), [(0, 1), (1, 20)]);
        assert_eq!(found(&[request(0), request(20)]), [(0, 1), (0, 21)]);
    }

    #[test]
    fn messages_are_compared_without_their_breakpoints() {
        let one = body(&[], &[("user", json!("a")), ("system", json!([marked("b")]))]);
        let other = body(&[], &[("user", json!([marked("a")])), ("user", json!([text("b")]))]);
        assert_eq!((same_messages(&one, &one), same_messages(&one, &other)), (2, 1));
        let places: Vec<_> =
            Prompt::of(&one).breakpoints().iter().map(|(place, ..)| (*place).to_owned()).collect();
        assert_eq!(places, ["messages.1.0"]);
    }
}
