//! One interface and its ring of packets.

#[cfg(target_os = "linux")]
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pcap::{Active, Capture, PacketHeader};

use super::error::{FilterError, OpenError, OpenFault, ReadError};
use super::filter::{Filter, Form, Program, Why, no_expression};
use crate::capture::{Frame, LinkType};
use crate::config::Interface;
use crate::stats;
use crate::sys;
use crate::time::Timestamp;

/// Receive offload makes frames of 64 KiB and headers; this is also the most that libpcap allows.
pub(super) const SNAP_LEN: i32 = 262_144;
/// How long the kernel keeps a block that is not full: the latency on a quiet link. After this, a ring that is read
/// to its end has shown every packet.
pub const BLOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How interfaces are opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of each ring in bytes.
    pub buffer_bytes: usize,
    /// What the kernel lets through.
    pub filter: Filter,
}

/// An interface that is captured from, or a thread's share of it.
///
/// Frames stamped before it was open may not be filtered, and may be in several threads' shares.
pub struct Ring {
    interface: String,
    capture: Capture<Active>,
    link_type: LinkType,
    nanoseconds: bool,
    warning: Option<String>,
    program: Option<Program>,
    counted: Counted,
}

/// The kernel's counters as they were read last; of 32 bits, which wrap.
struct Counted {
    received: u32,
    dropped: u32,
    /// `None` in a thread's share that is not the first: they are the interface's, and would be counted twice.
    interface_dropped: Option<u32>,
}

impl Ring {
    /// Opens an interface.
    pub fn open(interface: &Interface, options: &Options) -> Result<Ring, OpenError> {
        let mut ring = Ring::closed(interface, options)?;
        ring.start(&options.filter)?;
        Ok(ring)
    }

    /// Opens an interface for nothing as yet: no packet comes in before the filter is set, where the kernel can do
    /// that.
    pub(super) fn closed(interface: &Interface, options: &Options) -> Result<Ring, OpenError> {
        let failed = |fault| OpenError { interface: interface.name.clone(), fault };
        let how = sys::pcap::Open {
            snap_len: SNAP_LEN,
            buffer_bytes: i32::try_from(options.buffer_bytes).unwrap_or(i32::MAX),
            timeout_milliseconds: BLOCK_TIMEOUT.as_millis() as i32,
            promiscuous: interface.promiscuous,
        };
        let opened = sys::pcap::open(&interface.name, how).map_err(|failure| failed(OpenFault::from(failure)))?;
        let capture = opened.capture.setnonblock().map_err(|error| failed(OpenFault::Other(error.to_string())))?;
        let number = capture.get_datalink().0;
        let link_type = u16::try_from(number).ok().and_then(LinkType::from_number);
        let link_type = link_type.ok_or_else(|| failed(OpenFault::LinkType(number)))?;
        #[cfg(target_os = "linux")]
        sys::packet_socket::attach_reject_all(&capture)
            .map_err(|error| failed(OpenFault::Filter(FilterError::Attach(error))))?;
        Ok(Ring {
            interface: interface.name.clone(),
            capture,
            link_type,
            nanoseconds: opened.nanoseconds,
            warning: opened.warning.or_else(|| smaller_buffer(options.buffer_bytes)),
            program: None,
            counted: Counted { received: 0, dropped: 0, interface_dropped: Some(0) },
        })
    }

    /// Lets packets in.
    pub(super) fn start(&mut self, filter: &Filter) -> Result<(), OpenError> {
        match self.set_filter(filter) {
            Ok(_) => Ok(()),
            Err(error) => Err(OpenError { interface: self.interface.clone(), fault: OpenFault::Filter(error) }),
        }
    }

    /// Leaves it to another ring to count what the interface dropped.
    #[cfg(target_os = "linux")]
    pub(super) fn leave_interface_drops(&mut self) {
        self.counted.interface_dropped = None;
    }

