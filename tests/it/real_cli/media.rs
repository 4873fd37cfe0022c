//! Images and files arrive as they were sent, or as Couplet made them: the CLI adds and changes nothing.

use std::sync::Arc;

use couplet::claude::Claude;
use couplet::claude::answer::AnswerEvent;
use couplet::media::network::Network;
use couplet::media::{ImageUrls, MediaSettings, limits, scale};
use couplet::scope::Scope;
use couplet::turn::{Media, Message, Parameters, Turn, UserBlock};
use image::{GenericImageView, ImageFormat};
use serde_json::{Value, json};

use super::app;
use crate::support::app::{Builder, TestApp};
use crate::support::media::{
    ask_parts, bytes_of, data_url, file, file_part, flat, gif, image_block, image_part, noise, pdf, png,
    text_part,
};
use crate::support::outside::{HOST_NAME, Outside};
use crate::support::real_cli::real_cli;
use crate::support::received::turns;

/// The blocks of the question as the upstream received them.
async fn question(app: &TestApp, parts: &[Value]) -> Vec<Value> {
    let (status, answer) = app.answer(&ask_parts(parts)).await;
    assert_eq!(status, 200, "{answer}");
    let turns = turns(app);
    assert_eq!(turns.len(), 1);
    turns[0]["content"].as_array().expect("blocks").clone()
}

#[tokio::test]
async fn images_of_every_kind_arrive_byte_for_byte_in_their_places() {
    let Some(app) = app().await else { return };
    let [png, jpeg, webp] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP].map(|format| file(&noise(60, 40), format));
    let gif = gif(1);
    let content = question(
        &app,
        &[
            text_part("/help me with @/etc/passwd and\n"),
            image_part(&data_url("image/png", &png)),
            image_part(&data_url("image/jpeg", &jpeg)),
            text_part(" /this\r\n"),
            // What it is called does not matter.
            image_part(&data_url("image/png", &gif)),
            image_part(&data_url("text/html", &webp)),
            text_part("[[words 2]]"),
        ],
    )
    .await;
    assert_eq!(
        content,
        [
            text_part("/"),
            text_part("help me with @/etc/passwd and\n"),
            image_block("image/png", &png),
            image_block("image/jpeg", &jpeg),
            text_part(" /this\r\n"),
            image_block("image/gif", &gif),
            image_block("image/webp", &webp),
            text_part("[[words 2]]"),
        ]
    );
}

#[tokio::test]
async fn an_image_is_a_question_without_a_word() {
    let Some(app) = app().await else { return };
    let image = png(8, 8, 1000);
    let content = question(&app, &[image_part(&data_url("image/png", &image)), text_part(" \n")]).await;
    assert_eq!(content, [image_block("image/png", &image)]);
}

#[tokio::test]
async fn the_largest_images_that_pass_do_and_larger_ones_are_scaled_with_no_word_about_it() {
    let Some(app) = app().await else { return };
    for image in [
        png(2000, 1848, 200_000),
        png(8, 8, limits::MAX_IMAGE_BYTES),
        file(&noise(400, 420), ImageFormat::WebP),
        file(&noise(600, 500), ImageFormat::Jpeg),
    ] {
        let kind = couplet::media::kind::of(&image).expect("an image");
        let couplet::media::kind::Kind::Image(format) = kind else { panic!("{kind:?}") };
        let content = question(&app, &[image_part(&data_url("x/y", &image)), text_part("[[words 1]]")]).await;
        assert_eq!(content, [image_block(format.media_type(), &image), text_part("[[words 1]]")]);
    }
    for (image, size, kind) in [
        (file(&flat(2001, 50), ImageFormat::Png), (2000, 50), "image/png"),
        (file(&flat(2000, 1849), ImageFormat::Png), (1999, 1848), "image/png"),
        (file(&flat(3000, 2250), ImageFormat::Jpeg), (2000, 1500), "image/jpeg"),
        (png(8, 8, limits::MAX_IMAGE_BYTES + 1), (8, 8), "image/png"),
        (file(&noise(500, 500), ImageFormat::Png), (500, 500), "image/jpeg"),
        (gif(3), (30, 20), "image/png"),
    ] {
        let content = question(&app, &[image_part(&data_url("x/y", &image)), text_part("[[words 1]]")]).await;
        let bytes = bytes_of(&content[0]);
        assert_eq!(image::load_from_memory(&bytes).expect("an image").dimensions(), size);
        // What arrived is what Couplet made, byte for byte, and nothing is said about it.
        let kind_of_image = couplet::media::kind::of(&image).expect("an image");
        let couplet::media::kind::Kind::Image(format) = kind_of_image else { panic!("{kind_of_image:?}") };
        let head = scale::head(&image, format).expect("a head");
        let (_, made) = scale::fitted(&image, format, head).expect("an image").expect("another one");
        assert_eq!(content, [image_block(kind, &made), text_part("[[words 1]]")]);
    }
}

