//! Settings from variables: refused with a line for each, or read to what they say when they are shown; secrets never show.

#![no_main]

use std::path::PathBuf;

use couplet::config::effective::{self, Loaded};
use couplet::config::table::Setting;
use couplet::config::values::Shape;
use couplet::config::{ServeArguments, Settings, Surroundings};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Stands in every secret.
const CANARY: &str = "canary-7f3a91c2";

/// Reads settings that are nothing but variables.
fn load(values: &[(&'static Setting, String)]) -> Result<Loaded, String> {
    let arguments = ServeArguments { no_env_file: true, ..ServeArguments::default() };
    let variables = values.iter().map(|(setting, text)| (setting.variable.into(), text.into()));
    let around = Surroundings { variables: variables.collect(), folder: PathBuf::from("/nonexistent") };
    Settings::load(&arguments, &around).map_err(|error| error.to_string())
}

/// The text that a shown value is written as; `None` where it is shown rounded.
fn text_of(setting: &Setting, shown: &Value) -> Option<String> {
    match (setting.shape, shown) {
        (_, Value::Null) => None,
        // An amount of memory.
        (Shape::Text, Value::String(text)) if text.ends_with('B') => None,
        (Shape::Text, Value::String(text)) => Some(text.clone()),
        (Shape::List, Value::Array(items)) => {
            Some(items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?.join(","))
        }
        (Shape::Number | Shape::Table, shown) => Some(shown.to_string()),
        _ => None,
    }
}

fuzz_target!(|input: Vec<(u8, String)>| {
    let table = Settings::table();
    let values: Vec<(&'static Setting, String)> = input
        .into_iter()
        .take(4)
        .map(|(which, text)| (&table[usize::from(which) % table.len()], text))
        .filter(|(_, text)| !text.contains('\0'))
        .map(|(setting, text)| (setting, if setting.secret { format!("{text}{CANARY}") } else { text }))
        .collect();
    let loaded = match load(&values) {
        Err(problems) => {
            assert!(!problems.is_empty() && !problems.contains(CANARY), "{problems}");
            return;
        }
        Ok(loaded) => loaded,
    };
    let shown = effective::as_text(&loaded.effective);
    assert!(!shown.contains(CANARY) && !format!("{:?}", loaded.settings).contains(CANARY), "{shown}");
    let json = effective::as_json(&loaded.effective);
    assert!(!json.to_string().contains(CANARY));
    for it in loaded.effective.iter().filter(|it| !it.setting.secret && it.source.starts_with("variable")) {
        let Some(text) = text_of(it.setting, &it.value) else { continue };
        let again = load(&[(it.setting, text.clone())]);
        let again = again.unwrap_or_else(|problems| panic!("{text:?} was shown: {problems}"));
        let value = again.effective.iter().find(|other| std::ptr::eq(other.setting, it.setting));
        assert_eq!(value.map(|it| &it.value), Some(&it.value), "{}", it.setting.variable);
    }
});
