//! Images and files that cannot go to the model are told with their field, and nothing is started for them.

use std::path::Path;
use std::time::{Duration, Instant};

use image::ImageFormat;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp};
use crate::support::media::{
    ask_parts, data_url, file, file_part, flat, image_part, noise, pdf, png_head, text_part,
};

/// A request that passes every check fails with 503 here.
async fn app() -> TestApp {
    Builder::new(Path::new("/no/such/cli")).await.start().await
}

fn png() -> Vec<u8> {
    file(&noise(20, 20), ImageFormat::Png)
}

#[rstest]
// No data at all, or none that can be read.
#[case(image_part("data:image/png;base64,"), "image_url.url", "empty_file")]
#[case(image_part("data:image/png;base64"), "image_url.url", "invalid_image_url")]
#[case(image_part("data:image/png;base64,@@@@"), "image_url.url", "invalid_base64_image")]
#[case(image_part("data:image/png;base64,aGk=aGk="), "image_url.url", "invalid_base64_image")]
#[case(image_part("cid:image1"), "image_url.url", "invalid_image_url")]
#[case(file_part("a.pdf", ""), "file.file_data", "empty_file")]
#[case(file_part("a.pdf", "no base64!"), "file.file_data", "invalid_base64_image")]
#[case(file_part("a.pdf", "https://example.com/a.pdf"), "file.file_data", "invalid_base64_image")]
// What is nothing for Claude, whatever it is called.
#[case(
    image_part("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "image_url.url",
    "invalid_image_format"
)]
#[case(image_part(&data_url("image/png", b"<html></html>")), "image_url.url", "invalid_image_format")]
#[case(image_part(&data_url("image/png", b"BM\x3a\0\0\0\0\0\0\0")), "image_url.url", "invalid_image_format")]
#[case(image_part(&data_url("image/png", b"PK\x03\x04\x14\0\0\0")), "image_url.url", "invalid_image_format")]
#[case(image_part(&data_url("image/png", &[0; 64])), "image_url.url", "invalid_image_format")]
#[case(file_part("a.docx", &data_url("application/pdf", b"PK\x03\x04\x14\0\0\0")), "file.file_data", "unsupported_file")]
#[case(file_part("a.svg", &data_url("image/svg+xml", b"<svg/>")), "file.file_data", "unsupported_file")]
#[case(file_part("a.txt", &data_url("text/plain", b"latin\xe9")), "file.file_data", "unsupported_file")]
#[case(file_part("a.txt", &data_url("text/plain", b" \r\n\t")), "file.file_data", "empty_file")]
// Damaged ones.
#[case(image_part(&data_url("image/png", &png()[..200])), "image_url.url", "image_parse_error")]
#[case(image_part(&data_url("image/png", &png()[..8])), "image_url.url", "image_parse_error")]
#[case(image_part(&data_url("image/gif", b"GIF89a\x01\0\x01\0<script>alert(1)</script>")), "image_url.url", "image_parse_error")]
#[case(image_part(&data_url("image/jpeg", b"\xff\xd8\xff\xe0")), "image_url.url", "image_parse_error")]
#[case(image_part(&data_url("image/webp", b"RIFF\xff\xff\xff\xffWEBPVP8X")), "image_url.url", "image_parse_error")]
#[case(file_part("a.png", &data_url("image/png", &png()[..200])), "file.file_data", "image_parse_error")]
// Bombs.
#[case(image_part(&data_url("image/png", &png_head(50_000, 50_000))), "image_url.url", "image_too_large")]
#[case(image_part(&data_url("image/png", &png_head(6000, 8000))), "image_url.url", "image_parse_error")]
// What Couplet or Claude does not have.
#[case(json!({"type": "file", "file": {"file_id": "file-1"}}), "file.file_id", "unsupported_parameter")]
#[case(json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "input_audio", "unsupported_parameter")]
// The wrong type.
#[case(json!({"type": "image_url", "image_url": "data:,"}), "image_url", "invalid_value")]
#[case(json!({"type": "image_url", "image_url": {}}), "image_url.url", "missing_required_parameter")]
#[case(json!({"type": "file", "file": {"filename": "a"}}), "file.file_data", "missing_required_parameter")]
#[tokio::test]
async fn what_cannot_go_to_the_model_is_refused_by_name(
    #[case] part: Value,
    #[case] field: &str,
    #[case] code: &str,
) {
    let app = app().await;
    let (status, answer) = app.answer(&ask_parts(&[text_part("canary-text"), part])).await;
    assert_eq!(
        (status, &answer["error"]["param"], &answer["error"]["code"]),
        (400, &json!(format!("messages[0].content[1].{field}")), &json!(code)),
        "{answer}"
    );
    assert!(!answer.to_string().contains("canary"));
}

