//! The HTTP side, as far as no real CLI is needed.

mod bodies;
mod entrance;
mod image_urls;
mod media;
mod messages;
mod requests;
// It looks at processes in /proc.
#[cfg(target_os = "linux")]
mod several;
