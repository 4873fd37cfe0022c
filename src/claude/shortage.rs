//! What the system is short of, where an error of its own says so.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// What the system is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Descriptors: all that this process, or the system, may have are open.
    Descriptors,
    /// Processes and threads: no more may be started.
    Processes,
    /// Memory.
    Memory,
    /// Room on a disk, or in somebody's part of it.
    Disk,
}

impl Shortage {
    /// What an error of the system says, or one that was made of it.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            let errno = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
            match errno {
                Some(Errno::MFILE | Errno::NFILE) => return Some(Self::Descriptors),
                Some(Errno::AGAIN) => return Some(Self::Processes),
                Some(Errno::NOMEM) => return Some(Self::Memory),
                Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return Some(Self::Disk),
                _ => next = error.source(),
            }
        }
        None
    }
}

/// An error of the system, with what it was about.
#[derive(Debug, thiserror::Error)]
#[error("{about}: {source}")]
struct About {
    about: String,
    source: io::Error,
}

/// The same error with what it is about in front, still to be known by [`Shortage::of`].
#[must_use]
pub fn about(about: String, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), About { about, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Errno::MFILE, Some(Shortage::Descriptors))]
    #[case(Errno::NFILE, Some(Shortage::Descriptors))]
    #[case(Errno::AGAIN, Some(Shortage::Processes))]
    #[case(Errno::NOMEM, Some(Shortage::Memory))]
    #[case(Errno::NOSPC, Some(Shortage::Disk))]
    #[case(Errno::DQUOT, Some(Shortage::Disk))]
    #[case(Errno::NOENT, None)]
    fn it_is_known_by_the_number_also_where_more_is_said(
        #[case] errno: Errno,
        #[case] shortage: Option<Shortage>,
    ) {
        assert_eq!(Shortage::of(&errno.into()), shortage);
        let told = about("`claude --help`".to_owned(), errno.into());
        assert_eq!(Shortage::of(&told), shortage);
        assert_eq!(told.kind(), io::Error::from(errno).kind());
        assert!(told.to_string().starts_with("`claude --help`: "), "{told}");
        assert_eq!(Shortage::of(&io::Error::other("no number")), None);
    }
}
