//! What models refuse, as far as that has shown: the API answered 400 and named it, and took the turn without.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::{ApiFailureKind, TurnFailure};
use crate::turn::{CallsPerAnswer, Effort, Parameter, Turn};

/// How long a refusal is remembered. Models learn, and names of models move on to newer ones.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// The least budget of thinking that the API takes, in tokens.
const LEAST_BUDGET: u32 = 1_024;

/// Words about a value, and not about the parameter.
const OUT_OF_RANGE: [&str; 6] =
    ["Input should be", "less than", "greater than", "at least", "at most", "between"];

/// How many are remembered at most; the oldest is forgotten first.
const MOST: usize = 512;

/// Something of a turn that the API refuses for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A parameter; the turn is asked without it.
    Parameter(Parameter),
    /// This effort; the turn is asked with the model's own.
    EffortOf(Effort),
    /// This `top_p`, by its bits; the turn is asked without.
    TopPOf(u64),
    /// Both at once; the turn is asked without `top_p`.
    TopPBesideTemperature,
    /// Thinking in an answer of few tokens: models with a budget of thinking have one of 1,024 at least, which the CLI sends
    /// with any `max_tokens` (2.1.329). The turn is asked without thinking.
    ThinkingInFewTokens,
    /// Stop sequences; they are looked for here.
    StopSequences,
    /// A forced choice of tools; words ask for the call.
    ForcedChoice,
    /// A form of the text; the answer is asked for as arguments of a tool.
    Format,
    /// The form of the text by the schema with this hash; likewise.
    Schema([u8; 32]),
}

/// What a model refuses of a turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedOfTurn(Vec<Refused>);

/// Models, each with what it refuses. Whether it thinks makes a difference.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Known>>);

#[derive(Debug)]
struct Known {
    model: String,
    thinks: bool,
    refused: Refused,
    since: Instant,
}

impl Refusals {
    /// What is known of the turn's model.
    #[must_use]
    pub fn of(&self, turn: &Turn) -> RefusedOfTurn {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.since.elapsed() < REMEMBERED);
        let is_of = |known: &&Known| known.model == turn.model && known.thinks == thinks(turn);
        RefusedOfTurn(known.iter().filter(is_of).map(|known| known.refused).collect())
    }

    /// Notes that the turn's model refuses something.
    pub fn note(&self, turn: &Turn, refused: Refused) {
        if self.of(turn).has(refused) {
            return;
        }
        tracing::warn!(
            model = turn.model,
            ?refused,
            "the model refuses this; it is asked without from now on"
        );
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.pop_front();
        }
        let (model, thinks) = (turn.model.clone(), thinks(turn));
        known.push_back(Known { model, thinks, refused, since: Instant::now() });
    }
}

/// Whether the answer has no room for the least budget of thinking.
pub(super) fn has_few_tokens(turn: &Turn) -> bool {
    turn.parameters.max_tokens.is_some_and(|tokens| tokens <= LEAST_BUDGET)
}

fn thinks(turn: &Turn) -> bool {
    turn.parameters.effort != Some(Effort::Off)
}

impl RefusedOfTurn {
    /// Whether this is refused.
    #[must_use]
    pub fn has(&self, refused: Refused) -> bool {
        self.0.contains(&refused)
    }

    /// Adds what is refused as well.
    pub fn add(&mut self, refused: Refused) {
        if !self.has(refused) {
            self.0.push(refused);
        }
    }

    /// Whether the form of the turn's text is refused.
    #[must_use]
    pub fn has_format_of(&self, turn: &Turn) -> bool {
        let schema = turn.parameters.format.as_ref().map(|schema| Refused::Schema(schema.digest()));
        self.has(Refused::Format) || schema.is_some_and(|schema| self.has(schema))
    }

