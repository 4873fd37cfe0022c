use super::*;
use image::codecs::gif::GifEncoder;
use image::codecs::webp::WebPEncoder;
use image::{Frame, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use rstest::rstest;

/// Pixels without any pattern, the same every time: nothing compresses them.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    RgbImage::from_fn(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [r, g, b, ..] = state.to_le_bytes();
        Rgb([r, g, b])
    })
}

/// Left half red, right half blue.
fn halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

fn png_of(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut file = Vec::new();
    image.into().write_with_encoder(PngEncoder::new(&mut file)).unwrap();
    file
}

fn jpeg_of(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut file = Vec::new();
    image.into().write_with_encoder(JpegEncoder::new_with_quality(&mut file, 95)).unwrap();
    file
}

fn webp_of(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut file = Vec::new();
    image.into().write_with_encoder(WebPEncoder::new_lossless(&mut file)).unwrap();
    file
}

fn gif_of(pictures: &[RgbaImage]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new(&mut file);
    for picture in pictures {
        encoder.encode_frame(Frame::new(picture.clone())).unwrap();
    }
    drop(encoder);
    file
}

/// A JPEG that says how it is to be turned.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

fn fit(bytes: &[u8], format: ImageFormat) -> Result<Option<(ImageFormat, Bytes)>, Problem> {
    fitted(bytes, format, head(bytes, format)?)
}

/// What an image became; it must pass.
fn became(bytes: &[u8], format: ImageFormat) -> (ImageFormat, DynamicImage) {
    let (format, file) = fit(bytes, format).unwrap().expect("it does not pass as it is");
    let read = head(&file, format).unwrap();
    assert!(limits::passes(read.width, read.height, file.len()), "{read:?}, {} bytes", file.len());
    assert_eq!(fit(&file, format), Ok(None), "what was fitted passes");
    (format, decode(&file, format, MAX_ALLOCATION).unwrap().0)
}

#[test]
fn small_images_of_every_kind_stay_as_they_are() {
    let image = halves(40, 30);
    let rgba = DynamicImage::from(image.clone()).to_rgba8();
    assert_eq!(fit(&png_of(image.clone()), ImageFormat::Png), Ok(None));
    assert_eq!(fit(&jpeg_of(image.clone()), ImageFormat::Jpeg), Ok(None));
    assert_eq!(fit(&webp_of(image), ImageFormat::Webp), Ok(None));
    assert_eq!(fit(&gif_of(&[rgba]), ImageFormat::Gif), Ok(None));
    assert_eq!(fit(&png_of(halves(2000, 1848)), ImageFormat::Png), Ok(None), "the largest of all");
}

#[rstest]
#[case(2001, 100, (2000, 100))]
#[case(2000, 2000, (1932, 1932))]
#[case(500, 4000, (250, 2000))]
#[case(4400, 3300, (2000, 1500))]
fn what_has_too_many_pixels_is_scaled_without_loss(
    #[case] width: u32,
    #[case] height: u32,
    #[case] size: (u32, u32),
) {
    let (format, image) = became(&png_of(halves(width, height)), ImageFormat::Png);
    assert_eq!((format, (image.width(), image.height())), (ImageFormat::Png, size));
    let (pixels, y) = (image.to_rgb8(), size.1 / 2);
    assert_eq!(pixels.get_pixel(2, y), &Rgb([255, 0, 0]));
    assert_eq!(pixels.get_pixel(size.0 - 3, y), &Rgb([0, 0, 255]));
}

#[rstest]
#[case(png_of(noise(700, 700)), ImageFormat::Png)]
#[case(webp_of(noise(700, 700)), ImageFormat::Webp)]
#[case(jpeg_of(noise(720, 720)), ImageFormat::Jpeg)]
fn what_has_too_many_bytes_becomes_a_jpeg_of_the_same_size(
    #[case] file: Vec<u8>,
    #[case] format: ImageFormat,
) {
    assert!(file.len() > MAX_IMAGE_BYTES, "{}", file.len());
    let size =
        decode(&file, format, MAX_ALLOCATION).map(|(image, _)| (image.width(), image.height())).unwrap();
    let (format, image) = became(&file, format);
    assert_eq!((format, (image.width(), image.height())), (ImageFormat::Jpeg, size));
}

