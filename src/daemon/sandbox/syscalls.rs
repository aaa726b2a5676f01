//! seccomp: which system calls a child may make.
//!
//! What is not listed fails with EPERM and does not kill. The list is as tight either way, and a C library that tries a
//! newer call first, or a libpcap that asks one question more, must not stop a sensor that ran for months.

use super::{Entered, Role, SandboxError};
use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::{collections::BTreeMap, os::fd::RawFd};

/// Calls that are allowed whatever their arguments: on what is already open, on memory and time.
const FREE: &[c_long] = &[
    // Waiting, and what is already open.
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_lseek,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    // Memory: what could make it executable is in `conditional`.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    // Threads: their creation is in `conditional`.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getscheduler,
    libc::SYS_setpriority,
    libc::SYS_getpriority,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals: sending them is in `conditional`.
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_restart_syscall,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    // Questions about itself.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getcpu,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// The same by names that newer architectures never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_poll, libc::SYS_time, libc::SYS_getrlimit];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[libc::SYS_getrlimit];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[c_long] = &[];

/// Calls on files, where Landlock and the user's rights decide.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_getdents64,
];

/// The same by names that newer architectures never had.
#[cfg(target_arch = "x86_64")]
const OLDER_FILES: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
    libc::SYS_getdents,
];
#[cfg(target_arch = "aarch64")]
const OLDER_FILES: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER_FILES: &[c_long] = &[];

/// What only moving files between directories needs.
#[cfg(target_arch = "x86_64")]
const MOVING: &[c_long] = &[libc::SYS_linkat, libc::SYS_link];
#[cfg(not(target_arch = "x86_64"))]
const MOVING: &[c_long] = &[libc::SYS_linkat];

/// What the network needs, and an event loop; sockets and their options are in [`network`].
const NETWORK: &[c_long] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_getpeername,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
];

/// Options of sockets that may be set: what keeps a connection alive and quick.
const OPTIONS: &[(libc::c_int, libc::c_int)] = &[
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// The part of a socket's type that is none of its flags: SOCK_TYPE_MASK in the kernel's net.h.
const SOCKET_TYPE: u64 = 0xf;

/// Calls that write or send, or set a descriptor's number free: not on a capture device. Their first argument is the
/// descriptor.
const NOT_ON_DEVICES: &[c_long] =
    &[libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_sendto, libc::SYS_close];

/// Devices that one filter has room for; the kernel takes several filters, 32 768 instructions in all.
const DEVICES_IN_FILTER: usize = 64;

/// What fcntl may do: flags and locks, and duplicates of what is no device.
const FLAGS_AND_LOCKS: [i64; 9] = [
    libc::F_DUPFD_CLOEXEC as i64,
    libc::F_GETFD as i64,
    libc::F_SETFD as i64,
    libc::F_GETFL as i64,
    libc::F_SETFL as i64,
    libc::F_GETLK as i64,
    libc::F_SETLK as i64,
    libc::F_OFD_GETLK as i64,
    libc::F_OFD_SETLK as i64,
];

/// FIONBIO, with which the standard library makes a socket non-blocking; its type differs between C libraries.
const REQUEST_FIONBIO: i64 = 0x5421;

/// SIOCGIFFLAGS, with which libpcap tells an interface that is down from one that is gone.
const REQUEST_FLAGS: i64 = 0x8913;

/// Confines the process to the system calls of its role.
pub(super) fn confine(role: &Role, entered: &mut Entered) -> Result<(), SandboxError> {
    let failed = |error: seccompiler::Error| SandboxError::new("confine the process to its system calls", error);
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(error.into()))?;
    // clone3 takes its flags from memory, where no filter can see them; told that there is none, C libraries use clone.
    // Of two filters the stricter answer counts, so the list below has to let it through.
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let no_clone3 = compile(no_clone3, SeccompAction::Allow, errno(libc::ENOSYS), architecture).map_err(failed)?;
    match apply_filter(&no_clone3) {
        // Before 3.17, or built without: there is nothing wrong with this filter.
        Err(seccompiler::Error::Seccomp(error)) if is_unknown(&error) => {
            entered.missing.push("this kernel has no seccomp filters: system calls are not confined".to_string());
            return Ok(());
        }
        applied => applied.map_err(failed)?,
    }
    if let Role::Capture { devices, .. } = role {
        for devices in devices.chunks(DEVICES_IN_FILTER) {
            let refused = on_devices(devices).map_err(|error| failed(error.into()))?;
            let refused = compile(refused, SeccompAction::Allow, errno(libc::EPERM), architecture);
            refused.and_then(|filter| apply_filter(&filter)).map_err(failed)?;
        }
    }
    // At last the list, on which setting filters is not.
    let allowed = allowed(role).map_err(|error| failed(error.into()))?;
    let allowed = compile(allowed, errno(libc::EPERM), SeccompAction::Allow, architecture).map_err(failed)?;
    apply_filter(&allowed).map_err(failed)?;
    entered.enforced.push("system calls by seccomp".to_string());
    Ok(())
}

