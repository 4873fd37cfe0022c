//! Directives in a prompt → [`Reply`]. Pure. The table of directives is in the [module above](super).

use std::time::Duration;

use super::agent::{self, Act};
use super::arguments::Arguments;
use super::builder::{SIGNATURE, numbered_words};
use super::reply::{ApiError, Break, Echo, Part, Reply, Stop};
use super::request::{self, Asked};

/// Changes `base`, the answer to a prompt without directives, as the prompt says.
///
/// The last text block of the last user message that holds a directive decides; the blocks before it may be questions
/// that failed, which the CLI puts into the same message. Where no text block holds one, the tool results are looked
/// at. The first directive for content replaces the content of `base`; the others change what they name. A known
/// directive with arguments that make no sense is answered with a 400 that says so: a script that does nothing is
/// worse than none.
#[must_use]
pub fn apply(asked: &Asked, base: Reply) -> Reply {
    let results = asked.last_tool_results().concat();
    let texts = asked.last_user_texts();
    let scripted = texts.into_iter().rev().chain([results.as_str()]).find(|text| scan(text).next().is_some());
    let (scripted, answered) =
        scripted.map(|text| (text, 0)).or_else(|| reluctant_prompt(asked)).unwrap_or_default();
    let mut script = Script { reply: base, replaced: false, reluctance: 0 };
    for (_, directive) in scan(scripted) {
        if let Err(problem) = script.apply(&directive) {
            let message = format!("script: [[{}]]: {problem}", directive.source);
            return Reply::error(ApiError::new(400, "invalid_request_error", message));
        }
    }
    if script.reluctance > answered {
        script.reply.parts = vec![Part::Text(RELUCTANT.to_owned())];
    }
    script.reply
}

/// What a reluctant model says instead.
const RELUCTANT: &str = "I would rather say it in words.";

/// The last prompt with directives, if one of them is `reluctant`, and how often it was answered since. What came after it
/// may be somebody who insists.
fn reluctant_prompt(asked: &Asked) -> Option<(&str, usize)> {
    let mut answered = 0;
    for turn in asked.turns().rev() {
        if turn["role"] == "assistant" {
            answered += 1;
        }
        let mut texts = request::texts(&turn["content"]).into_iter().rev();
        if turn["role"] == "user"
            && let Some(text) = texts.find(|text| scan(text).next().is_some())
        {
            let reluctant = scan(text).any(|(_, directive)| directive.name == "reluctant");
            return reluctant.then_some((text, answered));
        }
    }
    None
}

/// A text less its directives.
#[must_use]
pub fn without_directives(text: &str) -> String {
    let mut plain: String = scan(text).map(|(before, _)| before).collect();
    let end = scan(text).last().map_or(0, |(_, directive)| directive.end);
    plain.push_str(&text[end..]);
    plain.trim().to_owned()
}

/// The answer to a prompt without a script: what the request demands, else a text that says what it is, and shortly what
/// was asked.
#[must_use]
pub fn demo(asked: &Asked) -> Reply {
    match agent::demanded(asked) {
        Some(Act::Call { name, input }) => Reply::tool(name, input),
        Some(Act::Say(text)) => Reply::text(text),
        None => Reply::text(demo_text(asked)),
    }
}

pub(super) fn demo_text(asked: &Asked) -> String {
    let results = asked.last_tool_results();
    let (said, text) = if results.is_empty() {
        ("You wrote", without_directives(&asked.last_user_text()))
    } else {
        ("The tool answered", results.join(" "))
    };
    let mut answer = "This is a scripted demo answer: no model was asked.".to_owned();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.is_empty() {
        let short: String = text.chars().take(200).collect();
        let dots = if short.len() < text.len() { "…" } else { "" };
        answer.extend([" ", said, ": “", short.trim_end(), dots, "”"]);
    }
    answer
}

/// What is known as a directive; anything else in double brackets is text.
const NAMES: [&str; 27] = [
    "words",
    "say",
    "echo",
    "empty",
    "think",
    "redacted",
    "tool",
    "json",
    "agent",
    "stop",
    "usage",
    "limits",
    "header",
    "delay",
    "first",
    "slow",
    "pings",
    "chunk",
    "stall",
    "cut",
    "errevent",
    "once",
    "err",
    "limit",
    "refuse",
    "reluctant",
    "boundless",
];

/// A directive in a text.
#[derive(Debug)]
struct Directive<'a> {
    name: &'a str,
    arguments: &'a str,
    source: &'a str,
    /// Where it ends in the text.
    end: usize,
}

/// The directives of a text, each with the text between it and the one before.
fn scan(text: &str) -> impl Iterator<Item = (&str, Directive<'_>)> {
    let mut taken = 0;
    std::iter::from_fn(move || {
        let (start, directive) = text[taken..]
            .match_indices("[[")
            .find_map(|(at, _)| Some((taken + at, directive_at(text, taken + at)?)))?;
        let before = &text[taken..start];
        taken = directive.end;
        Some((before, directive))
    })
}

