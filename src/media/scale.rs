//! Images made to pass the CLI as they are.
//!
//! What keeps to the [limits] goes on byte for byte, once it has been decoded in full: a damaged image is told to the client
//! with its field, which the API would not do. Everything else is decoded, turned upright, scaled down and written anew,
//! without loss where that is small enough.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{self, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::failure::Problem;
use super::limits::{self, MAX_IMAGE_BYTES, MAX_PIXELS};
use crate::turn::ImageFormat;

/// The best quality of a JPEG, of 100: more shows nothing more.
const BEST: u8 = 90;

/// The worst. Below it a smaller image shows more.
const WORST: u8 = 50;

/// How many bytes a decoder may allocate.
const MAX_ALLOCATION: u64 = 512 * 1024 * 1024;

/// How many bytes more than its head says the pictures of a GIF may take. Each has a size of its own, whatever the head says:
/// 60 bytes can announce one of 17 GB in an image of one pixel.
const BEYOND_HEAD: u64 = 1024 * 1024;

/// What an image's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    width: u32,
    height: u32,
    /// What decoding takes, in bytes, roughly and at most.
    pub cost: u64,
}

/// Reads the head of an image. Nothing is decoded, so a file of a few bytes that claims to be huge costs nothing.
///
/// # Errors
/// When it cannot be read, or has too many pixels.
pub fn head(bytes: &[u8], format: ImageFormat) -> Result<Head, Problem> {
    let decoder = reader(bytes, format, MAX_ALLOCATION).into_decoder().map_err(|_| Problem::Damaged)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Problem::Damaged);
    }
    if pixels > MAX_PIXELS {
        return Err(Problem::TooManyPixels { width, height });
    }
    // A progressive JPEG keeps its coefficients, a WebP its planes, a GIF a second frame until it is through.
    let beside = if format == ImageFormat::Png { 0 } else { 6 * pixels };
    Ok(Head { width, height, cost: decoder.total_bytes() + beside })
}

/// The image as it passes the CLI: `None` where it does so as it is.
///
/// # Errors
/// When it cannot be decoded.
pub fn fitted(
    bytes: &[u8],
    format: ImageFormat,
    head: Head,
) -> Result<Option<(ImageFormat, Bytes)>, Problem> {
    let most = if format == ImageFormat::Gif { head.cost + BEYOND_HEAD } else { MAX_ALLOCATION };
    let still = !is_animated(bytes, format, most)?;
    let (image, orientation) = decode(bytes, format, most)?;
    if still && limits::passes(head.width, head.height, bytes.len()) {
        return Ok(None);
    }
    write(&image, orientation, format != ImageFormat::Jpeg).map(Some).ok_or(Problem::Damaged)
}

/// A reader that allocates `most` bytes at most.
fn reader(bytes: &[u8], format: ImageFormat, most: u64) -> ImageReader<Cursor<&[u8]>> {
    let format = match format {
        ImageFormat::Png => image::ImageFormat::Png,
        ImageFormat::Jpeg => image::ImageFormat::Jpeg,
        ImageFormat::Gif => image::ImageFormat::Gif,
        ImageFormat::Webp => image::ImageFormat::WebP,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allocating(most));
    reader
}

fn allocating(most: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most);
    limits
}

/// Whether an image moves. Claude sees the first picture only, so that is what is sent. A PNG that moves is one picture to
/// all who do not know of that.
fn is_animated(bytes: &[u8], format: ImageFormat, most: u64) -> Result<bool, Problem> {
    let damaged = |_| Problem::Damaged;
    match format {
        ImageFormat::Png | ImageFormat::Jpeg => Ok(false),
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            decoder.set_limits(allocating(most)).map_err(damaged)?;
            // A second picture that is damaged is one all the same.
            Ok(decoder.into_frames().take(2).count() > 1)
        }
        ImageFormat::Webp => Ok(WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?.has_animation()),
    }
}

