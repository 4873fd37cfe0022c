//! The text of the model aliases: a list of `name=model`, or JSON with all that an alias may set.

use serde_json::{Map, json};

use super::nearest::did_you_mean;
use super::values::{Refusal, Shape, Value, parts};
use crate::translate::models::{Alias, Aliases};
use crate::turn::Effort;

/// What a table of an alias may hold.
const FIELDS: [&str; 3] = ["model", "effort", "system_prompt"];

impl Value for Aliases {
    const SHAPE: Shape = Shape::Table;

    fn allowed() -> String {
        let efforts = Effort::NAMES.join(", ");
        format!("name=model or name=model@effort, separated by commas, with an effort of {efforts}; or JSON")
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let aliases = if text.trim_start().starts_with('{') { of_json(text)? } else { of_list(text)? };
        without_chains(aliases)
    }

    fn shown(&self) -> serde_json::Value {
        let shown = |alias: &Alias| {
            let mut fields = Map::new();
            fields.insert("model".to_owned(), json!(alias.model));
            fields.extend(alias.effort.map(|effort| ("effort".to_owned(), json!(effort.name()))));
            fields.extend(alias.system_prompt.as_ref().map(|text| ("system_prompt".to_owned(), json!(text))));
            serde_json::Value::Object(fields)
        };
        self.iter().map(|(name, alias)| (name.clone(), shown(alias))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

fn of_list(text: &str) -> Result<Aliases, Refusal> {
    let mut aliases = Aliases::new();
    for part in parts(text) {
        let (name, target) = part.split_once('=').unwrap_or((part, ""));
        let (name, target) = (name.trim(), target.trim());
        if name.is_empty() || target.is_empty() {
            return Err(Refusal::because(format!("{part:?} is not name=model")));
        }
        if aliases.insert(name.to_owned(), of_target(name, target)?).is_some() {
            return Err(Refusal::because(format!("{name:?} is there twice")));
        }
    }
    Ok(aliases)
}

/// `model` or `model@effort`. Ids of some clouds have a date behind an `@`, which is no effort.
fn of_target(name: &str, target: &str) -> Result<Alias, Refusal> {
    match target.rsplit_once('@') {
        Some((_, date)) if date.bytes().all(|c| c.is_ascii_digit()) => Ok(Alias::of(target)),
        Some((model, effort)) if !model.is_empty() => {
            Ok(Alias { effort: Some(of_effort(name, effort)?), ..Alias::of(model) })
        }
        Some(_) => Err(Refusal::because(format!("{name:?} names no model"))),
        None => Ok(Alias::of(target)),
    }
}

fn of_effort(name: &str, effort: &str) -> Result<Effort, Refusal> {
    Effort::from_name(effort).ok_or_else(|| {
        let hint = did_you_mean(effort, Effort::NAMES);
        Refusal::at(&format!("{name}.effort"), format!("{effort:?} is no effort{hint}"))
    })
}

fn of_json(text: &str) -> Result<Aliases, Refusal> {
    let tables: Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| Refusal::because(format!("the JSON is broken: {error}")))?;
    tables.iter().map(|(name, value)| Ok((name.clone(), of_table(name, value)?))).collect()
}

fn of_table(name: &str, value: &serde_json::Value) -> Result<Alias, Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::at(name, "an alias must have a name".to_owned()));
    }
    let fields = match value {
        serde_json::Value::String(target) if !target.trim().is_empty() => {
            return of_target(name, target.trim());
        }
        serde_json::Value::Object(fields) => fields,
        _ => {
            return Err(Refusal::at(
                name,
                format!("{name:?} must be a model's name or a table of {}", FIELDS.join(", ")),
            ));
        }
    };
    if let Some(unknown) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        let hint = did_you_mean(unknown, FIELDS);
        let dot = if fields.values().any(serde_json::Value::is_object) {
            " (a name with a dot needs quotes: [model_aliases.\"gpt-4.1\"])"
        } else {
            ""
        };
        let reason = format!("{name:?} has the unknown key {unknown:?}{hint}{dot}");
        return Err(Refusal::at(&format!("{name}.{unknown}"), reason));
    }
    let text = |field: &str| match fields.get(field) {
        None => Ok(None),
        Some(serde_json::Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.as_str())),
        Some(_) => {
            Err(Refusal::at(&format!("{name}.{field}"), format!("{field:?} of {name:?} must be a text")))
        }
    };
    let model = text("model")?.ok_or_else(|| Refusal::at(name, format!("{name:?} has no \"model\"")))?.trim();
    Ok(Alias {
        model: model.to_owned(),
        effort: text("effort")?.map(|effort| of_effort(name, effort.trim())).transpose()?,
        system_prompt: text("system_prompt")?.map(ToOwned::to_owned),
    })
}

