//! Images and files on their way to the model: from what the client sent to what passes the CLI unchanged.
//!
//! - [`data_url`], [`address`], [`network`], [`fetch`]: to the bytes, in the request or behind a URL.
//! - [`kind`]: what they are, by their content.
//! - [`limits`], [`scale`], [`cache`]: images that pass as they are, or are made to.
//! - [`failure`]: what is wrong with which field.
//!
//! [`Intake`] is the whole of it, as the endpoints see it.

pub mod address;
pub mod cache;
pub mod data_url;
pub mod failure;
pub mod fetch;
pub mod kind;
pub mod limits;
pub mod network;
pub mod scale;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::turn::{Declared, ImageFormat, Media, MediaData, MediaSource, Turn, is_blank};
use cache::Cache;
use data_url::Broken;
use failure::{MediaFailure, Problem};
use fetch::Fetcher;
use kind::Kind;
use network::{Internet, Network};

/// Images and files of one request that are worked on at once.
const AT_ONCE: usize = 4;

/// Bytes that all images together may take while they are decoded, in units of [`UNIT`].
const MEMORY_UNITS: u32 = 512;

/// One MiB.
const UNIT: u64 = 1024 * 1024;

/// What is done with images by https.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageUrls {
    /// They are fetched here.
    #[default]
    Fetch,
    /// Their URLs are handed on, and Anthropic fetches them.
    Pass,
    /// They are refused.
    Refuse,
}

/// How [`Intake`] works.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// What is done with images by https.
    pub image_urls: ImageUrls,
    /// How hosts are reached.
    pub network: Arc<dyn Network>,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self { image_urls: ImageUrls::default(), network: Arc::new(Internet) }
    }
}

