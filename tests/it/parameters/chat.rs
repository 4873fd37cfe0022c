//! `POST /v1/chat/completions`.

use async_openai::types::chat::CreateChatCompletionRequest;
use couplet::openai::chat_request::ChatRequest;
use serde_json::{Value, json};

use super::How::{Honoured, Ignored, Mapped, Refused};
use super::{Endpoint, Row, fields, model, row};

fn user(content: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

fn tool(more: &Value) -> Value {
    let mut function = json!({"name": "f", "parameters": {"type": "object", "properties": {}}});
    function.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!([{"type": "function", "function": function}])
}

pub(super) fn endpoint() -> Endpoint {
    let mut least = user(&json!("[[say {}]]"));
    least["model"] = model();
    Endpoint {
        path: "/v1/chat/completions",
        about: "Cursor's body in the form of the Responses API (`input`, flat `tools`) is taken here as well; its fields mean \
            what those of the same meaning mean.",
        least,
        known: vec![fields::<ChatRequest>(), fields::<CreateChatCompletionRequest>()],
        rows: rows(),
    }
}

fn rows() -> Vec<Row> {
    let mut rows = conversation();
    rows.extend(tools());
    rows.extend(parameters());
    rows.extend(without_meaning());
    rows
}

fn conversation() -> Vec<Row> {
    let pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let image = json!([{"type": "text", "text": "[[say {}]]"}, {"type": "image_url", "image_url": {"url": pixel, "detail": "low"}}]);
    let audio = json!([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]);
    let file = json!([{"type": "text", "text": "[[say {}]]"}, {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}]);
    let stored = json!([{"type": "file", "file": {"file_id": "file-1"}}]);
    vec![
        row(
            "model",
            Mapped,
            "an id of Claude's, an alias of the CLI's, or one of the operator's",
            json!({"model": "claude-opus-5-5"}),
        )
        .arrives("model", json!("claude-opus-5-5")),
        row(
            "messages",
            Honoured,
            "turn for turn; system and developer messages become the system prompt; the last one must not be the assistant's",
            json!({}),
        ),
        row(
            "messages[].name",
            Ignored,
            "but of the role `function`, whose function it names",
            json!({"messages": [{"role": "user", "name": "ada", "content": "[[say {}]]"}]}),
        ),
        row(
            "messages[].content[].image_url",
            Mapped,
            "`data:` and `https:`; scaled to what Claude takes",
            user(&image),
        ),
        row("messages[].content[].image_url.detail", Ignored, "", user(&image)),
        row("messages[].content[].file", Honoured, "PDF and text, as `file_data`", user(&file)),
        row(
            "messages[0].content[0].file.file_id",
            Refused,
            "nothing is stored here: send `file_data`",
            user(&stored),
        ),
        row("messages[0].content[0].input_audio", Refused, "Claude does not hear", user(&audio)),
    ]
}

fn tools() -> Vec<Row> {
    let with = |more: Value| {
        let mut patch = json!({"tools": tool(&json!({}))});
        patch.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        patch
    };
    let calls = |more: Value| {
        let mut patch = with(more);
        patch["messages"] = json!([{"role": "user", "content": "[[tool f {}]]"}]);
        patch
    };
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}});
    vec![
        row("tools", Honoured, "functions, up to 128", with(json!({}))).arrives("tools.0.name", json!("f")),
        row("tools[0].type", Refused, "all but `function`", json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]})),
        row("tools[].function.strict", Ignored, "where it is `true`: the model keeps to the schema as well as it can", json!({"tools": tool(&json!({"strict": true}))})),
        row("tool_choice", Mapped, "`required` and a function: the API's forced choice; where the model refuses that, a demand in words, one correction, then an error. `allowed_tools`: the others are not offered", calls(json!({"tool_choice": "required"})))
            .arrives("tool_choice.type", json!("any")),
        row("tool_choice.allowed_tools", Mapped, "", with(json!({"tool_choice": allowed}))).arrives("tools.0.name", json!("f")),
        row("parallel_tool_calls", Honoured, "`false`: one call at most", with(json!({"parallel_tool_calls": false})))
            .arrives("tool_choice.disable_parallel_tool_use", json!(true)),
        row("functions", Mapped, "the older form of `tools`; one call at most", json!({"functions": [{"name": "f"}]})).arrives("tools.0.name", json!("f")),
        row("function_call", Mapped, "the older form of `tool_choice`", json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}, "messages": [{"role": "user", "content": "[[tool f {}]]"}]}))
            .arrives("tool_choice.name", json!("f")),
    ]
}

