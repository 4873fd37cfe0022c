//! The tools of a conversation, as the CLI sees them: an MCP server whose messages travel in control requests.
//!
//! It has the client's tools, and runs none of them: a call waits until the client brings its result. For as long as it
//! waits the process is parked in the middle of its turn.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::turn::Tool;

/// The server's name. It stands in the permission rule of the command line; the model does not see it.
pub const NAME: &str = "couplet";

/// Longest result of a tool that the CLI hands to the model as it is, in characters, where the tool's `_meta` asks for
/// it. Longer ones it writes to disk, with a preview for the model (measured on 2.1.329; more than this is not granted).
pub const MAX_RESULT_CHARS: usize = 500_000;

/// The tools of a conversation and the calls that wait for their results.
#[derive(Debug, Default)]
pub struct ToolServer {
    tools: Vec<Tool>,
    /// Whether the CLI is told of the server though it has no tools yet.
    declared: bool,
    greeted: bool,
    listed: bool,
    waiting: Vec<WaitingCall>,
}

/// A call that the CLI waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingCall {
    /// The control request that holds the call.
    pub request_id: String,
    /// The call's id in JSON-RPC.
    pub rpc_id: Value,
    /// The call's id at the model.
    pub call_id: String,
    /// The arguments, as the CLI has them.
    pub arguments: Map<String, Value>,
}

/// What becomes of a message.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// It is answered with this JSON-RPC message.
    Now(Value),
    /// It is a call, and waits.
    Later,
}

/// A JSON-RPC message to a server. Notifications have no id.
#[derive(Deserialize)]
struct Message<'a> {
    method: String,
    #[serde(default)]
    id: Value,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct InitializeParams {
    #[serde(rename = "protocolVersion")]
    protocol_version: String,
}

/// The name is the model's, which the client read from its answer.
#[derive(Deserialize)]
struct CallParams {
    #[serde(default)]
    arguments: Map<String, Value>,
    #[serde(rename = "_meta")]
    meta: CallMeta,
}

#[derive(Deserialize)]
struct CallMeta {
    #[serde(rename = "claudecode/toolUseId")]
    call_id: String,
}

impl ToolServer {
    /// A server with these tools.
    #[must_use]
    pub fn new(tools: Vec<Tool>) -> Self {
        Self { tools, ..Self::default() }
    }

    /// A server that the CLI is told of even if it has no tools: they may come later.
    #[must_use]
    pub fn declared(tools: Vec<Tool>) -> Self {
        Self { tools, declared: true, ..Self::default() }
    }

    /// Has these tools in place of none. The CLI must be told to ask again: it would not see one that is taken away.
    pub fn replace(&mut self, tools: Vec<Tool>) {
        self.tools = tools;
        self.listed = false;
    }

