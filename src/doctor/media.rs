//! What the CLI does with images and files.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, Rgb, RgbImage};
use serde_json::{Value, json};

use super::laboratory::{Laboratory, assistant, expect, question};
use super::{Check, Finding};
use crate::media::limits;
use crate::turn::{ImageFormat, Media, Message, ResultBlock, Turn, UserBlock};

pub(super) const CHECKS: [Check; 2] = [
    Check {
        name: "images",
        needs: "images within Couplet's limits are left as they are, with no word about them",
        run: |lab| Box::pin(images(lab)),
    },
    Check {
        name: "documents",
        needs: "PDFs and text files arrive as documents",
        run: |lab| Box::pin(documents(lab)),
    },
];

async fn images(lab: &Laboratory) -> Finding {
    // As many pixels as may be, and as many bytes as 412 x 412 pixels without any pattern make.
    for image in [png(2000, 1848, |_| Rgb([200, 30, 40]))?, png(412, 412, noise)?] {
        let (format, bytes) = (ImageFormat::Png, image.len());
        if bytes > limits::MAX_IMAGE_BYTES {
            return Err(format!("the image for the check has {bytes} bytes"));
        }
        let image = || Media::Image { format, bytes: image.clone() };
        arrives_everywhere(lab, &image).await?;
    }
    Ok("asked, in the history and in a tool's result".to_owned())
}

async fn documents(lab: &Laboratory) -> Finding {
    let title = Some("a name".to_owned());
    let bytes = Bytes::from_static(b"%PDF-1.4\ntrailer<<>>\n%%EOF\n");
    arrives_everywhere(lab, &|| Media::Pdf { title: title.clone(), bytes: bytes.clone() }).await?;
    let text = "one\n/two @/etc/passwd\n";
    arrives_everywhere(lab, &|| Media::Text { title: title.clone(), text: text.to_owned() }).await?;
    Ok("asked, in the history and in a tool's result".to_owned())
}

/// Asks with the same thing in each place where one may be.
async fn arrives_everywhere(lab: &Laboratory, media: &(dyn Fn() -> Media + Sync)) -> Result<(), String> {
    let call = crate::turn::AssistantBlock::ToolUse {
        id: "call_1".to_owned(),
        name: "look".to_owned(),
        input: serde_json::Map::new(),
    };
    let content = vec![ResultBlock::Media(media()), ResultBlock::Text("seen".to_owned())];
    let history = vec![
        Message::User(vec![UserBlock::Media(media()), UserBlock::Text("one".to_owned())]),
        assistant("two"),
        Message::User(vec![UserBlock::Text("three".to_owned())]),
        Message::Assistant(vec![call]),
    ];
    let asked = vec![
        UserBlock::ToolResult { call_id: "call_1".to_owned(), content, is_error: false },
        UserBlock::Text("[[words 1]]".to_owned()),
    ];
    let trial = lab.ask(Turn { history, question: asked, ..question("") }).await;
    arrived(&trial.request()?.body()["messages"], media(), &["one", "two", "three", "seen", "[[words 1]]"])?;
    let asked = vec![UserBlock::Media(media()), UserBlock::Text("[[words 1]]".to_owned())];
    let trial = lab.ask(Turn { question: asked, ..question("") }).await;
    arrived(&trial.request()?.body()["messages"], media(), &["[[words 1]]"])
}

/// Whether all images and documents are that one, and no text is there but these.
fn arrived(messages: &Value, media: Media, texts: &[&str]) -> Result<(), String> {
    let sent = serde_json::to_value(crate::claude::frame_in::FrameIn::question(&[UserBlock::Media(media)]));
    let sent = sent.map_err(|error| error.to_string())?["message"]["content"][0].clone();
    let mut blocks = Vec::new();
    for message in messages.as_array().into_iter().flatten().filter(|message| message["role"] != "system") {
        gather(&message["content"], &mut blocks);
    }
    let (of_text, others): (Vec<Value>, Vec<Value>) =
        blocks.into_iter().partition(|block| block["type"] == "text");
    let of_text: Vec<&str> = of_text.iter().filter_map(|block| block["text"].as_str()).collect();
    expect("texts", &of_text, &texts.to_vec())?;
    if others.is_empty() || others.iter().any(|block| *block != sent) {
        return Err("it was changed on its way".to_owned());
    }
    Ok(())
}

/// The text, image and document blocks of a content, those in results included, without the CLI's cache breakpoints and
/// the environment text that older releases put before the first user text.
fn gather(content: &Value, blocks: &mut Vec<Value>) {
    if let Some(text) = content.as_str() {
        blocks.push(json!({"type": "text", "text": text}));
    }
    for block in content.as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("tool_result") => gather(&block["content"], blocks),
            Some("text")
                if block["text"].as_str().is_some_and(|text| text.starts_with("<system-reminder>\n")) => {}
            Some("text" | "image" | "document") => {
                let mut block = block.clone();
                block.as_object_mut().map(|fields| fields.remove("cache_control"));
                blocks.push(block);
            }
            _ => {}
        }
    }
}

pub(super) fn png(width: u32, height: u32, pixel: impl Fn(u32) -> Rgb<u8>) -> Result<Bytes, String> {
    let pixels = RgbImage::from_fn(width, height, |x, y| pixel(y * width + x));
    let mut file = Cursor::new(Vec::new());
    let written = DynamicImage::from(pixels).write_to(&mut file, image::ImageFormat::Png);
    written.map_err(|error| error.to_string())?;
    Ok(file.into_inner().into())
}

/// A colour for each number, without any pattern.
pub(super) fn noise(number: u32) -> Rgb<u8> {
    let mixed = (number ^ 0x9e37_79b9).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    let [a, b, c, _] = (mixed ^ (mixed >> 16)).to_le_bytes();
    Rgb([a, b, c])
}
