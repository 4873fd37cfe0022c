//! What a file is, by its content. What the client or a server calls it does not count.

use crate::turn::ImageFormat;

/// What Claude takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image.
    Image(ImageFormat),
    /// A PDF.
    Pdf,
    /// Text in UTF-8, and nothing that marks it as anything else.
    Text,
}

/// What a file that only begins like one of these is not called.
const TAKEN: [&str; 5] = ["application/pdf", "image/gif", "image/jpeg", "image/png", "image/webp"];

/// What a file is. Otherwise what it seems to be (`video/mp4`), where that can be told.
///
/// The marks are those of the formats themselves, in full: shorter ones, as some detectors look for, would take a text
/// about BMW for an image.
pub fn of(bytes: &[u8]) -> Result<Kind, Option<&'static str>> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Kind::Image(ImageFormat::Png)),
        [0xff, 0xd8, 0xff, ..] => Ok(Kind::Image(ImageFormat::Jpeg)),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Kind::Image(ImageFormat::Gif)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            Ok(Kind::Image(ImageFormat::Webp))
        }
        [b'%', b'P', b'D', b'F', b'-', ..] => Ok(Kind::Pdf),
        _ if !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok() => Ok(Kind::Text),
        _ => Err(infer::get(bytes).map(|found| found.mime_type()).filter(|found| !TAKEN.contains(found))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(b"\x89PNG\r\n\x1a\nrest", Ok(Kind::Image(ImageFormat::Png)))]
    #[case(b"\xff\xd8\xff\xe0", Ok(Kind::Image(ImageFormat::Jpeg)))]
    #[case(b"GIF87a", Ok(Kind::Image(ImageFormat::Gif)))]
    #[case(b"GIF89a<script>alert(1)</script>", Ok(Kind::Image(ImageFormat::Gif)))]
    #[case(b"RIFF\0\0\0\0WEBPVP8 ", Ok(Kind::Image(ImageFormat::Webp)))]
    #[case(b"%PDF-1.7\nPK\x03\x04", Ok(Kind::Pdf))]
    #[case(b"BMW is a maker of cars", Ok(Kind::Text))]
    #[case(b"GIF is a format", Ok(Kind::Text))]
    #[case(b"\xef\xbb\xbfwith a mark", Ok(Kind::Text))]
    #[case(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Ok(Kind::Text))]
    #[case(b"", Ok(Kind::Text))]
    #[case(b"\x89PNG\r\n", Err(None))]
    #[case(b"a\0b", Err(None))]
    #[case(b"\xffa\0", Err(None))]
    #[case(b"RIFF\0\0\0\0WAVE", Err(Some("audio/x-wav")))]
    #[case(b"PK\x03\x04\0\0\0\0\0\0", Err(Some("application/zip")))]
    #[case(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", Err(Some("image/avif")))]
    fn the_content_decides(#[case] bytes: &[u8], #[case] kind: Result<Kind, Option<&'static str>>) {
        assert_eq!(of(bytes), kind);
    }
}
