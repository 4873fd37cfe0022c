//! Several answers side by side.

use super::*;

/// Answer 1 begins first, answer 0 ends last; each has a call, and its pieces come in between those of the other.
fn interleaved() -> Vec<(usize, AnswerEvent)> {
    let text = |text: &str| AnswerEvent::Text(text.to_owned());
    let call = |id: &str| AnswerEvent::ToolCall { id: id.to_owned(), name: "f".to_owned() };
    let arguments = |json: &str| AnswerEvent::ToolArguments(json.to_owned());
    vec![
        (1, started()),
        (0, started_as("another".to_owned())),
        (1, text("one")),
        (0, text("nought")),
        (0, text(" more")),
        (1, call("toolu_1")),
        (0, AnswerEvent::Reasoning("hm".to_owned())),
        (1, arguments("{\"a\"")),
        (0, call("toolu_0")),
        (0, arguments("{}")),
        (1, arguments(":1}")),
        (1, ended(StopReason::ToolUse)),
        (0, ended(StopReason::MaxTokens)),
    ]
}

fn writer(include_usage: bool) -> ChunkWriter {
    ChunkWriter::new("chatcmpl-1", 7, "couplet-VERSION", include_usage, CallForm::ToolCalls).with_answers(2)
}

#[test]
fn each_chunk_tells_its_answer_and_the_usage_of_all_comes_once() {
    let mut writer = writer(true);
    let chunks: Vec<ChatChunk> =
        interleaved().into_iter().flat_map(|(of, event)| writer.on(of, event)).collect();
    let lines: Vec<String> =
        chunks.iter().map(|chunk| format!("{} {}", json!(chunk.choices), json!(chunk.usage))).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(chunks.iter().all(|chunk| &*chunk.head.model == "claude-s"), "one model for all");
}

#[test]
fn they_fold_into_one_body() {
    let (mut writer, mut fold) = (writer(true), ChunkFold::default());
    for (of, event) in interleaved() {
        writer.on(of, event).into_iter().for_each(|chunk| fold.push(chunk));
    }
    let answer = json!(fold.finish().unwrap());
    insta::assert_snapshot!(format!("{:#}", answer["choices"]));
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"]),
        (&json!(350), &json!(374))
    );
}

#[test]
fn without_the_end_of_each_there_is_no_body() {
    let (mut writer, mut fold) = (writer(true), ChunkFold::default());
    let events = interleaved();
    for (of, event) in events[..events.len() - 1].iter().cloned() {
        writer.on(of, event).into_iter().for_each(|chunk| fold.push(chunk));
    }
    assert_eq!(fold.finish(), None);
}

#[test]
fn pieces_are_written_as_their_chunks_would_be() {
    let (mut as_chunks, mut as_pieces) = (writer(false), writer(false));
    for (of, event) in interleaved() {
        let chunks: Vec<String> =
            as_chunks.on(of, event.clone()).iter().map(|c| json!(c).to_string()).collect();
        let mut pieces = Vec::new();
        as_pieces.write(of, event, |chunk| {
            let mut json = Vec::new();
            chunk.write_to(&mut json).unwrap();
            pieces.push(serde_json::from_slice::<Value>(&json).unwrap().to_string());
        });
        assert_eq!(pieces, chunks);
    }
}
