//! Bytes and texts that come in pieces.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// The most pieces of a whole.
const MOST_PIECES: usize = 100;

/// Sizes from 1 up to a largest one, none of them chosen by whoever sends the bytes.
#[derive(Debug, Clone)]
pub struct Sizes {
    state: u64,
    largest: usize,
}

impl Sizes {
    /// The sizes that belong to a seed.
    #[must_use]
    pub fn of(seed: u8) -> Self {
        let largest = [1, 2, 7, 64, 300, 5000, 70_000, usize::MAX][usize::from(seed % 8)];
        Self { state: u64::from(seed) + 1, largest }
    }

    /// The next size.
    pub fn next_size(&mut self) -> usize {
        // Knuth's MMIX.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = usize::try_from(self.state >> 33).unwrap_or(usize::MAX);
        if self.largest == usize::MAX { usize::MAX } else { 1 + drawn % self.largest }
    }

    /// The bytes in pieces, not too many: who reads them may look at all there is for each of them.
    #[must_use]
    pub fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            if pieces.len() == MOST_PIECES {
                pieces.push(bytes);
                break;
            }
            let (piece, rest) = bytes.split_at(self.next_size().min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    /// A text in pieces.
    #[must_use]
    pub fn cut_text<'a>(&mut self, mut text: &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.ceil_char_boundary(self.next_size().min(text.len())));
            pieces.push(piece);
            text = rest;
        }
        pieces
    }
}

/// Bytes that come in pieces, then their end. Nobody has to wait for them.
#[derive(Debug)]
pub struct InPieces<'a> {
    /// What is still to come.
    pub bytes: &'a [u8],
    /// How much at once.
    pub sizes: Sizes,
}

impl AsyncRead for InPieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes.next_size().min(self.bytes.len()).min(into.remaining());
        let (piece, rest) = self.bytes.split_at(size);
        into.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}
