//! The tools: asked of the host's server over control requests, and called there. Pure.

use serde_json::{Map, Value, json};

/// The version of MCP that it speaks, as the CLI did when its frames were recorded.
const PROTOCOL: &str = "2025-11-25";

/// The host's server of tools, and the calls that are under way there.
#[derive(Debug, Default)]
pub struct Tools {
    /// As it was declared in `initialize`.
    server: String,
    /// As the server listed them.
    listed: Vec<Value>,
    requests: u64,
    /// What was asked and is not answered yet.
    open: Vec<Open>,
    /// Results that are not in the conversation yet, in the order in which they came.
    results: Vec<Value>,
}

/// A control request that is not answered yet.
#[derive(Debug)]
struct Open {
    request_id: String,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Greeting,
    Notice,
    List,
    Call { call_id: String, name: String },
}

impl Tools {
    /// The frame that greets the server of that name.
    pub fn greet(&mut self, server: &str) -> Value {
        server.clone_into(&mut self.server);
        let client = json!({"name": "couplet-stand-in", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client});
        self.ask(Asked::Greeting, "initialize", Some(params))
    }

    /// The frame that asks the server for its tools.
    pub fn list(&mut self) -> Value {
        self.ask(Asked::List, "tools/list", None)
    }

    /// The tools as the API takes them.
    #[must_use]
    pub fn for_api(&self) -> Vec<Value> {
        let tool = |tool: &Value| json!({"name": tool["name"], "description": tool["description"], "input_schema": tool["inputSchema"]});
        self.listed.iter().map(tool).collect()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().filter_map(|tool| tool["name"].as_str())
    }

    /// Calls a tool. `block` is the model's, its input the JSON as it was written. Where there is no such tool, or the
    /// input is no JSON object, there is a result at once and no frame, as the CLI does it.
    pub fn call(&mut self, block: &Value) -> Option<Value> {
        let (id, name) = (text(&block["id"]), text(&block["name"]));
        if !self.names().any(|known| known == name) {
            let error = format!("<tool_use_error>Error: No such tool available: {name}</tool_use_error>");
            self.results.push(failed(&id, &error));
            return None;
        }
        let arguments = if block["input"] == "" { Some(Map::new()) } else { object(&block["input"]) };
        let Some(arguments) = arguments else {
            let error = format!(
                "<tool_use_error>InputValidationError: {name} was called with input that could not be parsed as \
                 JSON.</tool_use_error>"
            );
            self.results.push(failed(&id, &error));
            return None;
        };
        let meta = json!({"claudecode/toolUseId": id, "progressToken": self.requests});
        let params = json!({"name": name, "arguments": arguments, "_meta": meta});
        Some(self.ask(Asked::Call { call_id: id, name }, "tools/call", Some(params)))
    }

    /// Takes the answer to a control request, and gives the frames that follow it.
    pub fn on_response(&mut self, frame: &Value) -> Vec<Value> {
        let response = &frame["response"];
        let Some(place) = self.open.iter().position(|open| response["request_id"] == open.request_id) else {
            return Vec::new();
        };
        let answer = &response["response"]["mcp_response"];
        match self.open.remove(place).asked {
            Asked::Greeting => {
                let notice = self.ask(Asked::Notice, "notifications/initialized", None);
                vec![notice, self.list()]
            }
            Asked::Notice => Vec::new(),
            Asked::List => {
                self.listed = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
                Vec::new()
            }
            Asked::Call { call_id, name } => {
                self.results.push(result(&call_id, &name, answer, response));
                Vec::new()
            }
        }
    }

    /// The next result for the conversation.
    pub fn next_result(&mut self) -> Option<Value> {
        (!self.results.is_empty()).then(|| self.results.remove(0))
    }

    /// Whether calls are under way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.open.iter().any(|open| matches!(open.asked, Asked::Call { .. }))
    }

    /// Forgets the calls under way, and results that came too late.
    pub fn give_up(&mut self) {
        self.open.retain(|open| !matches!(open.asked, Asked::Call { .. }));
        self.results.clear();
    }

    fn ask(&mut self, asked: Asked, method: &str, params: Option<Value>) -> Value {
        let id = self.requests;
        self.requests += 1;
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        if let Some(params) = params {
            message["params"] = params;
        }
        if !matches!(asked, Asked::Notice) {
            message["id"] = json!(id);
        }
        let request_id = format!("stand-in-{id}");
        self.open.push(Open { request_id: request_id.clone(), asked });
        let request = json!({"subtype": "mcp_message", "server_name": self.server, "message": message});
        json!({"type": "control_request", "request_id": request_id, "request": request})
    }
}

