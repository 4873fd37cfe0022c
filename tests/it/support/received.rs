//! What the upstream received, in a form that can be compared.

use couplet::upstream::Received;
use serde_json::Value;

use super::app::TestApp;

/// The turns of the last request as a model reads them: without breakpoints, and with the short form of a text that is
/// alone.
pub fn conversation(app: &TestApp) -> Vec<Value> {
    conversation_of(&app.upstream.log().last().expect("a request"))
}

/// The turns of the last request as they were written, without breakpoints.
pub fn turns(app: &TestApp) -> Vec<Value> {
    turns_of(&app.upstream.log().last().expect("a request"))
}

fn turns_of(request: &Received) -> Vec<Value> {
    let mut turns: Vec<Value> = request.asked().turns().cloned().collect();
    turns.iter_mut().for_each(without_breakpoints);
    turns
}

/// The turns of a request, in the form of [`conversation`].
pub fn conversation_of(request: &Received) -> Vec<Value> {
    let mut turns = turns_of(request);
    for turn in &mut turns {
        if let Some([block]) = turn["content"].as_array().map(Vec::as_slice)
            && block["type"] == "text"
        {
            turn["content"] = block["text"].clone();
        }
    }
    turns
}

/// Removes the cache's breakpoints. Where the CLI puts them is its own affair.
pub fn without_breakpoints(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            fields.values_mut().for_each(without_breakpoints);
        }
        Value::Array(items) => items.iter_mut().for_each(without_breakpoints),
        _ => {}
    }
}

/// The session of the CLI that sent a request: it names the process.
pub fn session_of(request: &Received) -> String {
    let body = request.json();
    let user = body["metadata"]["user_id"].as_str().expect("an id");
    let user: Value = serde_json::from_str(user).expect("JSON");
    user["session_id"].as_str().expect("a session").to_owned()
}

/// The sessions of all questions to the model, in their order.
pub fn sessions(app: &TestApp) -> Vec<String> {
    app.upstream.log().model_requests().iter().map(session_of).collect()
}
