//! Landlock: which files a child may use, which of TCP, and that it does not signal.

use super::{Entered, Role, SandboxError, resolver_directories};
use crate::{escape::escaped, sys::linux::landlock_abi};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};
use std::path::Path;

/// The newest version that the rules are written for; older kernels enforce what they know of it.
const NEWEST: ABI = ABI::V9;
/// Before it every rename and link across directories is refused, whatever the rules.
const REFER: u32 = 2;

/// What came with later versions, for the log of a kernel that is older.
const LATER: [(u32, &str); 5] = [
    (3, "truncating files"),
    (4, "TCP"),
    (5, "requests to device files"),
    (6, "abstract sockets and signals"),
    (9, "sockets in the file system"),
];

/// Where libpcap's statistics read an interface's own drops, and what it links to.
const INTERFACES: [&str; 2] = ["/sys/class/net", "/sys/devices"];

const CONFINE: &str = "confine the process to its files";

/// Confines the process to the files of its role.
pub(super) fn confine(role: &Role, entered: &mut Entered) -> Result<(), SandboxError> {
    let abi = landlock_abi();
    if abi == 0 {
        entered.missing.push("this kernel has no Landlock: files are kept by their owners alone".to_string());
        return Ok(());
    }
    if abi < REFER && matches!(role, Role::Upload { .. }) {
        entered.missing.push("this kernel's Landlock (version 1) cannot allow moving files: done without".to_string());
        return Ok(());
    }
    let status = restrict(role).map_err(|error| SandboxError::new(CONFINE, error))?;
    if status == RulesetStatus::NotEnforced {
        return Err(SandboxError::new(CONFINE, "Landlock did not take hold"));
    }
    // What a version leaves out seccomp keeps too; a warning at every start would only teach not to read them.
    let later: Vec<&str> = LATER.iter().filter(|(since, _)| abi < *since).map(|(_, what)| *what).collect();
    let without = if later.is_empty() { String::new() } else { format!(", which leaves out {}", later.join(", ")) };
    entered.enforced.push(format!("files by Landlock (version {abi}{without})"));
    Ok(())
}

fn restrict(role: &Role) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    // All rights are handled, hence refused where no rule below gives them.
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(match role {
            Role::Capture { .. } | Role::Views => AccessNet::from_all(NEWEST),
            // DNS says where to connect.
            Role::Upload { .. } => AccessNet::BindTcp.into(),
        })?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let write = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile});
    let rules = match role {
        Role::Views => rules,
        Role::Capture { output, .. } => {
            let rules = output.iter().try_fold(rules, |rules, output| allow(rules, output, write))?;
            INTERFACES.iter().try_fold(rules, |rules, path| allow_if_there(rules, Path::new(path)))?
        }
        Role::Upload { stages, keys, target } => {
            // Any port, that is, for who connects from a certain address.
            let rules = rules.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
            let rules = stages.iter().try_fold(rules, |rules, stage| allow(rules, stage, write | AccessFs::Refer))?;
            let target = target.filter(|target| target.is_dir());
            let rules = target.into_iter().try_fold(rules, |rules, target| allow(rules, target, write))?;
            let rules = keys.iter().try_fold(rules, |rules, path| allow_if_there(rules, path))?;
            resolver_directories().iter().try_fold(rules, |rules, path| {
                // Reading what a name is known of, no listing.
                allow(rules, path, AccessFs::ReadFile.into())
            })?
        }
    };
    Ok(rules.restrict_self()?.ruleset)
}

type Allowed = Result<RulesetCreated, Box<dyn std::error::Error>>;

fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Allowed {
    let opened = PathFd::new(path).map_err(|error| format!("{}: {error}", escaped(path)))?;
    Ok(rules.add_rule(PathBeneath::new(opened, access))?)
}

/// Reading; the right to list a directory is none of a file's.
fn allow_if_there(rules: RulesetCreated, path: &Path) -> Allowed {
    let access = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => AccessFs::ReadFile | AccessFs::ReadDir,
        Ok(_) => AccessFs::ReadFile.into(),
        Err(_) => return Ok(rules),
    };
    allow(rules, path, access)
}
