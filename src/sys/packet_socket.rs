//! Packet sockets (packet(7)): filters and fanout groups, which libpcap does not offer as we need them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_void, sock_filter, sock_fprog, socklen_t};
use pcap::BpfProgram;

/// PACKET_FANOUT of linux/if_packet.h.
const PACKET_FANOUT: c_int = 18;
/// PACKET_FANOUT_DATA.
const PACKET_FANOUT_DATA: c_int = 22;
/// PACKET_FANOUT_CBPF: the member is what a program returns, modulo their number.
const FANOUT_BY_PROGRAM: u32 = 6 << 16;
/// PACKET_FANOUT_FLAG_UNIQUEID: the kernel chooses a group id that no other process uses (Linux 4.12). It forgets the flag
/// once it has done so; kernels before keep it with the group, as one of unknown meaning.
const FANOUT_NEW_ID: u32 = 0x2000 << 16;

/// The instructions of a program that libpcap has compiled.
pub fn instructions(program: &BpfProgram) -> &[sock_filter] {
    let instructions = program.get_instructions();
    // SAFETY: BpfInstruction is transparent over libpcap's struct bpf_insn, which has the fields and layout of struct
    // sock_filter (u16, u8, u8, u32), and the slice lives as long as the program is borrowed.
    unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast(), instructions.len()) }
}

/// Sets the filter of a socket; the packets that come meanwhile go by the old or the new one.
pub fn attach_filter(socket: impl AsFd, instructions: &[sock_filter]) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program(instructions)?)
}

/// Sets the filter of a socket so that nothing comes through.
pub fn attach_reject_all(socket: impl AsFd) -> io::Result<()> {
    attach_filter(socket, &[sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }])
}

/// Makes a group that the socket is the first member of, and that goes by what `instructions` return; its id. None where
/// the kernel cannot choose one: then the socket may be in a group of others, which it only leaves when it is closed.
pub fn new_fanout(socket: impl AsFd, instructions: &[sock_filter]) -> io::Result<Option<u16>> {
    match set_option(&socket, libc::SOL_PACKET, PACKET_FANOUT, &(FANOUT_BY_PROGRAM | FANOUT_NEW_ID)) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
        made => made?,
    }
    let mut joined: u32 = 0;
    let mut len = size_of::<u32>() as socklen_t;
    // SAFETY: the option is an int, and value and length are ours.
    let result = unsafe {
        let value = (&raw mut joined).cast::<c_void>();
        libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_PACKET, PACKET_FANOUT, value, &raw mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if joined & FANOUT_NEW_ID != 0 {
        return Ok(None);
    }
    set_option(&socket, libc::SOL_PACKET, PACKET_FANOUT_DATA, &program(instructions)?)?;
    Ok(Some((joined & 0xffff) as u16))
}

/// The same with the first of these ids that no group of another interface or of another kind has. There is no telling
/// whether one of the same interface and kind has it, which the socket would join.
pub fn numbered_fanout(
    socket: impl AsFd,
    instructions: &[sock_filter],
    ids: impl IntoIterator<Item = u16>,
) -> io::Result<u16> {
    for id in ids {
        match join_fanout(&socket, id) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            joined => {
                joined?;
                set_option(&socket, libc::SOL_PACKET, PACKET_FANOUT_DATA, &program(instructions)?)?;
                return Ok(id);
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

/// Makes the socket the next member of a group.
pub fn join_fanout(socket: impl AsFd, group: u16) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, PACKET_FANOUT, &(FANOUT_BY_PROGRAM | u32::from(group)))
}

fn program(instructions: &[sock_filter]) -> io::Result<sock_fprog> {
    let len = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel only reads what the pointer shows; C has no way to say so.
    Ok(sock_fprog { len, filter: instructions.as_ptr().cast_mut() })
}

fn set_option<T>(socket: impl AsFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as socklen_t;
    // SAFETY: `value` lives through the call and is `len` bytes long; the kernel copies what it needs.
    let result = unsafe {
        let value = std::ptr::from_ref(value).cast::<c_void>();
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, value, len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    use std::os::fd::OwnedFd;

    const FIRST: [sock_filter; 1] = [sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];

    /// Bound to all interfaces and this protocol; a group is for one such pair.
    fn packet_socket(protocol: SockProtocol) -> OwnedFd {
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap()
    }

    #[test]
    fn a_number_that_a_group_of_another_kind_has_is_passed_over() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let [kernels, one] = [(); 2].map(|()| packet_socket(SockProtocol::EthAll));
        let [other, more] = [(); 2].map(|()| packet_socket(SockProtocol::EthIp));
        let taken = new_fanout(&kernels, &FIRST).unwrap().expect("this kernel chooses ids");
        let (first, second) = (taken.wrapping_add(1000), taken.wrapping_add(2000));
        assert_eq!(numbered_fanout(&one, &FIRST, [first]).unwrap(), first);
        let refused = numbered_fanout(&other, &FIRST, [taken, first]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
        assert_eq!(numbered_fanout(&other, &FIRST, [taken, first, second]).unwrap(), second);
        join_fanout(&more, second).unwrap();
    }
}