/// The pixels, as they lie in the file, and how they are to be turned.
fn decode(bytes: &[u8], format: ImageFormat, most: u64) -> Result<(DynamicImage, Orientation), Problem> {
    let mut decoder = reader(bytes, format, most).into_decoder().map_err(|_| Problem::Damaged)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|_| Problem::Damaged)?;
    Ok((image, orientation))
}

/// Scales and writes an image so that it keeps to the limits.
fn write(image: &DynamicImage, orientation: Orientation, try_lossless: bool) -> Option<(ImageFormat, Bytes)> {
    let (mut width, mut height) = limits::largest_fit(image.width(), image.height());
    loop {
        let mut scaled = scaled(image, width, height);
        scaled.apply_orientation(orientation);
        let (format, file) = encode(&scaled, try_lossless)?;
        if file.len() <= MAX_IMAGE_BYTES {
            return Some((format, file.into()));
        }
        if width.max(height) == 1 {
            return None;
        }
        (width, height) = shrunk(width, height, file.len());
    }
}

/// The size in which an image whose file is too large is tried next: as much smaller as its file should become.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a u32 is one"
)]
fn shrunk(width: u32, height: u32, bytes: usize) -> (u32, u32) {
    let share = (MAX_IMAGE_BYTES as f64 / bytes as f64).sqrt().clamp(0.25, 0.9);
    let side = |side: u32| ((f64::from(side) * share) as u32).max(1);
    (side(width), side(height))
}

/// An image in a smaller size. A large step is taken in two: quickly to twice the size, then well.
fn scaled(image: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if (image.width(), image.height()) == (width, height) {
        return image.clone();
    }
    let between = (width.saturating_mul(2), height.saturating_mul(2));
    if image.width() > between.0 && image.height() > between.1 {
        image.thumbnail_exact(between.0, between.1).resize_exact(width, height, FilterType::CatmullRom)
    } else {
        image.resize_exact(width, height, FilterType::CatmullRom)
    }
}

/// The image as a file: PNG where something is transparent; else PNG if the original was without loss, too, and JPEG if
/// that is too large. Larger than allowed only if there is no smaller one in this size.
fn encode(image: &DynamicImage, try_lossless: bool) -> Option<(ImageFormat, Vec<u8>)> {
    if image.color().has_alpha() {
        let pixels = image.to_rgba8();
        if pixels.pixels().any(|pixel| pixel.0[3] != u8::MAX) {
            return Some((ImageFormat::Png, png(&DynamicImage::ImageRgba8(pixels))?));
        }
    }
    let opaque = if image.color().has_color() {
        DynamicImage::ImageRgb8(image.to_rgb8())
    } else {
        DynamicImage::ImageLuma8(image.to_luma8())
    };
    if try_lossless && let Some(file) = png(&opaque).filter(|file| file.len() <= MAX_IMAGE_BYTES) {
        return Some((ImageFormat::Png, file));
    }
    Some((ImageFormat::Jpeg, best_jpeg(&opaque)?))
}

/// The JPEG of the best quality that is small enough, or else the smallest.
fn best_jpeg(image: &DynamicImage) -> Option<Vec<u8>> {
    let best = jpeg(image, BEST)?;
    if best.len() <= MAX_IMAGE_BYTES {
        return Some(best);
    }
    let mut kept = jpeg(image, WORST)?;
    let (mut good, mut bad) = (WORST, BEST);
    while kept.len() <= MAX_IMAGE_BYTES && bad - good > 10 {
        let middle = u8::midpoint(good, bad);
        let file = jpeg(image, middle)?;
        if file.len() <= MAX_IMAGE_BYTES {
            (good, kept) = (middle, file);
        } else {
            bad = middle;
        }
    }
    Some(kept)
}

fn png(image: &DynamicImage) -> Option<Vec<u8>> {
    let mut file = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut file, png::CompressionType::Default, png::FilterType::Adaptive);
    image.write_with_encoder(encoder).ok()?;
    Some(file)
}

fn jpeg(image: &DynamicImage, quality: u8) -> Option<Vec<u8>> {
    let mut file = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut file, quality)).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests;
