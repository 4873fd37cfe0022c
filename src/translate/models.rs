//! The CLI's list of models becomes OpenAI's; a name becomes a model.

use std::collections::BTreeMap;

use crate::anthropic;
use crate::claude::catalog::{CliModel, ModelSizes};
use crate::openai::model::Model;
use crate::turn::{Effort, Turn};

/// Names of the operator's own for models, as `gpt-4o` → `sonnet`.
pub type Aliases = BTreeMap<String, Alias>;

/// What a name of the operator's stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The model: a name of the CLI's or a full id.
    pub model: String,
    /// How hard it thinks where a request does not say, for clients that cannot.
    pub effort: Option<Effort>,
    /// Put before the client's own system prompt.
    pub system_prompt: Option<String>,
}

impl Alias {
    /// A plain name for a model.
    #[must_use]
    pub fn of(model: &str) -> Self {
        Self { model: model.to_owned(), effort: None, system_prompt: None }
    }
}

/// Makes of a turn for an alias the turn for its model: with its system prompt before the client's, and its effort if the
/// client named none. A turn for anything else stays as it is.
pub fn apply_alias<M>(turn: &mut Turn<M>, aliases: &Aliases) {
    let Some(alias) = aliases.get(&turn.model) else { return };
    turn.model.clone_from(&alias.model);
    turn.parameters.effort = turn.parameters.effort.or(alias.effort);
    if let Some(prompt) = &alias.system_prompt {
        let joint = if turn.system.is_empty() { "" } else { "\n" };
        turn.system = format!("{prompt}{joint}{}", turn.system);
    }
}

/// When the models were made is not known; clients want a number all the same. It is the day of the first release of
/// the Claude Code CLI that Couplet supports, 2026-06-01.
const CREATED: u32 = 1_780_272_000;

/// The same, as Anthropic writes it.
const CREATED_AT: &str = "2026-06-01T00:00:00Z";

/// The models of `/v1/models`: full ids, the CLI's aliases, the operator's aliases; each id once.
#[must_use]
pub fn listed(
    models: &[CliModel],
    aliases: &Aliases,
    sizes: impl Fn(&str) -> Option<ModelSizes>,
) -> Vec<Model> {
    let mut listed: Vec<Model> = Vec::new();
    let mut add = |id: &str, full_id: &str, name: &str, owner: &str| {
        if listed.iter().any(|model| model.base.id == id) {
            return;
        }
        let sizes = sizes(full_id);
        listed.push(Model {
            base: async_openai::types::models::Model {
                id: id.to_owned(),
                object: "model".to_owned(),
                created: CREATED,
                owned_by: owner.to_owned(),
                shutdown_date: None,
            },
            name: name.to_owned(),
            context_length: sizes.map(|sizes| sizes.context_window),
            max_output_tokens: sizes.map(|sizes| sizes.max_output_tokens),
        });
    };
    let full_id = |model: &CliModel| model.resolved_model.clone().unwrap_or_else(|| model.value.clone());
    for model in models.iter().filter(|model| model.value != DEFAULT) {
        add(&full_id(model), &full_id(model), &full_id(model), "anthropic");
    }
    for model in models {
        let name = model.display_name.as_deref().unwrap_or(&model.value);
        add(&full_id(model), &full_id(model), &full_id(model), "anthropic");
        add(&model.value, &full_id(model), name, "anthropic");
    }
    for (name, Alias { model: target, .. }) in aliases {
        let full_id =
            models.iter().find(|model| &model.value == target).map_or_else(|| target.clone(), full_id);
        add(name, &full_id, name, "couplet");
    }
    listed
}

/// Whether a caller who may ask only the models that are `allowed` may ask `model`, which he calls `name`. An allowed model is
/// so under all its names of the CLI's and as a full id; an alias of the operator's under its own name alone, since it may say
/// more than the model's name does.
#[must_use]
pub fn is_allowed(
    name: &str,
    model: &str,
    allowed: &[String],
    models: &[CliModel],
    aliases: &Aliases,
) -> bool {
    let full_id = |name: &str| {
        let listed = models.iter().find(|model| model.value == name);
        listed.and_then(|model| model.resolved_model.clone()).unwrap_or_else(|| name.to_owned())
    };
    let is_it = |allowed: &String| {
        allowed == name || (!aliases.contains_key(allowed) && full_id(allowed) == full_id(model))
    };
    allowed.iter().any(is_it)
}

