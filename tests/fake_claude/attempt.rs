//! Attempts at what a CLI has no business with, each told by its outcome: `done`, or the kind of error.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
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
    // From one place to another.
    let (from, to) = target.split_once(" -> ").unwrap_or((target, target));
    match what {
        "read" => fs::read(target).map(drop),
        "open" => fs::File::open(target).map(drop),
        "link" => fs::hard_link(from, to),
        "rename" => fs::rename(from, to),
        "link-and-read" => {
            symlink(from, to)?;
            fs::read(to).map(drop)
        }
        "open-to-all" => fs::set_permissions(target, fs::Permissions::from_mode(0o644)),
        "path-socket" => UnixStream::connect(target).map(drop),
        "path-datagram" => UnixDatagram::pair()?.0.send_to(b"x", target).map(drop),
        #[cfg(target_os = "linux")]
        "multipath-connect" | "fast-open" | "listen-without-a-name" => past_connect(what, number(target)?),
        #[cfg(target_os = "linux")]
        "limit" => {
            use rustix::process::{Resource, getrlimit, prlimit};
            let id = Pid::from_raw(target.parse().map_err(io::Error::other)?);
            prlimit(id, Resource::Core, getrlimit(Resource::Core)).map(drop).map_err(Into::into)
        }
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

/// Ways to a port that are neither `connect` of a TCP socket nor `bind`.
#[cfg(target_os = "linux")]
fn past_connect(what: &str, port: u16) -> io::Result<()> {
    use rustix::net::{AddressFamily, SendFlags, SocketType, connect, ipproto, listen, sendto, socket};
    /// `MSG_FASTOPEN`: what is sent goes with the opening of the connection.
    const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let protocol = (what == "multipath-connect").then_some(ipproto::MPTCP);
    let socket = socket(AddressFamily::INET, SocketType::STREAM, protocol)?;
    match what {
        "multipath-connect" => connect(&socket, &address)?,
        "fast-open" => drop(sendto(&socket, b"x", FAST_OPEN, &address)?),
        _ => listen(&socket, 1)?,
    }
    Ok(())
}
