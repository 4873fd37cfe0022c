//! Why a request's images and files cannot go to the model.

use super::address::Refusal;
use super::fetch::FetchFailure;
use super::limits::{MAX_BASE64, MAX_ITEMS, MAX_PIXELS};

/// What is wrong, and with which field of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{field}' {problem}.")]
pub struct MediaFailure {
    /// The field, as `messages[1].content[0].image_url.url`; `messages` where it is all of them.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong. The texts go on where the field's name ends; nothing of the content is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Neither `data:` nor a URL that may be fetched.
    #[error("{0}")]
    Url(#[from] Refusal),
    /// A URL where the operator wants none.
    #[error("must be a data: URL: this server fetches no images")]
    UrlsOff,
    /// No `data:` URL.
    #[error("is no valid data: URL")]
    DataUrl,
    /// No base64.
    #[error("is not valid base64")]
    Base64,
    /// It could not be fetched.
    #[error("{0}")]
    Fetch(FetchFailure),
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// Text of nothing but white space.
    #[error("holds nothing but white space")]
    Blank,
    /// An image was announced, something else came.
    #[error("must hold a PNG, JPEG, GIF or WebP image, or a PDF{}", but_not(*.0))]
    NoImage(Option<&'static str>),
    /// A file of a kind that Claude does not take.
    #[error("must hold a PDF, text in UTF-8, or a PNG, JPEG, GIF or WebP image{}", but_not(*.0))]
    NoFile(Option<&'static str>),
    /// An image that cannot be read.
    #[error("holds an image that is damaged")]
    Damaged,
    /// An image too large to look into.
    #[error("holds an image of {width} x {height} pixels; {} million are the limit", MAX_PIXELS / 1_000_000)]
    TooManyPixels {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// More images and documents than Anthropic's API takes.
    #[error("hold {count} images and files; {MAX_ITEMS} are the limit")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// More bytes than the CLI passes on.
    #[error("hold more than {} MB of images and PDFs after scaling", MAX_BASE64 / 4 * 3 / 1_000_000)]
    TooMuch,
    /// Couplet itself failed.
    #[error("could not be looked into")]
    Internal,
}

fn but_not(found: Option<&'static str>) -> String {
    found.map(|kind| format!(", but holds {kind}")).unwrap_or_default()
}

impl Problem {
    /// The same with its field.
    #[must_use]
    pub fn of(self, field: &str) -> MediaFailure {
        MediaFailure { field: field.to_owned(), problem: self }
    }
}
