//! System prompts and tools that questions come with.

use couplet::turn::{Parameters, Tool, Turn, UserBlock};
use serde_json::{Value, json};

use super::MODEL;

/// What a system prompt of a thousand characters says.
const RULES: &str =
    "Answer in the language of the question, in plain words and short sentences. Say what you do not know. ";

/// A system prompt and a set of tools.
#[derive(Clone)]
pub struct Prompt {
    /// What makes it another one.
    shop: String,
    system: String,
    tools: Vec<Tool>,
}

impl Prompt {
    /// The same each time.
    pub fn known() -> Self {
        Self::of_shop("corner")
    }

    /// Never seen before.
    pub fn unknown() -> Self {
        Self::of_shop(&uuid::Uuid::new_v4().simple().to_string())
    }

    fn of_shop(shop: &str) -> Self {
        let system = format!("You are the assistant of the shop {shop}. {}", RULES.repeat(10));
        Self { shop: shop.to_owned(), system, tools: Vec::new() }
    }

    /// With tools: `weather` and two that are the shop's own.
    pub fn with_tools(mut self) -> Self {
        let schema =
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let names =
            ["weather".to_owned(), format!("find_in_{}", self.shop), format!("order_from_{}", self.shop)];
        self.tools = names
            .into_iter()
            .map(|name| Tool {
                name,
                description: "Looks something up in a city.".to_owned(),
                schema: schema.as_object().cloned().unwrap(),
            })
            .collect();
        self
    }

    /// A first question, as it goes to the bare CLI.
    pub fn turn(&self, question: &str) -> Turn {
        Turn {
            model: MODEL.to_owned(),
            system: self.system.clone(),
            history: Vec::new(),
            question: text(question),
            tools: self.tools.clone(),
            parameters: Parameters::default(),
        }
    }

    /// A request of a conversation so far, as it goes to Couplet.
    pub fn request(&self, conversation: &[Value]) -> Value {
        let system = json!({"role": "system", "content": self.system});
        let messages: Vec<_> = [&system].into_iter().chain(conversation).collect();
        let mut body = json!({"model": MODEL, "stream": true, "messages": messages});
        if !self.tools.is_empty() {
            let function = |tool: &Tool| {
                let (name, description, schema) = (&tool.name, &tool.description, &tool.schema);
                json!({"type": "function", "function": {"name": name, "description": description, "parameters": schema}})
            };
            body["tools"] = self.tools.iter().map(function).collect();
        }
        body
    }
}

/// A text as the CLI takes it.
pub fn text(text: &str) -> Vec<UserBlock> {
    vec![UserBlock::Text(text.to_owned())]
}
