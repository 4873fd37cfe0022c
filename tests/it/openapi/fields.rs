//! The request schemas have the fields of the types that requests are read into, and no others.

use std::collections::BTreeSet;

use couplet::anthropic::messages_request as messages;
use couplet::openai::completion_request::CompletionRequest;
use couplet::openai::{chat_request as chat, responses_request as responses};
use serde_json::Value;

use super::{document, resolved};
use crate::parameters::{fields, ignored};

/// The properties of a schema; of one that has several forms, those of all of them. Lists stand for what they hold.
fn properties(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = resolved(document, schema);
    let own = schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned());
    let forms = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let inner = forms.chain(schema.get("items")).flat_map(|form| properties(document, form));
    own.chain(inner).collect()
}

/// Those of a field, by the names on the way to it.
fn at(document: &Value, name: &str) -> BTreeSet<String> {
    let mut names = name.split('.');
    let schema = names.next().expect("a schema");
    let mut schema = vec![&document["components"]["schemas"][schema]];
    for name in names {
        let inner = schema.into_iter().flat_map(|schema| named(document, schema, name));
        schema = inner.collect();
    }
    assert!(!schema.is_empty() && schema.iter().all(|schema| !schema.is_null()), "{name} is in the document");
    schema.into_iter().flat_map(|schema| properties(document, schema)).collect()
}

/// The schemas of a field in all forms of a schema.
fn named<'a>(document: &'a Value, schema: &'a Value, name: &str) -> Vec<&'a Value> {
    let schema = resolved(document, schema);
    let own = schema["properties"].get(name);
    let forms = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let inner = forms.chain(schema.get("items")).flat_map(|form| named(document, form, name));
    own.into_iter().chain(inner).collect()
}

#[test]
fn each_schema_of_a_request_has_the_fields_of_its_type() {
    let known: [(&[&str], BTreeSet<String>); 40] = [
        (&["ChatRequest"], fields::<chat::ChatRequest>()),
        (&["StreamOptions"], fields::<chat::StreamOptions>()),
        (&["ResponseFormat"], fields::<chat::ResponseFormat>()),
        (&["JsonSchemaFormat"], fields::<chat::JsonSchemaFormat>()),
        (&["ToolDefinition"], fields::<chat::ToolDefinition>()),
        (&["FunctionDefinition"], fields::<chat::FunctionDefinition>()),
        (&["ToolChoice"], fields::<chat::ChosenTool>()),
        (&["AllowedTools"], fields::<chat::AllowedTools>()),
        (&["AllowedTools.tools"], fields::<chat::AllowedTool>()),
        (&["ChosenFunction"], fields::<chat::ChosenFunction>()),
        (&["ChatMessage"], fields::<chat::ChatMessage>()),
        (&["ContentPart"], fields::<chat::ContentPart>()),
        (&["ImagePart.image_url"], fields::<chat::ImageUrl>()),
        (&["FilePart.file"], fields::<chat::FilePart>()),
        (&["ToolCall"], fields::<chat::ToolCall>()),
        (&["FunctionCall"], fields::<chat::FunctionCall>()),
        (&["CompletionRequest"], fields::<CompletionRequest>()),
        (&["MessagesRequest"], fields::<messages::MessagesRequest>()),
        (&["CountTokensRequest"], fields::<messages::MessagesRequest>()),
        (&["MessagesRequest.system"], fields::<messages::SystemBlock>()),
        (&["Thinking"], fields::<messages::Thinking>()),
        (&["OutputConfig"], fields::<messages::OutputConfig>()),
        (&["OutputFormat"], fields::<messages::OutputFormat>()),
        (&["MessagesTool"], fields::<messages::ToolDefinition>()),
        (&["MessagesToolChoice"], fields::<messages::ToolChoice>()),
        (&["InputMessage"], fields::<messages::InputMessage>()),
        (&["UserBlock", "AssistantBlock"], fields::<messages::ContentBlock>()),
        (&["ImageBlock.source"], fields::<messages::Source>()),
        (&["DocumentBlock.source"], fields::<messages::Source>()),
        (&["ResponsesRequest"], with(fields::<responses::ResponsesRequest>(), "messages")),
        (&["InputItem"], fields::<responses::InputItem>()),
        (&["InputPart"], fields::<responses::InputPart>()),
        (&["ResponsesRequest.reasoning"], fields::<responses::Reasoning>()),
        (&["ResponsesRequest.text"], fields::<responses::TextSettings>()),
        (&["TextFormat"], fields::<responses::TextFormat>()),
        (&["FlatTool"], fields::<responses::FlatTool>()),
        (&["FlatToolChoice"], fields::<responses::FlatToolChoice>()),
        (&["FlatToolChoice.tools"], fields::<responses::FlatAllowedTool>()),
        (&["ChatRequest.function_call"], fields::<chat::ChosenFunction>()),
        (&["ResultBlock"], only(fields::<messages::ContentBlock>(), &["type", "text", "source", "title"])),
    ];
    let document = document();
    for (names, expected) in known {
        let told: BTreeSet<String> = names.iter().flat_map(|name| at(&document, name)).collect();
        assert_eq!(told, expected, "{names:?}");
    }
}

/// The one field that a body of that form must not have: it would be another one.
fn with(mut fields: BTreeSet<String>, more: &str) -> BTreeSet<String> {
    fields.insert(more.to_owned());
    fields
}

fn only(mut fields: BTreeSet<String>, these: &[&str]) -> BTreeSet<String> {
    fields.retain(|field| these.contains(&field.as_str()));
    fields
}

#[test]
fn the_fields_that_are_ignored_are_those_of_the_table() {
    let document = document();
    for (name, path) in [
        ("ChatRequest", "/v1/chat/completions"),
        ("CompletionRequest", "/v1/completions"),
        ("MessagesRequest", "/v1/messages"),
    ] {
        let schema = &document["components"]["schemas"][name];
        let told = schema["x-couplet-ignored"].as_array().expect("names").iter();
        let told: BTreeSet<&str> = told.map(|name| name.as_str().expect("a name")).collect();
        let expected = ignored(path);
        assert_eq!(told, expected.iter().copied().collect(), "{name}");
    }
}
