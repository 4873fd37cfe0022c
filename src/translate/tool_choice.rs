//! `tool_choice` of a request, and its older form, `function_call`.

use crate::openai::chat_request::{AllowedTools, ChatRequest, ChosenFunction, ChosenTool};
use crate::openai::error::ApiError;
use crate::turn::{Tool, ToolChoice};
use crate::wire::text_or::TextOrObject;

/// What a request says of which tools must, may or may not be called.
#[derive(Debug)]
pub(super) struct Chosen {
    choice: ToolChoice,
    /// The field that demands a call, where one does.
    demanded_by: Option<&'static str>,
    /// The tools that are named, each with the field it is named in.
    named: Vec<(String, String)>,
    /// Whether these are the only ones that may be called.
    only_these: bool,
}

impl Chosen {
    /// Reads it. A request that holds both forms means the one that forbids more.
    pub(super) fn of(request: &ChatRequest) -> Result<Self, ApiError> {
        let tools = match &request.tool_choice {
            None => Self::freely(ToolChoice::Auto),
            Some(TextOrObject::Text(text)) => match text.as_str() {
                "auto" => Self::freely(ToolChoice::Auto),
                "none" => Self::freely(ToolChoice::None),
                "required" => Self { demanded_by: Some("tool_choice"), ..Self::freely(ToolChoice::Any) },
                _ => return Err(wrong("tool_choice", "'auto', 'none', 'required' or an object")),
            },
            Some(TextOrObject::Object(chosen)) => Self::of_object(chosen)?,
        };
        let functions = match &request.function_call {
            None => Self::freely(ToolChoice::Auto),
            Some(TextOrObject::Text(text)) => match text.as_str() {
                "auto" => Self::freely(ToolChoice::Auto),
                "none" => Self::freely(ToolChoice::None),
                _ => return Err(wrong("function_call", "'auto', 'none' or an object")),
            },
            Some(TextOrObject::Object(chosen)) => Self::tool("function_call", "function_call.name", chosen),
        };
        Ok(if functions.choice == ToolChoice::Auto || tools.choice == ToolChoice::None {
            tools
        } else {
            functions
        })
    }

    fn of_object(chosen: &ChosenTool) -> Result<Self, ApiError> {
        match chosen.r#type.as_str() {
            "function" => {
                let field = "tool_choice.function";
                let function = chosen.function.as_ref().ok_or_else(|| ApiError::missing_parameter(field))?;
                Ok(Self::tool("tool_choice", "tool_choice.function.name", function))
            }
            "allowed_tools" => {
                let field = "tool_choice.allowed_tools";
                let allowed =
                    chosen.allowed_tools.as_ref().ok_or_else(|| ApiError::missing_parameter(field))?;
                Self::allowed(field, allowed)
            }
            _ => Err(wrong("tool_choice.type", "'function' or 'allowed_tools'")),
        }
    }

    fn allowed(field: &str, allowed: &AllowedTools) -> Result<Self, ApiError> {
        let (choice, demanded_by) = match allowed.mode.as_str() {
            "auto" => (ToolChoice::Auto, None),
            "required" => (ToolChoice::Any, Some("tool_choice")),
            _ => return Err(wrong(&format!("{field}.mode"), "'auto' or 'required'")),
        };
        if allowed.tools.is_empty() {
            return Err(wrong(&format!("{field}.tools"), "a list of at least one tool"));
        }
        let mut named = Vec::with_capacity(allowed.tools.len());
        for (index, tool) in allowed.tools.iter().enumerate() {
            let field = format!("{field}.tools[{index}]");
            let function = tool.function.as_ref().filter(|_| tool.r#type == "function");
            let function = function.ok_or_else(|| wrong(&field, "a function"))?;
            named.push((format!("{field}.function.name"), function.name.clone()));
        }
        Ok(Self { choice, demanded_by, named, only_these: true })
    }

    fn freely(choice: ToolChoice) -> Self {
        Self { choice, demanded_by: None, named: Vec::new(), only_these: false }
    }

    fn tool(demanded_by: &'static str, field: &str, function: &ChosenFunction) -> Self {
        Self {
            choice: ToolChoice::Tool(function.name.clone()),
            demanded_by: Some(demanded_by),
            named: vec![(field.to_owned(), function.name.clone())],
            only_these: false,
        }
    }

    /// The choice among the tools of the request. Those that are not allowed are taken away: the model cannot be told of a
    /// tool and be kept from calling it.
    ///
    /// # Errors
    /// When a tool is named that is not there, or a call demanded and nothing to call.
    pub(super) fn among(self, offered: &mut Vec<Tool>) -> Result<ToolChoice, ApiError> {
        if let Some(field) = self.demanded_by.filter(|_| offered.is_empty()) {
            let message = format!("'{field}' demands a call, but the request has no tools.");
            return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
        }
        for (field, name) in &self.named {
            if !offered.iter().any(|tool| tool.name == *name) {
                let message =
                    format!("'{field}' names a function that is not among the tools of the request.");
                return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
            }
        }
        if self.only_these {
            offered.retain(|tool| self.named.iter().any(|(_, name)| *name == tool.name));
        }
        Ok(self.choice)
    }
}

fn wrong(field: &str, allowed: &str) -> ApiError {
    ApiError::invalid_request(field, format!("'{field}' must be {allowed}.")).with_code("invalid_value")
}
