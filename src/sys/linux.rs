//! Linux: what kernels are asked.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::{
    ffi::CString,
    io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
};

/// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
const VERSION: libc::c_uint = 1;

/// Landlock's version in the running kernel; 0: none, or switched off.
pub(crate) fn landlock_abi() -> u32 {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: asked for its version, the call takes a null pointer and reads no memory of ours.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// ETHTOOL_GFLAGS of linux/ethtool.h: flags of a device, ETH_FLAG_LRO among them.
const ETHTOOL_FLAGS: u32 = 0x25;
const FLAG_LRO: u32 = 1 << 15;
/// ETHTOOL_GGRO.
const ETHTOOL_GRO: u32 = 0x2b;
/// SIOCETHTOOL of linux/sockios.h.
const REQUEST_ETHTOOL: u32 = 0x8946;

/// Whether a device joins packets before anybody sees them: generic and large receive offload.
pub(crate) fn receive_offload(interface: &str) -> io::Result<(bool, bool)> {
    let is_generic = ethtool(interface, ETHTOOL_GRO)? != 0;
    // Not every driver has flags.
    let is_large = ethtool(interface, ETHTOOL_FLAGS).is_ok_and(|flags| flags & FLAG_LRO != 0);
    Ok((is_generic, is_large))
}

/// One number that a device's driver has, as ethtool(8) asks for it.
fn ethtool(interface: &str, command: u32) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // struct ethtool_value: the command, and room for the answer.
    let mut value = [command, 0];
    // SAFETY: all zeroes are a value of ifreq, which holds characters, numbers and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    request.ifr_name.iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the name ends with a zero, and both commands write one number behind theirs, for which there is room.
    match unsafe { libc::ioctl(socket.as_raw_fd(), REQUEST_ETHTOOL as libc::Ioctl, &raw mut request) } {
        0 => Ok(value[1]),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Renames, if nothing has the name. EINVAL or ENOSYS where file system or kernel (before 3.15) cannot. The C library has a
/// function for it only since 2.28.
pub(crate) fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (from, to) = (from?, to?);
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both paths end with a zero byte and live as long as the call.
    match unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
