//! What became of images that were looked at before.
//!
//! A chat sends its images again with every turn, and looking at a large one takes a good part of a second.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::turn::ImageFormat;

/// How many images are remembered. A scaled one holds up to half a megabyte, others nothing but their hash.
const KEPT: usize = 64;

/// Which image it is, by its content: two clients with the same key sent the same bytes.
pub type Key = [u8; 32];

/// An image that passes as it is (`None`), or what passes in its place.
pub type Fitted = Option<(ImageFormat, Bytes)>;

/// The last images, the newest at the end.
#[derive(Debug, Default)]
pub struct Cache {
    kept: Mutex<VecDeque<(Key, Fitted)>>,
}

/// The key of an image.
#[must_use]
pub fn key(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

impl Cache {
    /// What became of an image, if that is remembered.
    pub fn get(&self, key: &Key) -> Option<Fitted> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|(known, _)| known == key)?;
        let found = kept.remove(index)?;
        let fitted = found.1.clone();
        kept.push_back(found);
        Some(fitted)
    }

    /// Remembers what became of an image.
    pub fn keep(&self, key: Key, fitted: Fitted) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != key);
        kept.push_back((key, fitted));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_that_were_used_last_are_remembered() {
        let cache = Cache::default();
        let keys: Vec<Key> = (0..=KEPT).map(|number| key(&number.to_le_bytes())).collect();
        for key in &keys[..KEPT] {
            cache.keep(*key, None);
        }
        let scaled = Some((ImageFormat::Png, Bytes::from_static(b"x")));
        cache.keep(keys[0], scaled.clone());
        cache.keep(keys[KEPT], None);
        assert_eq!(cache.get(&keys[0]), Some(scaled));
        assert_eq!(cache.get(&keys[1]), None);
        assert_eq!(cache.get(&keys[2]), Some(None));
    }
}
