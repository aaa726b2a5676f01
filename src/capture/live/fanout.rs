//! Interfaces shared among threads.

use super::error::OpenError;
use super::ring::{Options, Ring};
use crate::config::Interface;

/// Opens interfaces for so many threads: for each thread a ring of each interface. All packets between two addresses,
/// fragments and both directions, come to the same thread, whatever interface they come from.
#[cfg(target_os = "linux")]
pub fn open(interfaces: &[Interface], threads: usize, options: &Options) -> Result<Vec<Vec<Ring>>, OpenError> {
    let mut shares: Vec<Vec<Ring>> = (0..threads).map(|_| Vec::with_capacity(interfaces.len())).collect();
    for interface in interfaces {
        for (share, ring) in shares.iter_mut().zip(linux::members(interface, threads, options)?) {
            share.push(ring);
        }
    }
    for ring in shares.iter_mut().flatten() {
        ring.start(&options.filter)?;
    }
    Ok(shares)
}

/// Opens interfaces for one thread; more cannot share them here.
#[cfg(not(target_os = "linux"))]
pub fn open(interfaces: &[Interface], threads: usize, options: &Options) -> Result<Vec<Vec<Ring>>, OpenError> {
    if let (2.., Some(interface)) = (threads, interfaces.first()) {
        return Err(OpenError { interface: interface.name.clone(), fault: super::error::OpenFault::NoFanout });
    }
    let rings: Result<Vec<Ring>, OpenError> = interfaces.iter().map(|one| Ring::open(one, options)).collect();
    rings.map(|rings| vec![rings])
}

#[cfg(target_os = "linux")]
mod linux {
    use libc::sock_filter;
    use std::{
        hash::{BuildHasher, Hasher, RandomState},
        iter,
    };

    use super::{Interface, OpenError, Options, Ring};
    use crate::capture::live::error::OpenFault;
    use crate::sys::packet_socket;

    /// The rings of one interface, in the order of the threads, still closed. The kernel numbers members as they join.
    pub(super) fn members(interface: &Interface, threads: usize, options: &Options) -> Result<Vec<Ring>, OpenError> {
        let mut rings = Vec::with_capacity(threads);
        let mut group = None;
        let fault = |error| OpenError { interface: interface.name.clone(), fault: OpenFault::Fanout(error) };
        for _ in 0..threads {
            let mut ring = Ring::closed(interface, options)?;
            match group {
                _ if threads == 1 => {}
                Some(id) => packet_socket::join_fanout(&ring, id).map_err(fault)?,
                None => {
                    group = packet_socket::new_fanout(&ring, &by_addresses()).map_err(fault)?;
                    if group.is_none() {
                        ring = Ring::closed(interface, options)?;
                        let id = packet_socket::numbered_fanout(&ring, &by_addresses(), ids());
                        group = Some(id.map_err(fault)?);
                    }
                }
            }
            if !rings.is_empty() {
                ring.leave_interface_drops();
            }
            rings.push(ring);
        }
        Ok(rings)
    }

    /// Some ids for kernels that have none to give. Chosen at random: process ids are the same in every container.
    fn ids() -> impl Iterator<Item = u16> {
        iter::repeat_with(|| RandomState::new().build_hasher().finish() as u16).take(IDS)
    }

    /// How many are tried; each may be that of another interface.
    const IDS: usize = 16;

    const LOAD: u32 = libc::BPF_LD | libc::BPF_IND;
    /// Where X is kept while it is used for something else.
    const KEPT: u32 = 15;
    const SUM: u32 = 0;
    /// VLAN tags in the frame itself; the outermost one the kernel has taken out.
    const TAGS_MAX: u32 = 3;
    /// The golden ratio times 2³²: an odd number that spreads whatever it is multiplied with.
    const SPREAD: u32 = 0x9e37_79b1;

    /// A number of the two addresses, the same in both directions, well mixed; 0 for what is not IP. Offsets are from
    /// the network header, since the link header is not always there: X is how far IP is behind it.
    pub(super) fn by_addresses() -> Vec<sock_filter> {
        let mut program = Assembler::default();
        program.op(libc::BPF_LDX | libc::BPF_IMM, 0);
        program.op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, negative(libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL));
        for tag in 0..TAGS_MAX {
            // A tag: 16 bits of its own, then the EtherType of what follows.
            program.unless_any(&[0x8100, 0x88a8, 0x9100], 2);
            program.op(LOAD | libc::BPF_H, network(2));
            program.op(libc::BPF_LDX | libc::BPF_IMM, 4 * (tag + 1));
        }
        program.op(libc::BPF_STX, KEPT);
        let ipv4 = Assembler::addresses(12, 2);
        program.unless_any(&[0x0800], ipv4.len());
        program.0.extend(ipv4);
        let ipv6 = Assembler::addresses(8, 8);
        program.unless_any(&[0x86dd], ipv6.len());
        program.0.extend(ipv6);
        program.op(libc::BPF_RET | libc::BPF_K, 0);
        program.0
    }

    /// Programs as a list of instructions.
    #[derive(Default)]
    struct Assembler(Vec<sock_filter>);

    impl Assembler {
        fn op(&mut self, code: u32, k: u32) {
            self.0.push(sock_filter { code: code as u16, jt: 0, jf: 0, k });
        }

        /// Skips `count` instructions when A is none of `values`.
        fn unless_any(&mut self, values: &[u32], count: usize) {
            for (left, value) in (0..values.len()).rev().zip(values) {
                let skip = if left == 0 { count as u8 } else { 0 };
                let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
                self.0.push(sock_filter { code, jt: left as u8, jf: skip, k: *value });
            }
        }

        /// Returns a number of so many words of addresses at `offset`: all of them, by exclusive or.
        fn addresses(offset: u32, words: u32) -> Vec<sock_filter> {
            let mut program = Assembler::default();
            for word in 0..words {
                program.op(libc::BPF_LDX | libc::BPF_MEM, KEPT);
                program.op(LOAD | libc::BPF_W, network(offset + 4 * word));
                if word > 0 {
                    program.op(libc::BPF_LDX | libc::BPF_MEM, SUM);
                    program.op(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0);
                }
                program.op(libc::BPF_ST, SUM);
            }
            program.op(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, SPREAD);
            program.op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16); // the upper bits depend on all lower ones
            program.op(libc::BPF_RET | libc::BPF_A, 0);
            program.0
        }
    }

    /// An offset from the network header.
    fn network(offset: u32) -> u32 {
        negative(libc::SKF_NET_OFF).wrapping_add(offset)
    }

    fn negative(offset: i32) -> u32 {
        offset.cast_unsigned()
    }
}
