//! What the kernel lets through: text and program of the filter.
//!
//! It lets through every frame that [`crate::track`] would use, and little else; the exact rule is applied again to
//! what comes through.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use pcap::BpfProgram;

use super::ring::SNAP_LEN;
use crate::capture::LinkType;
use crate::config::{AddressSet, PortSet, Settings};
use crate::sys;

/// List entries up to which a program names addresses. 64 IPv4 addresses are 1 564 instructions, 16 IPv6 addresses
/// 1 757; compiling takes 0.2 s for 64, and grows with the square.
const ADDRESSES_MAX: usize = 64;
/// Runs of neighbouring ports up to which a program names ports.
const PORT_RUNS_MAX: usize = 64;
/// BPF_MAXINSNS, the kernel's limit.
const INSTRUCTIONS_MAX: usize = 4096;
/// VLAN tags looked behind, each of which makes the program longer by its whole length.
const TAGS_MAX: usize = 3;
/// IPv4: more fragments follow, or it is not the first.
const FRAGMENT_4: &str = "ip[6:2] & 0x3fff != 0";
/// IPv6: extension headers, a fragment header among them, may stand before the ports. As [`crate::decode::ipv6`] walks.
const EXTENSIONS_6: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

/// What the kernel is to let through, as the settings say; still without a link type.
#[derive(Clone, Debug)]
pub struct Filter {
    /// From the closest to the widest; a wider one is taken where the kernel cannot run a closer one.
    expressions: Vec<(Form, String)>,
    /// Why there is no closer one.
    why: Option<Why>,
}

/// What a program goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The listed addresses, ports and fragments.
    Addresses,
    /// Ports and fragments.
    Ports,
    /// UDP, TCP where it is captured, and fragments.
    Protocols,
}

/// Why a program does not go by more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No address is listed.
    NoAddresses,
    /// So many addresses and prefixes are listed.
    ManyAddresses(usize),
    /// So many ports are listed.
    ManyPorts(usize),
    /// The closer program would have so many instructions.
    Long(usize),
    /// libpcap does not compile the closer program.
    NotCompiled,
    /// The kernel has no room for the closer program (net.core.optmem_max).
    NoRoom,
}

/// A filter for one link type, compiled.
pub struct Program {
    /// What it goes by.
    pub form: Form,
    /// Why it does not go by more, if it does not.
    pub why: Option<Why>,
    /// As tcpdump(8) takes it.
    pub text: String,
    pub(super) compiled: BpfProgram,
}

/// libpcap could not make a program of a filter.
#[derive(Debug)]
pub struct CompileError {
    text: String,
    error: pcap::Error,
}

impl Filter {
    /// For what `settings` watch.
    pub fn new(settings: &Settings) -> Filter {
        let Settings { resolver_addresses, authority_addresses, ports, capture_tcp, .. } = settings;
        let listed = resolver_addresses.prefixes().len() + authority_addresses.prefixes().len();
        let runs = runs(ports);
        let mut expressions = Vec::new();
        let mut why = None;
        if runs.len() > PORT_RUNS_MAX {
            why = Some(Why::ManyPorts(ports.iter().count()));
        } else {
            match listed {
                0 => why = Some(Why::NoAddresses),
                1..=ADDRESSES_MAX => {
                    let expression = by_addresses(resolver_addresses, authority_addresses, &runs, *capture_tcp);
                    expressions.push((Form::Addresses, expression));
                }
                _ => why = Some(Why::ManyAddresses(listed)),
            }
            let both = [ports_in("src", &runs, *capture_tcp), ports_in("dst", &runs, *capture_tcp)];
            expressions.push((Form::Ports, or([either(&both), FRAGMENT_4.into(), extensions_6()])));
        }
        let protocols = if *capture_tcp { "udp or tcp" } else { "udp" };
        expressions.push((Form::Protocols, or([protocols.into(), FRAGMENT_4.into(), extensions_6()])));
        Filter { expressions, why }
    }

    /// For all hosts, whatever addresses are listed, and for what the expression `more` lets through besides.
    pub fn of_all_hosts(settings: &Settings, more: &str) -> Filter {
        let (resolver_addresses, authority_addresses) = (AddressSet::default(), AddressSet::default());
        let mut filter = Filter::new(&Settings { resolver_addresses, authority_addresses, ..settings.clone() });
        filter
            .expressions
            .iter_mut()
            .for_each(|(_, expression)| *expression = or([expression.clone(), more.to_owned()]));
        filter
    }

