//! The HTTP side, as far as no model is needed.

mod entrance;
mod image_urls;
mod media;
mod messages;
mod requests;
