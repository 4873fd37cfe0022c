//! The series of tokens: by model and tenant, of which there are only so many.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use metrics::Counter;
use metrics_exporter_prometheus::PrometheusRecorder;

use super::table::TOKENS;
use crate::claude::answer::Usage;

/// Models that are told apart.
const MODELS: usize = 100;

/// How many of them may be models that no list has, and that only answered.
const UNLISTED: usize = 50;

/// What stands for all other models.
const OTHER: &str = "other";

/// The series that there are so far: by model, then by tenant.
#[derive(Debug, Default)]
pub(super) struct Tokens(RwLock<HashMap<String, HashMap<String, Kinds>>>);

/// The counters of a model, for one tenant.
#[derive(Debug)]
struct Kinds {
    input: Counter,
    cache_read: Counter,
    cache_creation: Counter,
    output: Counter,
}

impl Tokens {
    /// Counts the tokens of an answer. `model` is what the model called itself, so a client could make names up only if
    /// whoever answers echoed them; `is_listed` says whether the operator or the CLI knows what was asked for, and is called
    /// for names that are new.
    pub(super) fn count(
        &self,
        recorder: &PrometheusRecorder,
        tenant: &str,
        model: &str,
        usage: Usage,
        is_listed: impl FnOnce() -> bool,
    ) {
        if self.add(tenant, model, usage) {
            return;
        }
        let model = self.admit(model, is_listed);
        if self.add(tenant, model, usage) {
            return;
        }
        let mut models = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let tenants = models.entry(model.to_owned()).or_default();
        tenants.entry(tenant.to_owned()).or_insert_with(|| Kinds::new(recorder, tenant, model)).add(usage);
    }

    /// `false` where there is no such series yet.
    fn add(&self, tenant: &str, model: &str, usage: Usage) -> bool {
        let models = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let kinds = models.get(model).and_then(|tenants| tenants.get(tenant));
        kinds.map(|kinds| kinds.add(usage)).is_some()
    }

    /// The model, if it is known or there is room for one more.
    fn admit<'a>(&self, model: &'a str, is_listed: impl FnOnce() -> bool) -> &'a str {
        if model.is_empty() {
            return OTHER;
        }
        let is_known = {
            let models = self.0.read().unwrap_or_else(PoisonError::into_inner);
            models.contains_key(model) || models.len() < UNLISTED || models.len() < MODELS && is_listed()
        };
        if is_known { model } else { OTHER }
    }
}

impl Kinds {
    fn new(recorder: &PrometheusRecorder, tenant: &str, model: &str) -> Self {
        let counter = |kind| TOKENS.counter(recorder, &[kind, model, tenant]);
        Self {
            input: counter("input"),
            cache_read: counter("cache_read"),
            cache_creation: counter("cache_creation"),
            output: counter("output"),
        }
    }

    fn add(&self, usage: Usage) {
        self.input.increment(usage.input);
        self.cache_read.increment(usage.cache_read);
        self.cache_creation.increment(usage.cache_creation);
        self.output.increment(usage.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn models(tokens: &Tokens) -> usize {
        tokens.0.read().unwrap().len()
    }

    #[test]
    fn models_that_no_list_has_leave_room_for_those_that_are_listed() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let tokens = Tokens::default();
        let usage = Usage { output: 1, ..Usage::default() };
        for number in 0..5000 {
            tokens.count(&recorder, "default", &format!("claude-made-up-{number}"), usage, || false);
        }
        assert_eq!(models(&tokens), UNLISTED + 1);
        tokens.count(&recorder, "default", "claude-listed", usage, || true);
        assert_eq!(models(&tokens), UNLISTED + 2);
        for number in 0..5000 {
            tokens.count(&recorder, "default", &format!("claude-listed-{number}"), usage, || true);
        }
        assert_eq!(models(&tokens), MODELS);
        let text = recorder.handle().render();
        let others = text.lines().find(|line| line.contains(r#"kind="output",model="other""#));
        assert!(others.is_some_and(|line| !line.ends_with(" 0")), "{others:?}");
    }

    #[test]
    fn a_known_model_is_counted_for_each_tenant() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let tokens = Tokens::default();
        let usage = Usage { input: 2, cache_read: 3, cache_creation: 5, output: 7, thinking: 1 };
        for tenant in ["a", "b", "a"] {
            tokens.count(&recorder, tenant, "m", usage, || false);
        }
        let text = recorder.handle().render();
        for (kind, of_a) in [("input", 4), ("cache_read", 6), ("cache_creation", 10), ("output", 14)] {
            for (tenant, count) in [("a", of_a), ("b", of_a / 2)] {
                let line = format!(
                    "couplet_tokens_total{{kind=\"{kind}\",model=\"m\",tenant=\"{tenant}\"}} {count}\n"
                );
                assert!(text.contains(&line), "{line} in {text}");
            }
        }
    }
}