fn directive_at(text: &str, start: usize) -> Option<Directive<'_>> {
    let inside = &text[start + 2..];
    let name_end = inside.find(|char: char| !char.is_ascii_lowercase()).unwrap_or(inside.len());
    let (name, rest) = inside.split_at(name_end);
    if !NAMES.contains(&name) || !rest.starts_with([' ', ']']) {
        return None;
    }
    // A JSON argument may hold closing brackets of its own.
    let json_at = match name {
        "tool" => rest.trim_start().find(' ').map(|space| rest.len() - rest.trim_start().len() + space),
        "say" | "think" | "json" => Some(0),
        _ => None,
    };
    let json = json_at.map(|at| rest[at..].trim_start()).filter(|text| text.starts_with(['{', '[', '"']));
    let json_end = json.and_then(|json| Some(rest.len() - json.len() + json_length(json)?)).unwrap_or(0);
    let length = name_end + json_end + rest[json_end..].find("]]")?;
    let source = &inside[..length];
    Some(Directive { name, arguments: source[name_end..].trim(), source, end: start + 2 + length + 2 })
}

/// The length of the JSON value that a text begins with.
fn json_length(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

struct Script {
    reply: Reply,
    /// Whether the content of the base is gone.
    replaced: bool,
    /// How often it is not answered as it should be.
    reluctance: usize,
}

impl Script {
    fn apply(&mut self, directive: &Directive<'_>) -> Result<(), String> {
        let mut arguments = Arguments::new(directive.arguments);
        let arguments = &mut arguments;
        match directive.name {
            "words" => self.content(Some(Part::Text(numbered_words(arguments.count()?)))),
            "say" => self.content(Some(Part::Text(arguments.text()))),
            "echo" => {
                let field = arguments.word().map(|path| Echo::Field(path.to_owned()));
                self.content(Some(Part::Echo(field.unwrap_or(Echo::Asked))));
            }
            "empty" => self.content(None),
            "think" => {
                let text = arguments.text();
                let text =
                    if text.is_empty() { "Let me think about this carefully. ".to_owned() } else { text };
                self.content(Some(Part::Thinking { text, signature: SIGNATURE.to_owned() }));
            }
            "redacted" => self.content(Some(Part::RedactedThinking(arguments.text()))),
            "tool" => {
                let name = arguments.needed("a tool name")?.to_owned();
                self.content(Some(Part::Tool { name, input: arguments.rest().to_owned() }));
            }
            "json" => self.content(Some(Part::Structured(arguments.rest().to_owned()))),
            "agent" => self.content(Some(Part::Agent)),
            "reluctant" => self.reluctance = arguments.parsed_or(usize::MAX)?,
            "err" => {
                let status = arguments.parsed("a status")?;
                if !(400..600).contains(&status) {
                    return Err("the status is no error".to_owned());
                }
                self.error(Reply::error(arguments.error(ApiError::of_status(status))));
            }
            "limit" => self.error(Reply::usage_limit(arguments.parsed_or(3600)?)),
            _ => return self.change(directive.name, arguments),
        }
        arguments.end()
    }

    /// The directives that leave the content as it is.
    fn change(&mut self, name: &str, arguments: &mut Arguments<'_>) -> Result<(), String> {
        let reply = &mut self.reply;
        match name {
            "stop" => {
                let reason = arguments.needed("a stop reason")?;
                let rest = arguments.text();
                reply.stop = match reason {
                    "stop_sequence" => Stop::Sequence(rest),
                    "refusal" => Stop::Refusal(rest),
                    _ => Stop::Reason(reason.to_owned()),
                };
            }
            "usage" => arguments.usage(&mut reply.usage)?,
            "limits" => reply.limits = arguments.limits()?,
            "header" => {
                let name = arguments.needed("a header name")?.to_owned();
                reply.headers.push((name, arguments.rest().to_owned()));
            }
            "delay" => reply.before_headers = arguments.seconds()?,
            "first" => reply.before_first_delta = arguments.seconds()?,
            "slow" => reply.between_deltas = arguments.seconds()?,
            "pings" => {
                reply.pings = arguments.count()?;
                reply.between_pings =
                    if arguments.is_empty() { Duration::ZERO } else { arguments.seconds()? };
            }
            "chunk" => reply.delta_chars = Some(arguments.parsed("a number of characters")?),
            "stall" => reply.broken = Some((arguments.place(), Break::Stall)),
            "cut" => reply.broken = Some((arguments.place(), Break::Cut)),
            "errevent" => {
                let place = arguments.place();
                let error = ApiError::of_kind(arguments.word().unwrap_or("overloaded_error"));
                reply.broken = Some((place, Break::Error(arguments.message(error))));
            }
            "refuse" => {
                let field = arguments.needed("a body field")?.to_owned();
                reply.refuses.push((field, arguments.rest().to_owned()));
            }
            "once" => reply.once = true,
            "boundless" => (reply.honours_max_tokens, reply.honours_stop_sequences) = (false, false),
            _ => return Err("no such directive".to_owned()),
        }
        arguments.end()
    }

    fn content(&mut self, part: Option<Part>) {
        if !self.replaced {
            self.reply.parts.clear();
            self.reply.error = None;
            self.replaced = true;
        }
        self.reply.parts.extend(part);
    }

    fn error(&mut self, error: Reply) {
        self.reply.error = error.error;
        self.reply.limits = error.limits;
    }
}

#[cfg(test)]
mod tests;