/// A model as clients of Anthropic's API read it.
#[must_use]
pub fn in_anthropic_s_form(model: Model) -> anthropic::model::Model {
    anthropic::model::Model {
        r#type: "model",
        id: model.base.id,
        display_name: model.name,
        created_at: CREATED_AT,
        lifecycle: "active",
        max_input_tokens: model.context_length,
        max_tokens: model.max_output_tokens,
    }
}

/// The CLI's name for the model it would take by itself.
const DEFAULT: &str = "default";

/// Whether a name needs no look at the CLI's list: full ids pass through even when they are not listed.
#[must_use]
pub fn passes_unlisted(name: &str) -> bool {
    name.starts_with("claude-")
}

/// Whether the CLI's list has a model of that name or full id.
#[must_use]
pub fn is_listed(name: &str, models: &[CliModel]) -> bool {
    models.iter().any(|model| model.value == name || model.resolved_model.as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Parameters;
    use rstest::rstest;

    fn model(value: &str, resolved: &str) -> CliModel {
        CliModel {
            value: value.to_owned(),
            resolved_model: Some(resolved.to_owned()),
            display_name: Some(value.to_uppercase()),
        }
    }

    #[test]
    fn full_ids_aliases_and_the_operator_s_names_are_listed_once_each() {
        let models =
            [model("default", "claude-s-5"), model("sonnet", "claude-s-5"), model("haiku", "claude-h-5")];
        let aliases = Aliases::from([
            ("gpt-4o".to_owned(), Alias::of("sonnet")),
            ("haiku".to_owned(), Alias::of("claude-h-5")),
        ]);
        let sizes =
            |id: &str| (id == "claude-s-5").then_some(ModelSizes { context_window: 9, max_output_tokens: 4 });
        let listed = listed(&models, &aliases, sizes);
        let shown: Vec<_> =
            listed.iter().map(|m| (m.base.id.as_str(), m.base.owned_by.as_str(), m.context_length)).collect();
        assert_eq!(
            shown,
            [
                ("claude-s-5", "anthropic", Some(9)),
                ("claude-h-5", "anthropic", None),
                ("default", "anthropic", Some(9)),
                ("sonnet", "anthropic", Some(9)),
                ("haiku", "anthropic", None),
                ("gpt-4o", "couplet", Some(9)),
            ]
        );
    }

    #[test]
    fn names_are_found_by_alias_and_full_id() {
        let models = [model("sonnet", "claude-s-5")];
        assert!(is_listed("sonnet", &models) && is_listed("claude-s-5", &models));
        assert!(!is_listed("gpt-4o", &models));
        assert!(passes_unlisted("claude-x-9") && !passes_unlisted("gpt-4o"));
    }

    fn turn(model: &str, system: &str, effort: Option<Effort>) -> Turn {
        Turn {
            model: model.to_owned(),
            system: system.to_owned(),
            history: Vec::new(),
            question: Vec::new(),
            tools: Vec::new(),
            parameters: Parameters { effort, ..Parameters::default() },
        }
    }

    #[rstest]
    #[case(turn("poet", "Be short.", None), turn("opus", "Rhyme.\nBe short.", Some(Effort::High)))]
    #[case(turn("poet", "", None), turn("opus", "Rhyme.", Some(Effort::High)))]
    #[case(turn("poet", "", Some(Effort::Off)), turn("opus", "Rhyme.", Some(Effort::Off)))]
    #[case(turn("gpt-4o", "Be short.", None), turn("sonnet", "Be short.", None))]
    #[case(turn("opus", "Be short.", None), turn("opus", "Be short.", None))]
    fn an_alias_adds_its_prompt_before_the_client_s_and_its_effort_where_the_client_has_none(
        #[case] mut asked: Turn,
        #[case] expected: Turn,
    ) {
        let poet = Alias {
            effort: Some(Effort::High),
            system_prompt: Some("Rhyme.".to_owned()),
            ..Alias::of("opus")
        };
        let aliases = Aliases::from([("poet".to_owned(), poet), ("gpt-4o".to_owned(), Alias::of("sonnet"))]);
        apply_alias(&mut asked, &aliases);
        assert_eq!(asked, expected);
    }
}