#[test]
fn what_no_quality_makes_small_enough_shrinks() {
    let (format, image) = became(&jpeg_of(noise(1500, 1500)), ImageFormat::Jpeg);
    assert_eq!(format, ImageFormat::Jpeg);
    assert!((700..1500).contains(&image.width()) && image.width() == image.height(), "{}", image.width());
}

#[test]
fn what_is_transparent_stays_so() {
    let image =
        RgbaImage::from_fn(2400, 1200, |x, _| if x < 1200 { Rgba([0; 4]) } else { Rgba([9, 8, 7, 255]) });
    let (format, image) = became(&png_of(image), ImageFormat::Png);
    assert_eq!((format, image.width(), image.height()), (ImageFormat::Png, 2000, 1000));
    let pixels = image.to_rgba8();
    assert_eq!((pixels.get_pixel(10, 500).0[3], pixels.get_pixel(1990, 500).0), (0, [9, 8, 7, 255]));
    // Where only a smaller one can stay so, it becomes smaller.
    let mut cut_out = DynamicImage::from(noise(600, 600)).to_rgba8();
    cut_out.put_pixel(0, 0, Rgba([0; 4]));
    let (format, image) = became(&png_of(cut_out), ImageFormat::Png);
    assert_eq!(format, ImageFormat::Png);
    assert!(image.width() < 600 && image.color().has_alpha());
    // An alpha channel in which everything is opaque says nothing.
    let opaque = DynamicImage::from(noise(600, 600)).to_rgba8();
    assert_eq!(became(&png_of(opaque), ImageFormat::Png).0, ImageFormat::Jpeg);
}

#[test]
fn an_animation_becomes_its_first_picture() {
    let picture = |color: [u8; 4]| RgbaImage::from_pixel(30, 20, Rgba(color));
    let file = gif_of(&[picture([255, 0, 0, 255]), picture([0, 255, 0, 255])]);
    let (format, image) = became(&file, ImageFormat::Gif);
    assert_eq!((format, image.width(), image.height()), (ImageFormat::Png, 30, 20));
    assert_eq!(image.to_rgb8().get_pixel(5, 5), &Rgb([255, 0, 0]));
    // Two pictures of a lossless WebP, made of two files with one each.
    let chunk = |name: &[u8], data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        [name, &length[..], data, &[0][..data.len() % 2]].concat()
    };
    let frame = |color: [u8; 4]| {
        let file = webp_of(picture(color));
        let head = [&[0; 6][..], &[29, 0, 0, 19, 0, 0, 100, 0, 0, 0][..]].concat();
        chunk(b"ANMF", &[&head[..], &file[12..]].concat())
    };
    let body = [
        b"WEBP".to_vec(),
        chunk(b"VP8X", &[2, 0, 0, 0, 29, 0, 0, 19, 0, 0]),
        chunk(b"ANIM", &[0; 6]),
        frame([0, 0, 255, 255]),
        frame([0, 255, 0, 255]),
    ]
    .concat();
    let (format, image) = became(&chunk(b"RIFF", &body), ImageFormat::Webp);
    assert_eq!((format, image.width(), image.height()), (ImageFormat::Png, 30, 20));
    let pixel = image.to_rgb8().get_pixel(5, 5).0;
    assert!(pixel[1] < 5 && pixel[2] > 250, "{pixel:?}");
}

#[test]
fn a_photo_is_turned_upright_when_it_is_scaled_and_left_alone_otherwise() {
    let small = turned(&jpeg_of(halves(64, 32)), 6);
    assert_eq!(decode(&small, ImageFormat::Jpeg, MAX_ALLOCATION).unwrap().1, Orientation::Rotate90);
    assert_eq!(fit(&small, ImageFormat::Jpeg), Ok(None));
    let large = turned(&jpeg_of(halves(2400, 1200)), 6);
    let (_, image) = became(&large, ImageFormat::Jpeg);
    assert_eq!((image.width(), image.height()), (1000, 2000));
    let pixels = image.to_rgb8();
    assert!(
        pixels.get_pixel(500, 100).0[0] > 200,
        "what was left is on top: {:?}",
        pixels.get_pixel(500, 100)
    );
    assert!(pixels.get_pixel(500, 1900).0[2] > 200);
}