/// Makes images and files ready for the model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    image_urls: ImageUrls,
    fetcher: Fetcher,
    cache: Cache,
    /// One place for each core: more work at once would only slow down what else the server does.
    cores: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Intake {
    /// Makes ready.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: MediaSettings) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Inner {
            image_urls: settings.image_urls,
            fetcher: Fetcher::new(settings.network)?,
            cache: Cache::default(),
            cores: Arc::new(Semaphore::new(cores)),
            memory: Arc::new(Semaphore::new(MEMORY_UNITS as usize)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a turn ready: what its images and files are is known afterwards, and they pass the CLI unchanged.
    ///
    /// # Errors
    /// When one cannot be had or is nothing for Claude; the first of them in the request's order.
    pub async fn prepare(&self, turn: Turn<MediaSource>) -> Result<Turn, MediaFailure> {
        let mut sources = Vec::new();
        let turn = turn.map_media(|source| {
            sources.push(source);
            sources.len() - 1
        });
        if sources.len() > limits::MAX_ITEMS {
            return Err(Problem::TooMany { count: sources.len() }.of("messages"));
        }
        let ready = stream::iter(sources).map(|source| self.inner.ready(source)).buffered(AT_ONCE);
        let ready: Vec<Media> = ready.try_collect().await?;
        if ready.iter().map(base64_length).sum::<usize>() > limits::MAX_BASE64 {
            return Err(Problem::TooMuch.of("messages"));
        }
        Ok(turn.map_media(|index| ready[index].clone()))
    }
}

fn base64_length(media: &Media) -> usize {
    match media {
        Media::Image { bytes, .. } | Media::Pdf { bytes, .. } => limits::base64_length(bytes.len()),
        Media::ImageUrl(_) | Media::Text { .. } => 0,
    }
}

/// A file whose kind is known.
enum Seen {
    Image(ImageFormat, Bytes),
    Whole(Media),
}

impl Inner {
    async fn ready(&self, source: MediaSource) -> Result<Media, MediaFailure> {
        let MediaSource { field, declared, data } = source;
        self.media(declared, data).await.map_err(|problem| problem.of(&field))
    }

    async fn media(&self, declared: Declared, data: MediaData) -> Result<Media, Problem> {
        let is_data = |url: &str| url.trim_start().get(..5).is_some_and(|s| s.eq_ignore_ascii_case("data:"));
        let seen = match data {
            MediaData::Url(url) if !is_data(&url) => {
                let bytes = match self.image_urls {
                    ImageUrls::Fetch => {
                        self.fetcher.fetch(&url, limits::MAX_FETCHED).await.map_err(Problem::Fetch)?
                    }
                    // Where Anthropic is to fetch images, files are not handed on: what they are would not be known.
                    ImageUrls::Pass if declared != Declared::Image => return Err(Problem::UrlsOff),
                    ImageUrls::Pass => {
                        address::check(&url)?;
                        return Ok(Media::ImageUrl(url));
                    }
                    ImageUrls::Refuse => return Err(Problem::UrlsOff),
                };
                look_at(bytes, declared, None)
            }
            MediaData::Text(text) => look_at(text.into(), declared, None),
            MediaData::Url(url) => {
                self.work(move || {
                    let bytes = data_url::bytes_of_url(&url).map_err(|broken| match broken {
                        Broken::Form => Problem::DataUrl,
                        Broken::Base64 => Problem::Base64,
                    })?;
                    look_at(bytes.into(), declared, data_url::declared_type(&url).as_deref())
                })
                .await?
            }
            MediaData::Base64(text) => {
                self.work(move || {
                    let bytes = data_url::bytes_of_base64(&text).map_err(|_| Problem::Base64)?;
                    look_at(bytes.into(), declared, None)
                })
                .await?
            }
        };
        match seen? {
            Seen::Whole(media) => Ok(media),
            Seen::Image(format, bytes) => self.image(format, bytes).await,
        }
    }

    async fn image(&self, format: ImageFormat, bytes: Bytes) -> Result<Media, Problem> {
        let head = scale::head(&bytes, format)?;
        let units = u32::try_from(head.cost.div_ceil(UNIT)).unwrap_or(MEMORY_UNITS).min(MEMORY_UNITS);
        let original = bytes.clone();
        let hashed = self.work(move || cache::key(&original)).await?;
        let fitted = if let Some(fitted) = self.cache.get(&hashed) {
            fitted
        } else {
            let memory = Arc::clone(&self.memory).acquire_many_owned(units).await;
            let original = bytes.clone();
            let fitted = self.work(move || {
                let _memory = memory;
                scale::fitted(&original, format, head)
            });
            let fitted = fitted.await??;
            self.cache.keep(hashed, fitted.clone());
            fitted
        };
        let (format, bytes) = fitted.unwrap_or((format, bytes));
        Ok(Media::Image { format, bytes })
    }

    /// Runs work for the processor where it holds nobody up. Work that has begun is done even if the client goes away, so
    /// its place goes with it.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let work = tokio::task::spawn_blocking(move || {
            let _core = core;
            work()
        });
        work.await.map_err(|_panicked| Problem::Internal)
    }
}

/// Finds out what a file is, and whether Claude takes it where it stands. `announced` is the media type the client gave.
fn look_at(bytes: Bytes, declared: Declared, announced: Option<&str>) -> Result<Seen, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    let (unfit, is_image, title): (fn(_) -> Problem, bool, Option<String>) = match declared {
        Declared::Image => (Problem::NoImage, true, None),
        Declared::File { name } => (Problem::NoFile, false, name),
    };
    match kind::of(&bytes).map_err(unfit)? {
        Kind::Image(format) => Ok(Seen::Image(format, bytes)),
        Kind::Pdf => Ok(Seen::Whole(Media::Pdf { title, bytes })),
        // An image that is written as text (SVG) is none to Claude, which would read its source without a word.
        Kind::Text if is_image || announced.is_some_and(|kind| kind.starts_with("image/")) => {
            Err(unfit(Some("text")))
        }
        Kind::Text => {
            let text = String::from_utf8(bytes.into()).map_err(|_| unfit(None))?;
            if is_blank(&text) {
                return Err(Problem::Blank);
            }
            Ok(Seen::Whole(Media::Text { title, text }))
        }
    }
}