/// Whether the kernel knows no seccomp(2), or not this operation.
fn is_unknown(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// The rules of a call: one of them must hold; without any it is listed whatever its arguments.
type Calls = BTreeMap<c_long, Vec<SeccompRule>>;
type Built<T> = Result<T, BackendError>;

fn compile(
    calls: Calls,
    otherwise: SeccompAction,
    listed: SeccompAction,
    architecture: TargetArch,
) -> Result<BpfProgram, seccompiler::Error> {
    let filter = SeccompFilter::new(calls, otherwise, listed, architecture)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// The list.
fn allowed(role: &Role) -> Built<Calls> {
    let mut calls = conditional()?;
    calls.extend(FREE.iter().chain(OLDER).map(|call| (*call, Vec::new())));
    if !matches!(role, Role::Views) {
        calls.extend(FILES.iter().chain(OLDER_FILES).map(|call| (*call, Vec::new())));
    }
    calls.extend(NOT_ON_DEVICES.iter().map(|call| (*call, Vec::new())));
    calls.insert(libc::SYS_fcntl, any(1, &FLAGS_AND_LOCKS)?);
    match role {
        Role::Views => {
            // One thread is enough for it.
            [libc::SYS_clone, libc::SYS_clone3].iter().for_each(|call| drop(calls.remove(call)));
            calls.insert(libc::SYS_accept4, Vec::new());
        }
        Role::Capture { .. } => {
            calls.insert(libc::SYS_getsockopt, any(1, &[libc::SOL_SOCKET.into(), libc::SOL_PACKET.into()])?);
            calls.insert(libc::SYS_setsockopt, filtering()?);
        }
        Role::Upload { .. } => {
            calls.extend(MOVING.iter().chain(NETWORK).map(|call| (*call, Vec::new())));
            calls.extend(network()?);
        }
    }
    Ok(calls)
}

/// What is refused on these devices.
fn on_devices(devices: &[RawFd]) -> Built<Calls> {
    let is_device = |device: &RawFd| is(0, SeccompCmpOp::Eq, (*device).into());
    let mut calls = Calls::new();
    for call in NOT_ON_DEVICES {
        let rules = devices.iter().map(|device| SeccompRule::new(vec![is_device(device)?]));
        calls.insert(*call, rules.collect::<Built<_>>()?);
    }
    let duplicates = devices.iter().map(|device| {
        SeccompRule::new(vec![is_device(device)?, is(1, SeccompCmpOp::Eq, libc::F_DUPFD_CLOEXEC.into())?])
    });
    calls.insert(libc::SYS_fcntl, duplicates.collect::<Built<_>>()?);
    Ok(calls)
}

/// Calls that one argument makes harmless.
fn conditional() -> Built<Calls> {
    let without = |flag: libc::c_int| SeccompCmpOp::MaskedEq(u64::from(flag.unsigned_abs()));
    let not_executable = is(2, without(libc::PROT_EXEC), 0)?;
    let itself = i64::from(std::process::id());
    Ok(BTreeMap::from([
        (libc::SYS_mmap, rule(not_executable.clone())?),
        (libc::SYS_mprotect, rule(not_executable)?),
        // Threads, no processes.
        (libc::SYS_clone, rule(is(0, without(libc::CLONE_THREAD), libc::CLONE_THREAD.into())?)?),
        (libc::SYS_tgkill, rule(is(0, SeccompCmpOp::Eq, itself)?)?),
        // A thread's name, and that of its memory, which newer C libraries give.
        (libc::SYS_prctl, any(0, &[libc::PR_SET_NAME.into(), libc::PR_SET_VMA.into()])?),
        // Reading limits, not setting them.
        (libc::SYS_prlimit64, rule(SeccompCondition::new(2, Qword, SeccompCmpOp::Eq, 0)?)?),
        (libc::SYS_ioctl, any(1, &[REQUEST_FIONBIO, REQUEST_FLAGS])?),
        // Not the bits with which others execute a file as this user.
        (libc::SYS_fchmod, rule(is(1, SeccompCmpOp::MaskedEq(0o7000), 0)?)?),
    ]))
}

/// Sockets of TCP and UDP, and what may be asked of them and set. Those of other families reach other processes of this
/// machine, or its kernel.
fn network() -> Built<Calls> {
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for of in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let of = is(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), of.into())?;
            sockets.push(SeccompRule::new(vec![is(0, SeccompCmpOp::Eq, family.into())?, of])?);
        }
    }
    Ok(BTreeMap::from([
        (libc::SYS_socket, sockets),
        (libc::SYS_getsockopt, any(1, &[libc::SOL_SOCKET.into(), libc::IPPROTO_TCP.into()])?),
        (libc::SYS_setsockopt, options(OPTIONS)?),
    ]))
}

