//! `POST /v1/completions`.

use async_openai::types::completions::CreateCompletionRequest;
use couplet::openai::completion_request::CompletionRequest;
use serde_json::json;

use super::How::{Honoured, Ignored, Mapped, Refused};
use super::{Endpoint, fields, model, row};

pub(super) fn endpoint() -> Endpoint {
    Endpoint {
        path: "/v1/completions",
        about: "A chat model is asked to go on with a text, or to fill its gap.",
        least: json!({"model": model(), "prompt": "[[say {}]]"}),
        known: vec![fields::<CompletionRequest>(), fields::<CreateCompletionRequest>()],
        rows: vec![
            row("model", Mapped, "as above", json!({"model": "claude-opus-5-5"}))
                .arrives("model", json!("claude-opus-5-5")),
            row(
                "prompt",
                Honoured,
                "a text, or several with `n` answers each",
                json!({"prompt": ["[[say a]]", "[[say b]]"]}),
            ),
            row("prompt", Refused, "as tokens", json!({"prompt": [1, 2]})),
            row(
                "suffix",
                Mapped,
                "the model is asked for what stands between both",
                json!({"suffix": "the end"}),
            ),
            row("echo", Honoured, "", json!({"echo": true})),
            row("stream", Honoured, "", json!({"stream": true})),
            row(
                "stream_options",
                Honoured,
                "",
                json!({"stream": true, "stream_options": {"include_usage": true}}),
            ),
            row("max_tokens", Honoured, "absent: what the model has, not 16", json!({"max_tokens": 2000}))
                .arrives("max_tokens", json!(2000)),
            row("temperature", Mapped, "as above", json!({"temperature": 0.5}))
                .arrives("temperature", json!(0.5)),
            row("top_p", Honoured, "as above", json!({"top_p": 0.5})).arrives("top_p", json!(0.5)),
            row("stop", Honoured, "as above", json!({"stop": ["END", "\n"]}))
                .arrives("stop_sequences", json!(["END"])),
            row("n", Honoured, "as above", json!({"n": 2})),
            row("best_of", Refused, "unless it is `n`", json!({"best_of": 2})),
            row("logprobs", Ignored, "always null in the answer", json!({"logprobs": 1})),
            row("logit_bias", Ignored, "", json!({"logit_bias": {"1": 1}})),
            row("frequency_penalty", Ignored, "", json!({"frequency_penalty": 0.1})),
            row("presence_penalty", Ignored, "", json!({"presence_penalty": 0.1})),
            row("seed", Ignored, "", json!({"seed": 1})),
            row("user", Ignored, "", json!({"user": "ada"})),
        ],
    }
}