    /// The closest program for a link type that is short enough.
    pub fn compile(&self, link_type: LinkType) -> Result<Program, CompileError> {
        self.programs(link_type).next().unwrap_or_else(|| Err(no_expression()))
    }

    /// The programs for a link type that are short enough, the closest first. An error comes last.
    ///
    /// They read tags where they stand in the frame. The outermost the kernel takes out first and keeps beside the
    /// frame (Linux), and libpcap's programs for an open interface ask for it; but with it gone, IP stands where it
    /// stands without, and these are shorter by a third.
    pub(super) fn programs(&self, link_type: LinkType) -> impl Iterator<Item = Result<Program, CompileError>> {
        let handle = sys::pcap::dead(number(link_type), SNAP_LEN);
        let compile = move |text: &str| handle.as_ref().ok_or(pcap::Error::InsufficientMemory)?.compile(text, true);
        let mut why = self.why;
        let last = self.expressions.len() - 1; // there is always the one by protocols
        self.expressions.iter().enumerate().filter_map(move |(index, (form, expression))| {
            let text = behind_tags(expression, link_type);
            let compiled = match compile(&text) {
                Ok(compiled) => compiled,
                Err(error) if index == last => return Some(Err(CompileError { text, error })),
                Err(_) => {
                    why = Some(Why::NotCompiled);
                    return None;
                }
            };
            let instructions = compiled.get_instructions().len();
            if instructions > INSTRUCTIONS_MAX {
                why = Some(Why::Long(instructions));
                return None;
            }
            Some(Ok(Program { form: *form, why, text, compiled }))
        })
    }
}

impl Program {
    /// How many instructions it has.
    pub fn instructions(&self) -> usize {
        self.compiled.get_instructions().len()
    }

    /// Whether it lets a frame through, judged by its bytes alone.
    pub fn accepts(&self, frame: &[u8]) -> bool {
        self.compiled.filter(frame)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instructions = self.instructions();
        write!(f, "Program {{ {:?}, {:?}, {instructions} instructions, {:?} }}", self.form, self.why, self.text)
    }
}

impl fmt::Display for Program {
    /// What it goes by and why by no more, for a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} instructions", self.form, self.instructions())?;
        match self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Addresses => "the listed addresses, ports and fragments",
            Form::Ports => "ports and fragments of all hosts",
            Form::Protocols => "all UDP, TCP if captured, and fragments",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoAddresses => f.write_str("no address is listed"),
            Why::ManyAddresses(listed) => {
                write!(f, "{listed} addresses and prefixes are listed; up to {ADDRESSES_MAX} the kernel looks for")
            }
            Why::ManyPorts(listed) => {
                write!(f, "{listed} ports are listed; up to {PORT_RUNS_MAX} apart from each other the kernel looks for")
            }
            Why::Long(instructions) => {
                write!(f, "by more it would have {instructions} instructions, and {INSTRUCTIONS_MAX} is the limit")
            }
            Why::NotCompiled => f.write_str("libpcap compiles no closer one"),
            Why::NoRoom => f.write_str("for more the kernel has no room; net.core.optmem_max gives it some"),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot compile the filter {:?}: {}", self.text, self.error)
    }
}

impl std::error::Error for CompileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

pub(super) fn no_expression() -> CompileError {
    CompileError { text: String::new(), error: pcap::Error::InvalidInputString }
}

/// As `Rules` of [`crate::track`]: a query comes from a resolver or goes to a server, a response the other way; a
/// fragment, or what extension headers hide, is of a listed host.
fn by_addresses(resolvers: &AddressSet, servers: &AddressSet, runs: &[(u16, u16)], tcp: bool) -> String {
    let asks = ends([("src", resolvers), ("dst", servers)], |_| true);
    let answers = ends([("dst", resolvers), ("src", servers)], |_| true);
    let listed = |is_v4: bool| {
        let of_family = move |net: &IpNet| matches!(net, IpNet::V4(_)) == is_v4;
        ends([("src", resolvers), ("dst", resolvers), ("src", servers), ("dst", servers)], of_family)
    };
    let mut parts = vec![and(&ports_in("dst", runs, tcp), &asks), and(&ports_in("src", runs, tcp), &answers)];
    for (pieces, listed) in [(FRAGMENT_4.to_owned(), listed(true)), (extensions_6(), listed(false))] {
        if !listed.is_empty() {
            parts.push(and(&pieces, &listed));
        }
    }
    or(parts)
}

