//! What is recorded.

use serde_json::json;

use crate::turn::{AssistantBlock, Effort, Message, Parameters, ResultBlock, Tool, Turn, UserBlock};

/// A dialogue to be recorded.
pub(super) struct Scenario {
    /// The recording's name.
    pub(super) name: &'static str,
    /// The turn; its question scripts the API.
    pub(super) turn: Turn,
    /// What follows.
    pub(super) then: Then,
}

/// What follows the question of a scenario.
pub(super) enum Then {
    /// Its answer.
    Answer,
    /// The beginning of its answer, and an interrupt.
    Interrupt,
    /// Calls, their results in this order, and the model's next message.
    Results(Vec<ResultBlock>),
    /// Its answer, and another turn in the same process.
    Turn(Box<Turn>),
}

/// Turns that are nothing but a question: a name, and the question.
const QUESTIONS: [(&str, &str); 18] = [
    ("text", "[[words 12]] hello"),
    ("thinking", "[[think]] [[words 6]]"),
    ("stop-sequence", "[[say one END two]]"),
    ("length", "[[words 4]] [[stop max_tokens]]"),
    ("refusal", "[[words 4]] [[stop refusal]]"),
    ("empty", "[[empty]]"),
    ("unicode", "[[say Grüße 👩‍👩‍👧 \u{202e}abc\u{0}\u{1b}[0m]]"),
    ("cut", "[[words 6]] [[cut 3]]"),
    ("error-event", "[[words 6]] [[errevent 3 overloaded_error]]"),
    (
        "error-400-too-long",
        "[[err 400 invalid_request_error prompt is too long: 250000 tokens > 200000 maximum]]",
    ),
    ("error-401", "[[err 401 authentication_error]]"),
    ("error-403", "[[err 403 permission_error]]"),
    ("error-404-model", "[[err 404 not_found_error]]"),
    ("error-413", "[[err 413 request_too_large]]"),
    ("error-429-burst", "[[err 429 rate_limit_error]]"),
    ("error-429-usage-limit", "[[limit 3600]]"),
    ("error-500", "[[err 500 api_error]]"),
    ("error-529", "[[err 529 overloaded_error]]"),
];

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    let questions = QUESTIONS.iter().map(|(name, question)| (*name, turn(question), Then::Answer));
    let others = [
        ("history", history(), Then::Answer),
        ("parameters", parameters(), Then::Answer),
        ("interrupt", turn("[[words 200]] [[slow 0.02]]"), Then::Interrupt),
        (
            "tool-call",
            with_tools(r#"[[say Let me look.]] [[tool get_weather {"city":"Paris"}]]"#),
            results(&["22"]),
        ),
        (
            "tool-calls-parallel",
            with_tools(r#"[[tool get_weather {"city":"Paris"}]] [[tool get_weather {"city":"Rome"}]]"#),
            results(&["22", "30"]),
        ),
        ("tool-broken", with_tools("[[tool get_weather {\"city\": Paris]]"), Then::Answer),
        ("tool-unknown", with_tools(r#"[[tool get_time {"city":"Paris"}]]"#), Then::Answer),
        (
            "live",
            turn("[[words 3]]"),
            Then::Turn(Box::new(Turn { parameters: fewer_tokens(), ..turn("[[words 4]] and now?") })),
        ),
    ];
    let scenario = |(name, turn, then)| Scenario { name, turn, then };
    questions.chain(others).map(scenario).collect()
}

fn turn(question: &str) -> Turn {
    Turn {
        model: "sonnet".to_owned(),
        system: "You are terse.".to_owned(),
        history: Vec::new(),
        question: vec![UserBlock::Text(question.to_owned())],
        tools: Vec::new(),
        parameters: Parameters { stop: vec!["END".to_owned()], ..Parameters::default() },
    }
}

fn history() -> Turn {
    let user = |text: &str| Message::User(vec![UserBlock::Text(text.to_owned())]);
    let assistant = |text: &str| Message::Assistant(vec![AssistantBlock::Text(text.to_owned())]);
    let input = [("city".to_owned(), json!("Paris"))].into_iter().collect();
    let call = AssistantBlock::ToolUse { id: "call_1".to_owned(), name: "get_weather".to_owned(), input };
    let result = UserBlock::ToolResult {
        call_id: "call_1".to_owned(),
        content: vec![ResultBlock::Text("22".to_owned())],
        is_error: false,
    };
    let history = vec![
        user("question 0"),
        assistant("answer 0"),
        user("/command"),
        Message::Assistant(vec![call]),
        Message::User(vec![result]),
        assistant("22 degrees"),
    ];
    Turn { history, ..turn("[[words 4]] and now?") }
}

fn parameters() -> Turn {
    let parameters = Parameters {
        max_tokens: Some(64),
        stop: vec!["END".to_owned()],
        temperature: Some(0.2),
        top_p: Some(0.9),
        effort: Some(Effort::Off),
        ..Parameters::default()
    };
    Turn { parameters, ..turn("[[words 3]]") }
}

fn fewer_tokens() -> Parameters {
    Parameters { max_tokens: Some(64), ..Parameters::default() }
}

fn with_tools(question: &str) -> Turn {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = Tool {
        name: "get_weather".to_owned(),
        description: "Current weather of a city".to_owned(),
        schema: schema.as_object().cloned().unwrap_or_default(),
    };
    Turn { tools: vec![tool], ..turn(question) }
}

/// Results, of which the last one scripts the API.
fn results(texts: &[&str]) -> Then {
    Then::Results(texts.iter().map(|text| ResultBlock::Text(format!("{text} degrees [[words 3]]"))).collect())
}
