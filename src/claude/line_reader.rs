//! Lines of a byte stream, with a limit on their length.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is read. The largest frame of a real answer, a finished message of 128,000 tokens, has well
/// under 2 MiB.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// A line buffer that has grown beyond this is given back after the line.
const KEEP: usize = 256 * 1024;

/// Reads lines, never more than [`MAX_LINE`] (or the limit given) bytes each.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    line: Vec<u8>,
    /// Whether `line` was handed out and is to be dropped before the next.
    taken: bool,
    limit: usize,
}

impl<R: AsyncBufRead + Unpin> LineReader<R> {
    /// A reader with the limit [`MAX_LINE`].
    pub fn new(input: R) -> Self {
        Self::with_limit(input, MAX_LINE)
    }

    /// A reader with a limit of its own, in bytes.
    pub fn with_limit(input: R, limit: usize) -> Self {
        Self { input, line: Vec::new(), taken: false, limit }
    }

    /// The next line that is not empty, without its line end (`\n` or `\r\n`); `None` at the end. A last line without
    /// a line end was cut off in the middle and is not handed out. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When reading fails, and `InvalidData` for a line beyond the limit; after that the stream is of no use.
    pub async fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.taken) {
            self.line.clear();
            self.line.shrink_to(KEEP);
        }
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let (piece, consumed) =
                end.map_or((available, available.len()), |end| (&available[..end], end + 1));
            if self.line.len() + piece.len() > self.limit {
                let message = format!("a line is longer than {} bytes", self.limit);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.line.extend_from_slice(piece);
            self.input.consume(consumed);
            if end.is_some() {
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
                if !self.line.is_empty() {
                    self.taken = true;
                    return Ok(Some(&self.line));
                }
            }
        }
    }
}

impl<R> LineReader<R> {
    /// The line that was read last; empty before the first.
    pub fn current(&self) -> &[u8] {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::BufReader;

    async fn lines_of(bytes: &[u8], chunk: usize, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        // The buffer's capacity decides where reads are split.
        let mut reader = LineReader::with_limit(BufReader::with_capacity(chunk.max(1), bytes), limit);
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
        let mut reader = LineReader::new(BufReader::new(reader));
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"first ha").await.unwrap();
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(20), reader.next_line()).await;
        assert!(given_up.is_err());
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"lf\n").await.unwrap();
        assert_eq!(reader.next_line().await.unwrap(), Some(&b"first half"[..]));
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