    /// What of `asked`, the turn as it was put to the API, the failure names as refused. `None` where it is about something
    /// else.
    #[must_use]
    pub fn named_by(failure: &TurnFailure, asked: &Turn) -> Option<Refused> {
        let TurnFailure::Api { status: Some(400), kind: ApiFailureKind::InvalidRequest, sentence } = failure
        else {
            return None;
        };
        let names = |word: &str| is_named(sentence, word);
        let parameters = &asked.parameters;
        if let Some(schema) = &parameters.format {
            // "output_config.format.schema: …", "The compiled grammar is too large …", "Schema is too complex for
            // compilation.", "Schemas contains too many parameters with union types …"; but not "tools.0.custom.input_schema".
            let is_about_schema =
                ["schema", "schemas", "Schema", "Schemas", "grammar"].into_iter().any(names);
            if is_about_schema && !sentence.contains("input_schema") {
                return Some(Refused::Schema(schema.digest()));
            }
            if names("output_config.format") || names("output_format") || names("structured outputs") {
                return Some(Refused::Format);
            }
        }
        if parameters.tool_choice.is_forced() && (names("tool_choice") || names("forces tool use")) {
            return Some(Refused::ForcedChoice);
        }
        if has_few_tokens(asked) && thinks(asked) && names("budget_tokens") {
            return Some(Refused::ThinkingInFewTokens);
        }
        let (temperature, top_p) = (parameters.temperature.is_some(), parameters.top_p.is_some());
        if temperature && top_p && names("temperature") && names("top_p") {
            return Some(Refused::TopPBesideTemperature);
        }
        // A value that no model takes is the client's to mend.
        let is_limit = OUT_OF_RANGE.into_iter().any(|words| sentence.contains(words));
        if let Some(top_p) = parameters.top_p.filter(|_| names("top_p") && is_limit) {
            // "`top_p` must be unset or at least 0.95 when thinking is enabled."
            return sentence.contains("unset").then_some(Refused::TopPOf(top_p.to_bits()));
        }
        if let Some(effort) = parameters.effort.filter(|_| names("effort")) {
            let is_value = is_limit || names("level") || names("levels") || names(effort.name());
            return Some(if is_value {
                Refused::EffortOf(effort)
            } else {
                Refused::Parameter(Parameter::Effort)
            });
        }
        if is_limit && (names("temperature") || names("top_k")) {
            return None;
        }
        let sent = [
            (temperature, "temperature", Refused::Parameter(Parameter::Temperature)),
            (top_p, "top_p", Refused::Parameter(Parameter::TopP)),
            (parameters.top_k.is_some(), "top_k", Refused::Parameter(Parameter::TopK)),
            (!parameters.stop.is_empty(), "stop_sequences", Refused::StopSequences),
            (
                parameters.calls == CallsPerAnswer::One,
                "disable_parallel_tool_use",
                Refused::Parameter(Parameter::Calls),
            ),
            // Older releases of the API know nothing of what holds both of them.
            (parameters.format.is_some(), "output_config", Refused::Format),
            (parameters.effort.is_some(), "output_config", Refused::Parameter(Parameter::Effort)),
            (parameters.calls == CallsPerAnswer::One, "tool_choice", Refused::Parameter(Parameter::Calls)),
        ];
        sent.into_iter().find(|(is_sent, word, _)| *is_sent && names(word)).map(|(.., refused)| refused)
    }
}

