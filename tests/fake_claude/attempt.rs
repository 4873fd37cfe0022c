//! Attempts at what a CLI has no business with, each told by its outcome: `done`, or the kind of error.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::{fs, process};

use rustix::process::{Pid, test_kill_process};

/// The command that makes one.
pub const ATTEMPT: &str = "attempt";

/// Attempts `what` at `target`, and says what came of it.
pub fn attempt(what: &str, target: &str) -> String {
    match at(what, target) {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

#[expect(clippy::disallowed_types, reason = "what it starts ends before it does")]
fn at(what: &str, target: &str) -> io::Result<()> {
    let number = |text: &str| text.parse().map_err(io::Error::other);
    match what {
        "read" => fs::read(target).map(drop),
        "list" => fs::read_dir(target).map(drop),
        "write" => fs::write(target, "written"),
        "make-folder" => fs::create_dir(target),
        "run" => {
            process::Command::new(target).arg("--version").stdout(process::Stdio::null()).status().map(drop)
        }
        "connect" => TcpStream::connect(("127.0.0.1", number(target)?)).map(drop),
        "listen" => TcpListener::bind(("127.0.0.1", 0)).map(drop),
        "signal" => {
            let id = Pid::from_raw(target.parse().map_err(io::Error::other)?);
            test_kill_process(id.ok_or(io::ErrorKind::InvalidInput)?).map_err(Into::into)
        }
        #[cfg(target_os = "linux")]
        "abstract-socket" => {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::{SocketAddr, UnixStream};
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(target)?).map(drop)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