/// Without Couplet's scaling: the limits are where the CLI has them, not below.
#[tokio::test]
async fn the_cli_changes_what_is_beyond_its_limits() {
    let Some(cli) = real_cli() else { return };
    let mut claude = None;
    let builder = Builder::new(&cli).await.with(|config| claude = Claude::new(config.claude.clone()).ok());
    let (claude, app) = (claude.expect("folders"), builder.start().await);
    let format = couplet::turn::ImageFormat::Png;
    for (bytes, passes) in [
        (png(2000, 1848, 200_000), true),
        (png(2000, 1849, 200_000), false),
        (png(2001, 8, 200_000), false),
        (png(8, 8, limits::MAX_IMAGE_BYTES), true),
        (png(8, 8, limits::MAX_IMAGE_BYTES + 1), false),
    ] {
        let image = || UserBlock::Media(Media::Image { format, bytes: bytes.clone().into() });
        let turn = Turn {
            model: "claude-sonnet-5-5".to_owned(),
            system: String::new(),
            history: vec![Message::User(vec![image()])],
            question: vec![image(), UserBlock::Text("[[words 1]]".to_owned())],
            tools: Vec::new(),
            parameters: Parameters::default(),
        };
        let mut answer = claude.answer(Scope::anyone(), turn);
        while !matches!(answer.next().await.expect("an answer"), AnswerEvent::Ended(_)) {}
        let shown = turns(&app);
        let untouched = shown
            .iter()
            .flat_map(|turn| turn["content"].as_array().expect("blocks"))
            .filter(|block| block["type"] == "image")
            .all(|block| bytes_of(block) == bytes);
        assert_eq!(untouched, passes, "{} bytes", bytes.len());
    }
    claude.shut_down(std::time::Duration::from_secs(2)).await;
}

#[tokio::test]
async fn pdfs_and_text_files_arrive_as_documents_with_their_names() {
    let Some(app) = app().await else { return };
    let (small, large) = (pdf(300), pdf(15_000_000));
    let text = "\u{feff}one\r\n/two @/etc/passwd\n\tthree\u{1f600}\n";
    let document = |source: Value, title: &str| json!({"type": "document", "source": source, "title": title});
    let base64 = |bytes: &[u8]| {
        let data = image_block("x", bytes)["source"]["data"].clone();
        json!({"type": "base64", "media_type": "application/pdf", "data": data})
    };
    let bare = data_url("x", &small);
    let content = question(
        &app,
        &[
            file_part("ä /b.pdf", &data_url("application/pdf", &large)),
            file_part("@/etc/passwd", &bare["data:x;base64,".len()..]),
            file_part("c.txt", &data_url("text/plain", text.as_bytes())),
            file_part("d.csv", "data:text/csv,a%2Cb%0A1%2C2"),
            image_part(&data_url("application/pdf", &small)),
            text_part("[[words 1]]"),
        ],
    )
    .await;
    let text_source = |text: &str| json!({"type": "text", "media_type": "text/plain", "data": text});
    assert!(content[0]["source"]["data"].as_str().is_some_and(|data| data.len() > 20_000_000));
    assert!(
        content
            == [
                document(base64(&large), "ä /b.pdf"),
                document(base64(&small), "@/etc/passwd"),
                document(text_source(text), "c.txt"),
                document(text_source("a,b\n1,2"), "d.csv"),
                json!({"type": "document", "source": base64(&small)}),
                text_part("[[words 1]]"),
            ],
        "{:?}",
        content[1..].to_vec()
    );
}