/// The result of a call as the API takes it.
fn result(call_id: &str, name: &str, answer: &Value, response: &Value) -> Value {
    let error = response["error"].as_str().or_else(|| answer["error"]["message"].as_str());
    if let Some(error) = error {
        return failed(call_id, error);
    }
    let content = answer["result"]["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut content: Vec<Value> = content.iter().map(block).collect();
    if content.is_empty() {
        content.push(json!({"type": "text", "text": format!("({name} completed with no output)")}));
    }
    let mut result = json!({"tool_use_id": call_id, "type": "tool_result", "content": content});
    if answer["result"]["isError"] == true {
        result["is_error"] = json!(true);
    }
    result
}

fn failed(call_id: &str, error: &str) -> Value {
    json!({"tool_use_id": call_id, "type": "tool_result", "content": error, "is_error": true})
}

/// A block of MCP as the API has it.
fn block(block: &Value) -> Value {
    if block["type"] == "image" {
        let source = json!({"type": "base64", "media_type": block["mimeType"], "data": block["data"]});
        return json!({"type": "image", "source": source});
    }
    block.clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn object(json: &Value) -> Option<Map<String, Value>> {
    serde_json::from_str(json.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(frame: &Value, mut answer: Value) -> Value {
        answer["request_id"] = frame["request_id"].clone();
        json!({"type": "control_response", "response": answer})
    }

    fn says(frame: &Value, result: &Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": frame["request"]["message"]["id"], "result": result});
        answered(frame, json!({"subtype": "success", "response": {"mcp_response": message}}))
    }

    /// Tools that know `f`.
    fn tools() -> Tools {
        let mut tools = Tools::default();
        let greeting = tools.greet("couplet");
        let request = &greeting["request"];
        assert_eq!(
            (&request["subtype"], &request["server_name"]),
            (&json!("mcp_message"), &json!("couplet"))
        );
        assert_eq!(request["message"]["params"]["protocolVersion"], PROTOCOL);
        let frames = tools.on_response(&says(&greeting, &json!({"capabilities": {"tools": {}}})));
        let methods: Vec<&Value> =
            frames.iter().map(|frame| &frame["request"]["message"]["method"]).collect();
        assert_eq!(methods, ["notifications/initialized", "tools/list"]);
        assert_eq!(frames[0]["request"]["message"].get("id"), None);
        assert!(tools.on_response(&says(&frames[0], &json!({}))).is_empty());
        let listed =
            json!({"tools": [{"name": "f", "description": "does f", "inputSchema": {"type": "object"}}]});
        assert!(tools.on_response(&says(&frames[1], &listed)).is_empty());
        assert!(!tools.is_waiting());
        tools
    }

    fn called(id: &str, name: &str, input: &str) -> Value {
        json!({"type": "tool_use", "id": id, "name": name, "input": input})
    }

    #[test]
    fn the_tools_are_those_of_the_server() {
        assert_eq!(
            tools().for_api(),
            [json!({"name": "f", "description": "does f", "input_schema": {"type": "object"}})]
        );
        assert_eq!(Tools::default().for_api(), Vec::<Value>::new());
    }

    #[test]
    fn a_call_waits_for_its_result_which_may_come_in_any_order() {
        let mut tools = tools();
        let first = tools.call(&called("a", "f", r#"{"x":1}"#)).unwrap();
        let second = tools.call(&called("b", "f", "")).unwrap();
        let params = &first["request"]["message"]["params"];
        assert_eq!((&params["name"], &params["arguments"]), (&json!("f"), &json!({"x": 1})));
        assert_eq!(params["_meta"]["claudecode/toolUseId"], "a");
        assert_eq!(second["request"]["message"]["params"]["arguments"], json!({}));
        let image = json!({"type": "image", "data": "eA==", "mimeType": "image/png"});
        tools.on_response(&says(&second, &json!({"content": [{"type": "text", "text": "2"}, image]})));
        assert!(tools.is_waiting());
        tools.on_response(&says(&first, &json!({"content": []})));
        assert!(!tools.is_waiting());
        let source = json!({"type": "base64", "media_type": "image/png", "data": "eA=="});
        assert_eq!(
            tools.next_result().unwrap(),
            json!({"tool_use_id": "b", "type": "tool_result", "content": [{"type": "text", "text": "2"}, {"type": "image", "source": source}]})
        );
        assert_eq!(tools.next_result().unwrap()["content"][0]["text"], "(f completed with no output)");
        assert_eq!(tools.next_result(), None);
    }

    #[test]
    fn what_cannot_be_called_is_answered_with_an_error() {
        let mut tools = tools();
        for block in [called("a", "g", "{}"), called("b", "f", r#"{"x":"#), called("c", "f", "[1]")] {
            assert_eq!(tools.call(&block), None, "{block}");
            let result = tools.next_result().unwrap();
            assert_eq!((&result["tool_use_id"], &result["is_error"]), (&block["id"], &json!(true)));
        }
        let call = tools.call(&called("d", "f", "{}")).unwrap();
        tools.on_response(&answered(&call, json!({"subtype": "error", "error": "no"})));
        assert_eq!(tools.next_result().unwrap()["content"], "no");
    }

    #[test]
    fn what_was_given_up_is_not_waited_for() {
        let mut tools = tools();
        let call = tools.call(&called("a", "f", "{}")).unwrap();
        tools.give_up();
        assert!(!tools.is_waiting());
        tools.on_response(&says(&call, &json!({"content": []})));
        assert_eq!(tools.next_result(), None);
    }
}