#[test]
fn sixteen_bits_and_grey_and_palettes_can_be_scaled() {
    let deep = DynamicImage::from(halves(2100, 50)).to_rgb16();
    assert_eq!(became(&png_of(deep), ImageFormat::Png).1.color(), image::ColorType::Rgb8);
    let grey = DynamicImage::from(halves(2100, 50)).to_luma8();
    assert_eq!(became(&png_of(grey), ImageFormat::Png).1.color(), image::ColorType::L8);
    let palette = gif_of(&[DynamicImage::from(halves(2100, 50)).to_rgba8()]);
    assert_eq!(became(&palette, ImageFormat::Gif).0, ImageFormat::Png);
}

/// The head of a PNG that claims a size, with a right checksum and nothing behind it.
fn png_head(width: u32, height: u32) -> Vec<u8> {
    let mut file = png_of(halves(1, 1));
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let mut sum = u32::MAX;
    for &byte in &file[12..29] {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    file[29..33].copy_from_slice(&(!sum).to_be_bytes());
    file
}

#[test]
fn an_image_that_claims_too_many_pixels_is_refused_by_its_head() {
    assert_eq!(png_head(1, 1), png_of(halves(1, 1)), "the checksum is right");
    for (width, height) in [(50_000, 50_000), (8000, 6292), (1, 2_000_000_000)] {
        let refused = head(&png_head(width, height), ImageFormat::Png);
        assert_eq!(refused, Err(Problem::TooManyPixels { width, height }));
    }
    let mut gif = gif_of(&[RgbaImage::new(1, 1)]);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    assert!(matches!(head(&gif, ImageFormat::Gif), Err(Problem::TooManyPixels { .. })));
    assert_eq!(head(&png_head(0, 5), ImageFormat::Png), Err(Problem::Damaged));
    // One that may be as large as it says, but is not.
    assert_eq!(fit(&png_head(6000, 6000), ImageFormat::Png), Err(Problem::Damaged));
}

#[test]
fn what_is_damaged_is_told() {
    for (file, format) in [
        (png_of(noise(64, 64)), ImageFormat::Png),
        (webp_of(noise(64, 64)), ImageFormat::Webp),
        (gif_of(&[DynamicImage::from(noise(64, 64)).to_rgba8()]), ImageFormat::Gif),
    ] {
        assert_eq!(fit(&file, format), Ok(None));
        assert_eq!(fit(&file[..file.len() / 2], format), Err(Problem::Damaged), "{format:?}");
        assert_eq!(fit(&file[..12], format), Err(Problem::Damaged), "{format:?}");
    }
    assert_eq!(fit(&jpeg_of(noise(64, 64))[..20], ImageFormat::Jpeg), Err(Problem::Damaged));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_damage_makes_it_stumble(kind in 0usize..4, at in 0usize..2000, byte in any::<u8>(), cut in 0usize..4000) {
        let (mut file, format) = match kind {
            0 => (png_of(noise(24, 24)), ImageFormat::Png),
            1 => (jpeg_of(noise(24, 24)), ImageFormat::Jpeg),
            2 => (webp_of(noise(24, 24)), ImageFormat::Webp),
            _ => (gif_of(&[DynamicImage::from(noise(24, 24)).to_rgba8()]), ImageFormat::Gif),
        };
        let at = at % file.len();
        file[at] = byte;
        file.truncate(cut.max(1));
        if let Ok(head) = head(&file, format) && head.cost < 100_000_000 {
            let _ = fitted(&file, format, head);
        }
    }
}

#[test]
fn a_gif_whose_pictures_are_larger_than_itself_takes_no_more_memory_than_it_says() {
    let of_picture = |width: u16, height: u16| {
        let [a, b] = width.to_le_bytes();
        let [c, d] = height.to_le_bytes();
        [b',', 0, 0, 0, 0, a, b, c, d, 0, 2, 3, 0x44, 2, 5, 0]
    };
    let file = |first: (u16, u16), second: (u16, u16)| {
        let head = *b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff";
        [&head[..], &of_picture(first.0, first.1), &of_picture(second.0, second.1), b";"].concat()
    };
    let whole = file((2, 2), (2, 2));
    assert!(matches!(fit(&whole, ImageFormat::Gif), Ok(Some(_))), "the first picture");
    for broken in [file((40_000, 3_000), (2, 2)), file((2, 2), (40_000, 3_000))] {
        let taken = allocation_counter::measure(|| drop(fit(&broken, ImageFormat::Gif)));
        assert!(taken.bytes_max < 8 * 1024 * 1024, "{taken:?}");
    }
}
