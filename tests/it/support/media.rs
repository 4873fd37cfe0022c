//! Images and files for tests.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};

/// Pixels without any pattern, the same every time: nothing compresses them.
pub fn noise(width: u32, height: u32) -> DynamicImage {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let pixels = RgbImage::from_fn(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [r, g, b, ..] = state.to_le_bytes();
        Rgb([r, g, b])
    });
    pixels.into()
}

/// One colour.
pub fn flat(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_pixel(width, height, Rgb([200, 30, 40])).into()
}

/// An image as a file.
pub fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).expect("an image");
    file.into_inner()
}

/// A PNG of exactly so many bytes and of so many pixels: one colour, and a chunk of its own kind that all may skip.
pub fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
    let plain = file(&flat(width, height), ImageFormat::Png);
    let data = vec![b'x'; bytes - plain.len() - 12];
    let mut chunk = u32::try_from(data.len()).expect("a length").to_be_bytes().to_vec();
    chunk.extend(b"coUp");
    chunk.extend(data);
    let sum = checksum(&chunk[4..]);
    chunk.extend(sum.to_be_bytes());
    [&plain[..33], &chunk, &plain[33..]].concat()
}

/// The head of a PNG that claims a size, with a right checksum, before the pixels of another.
pub fn png_head(width: u32, height: u32) -> Vec<u8> {
    let mut file = file(&flat(1, 1), ImageFormat::Png);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = checksum(&file[12..29]);
    file[29..33].copy_from_slice(&sum.to_be_bytes());
    file
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

/// A GIF that shows so many pictures.
pub fn gif(pictures: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new(&mut file);
    for picture in 0..pictures {
        let pixels = RgbaImage::from_pixel(30, 20, Rgba([picture * 50, 10, 10, 255]));
        encoder.encode_frame(Frame::new(pixels)).expect("a picture");
    }
    drop(encoder);
    file
}

/// A PDF of one empty page and at least so many bytes.
pub fn pdf(bytes: usize) -> Vec<u8> {
    let objects = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>\
                   endobj 3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%";
    [objects.as_bytes(), &vec![b'x'; bytes.saturating_sub(objects.len())], b"\n%%EOF\n"].concat()
}

/// A `data:` URL.
pub fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// A part with an image.
pub fn image_part(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// A part with a file.
pub fn file_part(name: &str, data: &str) -> Value {
    json!({"type": "file", "file": {"filename": name, "file_data": data}})
}

/// A part with text.
pub fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A request with one user message of these parts.
pub fn ask_parts(parts: &[Value]) -> Value {
    json!({"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": parts}]})
}

/// The block of an image as Anthropic's API has it.
pub fn image_block(kind: &str, bytes: &[u8]) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": STANDARD.encode(bytes)}})
}

/// The bytes of a block.
pub fn bytes_of(block: &Value) -> Vec<u8> {
    STANDARD.decode(block["source"]["data"].as_str().expect("base64")).expect("base64")
}
