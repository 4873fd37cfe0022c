//! What differs from run to run, made the same for all. Pure.

use serde_json::{Map, Value, json};

/// Characters of a random id.
const UUID: usize = 36;

/// A frame without what differs from run to run, and without lists that no reader of frames looks at.
pub(super) fn scrubbed(frame: Value) -> Value {
    const LEFT_OUT: [&str; 31] = [
        "uuid",
        "session_id",
        "timestamp",
        "stream_id",
        "duration_ms",
        "duration_api_ms",
        "ttft_ms",
        "ttft_stream_ms",
        "time_to_request_ms",
        "first_content_frame_ms",
        "thinking_duration_ms",
        "pid",
        "cwd",
        "original_cwd",
        "commands",
        "agents",
        "available_output_styles",
        "user_output_styles_dir",
        "capabilities",
        "plugins",
        "skills",
        "subagent_stats",
        "slash_commands",
        "additional_directories",
        "retry_delay_ms",
        "api_message_id",
        "model_usage_since_last_result",
        "refused_user_message_uuid",
        "permission_denials",
        "total_cost_usd",
        "costUSD",
    ];
    match frame {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
            Value::Object(
                kept.map(|(name, value)| (name.clone(), fixed(&name, value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(scrubbed).collect()),
        other => other,
    }
}

/// A value that changes with every run, made the same for all.
fn fixed(name: &str, value: Value) -> Value {
    match (name, value) {
        ("resetsAt", Value::Number(_)) => json!(1_795_208_576),
        // A message made up by the CLI has a random id; the scripted API counts.
        ("id", Value::String(id)) if id.len() == UUID => json!("made-up"),
        ("result" | "text", Value::String(text)) if text.contains("resets ") => {
            json!("You've hit your 5-hour limit")
        }
        ("result" | "text", Value::String(text)) if text.contains("(127.0.0.1:") => {
            let (before, rest) = text.split_once("(127.0.0.1:").unwrap_or((&text, ""));
            json!(format!("{before}(127.0.0.1:9{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())))
        }
        (_, value) => scrubbed(value),
    }
}

/// Lines whose control requests of the CLI are numbered in their order: their ids are made up anew in each run, and stand
/// in the answers too.
pub(super) fn numbered(mut lines: Vec<Value>) -> Vec<Value> {
    let mut seen = Vec::new();
    for line in &mut lines {
        for id in [["frame", "request_id"].as_slice(), &["frame", "response", "request_id"]] {
            let Some(id) = id.iter().try_fold(&mut *line, |value, field| value.get_mut(field)) else {
                continue;
            };
            let Some(text) = id.as_str().filter(|text| text.len() == UUID) else { continue };
            let number = seen.iter().position(|known| known == text).unwrap_or_else(|| {
                seen.push(text.to_owned());
                seen.len() - 1
            });
            *id = json!(format!("cli-{number}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_request_of_the_cli_and_its_answer_get_the_same_number() {
        let (one, two) = ("1".repeat(UUID), "2".repeat(UUID));
        let frames = [
            json!({"request_id": one}),
            json!({"request_id": "setup-0"}),
            json!({"request_id": two}),
            json!({"response": {"request_id": one}}),
        ];
        let lines = numbered(frames.into_iter().map(|frame| json!({"frame": frame})).collect());
        let frames: Vec<Value> = lines.into_iter().map(|line| line["frame"].clone()).collect();
        assert_eq!(
            frames,
            [
                json!({"request_id": "cli-0"}),
                json!({"request_id": "setup-0"}),
                json!({"request_id": "cli-1"}),
                json!({"response": {"request_id": "cli-0"}}),
            ]
        );
    }
}