/// Setting a socket's packet filter, nothing else; PACKET_TX_RING would be a way to send.
fn filtering() -> Built<Vec<SeccompRule>> {
    options(&[(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER), (libc::SOL_SOCKET, libc::SO_DETACH_FILTER)])
}

/// Socket options by their levels.
fn options(options: &[(libc::c_int, libc::c_int)]) -> Built<Vec<SeccompRule>> {
    let rules = options.iter().map(|&(level, option)| {
        SeccompRule::new(vec![is(1, SeccompCmpOp::Eq, level.into())?, is(2, SeccompCmpOp::Eq, option.into())?])
    });
    rules.collect()
}

/// One argument is one of several values.
fn any(argument: u8, values: &[i64]) -> Built<Vec<SeccompRule>> {
    values.iter().map(|value| SeccompRule::new(vec![is(argument, SeccompCmpOp::Eq, *value)?])).collect()
}

fn rule(condition: SeccompCondition) -> Built<Vec<SeccompRule>> {
    Ok(vec![SeccompRule::new(vec![condition])?])
}

/// One argument, an int, compared to a value.
fn is(argument: u8, operation: SeccompCmpOp, value: i64) -> Built<SeccompCondition> {
    // The kernel looks at the lower half, so that a sign's extension must not be compared.
    SeccompCondition::new(argument, Dword, operation, (value & 0xffff_ffff) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RINGS_MAX;

    #[test]
    fn a_filter_has_room_for_its_devices_and_the_kernel_for_all_that_there_can_be() {
        let devices: Vec<RawFd> = (3..3 + DEVICES_IN_FILTER as RawFd).collect();
        let calls = on_devices(&devices).unwrap();
        let of_devices = compile(calls, SeccompAction::Allow, errno(1), TargetArch::x86_64).unwrap();
        let role = Role::Capture { output: None, devices: &devices };
        let list = compile(allowed(&role).unwrap(), errno(1), SeccompAction::Allow, TargetArch::x86_64).unwrap();
        // BPF_MAXINSNS, and MAX_INSNS_PER_PATH, of which each filter takes four more.
        assert!(of_devices.len() < 4096 && list.len() < 4096, "{} {}", of_devices.len(), list.len());
        let all = list.len() + 4 + RINGS_MAX.div_ceil(DEVICES_IN_FILTER) * (of_devices.len() + 4);
        assert!(all < 32_000, "{all}");
    }
}