#[tokio::test]
async fn the_first_wrong_image_of_a_conversation_is_the_one_that_is_named() {
    let app = app().await;
    let (good, bad) = (image_part(&data_url("image/png", &png())), image_part("data:,x"));
    let request = json!({"model": "claude-sonnet-5-5", "messages": [
        {"role": "user", "content": [good.clone(), text_part("a"), good]},
        {"role": "assistant", "content": "b", "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [text_part("see"), bad.clone()]},
        {"role": "user", "content": [bad]},
    ]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("messages[2].content[1].image_url.url")),
        "{answer}"
    );
}

#[tokio::test]
async fn only_users_and_tools_send_images() {
    let app = app().await;
    for role in ["assistant", "system", "developer"] {
        let content = [text_part("a"), image_part(&data_url("image/png", &png()))];
        let request = json!({"model": "claude-sonnet-5-5", "messages": [
            {"role": role, "content": content}, {"role": "user", "content": "x"}]});
        let (status, answer) = app.answer(&request).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("messages[0].content[1]")), "{answer}");
    }
}

#[tokio::test]
async fn more_images_than_the_model_takes_are_refused() {
    let app = app().await;
    let image = image_part(&data_url("image/png", &file(&flat(1, 1), ImageFormat::Png)));
    let (status, answer) = app.answer(&ask_parts(&vec![image.clone(); 101])).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("messages")), "{answer}");
    let (status, answer) = app.answer(&ask_parts(&vec![image; 100])).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("cli_unavailable")), "{answer}");
}

#[tokio::test]
async fn more_bytes_than_the_cli_passes_on_are_refused() {
    let app = app().await;
    let half = file_part("a.pdf", &data_url("application/pdf", &pdf(9_437_000)));
    let (status, answer) = app.answer(&ask_parts(&[half.clone(), half.clone()])).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("cli_unavailable")), "{answer}");
    let little = file_part("b.pdf", &data_url("application/pdf", &pdf(1000)));
    let (status, answer) = app.answer(&ask_parts(&[half.clone(), half, little])).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")), "{answer}");
}

#[tokio::test]
async fn thirty_megabytes_are_looked_at_in_seconds_and_more_than_a_body_may_be_are_a_413() {
    let app = app().await;
    let begun = Instant::now();
    let (status, answer) =
        app.answer(&ask_parts(&[image_part(&data_url("image/png", &vec![0; 23_000_000]))])).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_image_format")), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let request = ask_parts(&[image_part(&data_url("image/png", &vec![0; 30_000_000]))]);
    // A server that answers before the body is through may close the connection under the writer.
    if let Ok(response) = app.post("/v1/chat/completions").json(&request).send().await {
        assert_eq!(response.status(), 413);
    }
}

#[tokio::test]
async fn detail_is_ignored_and_named() {
    // Errors tell no ignored fields, so this looks at what is read.
    let mut part = image_part("data:,x");
    part["image_url"]["detail"] = json!("high");
    let body = ask_parts(&[part]).to_string();
    let parsed = couplet::wire::parse::parse::<couplet::openai::chat_request::ChatRequest>(body.as_bytes());
    assert_eq!(parsed.expect("a request").ignored, ["messages[].content[].image_url.detail"]);
}
