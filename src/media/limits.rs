//! What passes the CLI and Anthropic's API as it is.
//!
//! The CLI scales and recodes images, adds a line of its own to the text about it, and drops what is too many, all without
//! a word to the client. Whatever keeps to these limits it leaves alone; they hold in questions, history and tool
//! results alike. Found with release 2.1.329 by trying both sides of each limit; `tests/it/real_cli/media.rs` does so
//! again.

/// The longest side of an image, in pixels. Anthropic's API has the same limit for requests with more than 20 images.
pub const MAX_SIDE: u32 = 2000;

/// The largest image in patches of 28 × 28 pixels, which is what the newest models are charged by. The limit is that of
/// models since Opus 4.7; the CLI has none for older ones, whose API scales further down by itself.
pub const MAX_PATCHES: u32 = 4784;

/// The side of a patch, in pixels.
const PATCH: u32 = 28;

/// The largest image file, in bytes. What is larger the CLI makes a JPEG of.
pub const MAX_IMAGE_BYTES: usize = 512_000;

/// The most images and documents in a request: Anthropic's limit for most models. The CLI would drop the oldest beyond it.
pub const MAX_ITEMS: usize = 100;

/// The most base64 characters of images and PDFs in a request, together: 24 MiB. Read from the CLI, which beyond it drops
/// the oldest when it talks to Anthropic itself.
pub const MAX_BASE64: usize = 24 * 1024 * 1024;

/// The most pixels of an image that is decoded at all: some 50 million, what the largest cameras of phones make.
pub const MAX_PIXELS: u64 = 48 * 1024 * 1024;

/// The largest file that is fetched, in bytes.
pub const MAX_FETCHED: usize = 20 * 1024 * 1024;

/// Whether an image of this size passes as it is.
#[must_use]
pub fn passes(width: u32, height: u32, bytes: usize) -> bool {
    bytes <= MAX_IMAGE_BYTES && fits(width, height)
}

fn fits(width: u32, height: u32) -> bool {
    let patches = u64::from(width.div_ceil(PATCH)) * u64::from(height.div_ceil(PATCH));
    width.max(height) <= MAX_SIDE && patches <= u64::from(MAX_PATCHES)
}

/// The largest size of the same shape that fits, at least one pixel each way and never larger than it was.
#[must_use]
pub fn largest_fit(width: u32, height: u32) -> (u32, u32) {
    let long = width.max(height).max(1);
    let scaled = |side: u32| (scale(width, side, long), scale(height, side, long));
    let fits = |side: u32| {
        let (width, height) = scaled(side);
        fits(width, height)
    };
    let (mut good, mut bad) = (1, long.min(MAX_SIDE) + 1);
    while good + 1 < bad {
        let middle = u32::midpoint(good, bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    scaled(good)
}

/// `side` of an image whose `long` side is to become `target`, rounded.
fn scale(side: u32, target: u32, long: u32) -> u32 {
    let scaled = (u64::from(side) * u64::from(target) + u64::from(long) / 2) / u64::from(long);
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}

/// The length of `bytes` bytes in base64.
#[must_use]
pub fn base64_length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(2000, 1848, 512_000, true)]
    #[case(2000, 1849, 1, false)]
    #[case(1932, 1932, 1, true)]
    #[case(1933, 1932, 1, false)]
    #[case(2001, 10, 1, false)]
    #[case(10, 2001, 1, false)]
    #[case(8, 8, 512_001, false)]
    fn the_limits_are_where_the_cli_has_them(
        #[case] width: u32,
        #[case] height: u32,
        #[case] bytes: usize,
        #[case] pass: bool,
    ) {
        assert_eq!(passes(width, height, bytes), pass);
    }

    #[rstest]
    #[case((2000, 2000), (1932, 1932))]
    #[case((4000, 3000), (2000, 1500))]
    #[case((3000, 4000), (1500, 2000))]
    #[case((50_000_000, 1), (2000, 1))]
    #[case((640, 480), (640, 480))]
    #[case((1, 1), (1, 1))]
    fn the_largest_fit_keeps_the_shape(#[case] from: (u32, u32), #[case] to: (u32, u32)) {
        assert_eq!(largest_fit(from.0, from.1), to);
    }

    proptest! {
        #[test]
        fn what_was_fitted_fits_and_what_fits_stays(width in 1u32..70_000, height in 1u32..70_000) {
            let (w, h) = largest_fit(width, height);
            prop_assert!(fits(w, h) && w <= width && h <= height && w > 0 && h > 0);
            prop_assert_eq!(largest_fit(w, h), (w, h));
            if fits(width, height) {
                prop_assert_eq!((w, h), (width, height));
            }
        }
    }
}