/// One of the hosts of the lists stands at the side ("src" or "dst") given with its list.
fn ends<const LISTS: usize>(lists: [(&str, &AddressSet); LISTS], of: impl Fn(&IpNet) -> bool) -> String {
    let sides = lists.iter().flat_map(|(side, list)| list.prefixes().iter().map(move |net| (side, net)));
    or(sides.filter(|(_, net)| of(net)).map(|(side, net)| at_side(side, net)))
}

fn at_side(side: &str, net: &IpNet) -> String {
    let is_host = net.prefix_len() == net.max_prefix_len();
    match net.addr() {
        IpAddr::V4(address) if is_host => format!("{side} host {address}"),
        IpAddr::V6(address) if is_host => format!("{side} host {address}"),
        IpAddr::V4(_) => format!("ip {side} net {net}"),
        IpAddr::V6(_) => format!("ip6 {side} net {net}"),
    }
}

/// The ports stand at a side.
fn ports_in(side: &str, runs: &[(u16, u16)], tcp: bool) -> String {
    let protocol = if tcp { "" } else { "udp " };
    or(runs.iter().map(|(first, last)| match first == last {
        true => format!("{protocol}{side} port {first}"),
        false => format!("{protocol}{side} portrange {first}-{last}"),
    }))
}

/// Ports next to each other, first and last.
fn runs(ports: &PortSet) -> Vec<(u16, u16)> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in ports.iter() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => runs.push((port, port)),
        }
    }
    runs
}

fn extensions_6() -> String {
    or(EXTENSIONS_6.map(|number| format!("ip6[6] = {number}")))
}

fn or(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().collect::<Vec<_>>().join(" or ")
}

fn either(parts: &[String]) -> String {
    parts.join(" or ")
}

fn and(left: &str, right: &str) -> String {
    format!("(({left}) and ({right}))")
}

/// The expression behind no tag, or one, or more. `vlan` shifts all that follows it, brackets or not.
fn behind_tags(expression: &str, link_type: LinkType) -> String {
    let tags = if link_type == LinkType::Ethernet { TAGS_MAX } else { 0 };
    (0..tags).fold(expression.to_owned(), |inner, _| format!("{expression} or (vlan and ({inner}))"))
}

