//! Lines of a byte stream, with a limit on their length.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is read. The largest frame of a real answer, a finished message of 128,000 tokens, has well
/// under 2 MiB.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// The size of the buffer while lines trickle, in bytes: some ten deltas.
const TRICKLE: usize = 4 * 1024;

/// The size up to which the buffer grows when lines come in bursts, in bytes. What a longer line has taken beyond it is
/// given back after the line.
const BURST: usize = 32 * 1024;

/// Reads lines, never more than [`MAX_LINE`] (or the limit given) bytes each.
///
/// Lines are handed out where they were read to, without a copy.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The line that was handed out last.
    line: Range<usize>,
    /// Where in the buffer that begins which was not handed out.
    rest: usize,
    /// Up to where the rest is known to have no line end.
    searched: usize,
    /// How much the last read brought, and whether there was room for more.
    last_read: usize,
    was_filled: bool,
    limit: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader with the limit [`MAX_LINE`].
    pub fn new(input: R) -> Self {
        Self::with_limit(input, MAX_LINE)
    }

    /// A reader with a limit of its own, in bytes.
    pub fn with_limit(input: R, limit: usize) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            line: 0..0,
            rest: 0,
            searched: 0,
            last_read: 0,
            was_filled: false,
            limit,
        }
    }

    /// The next line that is not empty, without its line end (`\n` or `\r\n`); `None` at the end. A last line without
    /// a line end was cut off in the middle and is not handed out. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When reading fails, and `InvalidData` for a line beyond the limit; after that the stream is of no use.
    pub async fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        while !self.take_buffered()? {
            self.make_room();
            let room = self.buffer.capacity() - self.buffer.len();
            self.last_read = self.input.read_buf(&mut self.buffer).await?;
            self.was_filled = self.last_read == room;
            if self.last_read == 0 {
                return Ok(None);
            }
        }
        Ok(Some(self.current()))
    }
}

impl<R> LineReader<R> {
    /// Goes on to the next line if all of it was read already; it is [`LineReader::current`] then.
    ///
    /// # Errors
    /// As [`LineReader::next_line`].
    pub fn take_buffered(&mut self) -> io::Result<bool> {
        loop {
            let end = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|at| self.searched + at);
            let line = self.rest..end.unwrap_or(self.buffer.len());
            if line.len() > self.limit {
                let message = format!("a line is longer than {} bytes", self.limit);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let Some(end) = end else {
                self.searched = self.buffer.len();
                return Ok(false);
            };
            self.rest = end + 1;
            self.searched = self.rest;
            self.line = line.start..end - usize::from(self.buffer[line].ends_with(b"\r"));
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line that was read last; empty before the first.
    pub fn current(&self) -> &[u8] {
        &self.buffer[self.line.clone()]
    }

    /// Drops what was handed out, and fits the buffer to how lines come.
    fn make_room(&mut self) {
        self.buffer.drain(..self.rest);
        self.searched -= self.rest;
        (self.rest, self.line) = (0, 0..0);
        let (length, capacity) = (self.buffer.len(), self.buffer.capacity());
        let wanted = if self.was_filled && 2 * length > capacity {
            // What is beyond the limit need not be read to be refused.
            (2 * capacity).min(self.limit + TRICKLE)
        } else if capacity > BURST && 2 * length <= BURST {
            BURST
        } else if self.was_filled {
            capacity.max(BURST.min(2 * capacity))
        } else if length == 0 && self.last_read < TRICKLE / 2 {
            TRICKLE
        } else {
            capacity
        };
        let wanted = wanted.max(TRICKLE);
        if wanted > capacity {
            self.buffer.reserve_exact(wanted - length);
        } else {
            self.buffer.shrink_to(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::ReadBuf;

    /// Bytes that come in pieces of a size.
    struct InPieces<'a> {
        bytes: &'a [u8],
        size: usize,
    }

    impl AsyncRead for InPieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let (piece, rest) = self.bytes.split_at(self.size.min(self.bytes.len()).min(into.remaining()));
            into.put_slice(piece);
            self.bytes = rest;
            Poll::Ready(Ok(()))
        }
    }

    async fn lines_of(bytes: &[u8], size: usize, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut reader = LineReader::with_limit(InPieces { bytes, size }, limit);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().await? {
            lines.push(line.to_vec());
        }
        Ok(lines)
    }

    #[tokio::test]
    async fn line_ends_of_both_kinds_and_empty_lines_are_taken() {
        let lines = lines_of(b"a\r\n\n\r\nb\nc\rd\n", 3, 100).await.unwrap();
        assert_eq!(lines, [&b"a"[..], b"b", b"c\rd"]);
    }

    #[tokio::test]
    async fn a_last_line_without_an_end_is_not_handed_out() {
        assert_eq!(lines_of(b"whole\nhal", 64, 100).await.unwrap(), [b"whole"]);
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_an_error_and_memory_stays_bounded() {
        let error = lines_of(&[b'x'; 5000], 64, 1000).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(lines_of(&[&[b'x'; 1000][..], b"\n"].concat(), 64, 1000).await.is_ok());
    }

    #[tokio::test]
    async fn a_read_that_is_given_up_half_way_loses_nothing() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut reader = LineReader::new(reader);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"first ha").await.unwrap();
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(20), reader.next_line()).await;
        assert!(given_up.is_err());
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"lf\n").await.unwrap();
        assert_eq!(reader.next_line().await.unwrap(), Some(&b"first half"[..]));
    }

    #[tokio::test]
    async fn the_buffer_grows_with_bursts_and_long_lines_and_gives_back_what_they_took() {
        let long = ["x".repeat(300_000), "\n".to_owned()].concat().into_bytes();
        let bytes = [b"short\n".repeat(20_000), long, b"last\n".to_vec()].concat();
        let mut reader = LineReader::new(InPieces { bytes: &bytes, size: usize::MAX });
        let mut capacities = Vec::new();
        while reader.next_line().await.unwrap().is_some() {
            capacities.push(reader.buffer.capacity());
        }
        assert_eq!(capacities[..20_000].iter().max(), Some(&BURST));
        assert!(capacities[20_000] < MAX_LINE / 16, "{}", capacities[20_000]);
        assert_eq!(reader.buffer.capacity(), BURST, "at the end");
    }

    proptest! {
        #[test]
        fn where_reads_are_split_does_not_matter(
            lines in prop::collection::vec("[^\n\r]{1,30}", 0..10), chunk in 1_usize..40
        ) {
            let bytes: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(lines_of(&bytes, chunk, 1000)).unwrap();
            let sent: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(read, sent);
        }
    }
}
