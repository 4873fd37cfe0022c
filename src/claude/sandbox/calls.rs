//! Has the kernel refuse system calls that go past Landlock (seccomp).
//!
//! Landlock looks at files that are opened and at TCP; these calls reach other things, or the same by a way it does not
//! look at (each seen on Linux 6.18 with ABI 7). What is refused fails as Landlock has it fail, with `EACCES`.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Calls with these are refused; without any, all calls of that number.
type Cases = Vec<Vec<SeccompCondition>>;

/// Refused whatever their arguments are.
const ALWAYS: [i64; 21] = [
    // It opens and connects as these calls do, but no filter sees it.
    libc::SYS_io_uring_setup,
    // A port: also without a name, which Landlock would have to be asked for.
    libc::SYS_listen,
    // Keys and memory that programs of the same user share.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    // Whose a file is and what it is marked with: Landlock lets that be changed by name.
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // Ways into the kernel that a chat model has no need of.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
];

/// Calls that are too new for all tables of numbers; they have the same one on every processor.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;

/// The same where there are older calls as well.
#[cfg(target_arch = "x86_64")]
const OLDER: [i64; 2] = [libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: [i64; 0] = [];

/// Who may open a file to others: refused where no files are written, since a login must be kept private.
#[cfg(target_arch = "x86_64")]
const MODES: [i64; 3] = [libc::SYS_chmod, libc::SYS_fchmodat, FCHMODAT2];
#[cfg(not(target_arch = "x86_64"))]
const MODES: [i64; 2] = [libc::SYS_fchmodat, FCHMODAT2];

/// The kinds of sockets but streams and datagrams: raw, RDM, sequenced, DCCP, packet.
const RAW_AND_OTHER_KINDS: [i32; 5] = [3, 4, 5, 6, 10];

/// On x86-64 each call has a second number (x32) with this bit.
const X32: i64 = 0x4000_0000;

/// Has the calls refused in this thread and what it will start.
///
/// # Errors
/// When the kernel has no filters, or this program knows the processor's calls too little.
pub fn refuse(writes_files: bool) -> Result<(), Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(
        rules(writes_files)?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EACCES.unsigned_abs()),
        arch,
    )?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}

fn rules(writes_files: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let modes: &[i64] = if writes_files { &[] } else { &MODES };
    let mut calls: Vec<(i64, Cases)> =
        ALWAYS.iter().chain(&OLDER).chain(modes).map(|call| (*call, Vec::new())).collect();
    calls.push((libc::SYS_socket, sockets()?));
    // A pair that takes names can write to any socket that has one.
    let pair = |kind| Ok::<_, BackendError>(vec![is_kind(1, kind)?]);
    calls.push((libc::SYS_socketpair, vec![pair(libc::SOCK_DGRAM)?, pair(libc::SOCK_SEQPACKET)?]));
    // Fast Open connects without being asked.
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        calls.push((call, vec![vec![has(flags, libc::MSG_FASTOPEN)?]]));
    }
    // Limits and turns of other processes; nought stands for oneself.
    calls.push((libc::SYS_prlimit64, vec![vec![is_not(0, 0)?]]));
    calls.push((libc::SYS_setpriority, vec![vec![is_not(1, 0)?]]));
    let numbers: &[i64] = if cfg!(target_arch = "x86_64") { &[0, X32] } else { &[0] };
    let mut rules = BTreeMap::new();
    for (call, cases) in calls {
        for bit in numbers {
            let cases = cases.iter().map(|case| SeccompRule::new(case.clone()));
            rules.insert(call | bit, cases.collect::<Result<Vec<_>, _>>()?);
        }
    }
    Ok(rules)
}

/// All but TCP and UDP, and what tells the addresses of this machine: sockets with a path, Multipath TCP, raw sockets.
fn sockets() -> Result<Cases, BackendError> {
    let (family, protocol) = (0, 2);
    let no_netlink = || is_not(family, libc::AF_NETLINK);
    let mut cases =
        vec![vec![is_not(family, libc::AF_INET)?, is_not(family, libc::AF_INET6)?, no_netlink()?]];
    for kind in RAW_AND_OTHER_KINDS {
        cases.push(vec![no_netlink()?, is_kind(1, kind)?]);
    }
    cases.push(vec![
        no_netlink()?,
        is_not(protocol, 0)?,
        is_not(protocol, libc::IPPROTO_TCP)?,
        is_not(protocol, libc::IPPROTO_UDP)?,
    ]);
    cases.push(vec![is(family, libc::AF_NETLINK)?, is_not(protocol, libc::NETLINK_ROUTE)?]);
    Ok(cases)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.unsigned_abs().into())
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn has(argument: u8, flag: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::MaskedEq(flag.unsigned_abs().into()), flag)
}

/// The kind of a socket, whatever else is said of it.
fn is_kind(argument: u8, kind: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::MaskedEq(0xf), kind)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn every_call_has_its_second_number_where_there_is_one() {
        for writes_files in [true, false] {
            let rules = rules(writes_files).unwrap();
            let second = rules.keys().filter(|call| **call & X32 != 0).count();
            let expected = if cfg!(target_arch = "x86_64") { rules.len() / 2 } else { 0 };
            assert_eq!(second, expected);
            assert_eq!(rules.contains_key(&libc::SYS_fchmodat), !writes_files);
        }
    }

    #[test]
    fn tcp_and_udp_are_open_and_sockets_with_a_path_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // A filter holds for its thread.
        let tried = std::thread::spawn(move || {
            refuse(false).unwrap();
            let refused = |kind| kind == std::io::ErrorKind::PermissionDenied;
            let folder = std::env::temp_dir().join("couplet-no-socket");
            assert!(refused(UnixStream::connect(&folder).unwrap_err().kind()));
            assert!(refused(UnixDatagram::pair().unwrap_err().kind()));
            assert!(refused(TcpListener::bind("127.0.0.1:0").unwrap_err().kind()));
            // What the CLI and the C library make.
            UnixStream::pair().unwrap();
            UdpSocket::bind("127.0.0.1:0").unwrap();
            TcpStream::connect(address).unwrap();
        });
        tried.join().unwrap();
    }
}