    /// Puts another filter in force: each packet goes by the old or the new one. The closest program is taken that the
    /// kernel runs.
    pub fn set_filter(&mut self, filter: &Filter) -> Result<&Program, FilterError> {
        let mut tried = 0;
        loop {
            let program = filter.programs(filtered_as(self.link_type)).nth(tried);
            let mut program = program.unwrap_or_else(|| Err(no_expression())).map_err(FilterError::Compile)?;
            match set(&mut self.capture, self.link_type, &program) {
                Ok(()) => {
                    program.why = if tried > 0 { Some(Why::NoRoom) } else { program.why };
                    return Ok(self.program.insert(program));
                }
                Err(error) if error.is_no_room() && program.form != Form::Protocols => tried += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The filter in force.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// What its frames start with.
    pub fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Whether time stamps are in nanoseconds, not microseconds.
    pub fn has_nanoseconds(&self) -> bool {
        self.nanoseconds
    }

    /// What could not be done as asked, as when the interface knows no promiscuous mode.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Gives the frames that are there, at most `max`, without waiting. When they were fewer, the ring is empty.
    #[inline]
    pub fn read(&mut self, max: usize, mut each: impl FnMut(&Frame)) -> Result<usize, ReadError> {
        let (link_type, nanoseconds) = (self.link_type, self.nanoseconds);
        let read = self.capture.dispatch(Some(max), |packet| {
            let time = time(packet.header, nanoseconds);
            each(&Frame { time, link_type, bytes: packet.data, wire_len: packet.header.len });
        });
        read.map_err(ReadError::from)
    }

    /// What the kernel counted since the last call.
    pub fn statistics(&mut self) -> stats::Kernel {
        let Ok(now) = self.capture.stats() else { return stats::Kernel::default() };
        self.counted.advance(now)
    }
}

impl AsFd for Ring {
    /// To wait for packets with poll(2).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

impl Counted {
    fn advance(&mut self, now: pcap::Stat) -> stats::Kernel {
        let since = |before: &mut u32, now: u32| u64::from(now.wrapping_sub(std::mem::replace(before, now)));
        stats::Kernel {
            received: since(&mut self.received, now.received),
            dropped: since(&mut self.dropped, now.dropped),
            interface_dropped: self.interface_dropped.as_mut().map_or(0, |before| since(before, now.if_dropped)),
        }
    }
}

impl From<sys::pcap::Failure> for OpenFault {
    fn from(failure: sys::pcap::Failure) -> OpenFault {
        match failure.code {
            sys::pcap::NO_SUCH_DEVICE => OpenFault::NoSuchInterface,
            sys::pcap::NOT_UP => OpenFault::Down,
            sys::pcap::PERMISSION_DENIED | sys::pcap::PROMISCUOUS_DENIED => OpenFault::NoPermission(failure.message),
            _ => OpenFault::Other(failure.message),
        }
    }
}

impl From<pcap::Error> for ReadError {
    fn from(error: pcap::Error) -> ReadError {
        let pcap::Error::PcapError(message) = error else { return ReadError::Other(error.to_string()) };
        // libpcap has no code for it; "went down" and "disappeared" are its words, the others the system's.
        let is_down = ["went down", "disappeared", "Network is down", "No such device", "Device not configured"];
        match is_down.iter().any(|words| message.contains(words)) {
            true => ReadError::Down(message),
            false => ReadError::Other(message),
        }
    }
}

/// The link type that programs for an interface are written for. Cooked frames have their header from libpcap; where
/// the filter sees them they are as on Ethernet, without the header.
pub(super) fn filtered_as(link_type: LinkType) -> LinkType {
    match link_type {
        LinkType::LinuxSll | LinkType::LinuxSll2 => LinkType::Ethernet,
        other => other,
    }
}

/// Attaches a program to the socket itself. libpcap would reject everything for a moment, to empty the socket.
#[cfg(target_os = "linux")]
fn set(capture: &mut Capture<Active>, link_type: LinkType, program: &Program) -> Result<(), FilterError> {
    let instructions = sys::packet_socket::instructions(&program.compiled);
    let set = match filtered_as(link_type) == link_type {
        true => sys::packet_socket::attach_filter(capture, instructions),
        false => match super::cooked::from_ethernet(instructions) {
            Some(moved) => sys::packet_socket::attach_filter(capture, &moved),
            None => Err(io::Error::other("the program reads the link header, which these frames have not")),
        },
    };
    set.map_err(FilterError::Attach)
}

#[cfg(not(target_os = "linux"))]
fn set(capture: &mut Capture<Active>, _: LinkType, program: &Program) -> Result<(), FilterError> {
    capture.filter(&program.text, true).map_err(FilterError::Set)
}

/// What to say where the kernel makes the buffer smaller than it should be: bursts will not last.
#[cfg(target_os = "freebsd")]
fn smaller_buffer(bytes: usize) -> Option<String> {
    let max = sys::freebsd::capture_buffer_max().ok()?;
    let is_cut = u64::try_from(bytes).is_ok_and(|bytes| bytes > max);
    is_cut.then(|| {
        let kbytes = max / 1024;
        format!(
            "the kernel gives {kbytes} kilobytes of capture_buffer_kbytes; sysctl net.bpf.maxbufsize={bytes} gives all"
        )
    })
}

#[cfg(not(target_os = "freebsd"))]
fn smaller_buffer(_: usize) -> Option<String> {
    None
}

#[inline]
fn time(header: &PacketHeader, nanoseconds: bool) -> Timestamp {
    let seconds = u64::try_from(header.ts.tv_sec).unwrap_or_default();
    let parts = u64::try_from(header.ts.tv_usec).unwrap_or_default(); // nanoseconds too stand in tv_usec
    Timestamp::new(seconds, if nanoseconds { parts } else { parts * 1000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_32_bits_go_on_when_they_wrap() {
        let mut counted = Counted { received: u32::MAX - 1, dropped: 7, interface_dropped: None };
        let kernel = counted.advance(pcap::Stat { received: 3, dropped: 7, if_dropped: 9 });
        assert_eq!((kernel.received, kernel.dropped, kernel.interface_dropped), (5, 0, 0));
        let kernel = counted.advance(pcap::Stat { received: 4, dropped: 8, if_dropped: 9 });
        assert_eq!((kernel.received, kernel.dropped), (1, 1));
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_with_the_cure() {
        let filter = Filter::new(&crate::config::load(None, &[]).unwrap().0);
        let interface = Interface { name: "none\u{7}".into(), promiscuous: false };
        let error = Ring::open(&interface, &Options { buffer_bytes: 1 << 20, filter }).map(|_| ()).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("cannot capture on none\\") && message.contains("; "), "{message}");
    }
}