    /// Whether there is a tool of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// Whether the CLI knows the tools; before that a question would be asked without them. There is nothing to know
    /// where there are none.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.listed || !self.is_declared()
    }

    /// Whether the CLI has begun to ask for the tools, or need not.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        self.greeted || !self.is_declared()
    }

    /// The names of the servers to declare when a process is set up.
    #[must_use]
    pub fn names(&self) -> &'static [&'static str] {
        if self.is_declared() { &[NAME] } else { &[] }
    }

    fn is_declared(&self) -> bool {
        self.declared || !self.tools.is_empty()
    }

    /// Takes a message of the CLI that came in the control request `request_id`.
    ///
    /// # Errors
    /// When it is no message that a server could take.
    pub fn on(&mut self, request_id: &str, message: &str) -> serde_json::Result<Reply> {
        let Message { method, id, params } = serde_json::from_str(message)?;
        let params = params.map_or("{}", RawValue::get);
        let result = match &*method {
            "initialize" => {
                self.greeted = true;
                let InitializeParams { protocol_version } = serde_json::from_str(params)?;
                json!({
                    "protocolVersion": protocol_version,
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": NAME, "version": env!("CARGO_PKG_VERSION")},
                })
            }
            "tools/list" => {
                self.listed = true;
                json!({"tools": self.tools.iter().map(listed).collect::<Vec<_>>()})
            }
            "tools/call" => {
                let CallParams { arguments, meta: CallMeta { call_id } } = serde_json::from_str(params)?;
                let request_id = request_id.to_owned();
                self.waiting.push(WaitingCall { request_id, rpc_id: id, call_id, arguments });
                return Ok(Reply::Later);
            }
            // `ping`, and notifications, whose control request must be answered all the same.
            _ => json!({}),
        };
        Ok(Reply::Now(json!({"jsonrpc": "2.0", "id": id, "result": result})))
    }

    /// The waiting call of that id, which then waits no more.
    pub fn take(&mut self, call_id: &str) -> Option<WaitingCall> {
        let place = self.waiting.iter().position(|call| call.call_id == call_id)?;
        Some(self.waiting.remove(place))
    }

    /// The call of that id, if it waits.
    #[must_use]
    pub fn waiting(&self, call_id: &str) -> Option<&WaitingCall> {
        self.waiting.iter().find(|call| call.call_id == call_id)
    }
}

/// A tool as MCP lists it. `readOnlyHint` lets the CLI ask for all calls of an answer at once.
fn listed(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.schema,
        "annotations": {"readOnlyHint": true},
        "_meta": {"anthropic/maxResultSizeChars": MAX_RESULT_CHARS},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ToolServer {
        let schema = json!({"type": "object", "properties": {"z": {}, "a": {}}, "x-own": [1]});
        let schema = schema.as_object().cloned().unwrap();
        ToolServer::new(vec![Tool { name: "f".to_owned(), description: "does f".to_owned(), schema }])
    }

    fn now(reply: Reply) -> Value {
        match reply {
            Reply::Now(answer) => answer,
            Reply::Later => panic!("it waits"),
        }
    }

    #[test]
    fn the_handshake_is_answered_and_makes_ready() {
        let mut server = server();
        assert!(!server.is_greeted());
        let initialize = r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}},"jsonrpc":"2.0","id":0}"#;
        let answer = now(server.on("a", initialize).unwrap());
        assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!(0), &json!("2025-11-25")));
        let noted = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(now(server.on("b", noted).unwrap())["result"], json!({}));
        assert!(server.is_greeted() && !server.is_ready());
        let list = r#"{"method":"tools/list","jsonrpc":"2.0","id":1}"#;
        let answer = now(server.on("c", list).unwrap());
        assert!(server.is_ready());
        insta::assert_snapshot!(answer, @r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"f","description":"does f","inputSchema":{"type":"object","properties":{"z":{},"a":{}},"x-own":[1]},"annotations":{"readOnlyHint":true},"_meta":{"anthropic/maxResultSizeChars":500000}}]}}"#);
    }

    #[test]
    fn a_call_waits_until_it_is_taken() {
        let mut server = server();
        let call = r#"{"method":"tools/call","params":{"name":"f","arguments":{"a":1},"_meta":{"claudecode/toolUseId":"toolu_1","progressToken":2}},"jsonrpc":"2.0","id":2}"#;
        assert_eq!(server.on("r", call).unwrap(), Reply::Later);
        assert_eq!(server.waiting("toolu_1").unwrap().arguments["a"], 1);
        assert_eq!(server.waiting("toolu_2"), None);
        let taken = server.take("toolu_1").unwrap();
        assert_eq!((&*taken.request_id, taken.rpc_id), ("r", json!(2)));
        assert_eq!(server.take("toolu_1"), None);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for message in
            ["7", "{}", r#"{"method":"tools/call","id":1}"#, r#"{"method":"initialize","params":{}}"#]
        {
            assert!(server().on("r", message).is_err(), "{message}");
        }
    }
}
