//! The models the CLI offers.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value};

/// How long a list is good. Each new process brings a new one by the way.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// A model of the CLI's list, from its answer to `initialize`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CliModel {
    /// What the CLI is to be told: an alias such as `sonnet`, or `default`.
    pub value: String,
    /// The full id behind it.
    pub resolved_model: Option<String>,
    /// Its name for people.
    pub display_name: Option<String>,
}

/// The sizes of a model, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelSizes {
    /// Prompt and answer together.
    pub context_window: u64,
    /// One answer.
    pub max_output_tokens: u64,
}

/// What is known of the models.
#[derive(Debug, Default)]
pub struct Catalog {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    models: Vec<CliModel>,
    read_at: Option<Instant>,
    /// Learned from the results of answers; the list itself has no sizes.
    sizes: HashMap<String, ModelSizes>,
}

/// The body of the answer to `initialize`, as far as it is read here.
#[derive(Deserialize)]
struct Initialized {
    models: Vec<CliModel>,
}

impl Catalog {
    /// Takes the list out of the answer to `initialize`; other answers hold none.
    pub fn learn_models(&self, initialized: &str) {
        let Ok(Initialized { models }) = serde_json::from_str(initialized) else { return };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.models = models;
        state.read_at = Some(Instant::now());
    }

    /// Takes sizes out of the `modelUsage` of a result.
    pub fn learn_sizes(&self, model_usage: Map<String, Value>) {
        for (model, usage) in model_usage {
            if let Ok(sizes) = ModelSizes::deserialize(usage) {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.sizes.insert(model, sizes);
            }
        }
    }

    /// The list, if there is one; the flag says whether it is recent.
    #[must_use]
    pub fn models(&self) -> Option<(Vec<CliModel>, bool)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.read_at.map(|read_at| (state.models.clone(), read_at.elapsed() < FRESH))
    }

    /// The sizes of a model, by its full id, if it has answered before.
    #[must_use]
    pub fn sizes(&self, model: &str) -> Option<ModelSizes> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).sizes.get(model).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_sizes_are_learned_and_nonsense_is_not() {
        let catalog = Catalog::default();
        catalog.learn_models(r#"{"models":"none"}"#);
        assert_eq!(catalog.models(), None);
        catalog.learn_models(
            r#"{"models":[{"value":"sonnet","resolvedModel":"claude-s","displayName":"Sonnet","news":1}]}"#,
        );
        let (models, fresh) = catalog.models().unwrap();
        assert!(fresh);
        assert_eq!(models[0].resolved_model.as_deref(), Some("claude-s"));

        let usage = serde_json::json!({"claude-s": {"contextWindow": 7, "maxOutputTokens": 5, "costUSD": 0.1}, "x": 3});
        catalog.learn_sizes(usage.as_object().unwrap().clone());
        assert_eq!(catalog.sizes("claude-s"), Some(ModelSizes { context_window: 7, max_output_tokens: 5 }));
        assert_eq!(catalog.sizes("x"), None);
    }
}