fn parameters() -> Vec<Row> {
    let schema = json!({"type": "object"});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}});
    vec![
        row("stream", Honoured, "", json!({"stream": true})),
        row("stream_options", Honoured, "", json!({"stream": true, "stream_options": {}})),
        row("stream_options.include_usage", Honoured, "", json!({"stream": true, "stream_options": {"include_usage": true}})),
        row("stream_options.include_obfuscation", Ignored, "chunks are never padded", json!({"stream": true, "stream_options": {"include_obfuscation": false}})),
        row("response_format", Honoured, "`json_schema`, strict or not, and `json_object`: the form of the text at the API; where the model refuses that, the arguments of a tool. The answer is checked; one that does not match is an error", json!({"response_format": format}))
            .arrives("output_config.format.schema", schema),
        row("max_completion_tokens", Honoured, "thinking included; the CLI lowers it to what the model has", json!({"max_completion_tokens": 2000})).arrives("max_tokens", json!(2000)),
        row("max_tokens", Mapped, "the older name of `max_completion_tokens`", json!({"max_tokens": 2000})).arrives("max_tokens", json!(2000)),
        row("temperature", Mapped, "above 1 it is 1, and named; without it where the model refuses it, and named", json!({"temperature": 0.5})).arrives("temperature", json!(0.5)),
        row("top_p", Honoured, "without it where the model refuses it, and named", json!({"top_p": 0.5})).arrives("top_p", json!(0.5)),
        row("stop", Honoured, "up to 4, of 16 KiB in all; white space is looked for here, and so are all where the model refuses them; ignored and named beside `response_format` or a forced call, whose JSON they would cut", json!({"stop": ["END", "\n"]})).arrives("stop_sequences", json!(["END"])),
        row("n", Honoured, "that many turns side by side; each has a prompt of its own to be paid for", json!({"n": 2})),
        row("reasoning_effort", Mapped, "`none`: no thinking where the model allows that; `minimal` is `low`; without it where the model refuses it, and named", json!({"model": "claude-opus-5-5", "reasoning_effort": "high"})).arrives("output_config.effort", json!("high")),
    ]
}

fn without_meaning() -> Vec<Row> {
    vec![
        row("modalities", Refused, "all but `text`", json!({"modalities": ["text", "audio"]})),
        row("audio", Refused, "Claude does not speak", json!({"audio": {"voice": "alloy", "format": "wav"}})),
        row("logprobs", Ignored, "always null in the answer", json!({"logprobs": true})),
        row("top_logprobs", Ignored, "", json!({"top_logprobs": 2})),
        row("logit_bias", Ignored, "", json!({"logit_bias": {"1": 1}})),
        row("frequency_penalty", Ignored, "", json!({"frequency_penalty": 0.1})),
        row("presence_penalty", Ignored, "", json!({"presence_penalty": 0.1})),
        row("seed", Ignored, "", json!({"seed": 1})),
        row("prediction", Ignored, "", json!({"prediction": {"type": "content", "content": "a"}})),
        row("verbosity", Ignored, "", json!({"verbosity": "low"})),
        row("web_search_options", Ignored, "", json!({"web_search_options": {}})),
        row("service_tier", Ignored, "", json!({"service_tier": "flex"})),
        row("store", Ignored, "nothing is stored", json!({"store": true})),
        row("metadata", Ignored, "", json!({"metadata": {"a": "b"}})),
        row("user", Ignored, "", json!({"user": "ada"})),
        row("safety_identifier", Ignored, "", json!({"safety_identifier": "ada"})),
        row(
            "prompt_cache_key",
            Ignored,
            "Anthropic's cache goes by the text of the prompt",
            json!({"prompt_cache_key": "a"}),
        ),
        row("prompt_cache_options", Ignored, "", json!({"prompt_cache_options": {"mode": "implicit"}})),
        row("prompt_cache_retention", Ignored, "", json!({"prompt_cache_retention": "24h"})),
        row("moderation", Ignored, "", json!({"moderation": {"model": "omni-moderation-latest"}})),
    ]
}
