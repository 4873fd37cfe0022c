//! `POST /v1/messages`.

use std::collections::BTreeSet;

use couplet::anthropic::messages_request::MessagesRequest;
use serde_json::{Value, json};

use super::How::{Honoured, Ignored, Mapped, Refused};
use super::{Endpoint, Row, fields, model, row};

/// Those of the parameters of `messages.create` in Anthropic's Python package, 2.12.0, that go into the body; and some of its
/// beta's.
const OF_ANTHROPIC: [&str; 25] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "workspace_id",
];

pub(super) fn endpoint() -> Endpoint {
    let of_anthropic: BTreeSet<String> = OF_ANTHROPIC.iter().map(|&name| name.to_owned()).collect();
    Endpoint {
        path: "/v1/messages",
        about: "Anthropic's own API. For `/v1/messages/count_tokens` the same is true, without `max_tokens` and `stream`; of the \
            rest, model, system prompt, tools and messages count.",
        least: json!({"model": model(), "max_tokens": 4096, "messages": [{"role": "user", "content": "[[say {}]]"}]}),
        known: vec![fields::<MessagesRequest>(), of_anthropic],
        rows: [conversation(), answer(), tools(), rest()].into_iter().flatten().collect(),
    }
}

fn asked(blocks: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": blocks}]})
}

fn conversation() -> Vec<Row> {
    let with = |block: Value| asked(&json!([block, {"type": "text", "text": "[[say {}]]"}]));
    let source = |source: Value| with(json!({"type": "document", "source": source}));
    let said = |block: Value| {
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [block, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "[[say {}]]"}]})
    };
    vec![
        row("model", Mapped, "as above", json!({"model": "claude-opus-5-5"}))
            .arrives("model", json!("claude-opus-5-5")),
        row(
            "system",
            Honoured,
            "texts are joined with a newline",
            json!({"system": [{"type": "text", "text": "Be brief."}]}),
        )
        .arrives("system.2.text", json!("Be brief.")),
        row("messages", Honoured, "the last one must not be the assistant's", asked(&json!("[[say {}]]"))),
        row(
            "messages[0].content[0].source",
            Honoured,
            "images: `base64`, `url`; documents: `base64`, `text`, `url`",
            source(json!({"type": "text", "media_type": "text/plain", "data": "x"})),
        ),
        row(
            "messages[0].content[0].source.type",
            Refused,
            "`file` and, for documents, `content`: nothing is stored here",
            source(json!({"type": "file", "file_id": "f"})),
        ),
        row(
            "messages[].content[].thinking",
            Ignored,
            "the CLI drops it",
            said(json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"})),
        ),
        row(
            "messages[].content[].cache_control",
            Ignored,
            "Couplet marks the history itself",
            asked(&json!([{"type": "text", "text": "[[say {}]]", "cache_control": {"type": "ephemeral"}}])),
        ),
        row(
            "messages[].content[].citations",
            Ignored,
            "",
            with(
                json!({"type": "document", "citations": {"enabled": true}, "source": {"type": "text", "data": "x"}}),
            ),
        ),
    ]
}

fn answer() -> Vec<Row> {
    let schema = json!({"type": "json_schema", "schema": {"type": "object"}});
    vec![
        row("max_tokens", Honoured, "the CLI lowers it to what the model has", json!({"max_tokens": 2000}))
            .arrives("max_tokens", json!(2000)),
        row("max_tokens", Refused, "where it is missing", json!({"max_tokens": null})),
        row("stream", Honoured, "", json!({"stream": true})),
        row("stop_sequences", Honoured, "up to 64, of 16 KiB in all, none of only white space; ignored and named beside a schema or a forced call, whose JSON they would cut", json!({"stop_sequences": ["END"]}))
            .arrives("stop_sequences", json!(["END"])),
        row(
            "temperature",
            Honoured,
            "without it where the model refuses it, and named",
            json!({"temperature": 0.5}),
        )
        .arrives("temperature", json!(0.5)),
        row("top_p", Honoured, "likewise", json!({"top_p": 0.5})).arrives("top_p", json!(0.5)),
        row("top_k", Honoured, "likewise", json!({"top_k": 5})).arrives("top_k", json!(5)),
        row(
            "thinking",
            Mapped,
            "`disabled` where the model allows that; `adaptive` and absent: as the model sees fit",
            json!({"thinking": {"type": "disabled"}}),
        )
        .arrives("thinking.type", json!("disabled")),
        row(
            "thinking.budget_tokens",
            Honoured,
            "for models that have a budget: Haiku, Sonnet and Opus 4.5, Sonnet 4",
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        )
        .arrives("thinking.budget_tokens", json!(2000)),
        row(
            "thinking.budget_tokens",
            Ignored,
            "for all others",
            json!({"model": "claude-opus-5-5", "thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ),
        row(
            "output_config",
            Honoured,
            "`effort` and `format`; as `reasoning_effort` and `response_format` above",
            json!({"model": "claude-opus-5-5", "output_config": {"effort": "high"}}),
        )
        .arrives("output_config.effort", json!("high")),
        row(
            "output_config.effort",
            Ignored,
            "where thinking is disabled",
            json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}),
        ),
        row(
            "output_format",
            Mapped,
            "the older place of `output_config.format`",
            json!({"output_format": schema}),
        )
        .arrives("output_config.format.type", json!("json_schema")),
    ]
}

fn tools() -> Vec<Row> {
    let tool = json!({"name": "f", "input_schema": {"type": "object"}});
    let with = |key: &str, value: Value| {
        let mut tool = tool.clone();
        tool[key] = value;
        json!({"tools": [tool]})
    };
    vec![
        row("tools", Honoured, "those that the client calls", json!({"tools": [tool]}))
            .arrives("tools.0.name", json!("f")),
        row(
            "tools[0].type",
            Refused,
            "Anthropic's own: `web_search_…`, `bash_…`, …",
            with("type", json!("bash_20250124")),
        ),
        row("tools[].strict", Ignored, "where it is `true`", with("strict", json!(true))),
        row("tools[].cache_control", Ignored, "", with("cache_control", json!({"type": "ephemeral"}))),
        row(
            "tool_choice",
            Honoured,
            "`any` and `tool` as `tool_choice` above",
            json!({"tools": [tool], "tool_choice": {"type": "none"}}),
        )
        .arrives("tool_choice.type", json!("none")),
        row(
            "mcp_servers",
            Refused,
            "give their tools in `tools`",
            json!({"mcp_servers": [{"type": "url", "url": "https://e.org", "name": "x"}]}),
        ),
    ]
}

fn rest() -> Vec<Row> {
    vec![
        row(
            "cache_control",
            Ignored,
            "Couplet marks the history itself",
            json!({"cache_control": {"type": "ephemeral"}}),
        ),
        row("metadata", Ignored, "", json!({"metadata": {"user_id": "ada"}})),
        row("container", Ignored, "", json!({"container": "c"})),
        row("context_management", Ignored, "", json!({"context_management": {"edits": []}})),
        row("inference_geo", Ignored, "", json!({"inference_geo": "eu"})),
        row("service_tier", Ignored, "", json!({"service_tier": "auto"})),
        row("speed", Ignored, "", json!({"speed": "fast"})),
        row("diagnostics", Ignored, "", json!({"diagnostics": {}})),
        row("user_profile_id", Ignored, "", json!({"user_profile_id": "u"})),
        row("workspace_id", Ignored, "", json!({"workspace_id": "w"})),
    ]
}
