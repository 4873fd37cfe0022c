//! Has the kernel enforce rules.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use super::rules::Rules;
use super::{Support, calls};

/// The version of the interface that the rules were tried with; what a kernel lacks of it is left out.
const TRIED: ABI = ABI::V7;

/// What a folder to write in is for: files, folders and links, but no devices, sockets or programs.
fn writing() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
    })
}

/// Confines this thread, and what it will start.
pub fn confine(rules: &Rules) -> io::Result<()> {
    let status =
        enforce(rules).map_err(|error| io::Error::other(format!("it cannot be confined: {error}")))?;
    if rules.is_required && status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::Error::other(format!("it cannot be confined: {}", missing(status.landlock))));
    }
    match calls::refuse(rules.writes_files()) {
        // Where it is not required, what is confined is told without it ([`ask_kernel`]).
        Err(error) if rules.is_required => {
            Err(io::Error::other(format!("its system calls cannot be confined: {error}")))
        }
        _ => Ok(()),
    }
}

fn enforce(rules: &Rules) -> Result<RestrictionStatus, RulesetError> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let beneath = |paths: &BTreeSet<PathBuf>, access| path_beneath_rules(paths.clone(), access);
    Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::from_all(TRIED))?
        .create()?
        .add_rules(beneath(&rules.read, reading))?
        .add_rules(beneath(&rules.execute, reading | AccessFs::Execute))?
        .add_rules(beneath(&rules.write, writing()))?
        .add_rules(
            rules
                .connect
                .iter()
                .map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))),
        )?
        .restrict_self()
}

/// Tries it on a thread of its own, which ends at once: both hold for the thread that asks for them.
pub fn ask_kernel() -> Support {
    let tried = std::thread::Builder::new()
        .name("couplet-landlock".to_owned())
        .spawn(|| enforce(&Rules::default()).map(|status| (status, calls::refuse(false).is_ok())));
    match tried.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok((
            RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, kernel_abi }, .. },
            refuses_calls,
        )))) => {
            let abi = kernel_abi.and_then(|abi| abi.try_into().ok()).unwrap_or(effective_abi as u32);
            Support::Landlock { abi, refuses_calls }
        }
        Ok(Ok(Ok((status, _)))) => Support::Missing(missing(status.landlock)),
        _ => Support::Missing("the kernel refuses to set Landlock up"),
    }
}

fn missing(status: LandlockStatus) -> &'static str {
    match status {
        LandlockStatus::NotEnabled => {
            "Landlock is not switched on in this kernel (its parameter `lsm=` must list landlock)"
        }
        LandlockStatus::NotImplemented => {
            "this kernel has no Landlock (Linux has it since 5.13), or the container forbids it"
        }
        LandlockStatus::Available { .. } => "the kernel enforces none of the rules",
    }
}
