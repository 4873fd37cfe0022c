//! Whatever is sent as a file: what it is, and images that pass the CLI afterwards.

#![no_main]

use couplet::media::kind::{self, Kind};
use couplet::media::limits::{self, MAX_IMAGE_BYTES};
use couplet::media::scale;
use libfuzzer_sys::fuzz_target;

/// Images that take more to decode are left out: they take seconds, and nothing else. The bound itself is 48 million pixels.
const LARGEST: u64 = 6 * 1024 * 1024;

fuzz_target!(|bytes: &[u8]| {
    // The size alone: the first bytes as one.
    if let Some((&sides, _)) = bytes.split_first_chunk::<8>() {
        expect_fit(
            u32::from_le_bytes([sides[0], sides[1], sides[2], sides[3]]),
            u32::from_le_bytes([sides[4], sides[5], 0, 0]),
        );
    }
    let format = match kind::of(bytes) {
        Ok(Kind::Image(format)) => format,
        Ok(Kind::Text) => return assert!(std::str::from_utf8(bytes).is_ok()),
        Ok(Kind::Pdf) | Err(_) => return,
    };
    let Ok(head) = scale::head(bytes, format) else { return };
    if head.cost > LARGEST {
        return;
    }
    let Ok(Some((format, fitted))) = scale::fitted(bytes, format, head) else { return };
    assert!(fitted.len() <= MAX_IMAGE_BYTES);
    assert_eq!(kind::of(&fitted), Ok(Kind::Image(format)));
    let head = scale::head(&fitted, format).expect("it is an image");
    assert_eq!(scale::fitted(&fitted, format, head), Ok(None), "it passes");
});

fn expect_fit(width: u32, height: u32) {
    for (width, height) in [(width.max(1), height.max(1)), (height.max(1), width.max(1))] {
        let (fit_width, fit_height) = limits::largest_fit(width, height);
        assert!(limits::passes(fit_width, fit_height, 0), "{width} x {height}");
        assert!(fit_width >= 1 && fit_width <= width && fit_height >= 1 && fit_height <= height);
        if limits::passes(width, height, 0) {
            assert_eq!((fit_width, fit_height), (width, height), "it stays as it is");
        }
    }
}