/// An alias names a model. One that names another alias would leave open whether that one's effort holds; its own name,
/// as in `sonnet=sonnet@high`, means the model.
fn without_chains(aliases: Aliases) -> Result<Aliases, Refusal> {
    let chained =
        aliases.iter().find(|(name, alias)| **name != alias.model && aliases.contains_key(&alias.model));
    match chained {
        Some((name, alias)) => {
            Err(Refusal::at(name, format!("{name:?} names {:?}, which is an alias itself", alias.model)))
        }
        None => Ok(aliases),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_list_gives_models_and_efforts() {
        let aliases = Aliases::read("gpt-4o=sonnet, fast = haiku@low,v=claude-x@20260101").unwrap();
        let low = Alias { effort: Some(Effort::Low), ..Alias::of("haiku") };
        let expected =
            [("gpt-4o", Alias::of("sonnet")), ("fast", low), ("v", Alias::of("claude-x@20260101"))];
        assert_eq!(aliases, expected.map(|(name, alias)| (name.to_owned(), alias)).into());
        assert_eq!(Aliases::read("").unwrap(), Aliases::new());
        assert!(Aliases::read("sonnet=sonnet@high").is_ok());
    }

    #[test]
    fn json_gives_all_that_an_alias_may_set_and_what_is_shown_reads_as_the_same() {
        let text = r#"{"poet": {"model": "opus", "effort": "max", "system_prompt": "Rhyme.\n"}, "x": "sonnet@high"}"#;
        let aliases = Aliases::read(text).unwrap();
        assert_eq!(aliases["poet"].system_prompt.as_deref(), Some("Rhyme.\n"));
        assert_eq!(aliases["x"].effort, Some(Effort::High));
        assert_eq!(Aliases::read(&aliases.shown().to_string()).unwrap(), aliases);
    }

    #[rstest]
    #[case("gpt-4o", "not name=model")]
    #[case("=sonnet", "not name=model")]
    #[case("a=", "not name=model")]
    #[case("a=sonnet,a=opus", "twice")]
    #[case("a=haiku@hgih", "did you mean \"high\"")]
    #[case("a=@high", "names no model")]
    #[case("a=b,b=sonnet", "alias itself")]
    #[case("{\"a\": 5}", "must be a model's name")]
    #[case("{\"a\": {}}", "has no \"model\"")]
    #[case("{\"a\": {\"model\": \"m\", \"efort\": \"high\"}}", "did you mean \"effort\"")]
    #[case("{\"gpt-4\": {\"1\": {\"model\": \"m\"}}}", "needs quotes")]
    #[case("{\"a\": {\"model\": \"m\", \"system_prompt\": \" \"}}", "must be a text")]
    #[case("{\"a\"", "JSON is broken")]
    fn what_is_no_alias_is_refused_with_the_reason(#[case] text: &str, #[case] reason: &str) {
        let refusal = Aliases::read(text).unwrap_err().reason.unwrap();
        assert!(refusal.contains(reason), "{refusal}");
    }
}
