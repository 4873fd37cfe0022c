use super::*;

#[test]
fn a_text_delta_is_read_and_borrowed() {
    let line = br#"{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"w0 "}},"session_id":"s","parent_tool_use_id":null,"uuid":"u"}"#;
    let Frame::Event(Event::Text(text)) = parse(line).unwrap() else { panic!("no text") };
    assert!(matches!(text, Cow::Borrowed("w0 ")));
}

#[test]
fn escapes_in_a_delta_are_undone() {
    let line = br#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"\u00e9\n\ud83d\ude00"}}}"#;
    let Frame::Event(Event::Text(text)) = parse(line).unwrap() else { panic!("no text") };
    assert_eq!(text, "é\n😀");
}

#[test]
fn what_a_subagent_says_is_no_part_of_the_answer() {
    let line = br#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"text":"x"}},"parent_tool_use_id":"toolu_1"}"#;
    assert!(matches!(parse(line).unwrap(), Frame::Other));
}

#[test]
fn unknown_kinds_are_unknown_whatever_they_hold() {
    for line in [
        r#"{"type":"hologram"}"#,
        r#"{"type":"hologram","event":"text","response":7}"#,
        r#"{"type":"hologram","rate_limit_info":[]}"#,
    ] {
        assert!(matches!(parse(line.as_bytes()).unwrap(), Frame::Unknown), "{line}");
    }
}

#[test]
fn lines_that_are_no_frames_are_told_apart() {
    assert!(matches!(parse(b"Error: oops"), Err(NotAFrame::NotJson)));
    assert!(matches!(parse(b"[1]"), Err(NotAFrame::NotJson)));
    assert!(matches!(parse(b"{\"type\":\"result\""), Err(NotAFrame::NotJson)));
    assert!(matches!(parse(b"\xff"), Err(NotAFrame::NotJson)));
    let malformed = parse(br#"{"type":"stream_event","event":7}"#);
    assert!(matches!(malformed, Err(NotAFrame::Malformed { kind }) if kind == "stream_event"));
}