/// Whether a sentence holds a name, and not as a piece of a longer one.
fn is_named(sentence: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    sentence.match_indices(name).any(|(at, _)| {
        let (before, after) = (&sentence[..at], &sentence[at + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer_schema::AnswerSchema;
    use crate::turn::{Parameters, ToolChoice, UserBlock};
    use rstest::rstest;
    use serde_json::Map;

    fn turn(parameters: Parameters) -> Turn {
        Turn {
            model: "m".to_owned(),
            system: String::new(),
            history: Vec::new(),
            question: vec![UserBlock::Text("hi".to_owned())],
            tools: Vec::new(),
            parameters,
        }
    }

    /// A turn with all that can be refused.
    fn everything() -> Turn {
        turn(Parameters {
            max_tokens: Some(5),
            stop: vec!["END".to_owned()],
            temperature: Some(0.5),
            top_p: Some(0.5),
            top_k: Some(5),
            effort: Some(Effort::High),
            thinking_budget: None,
            tool_choice: ToolChoice::Any,
            calls: CallsPerAnswer::One,
            format: Some(AnswerSchema::new(Map::new()).unwrap()),
            is_last: false,
        })
    }

    fn refusal(sentence: &str) -> TurnFailure {
        let kind = ApiFailureKind::InvalidRequest;
        TurnFailure::Api { status: Some(400), kind, sentence: sentence.to_owned() }
    }

    #[rstest]
    #[case(
        "temperature: this model does not support this parameter",
        Some(Refused::Parameter(Parameter::Temperature))
    )]
    #[case(
        "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.",
        Some(Refused::Parameter(Parameter::Temperature))
    )]
    #[case(
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        Some(Refused::TopPBesideTemperature)
    )]
    #[case(
        "`top_p` must be unset or at least 0.95 when thinking is enabled.",
        Some(Refused::TopPOf(0.5_f64.to_bits()))
    )]
    #[case("top_p: Input should be less than or equal to 1", None)]
    #[case("top_k: Input should be less than or equal to 500", None)]
    #[case("temperature: range: 0..1, must be between 0 and 1", None)]
    #[case(
        "This model does not support effort level 'high'. Supported levels: low, medium.",
        Some(Refused::EffortOf(Effort::High))
    )]
    #[case("`top_k` must be unset when thinking is enabled.", Some(Refused::Parameter(Parameter::TopK)))]
    #[case("stop_sequences: this model does not support this parameter", Some(Refused::StopSequences))]
    #[case("This model does not support the effort parameter.", Some(Refused::Parameter(Parameter::Effort)))]
    #[case("output_config.effort: Input should be 'low'", Some(Refused::EffortOf(Effort::High)))]
    #[case("Thinking may not be enabled when tool_choice forces tool use.", Some(Refused::ForcedChoice))]
    #[case("tool_choice: this model does not support this parameter", Some(Refused::ForcedChoice))]
    #[case("output_config.format: Extra inputs are not permitted", Some(Refused::Format))]
    #[case("'claude-3-haiku' does not support structured outputs.", Some(Refused::Format))]
    #[case("output_config: Extra inputs are not permitted", Some(Refused::Format))]
    #[case("`max_tokens` must be greater than `thinking.budget_tokens`.", Some(Refused::ThinkingInFewTokens))]
    #[case("messages.0.content.0.text: the temperatures are high", None)]
    #[case("tools.0.custom.input_schema: JSON schema is invalid", None)]
    #[case("max_tokens: 5 > 4, which is the maximum allowed number of output tokens", None)]
    fn what_is_refused_is_told_by_its_name(#[case] sentence: &str, #[case] refused: Option<Refused>) {
        assert_eq!(RefusedOfTurn::named_by(&refusal(sentence), &everything()), refused);
    }

    #[rstest]
    #[case(
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
    )]
    #[case("The compiled grammar is too large, which would cause performance issues.")]
    #[case("Schema is too complex for compilation.")]
    #[case(
        "Schemas contains too many parameters with union types (20 parameters with type arrays or anyOf; limit: 16)"
    )]
    #[case("Too many recursive definitions in schema")]
    fn a_schema_is_refused_apart_from_all_others(#[case] sentence: &str) {
        let turn = everything();
        let digest = turn.parameters.format.as_ref().unwrap().digest();
        assert_eq!(RefusedOfTurn::named_by(&refusal(sentence), &turn), Some(Refused::Schema(digest)));
    }

    #[test]
    fn what_was_not_sent_is_not_refused() {
        let failure =
            refusal("temperature, top_p, top_k, stop_sequences, effort, tool_choice, output_config.format");
        assert_eq!(RefusedOfTurn::named_by(&failure, &turn(Parameters::default())), None);
        let failure = TurnFailure::Api {
            status: Some(500),
            kind: ApiFailureKind::Server,
            sentence: "temperature".to_owned(),
        };
        assert_eq!(RefusedOfTurn::named_by(&failure, &everything()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_remembered_for_its_model_and_for_a_day() {
        let refusals = Refusals::default();
        let refused = Refused::Parameter(Parameter::Temperature);
        refusals.note(&everything(), refused);
        assert!(refusals.of(&everything()).has(refused));
        let other = Turn { model: "n".to_owned(), ..everything() };
        let does_not_think = turn(Parameters { effort: Some(Effort::Off), ..Parameters::default() });
        assert!(!refusals.of(&other).has(refused) && !refusals.of(&does_not_think).has(refused));
        tokio::time::advance(REMEMBERED).await;
        assert!(!refusals.of(&everything()).has(refused));
    }

    #[tokio::test]
    async fn only_so_many_are_remembered() {
        let refusals = Refusals::default();
        for number in 0..=MOST {
            let turn = Turn { model: number.to_string(), ..everything() };
            refusals.note(&turn, Refused::Format);
        }
        assert!(!refusals.of(&Turn { model: "0".to_owned(), ..everything() }).has(Refused::Format));
        assert!(refusals.of(&Turn { model: MOST.to_string(), ..everything() }).has(Refused::Format));
    }
}