/// The DLT_ number that libpcap knows a link type by.
fn number(link_type: LinkType) -> i32 {
    match link_type {
        LinkType::Null => 0,
        LinkType::Ethernet => 1,
        LinkType::Raw => 12, // 14 on OpenBSD; 101 is its number in files only
        LinkType::Loop => 108,
        LinkType::LinuxSll => 113,
        LinkType::Ipv4 => 228,
        LinkType::Ipv6 => 229,
        LinkType::LinuxSll2 => 276,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sets: &[&str]) -> Settings {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        crate::config::load(None, &sets).unwrap().0
    }

    fn program(sets: &[&str], link_type: LinkType) -> Program {
        Filter::new(&settings(sets)).compile(link_type).unwrap()
    }

    /// IPv4 and UDP from (last byte of address, port) to another, behind an Ethernet header.
    fn frame(from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, from.0, 192, 0, 2, to.0]);
        frame.extend([from.1.to_be_bytes(), to.1.to_be_bytes(), [0, 8], [0, 0]].as_flattened());
        frame
    }

    #[test]
    fn clients_of_a_listed_resolver_do_not_come_through() {
        let program = program(&["DNSQR_RES_ADDRS=192.0.2.53"], LinkType::Ethernet);
        assert_eq!((program.form, program.why), (Form::Addresses, None));
        assert!(program.accepts(&frame((53, 4000), (1, 53))));
        assert!(program.accepts(&frame((1, 53), (53, 4000))));
        assert!(!program.accepts(&frame((9, 4000), (53, 53))), "a client's query");
        assert!(!program.accepts(&frame((53, 53), (9, 4000))), "its response");
    }

    #[test]
    fn a_listed_server_is_asked_and_answers() {
        let program = program(&["DNSQR_AUTH_ADDRS=192.0.2.1"], LinkType::Ethernet);
        assert!(program.accepts(&frame((9, 4000), (1, 53))));
        assert!(program.accepts(&frame((1, 53), (9, 4000))));
        assert!(!program.accepts(&frame((1, 4000), (9, 53))));
    }

    #[test]
    fn for_all_hosts_no_address_counts_and_more_comes_through() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.53"]);
        let filter = Filter::of_all_hosts(&settings, "ip proto 47 or ether proto 0x8847");
        let program = filter.compile(LinkType::Ethernet).unwrap();
        assert!(program.accepts(&frame((9, 4000), (8, 53))) && !program.accepts(&frame((53, 4000), (8, 5300))));
        let mut other = frame((9, 4000), (8, 5300));
        other[23] = 47;
        assert!(program.accepts(&other));
        other[12..14].copy_from_slice(&[0x88, 0x47]);
        assert!(program.accepts(&other));
        for link_type in [LinkType::Null, LinkType::Raw, LinkType::LinuxSll, LinkType::LinuxSll2] {
            filter.compile(link_type).unwrap();
        }
    }

    #[test]
    fn long_lists_are_left_to_user_space_and_say_so() {
        let many = |count: u32| {
            format!("DNSQR_RES_ADDRS={}", (0..count).fold(String::new(), |l, n| l + &format!("10.0.0.{n},")))
        };
        let program = program(&[&many(64)], LinkType::Ethernet);
        assert_eq!((program.form, program.why), (Form::Addresses, None));
        let program = super::tests::program(&[&many(65)], LinkType::Ethernet);
        assert_eq!((program.form, program.why), (Form::Ports, Some(Why::ManyAddresses(65))));
        assert!(program.accepts(&frame((9, 4000), (53, 53))));
        assert!(program.to_string().ends_with("(65 addresses and prefixes are listed; up to 64 the kernel looks for)"));
    }

    #[test]
    fn a_program_too_long_for_the_kernel_gives_way_to_a_wider_one() {
        let list: String = (0..64).map(|n| format!("2001:db8:{n:x}::{n:x},")).collect();
        let ports: String = (0..20).map(|n| format!("{},", 53 + 2 * n)).collect();
        let program =
            program(&[&format!("DNSQR_RES_ADDRS={list}"), &format!("DNSQR_PORTS={ports}")], LinkType::Ethernet);
        assert_eq!(program.form, Form::Ports);
        assert!(matches!(program.why, Some(Why::Long(4097..))), "{:?}", program.why);
        let ports: String = (0..100).map(|n| format!("{},", 53 + 2 * n)).collect();
        let program = super::tests::program(&[&format!("DNSQR_PORTS={ports}")], LinkType::Ethernet);
        assert_eq!((program.form, program.why), (Form::Protocols, Some(Why::ManyPorts(100))));
    }

    #[test]
    fn every_link_type_has_a_program_and_only_ethernet_has_tags() {
        use LinkType::*;
        for link_type in [Ethernet, Null, Loop, Raw, Ipv4, Ipv6, LinuxSll, LinuxSll2] {
            for sets in [&[][..], &["DNSQR_RES_ADDRS=192.0.2.53"], &["DNSQR_RES_ADDRS=2001:db8::1,192.0.2.0/24"]] {
                let compiled = Filter::new(&settings(sets)).compile(link_type);
                let program = compiled.unwrap_or_else(|error| panic!("{link_type:?} {sets:?}: {error}"));
                assert_eq!(program.text.contains("vlan"), link_type == Ethernet, "{}", program.text);
            }
        }
    }

    #[test]
    fn neighbouring_ports_are_one_range_and_udp_may_be_all() {
        let program = program(&["DNSQR_PORTS=53,5353,54,55", "DNSQR_CAPTURE_TCP=0"], LinkType::Raw);
        assert!(
            program.text.starts_with("udp src portrange 53-55 or udp src port 5353 or udp dst"),
            "{}",
            program.text
        );
    }
}