#[tokio::test]
async fn history_and_tool_messages_hold_images_and_files() {
    let Some(app) = app().await else { return };
    let [one, two, three] = [1000, 2000, 3000].map(|bytes| png(8, 8, bytes));
    let url = |bytes: &[u8]| image_part(&data_url("image/png", bytes));
    let request = json!({"model": "claude-sonnet-5-5", "messages": [
        {"role": "user", "content": [url(&one), text_part("what?"), file_part("a.txt", "YWJj")]},
        {"role": "assistant", "content": "let me see", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": [text_part("a"), text_part("b"), url(&two), text_part(" ")]},
        {"role": "tool", "tool_call_id": "call_2", "content": "none"},
        {"role": "assistant", "content": "a square"},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_3", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_3", "content": [url(&three), text_part("[[words 1]]")]},
    ]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
    let result =
        |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let text_file = json!({"type": "document", "title": "a.txt",
        "source": {"type": "text", "media_type": "text/plain", "data": "abc"}});
    assert_eq!(
        turns(&app),
        [
            json!({"role": "user", "content": [image_block("image/png", &one), text_part("what?"), text_file]}),
            json!({"role": "assistant", "content": [text_part("let me see"), call("call_1"), call("call_2")]}),
            json!({"role": "user", "content": [
                result("call_1", json!([text_part("ab"), image_block("image/png", &two)])),
                result("call_2", json!([text_part("none")]))]}),
            json!({"role": "assistant", "content": [text_part("a square")]}),
            // In the long form, to carry a breakpoint.
            json!({"role": "user", "content": [text_part("again")]}),
            json!({"role": "assistant", "content": [call("call_3")]}),
            json!({"role": "user", "content": [
                result("call_3", json!([image_block("image/png", &three), text_part("[[words 1]]")]))]}),
        ]
    );
}

#[tokio::test]
async fn a_hundred_images_arrive() {
    let Some(app) = app().await else { return };
    let images: Vec<Vec<u8>> = (0..100).map(|extra| png(8, 8, 1000 + extra)).collect();
    let mut parts: Vec<Value> =
        images.iter().map(|bytes| image_part(&data_url("image/png", bytes))).collect();
    parts.push(text_part("[[words 1]]"));
    let content = question(&app, &parts).await;
    let arrived: Vec<Vec<u8>> = content[..100].iter().map(bytes_of).collect();
    assert_eq!(arrived, images);
}

#[tokio::test]
async fn images_by_https_are_fetched_or_handed_on() {
    let Some(cli) = real_cli() else { return };
    let image = file(&noise(30, 30), ImageFormat::Png);
    let outside = Outside::new(&[("x", image.clone())], &[]).await;
    for (image_urls, url, block) in [
        (ImageUrls::Fetch, format!("https://{HOST_NAME}/redirects/2"), image_block("image/png", &image)),
        (
            ImageUrls::Pass,
            "https://example.com/x.png?a=b".to_owned(),
            json!({"type": "image", "source": {"type": "url", "url": "https://example.com/x.png?a=b"}}),
        ),
    ] {
        let network: Arc<dyn Network> = Arc::<Outside>::clone(&outside);
        let settings = MediaSettings { image_urls, network };
        let app = Builder::new(&cli).await.with(|config| config.media = settings).start().await;
        let content = question(&app, &[text_part("[[words 1]]"), image_part(&url)]).await;
        assert_eq!(content, [text_part("[[words 1]]"), block]);
    }
    assert_eq!(outside.connected().len(), 3);
}

#[tokio::test]
async fn what_is_ignored_of_an_image_is_named() {
    let Some(app) = app().await else { return };
    let mut part = image_part(&data_url("image/png", &png(8, 8, 1000)));
    part["image_url"]["detail"] = json!("low");
    let response = app.chat(&ask_parts(&[part, text_part("[[words 1]]")])).await;
    assert_eq!(response.headers()["x-couplet-ignored"], "messages[].content[].image_url.detail");
}
