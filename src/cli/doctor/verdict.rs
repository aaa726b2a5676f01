//! From what was seen to what is wrong.

use super::{
    finding::{Finding, Outcome},
    traffic::{Directions, Link, Traffic},
};
use crate::{
    config::{AddressSet, CaptureQr, Settings},
    escape::Escaped,
    report::top::Top,
};
use ipnet::IpNet;
use std::net::IpAddr;

use super::traffic::Host as Seen;

/// Hosts, VLANs that are named.
const NAMED_MAX: usize = 8;
/// A host that has less than this part of the packets of the first one is no candidate.
const CANDIDATE_PART: u64 = 100;
/// From so many packets on, a direction with less than a quarter of the other is too little.
const UNEVEN_FROM: u64 = 20;
const UNEVEN: u64 = 4;
/// Of packets that are cut, the part from which on they are no accident.
const CUT_PART: u64 = 100;

/// What the system tells of an interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) is_promiscuous: bool,
    pub(super) mtu: Option<u32>,
    /// Generic, large.
    pub(super) offload: Option<(bool, bool)>,
    /// Packets that it has received while it was listened to.
    pub(super) arrived: Option<u64>,
}

/// All findings.
pub(super) fn of(traffic: &Traffic, hosts: &[Host], settings: &Settings, seconds: u32) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        traffic.links.iter().zip(hosts).map(|(link, host)| packets(link, host, traffic, seconds)).collect();
    findings.push(directions(traffic, settings));
    findings.extend(addresses(traffic, settings, seconds));
    findings.extend(recursion(traffic));
    findings.push(vlans(traffic));
    findings.extend(tunnels(traffic));
    findings.push(truncation(traffic));
    findings.extend(traffic.links.iter().zip(hosts).map(|(link, host)| offload(link, host)));
    findings.push(drops(traffic));
    findings
}

fn packets(link: &Link, host: &Host, traffic: &Traffic, seconds: u32) -> Finding {
    let (subject, name) = (subject("packets", &link.name), Escaped(&link.name));
    if let Some(error) = &link.error {
        return Finding::fail(&subject, format!("{name} could not be read to the end: {error}"), "");
    }
    if link.dns > 0 {
        return Finding::ok(&subject, format!("{} with DNS in {seconds} s", link.dns));
    }
    let arrived = host.arrived.map(|arrived| format!("; {name} received {arrived} packets")).unwrap_or_default();
    let look = format!("tcpdump -c 10 -ni {name} shows what comes there");
    let cure = match (&traffic.tunnels[..], host.is_promiscuous) {
        ([], false) if host.arrived.is_some() => {
            format!("what a mirror port sends is for other hosts: interface=\"{name}+\"; {look}")
        }
        ([], _) => format!("see where the mirror port sends its packets; {look}"),
        _ => "see the tunnels".to_owned(),
    };
    // With one of several interfaces, it may only be a quiet one.
    let outcome = if traffic.dns() == 0 { Outcome::Fail } else { Outcome::Warn };
    Finding::new(outcome, &subject, format!("no DNS in {seconds} s{arrived}"), cure)
}

fn subject(what: &str, interface: &str) -> String {
    format!("{what} {interface}")
}

/// Whether both are seen, of the hosts in the settings or at least of some.
fn directions(traffic: &Traffic, settings: &Settings) -> Finding {
    const SUBJECT: &str = "directions";
    let (seen, whose) = match traffic.watched.sum() {
        0 => (traffic.all, " of all hosts"),
        _ => (traffic.watched, ""),
    };
    let Directions { queries, responses } = seen;
    let found = |of: &str| format!("{of}{whose}");
    let both = format!("{queries} queries, {responses} responses");
    let cure = "the mirror port must copy both directions, what is received and what is sent; two ports with one each: \
                interface=\"eth0, eth1\"";
    let wanted = match settings.capture_qr {
        CaptureQr::Queries => queries,
        CaptureQr::Responses => responses,
        CaptureQr::Pair => queries.min(responses),
    };
    match (queries, responses) {
        (0, 0) => Finding::skip(SUBJECT, "no DNS was seen"),
        _ if wanted > 0 && settings.capture_qr != CaptureQr::Pair => Finding::ok(SUBJECT, found(&both)),
        (_, 0) => Finding::fail(SUBJECT, found(&format!("{queries} queries, no response")), cure),
        (0, _) => Finding::fail(SUBJECT, found(&format!("no query, {responses} responses")), cure),
        _ if queries.max(responses) >= UNEVEN_FROM && wanted.saturating_mul(UNEVEN) < queries.max(responses) => {
            Finding::warn(SUBJECT, found(&both), cure)
        }
        _ => Finding::ok(SUBJECT, found(&both)),
    }
}

/// Which of the settings' hosts are seen; if none is, which others ask servers, or are asked.
fn addresses(traffic: &Traffic, settings: &Settings, seconds: u32) -> Vec<Finding> {
    const SUBJECT: &str = "addresses";
    let (setting, listed, hosts) = match settings.resolver_addresses.is_empty() {
        false => ("DNSQR_RES_ADDRS", &settings.resolver_addresses, &traffic.askers),
        true => ("DNSQR_AUTH_ADDRS", &settings.authority_addresses, &traffic.servers),
    };
    let of_listed = listed.prefixes().iter().map(|prefix| (prefix, of_prefix(prefix, hosts)));
    let (seen, unseen): (Vec<_>, Vec<_>) = of_listed.partition(|(_, sum)| *sum != Seen::default());
    let candidates = candidates(hosts, listed);
    let names = |show: &dyn Fn(&(IpAddr, &Seen)) -> String| candidates.iter().map(show).collect::<Vec<_>>().join(", ");
    let others = names(&|(address, seen)| counted(&address.to_string(), seen));
    if traffic.watched.sum() > 0 || traffic.left_out > 0 {
        let shown = seen.iter().take(NAMED_MAX).map(|(prefix, sum)| counted(&name(prefix), sum));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let shown = if shown.is_empty() { "nothing over UDP".to_owned() } else { shown };
        let others = if candidates.is_empty() { String::new() } else { format!("; not in the settings: {others}") };
        let mut findings = vec![Finding::ok(SUBJECT, format!("{shown}{others}"))];
        // After a flood of forged hosts nobody knows.
        if !unseen.is_empty() && hosts.forgotten() == (0, 0) {
            let names: Vec<String> = unseen.iter().take(NAMED_MAX).map(|(prefix, _)| name(prefix)).collect();
            findings.push(Finding::warn(
                SUBJECT,
                format!("nothing over UDP in {seconds} s of {}, in {setting}", names.join(", ")),
                "where they are in use, mirror their ports too; where they are not, take them out of the list",
            ));
        }
        return findings;
    }
    let all = traffic.all.sum();
    if all == 0 {
        return vec![Finding::skip(SUBJECT, "no DNS was seen")];
    }
    let none = format!("none of {setting}=\"{listed}\" in {all} packets");
    vec![match candidates.is_empty() {
        false => {
            let list = names(&|(address, _)| address.to_string());
            let who = if setting == "DNSQR_RES_ADDRS" { "resolvers" } else { "servers" };
            Finding::fail(SUBJECT, format!("{none}; seen like {who}: {others}"), format!("{setting}=\"{list}\""))
        }
        true => Finding::fail(
            SUBJECT,
            format!("{none}; all of them ask for recursion, as clients do"),
            "mirror the port where the resolver asks servers",
        ),
    }]
}

/// Those who are not in the list, and could be: what is between resolvers and servers, they ask or answer.
fn candidates<'t>(hosts: &'t Top<IpAddr, Seen>, listed: &AddressSet) -> Vec<(IpAddr, &'t Seen)> {
    let count = |seen: &Seen| seen.queries + seen.responses;
    let sorted = hosts.sorted();
    let others = sorted.into_iter().map(|(address, entry)| (*address, &entry.value));
    let mut others: Vec<_> = others.filter(|(address, seen)| count(seen) > 0 && !listed.contains(*address)).collect();
    others.sort_by_key(|(_, seen)| std::cmp::Reverse(count(seen)));
    let least = others.first().map_or(0, |(_, seen)| count(seen) / CANDIDATE_PART);
    others.retain(|(_, seen)| count(seen) > least);
    others.truncate(NAMED_MAX);
    others
}

fn of_prefix(prefix: &IpNet, hosts: &Top<IpAddr, Seen>) -> Seen {
    let mut sum = Seen::default();
    for (_, entry) in hosts.sorted().into_iter().filter(|(address, _)| prefix.contains(*address)) {
        sum.queries += entry.value.queries;
        sum.responses += entry.value.responses;
        sum.recursive += entry.value.recursive;
    }
    sum
}

fn name(prefix: &IpNet) -> String {
    let is_host = prefix.prefix_len() == prefix.max_prefix_len();
    if is_host { prefix.addr().to_string() } else { prefix.to_string() }
}

fn counted(name: &str, seen: &Seen) -> String {
    let Seen { queries, responses, recursive } = *seen;
    let counts = [(queries, "queries"), (responses, "responses"), (recursive, "with recursion")];
    let shown: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("{name} ({})", shown.join(", "))
}

/// What DNSQR_CAPTURE_RD leaves out.
fn recursion(traffic: &Traffic) -> Option<Finding> {
    const SUBJECT: &str = "recursion";
    match (traffic.left_out, traffic.watched.sum()) {
        (0, _) => None,
        (left_out, 0) => Some(Finding::fail(
            SUBJECT,
            format!("all {left_out} packets of the listed hosts are left out for their RD bit (DNSQR_CAPTURE_RD)"),
            "list the resolver that asks servers itself; to collect what a forwarder asks: DNSQR_CAPTURE_RD=\"1\"",
        )),
        (left_out, _) => {
            Some(Finding::ok(SUBJECT, format!("{left_out} packets are left out for their RD bit (DNSQR_CAPTURE_RD)")))
        }
    }
}

fn vlans(traffic: &Traffic) -> Finding {
    const SUBJECT: &str = "VLAN tags";
    let mut all: Vec<_> = traffic.vlans.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = all.iter().take(NAMED_MAX).map(|(tags, count)| {
        let tags: Vec<String> = tags.iter().map(u16::to_string).collect();
        format!("{} ({count} packets)", tags.join("."))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    Finding::ok(SUBJECT, if shown.is_empty() { "none".to_owned() } else { format!("{shown}; they need no setting") })
}

/// The sensor does not look into them. Where it sees DNS beside them, they may be of no concern.
fn tunnels(traffic: &Traffic) -> Vec<Finding> {
    const SUBJECT: &str = "tunnels";
    let outcome = if traffic.watched.sum() > 0 { Outcome::Warn } else { Outcome::Fail };
    let mut findings: Vec<Finding> = traffic
        .tunnels
        .iter()
        .map(|(tunnel, count)| {
            let ends = tunnel.ends.map(|(from, to)| format!(" from {from} to {to}")).unwrap_or_default();
            let found = format!("{}{ends}: {count} packets, which are not looked into", tunnel.kind.name());
            Finding::new(outcome, SUBJECT, found, tunnel.cure())
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, "none"));
    }
    findings
}

fn truncation(traffic: &Traffic) -> Finding {
    const SUBJECT: &str = "truncation";
    let (cut, frames) = (traffic.truncated, traffic.links.iter().map(|link| link.frames).sum::<u64>());
    match cut {
        0 if frames == 0 => Finding::skip(SUBJECT, "no packet was seen"),
        0 => Finding::ok(SUBJECT, "no packet was cut"),
        _ => Finding::new(
            if cut.saturating_mul(CUT_PART) < frames { Outcome::Warn } else { Outcome::Fail },
            SUBJECT,
            format!("{cut} of {frames} packets were cut, to {} bytes or less, before they came here", traffic.left),
            "let the mirror copy whole packets: no truncation, no snap length there",
        ),
    }
}

/// Packets joined before they are seen are not those of the wire, though their DNS is whole.
fn offload(link: &Link, host: &Host) -> Finding {
    let (subject, name) = (subject("offload", &link.name), Escaped(&link.name));
    let state = match host.offload {
        None => "the system does not tell",
        Some((false, false)) => "off",
        Some((true, false)) => "GRO is on",
        Some((false, true)) => "LRO is on",
        Some((true, true)) => "GRO and LRO are on",
    };
    match (link.joined, link.mtu) {
        (joined @ 1.., Some(mtu)) => Finding::warn(
            &subject,
            format!(
                "{joined} frames are longer than the MTU of {mtu} allows, up to {} bytes; {state}. Those that this host sends are as they should be: its card cuts them",
                link.longest
            ),
            format!("ethtool -K {name} gro off lro off"),
        ),
        _ => Finding::ok(&subject, format!("{state}; no frame is longer than it should be")),
    }
}

/// Of the packets that came here: the buffer is smaller than the sensor's and the filter wider, so the kernel's drops say
/// nothing of a sensor that runs.
fn drops(traffic: &Traffic) -> Finding {
    const SUBJECT: &str = "drops";
    let sum = |of: fn(&Link) -> u64| traffic.links.iter().map(of).sum::<u64>();
    let received = sum(|link| link.kernel.received);
    let (kernel, interface) = (sum(|link| link.kernel.dropped), sum(|link| link.kernel.interface_dropped));
    match (kernel, interface) {
        (0, 0) => Finding::ok(SUBJECT, format!("none of {received} packets")),
        (0, interface) => Finding::warn(
            SUBJECT,
            format!("{interface} packets were dropped by the interface"),
            "longer queues of the network card: ethtool -G INTERFACE rx 4096",
        ),
        (kernel, interface) => Finding::warn(
            SUBJECT,
            format!(
                "{kernel} of {received} packets, of all hosts, were too many for the small buffer of this check, {interface} for the interface"
            ),
            "what the sensor itself loses is told by: sie-dns-sensor status",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::{Frame, LinkType},
        config, stats,
        time::Timestamp,
    };

    fn settings(sets: &[&str]) -> Settings {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        config::load(None, &sets).unwrap().0
    }

    fn link(name: &str) -> Link {
        Link { name: name.to_owned(), ..Link::default() }
    }

    /// A query from this host to 198.51.100.1, or the response to it.
    fn message(host: u32, is_response: bool) -> Vec<u8> {
        let [a, b] = [host.to_be_bytes(), [198, 51, 100, 1]];
        let (from, to, ports) = if is_response { (b, a, [0, 53, 9, 9]) } else { (a, b, [9, 9, 0, 53]) };
        let dns = [0, 7, if is_response { 0x80 } else { 0 }, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let header = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0];
        [&header[..], &from, &to, &ports, &[0, 20, 0, 0], &dns].concat()
    }

    fn frame(bytes: &[u8]) -> Frame<'_> {
        Frame { time: Timestamp::new(0, 0), link_type: LinkType::Raw, bytes, wire_len: bytes.len() as u32 }
    }

    fn judged(traffic: &Traffic, settings: &Settings) -> Vec<Finding> {
        let hosts: Vec<Host> = traffic.links.iter().map(|_| Host::default()).collect();
        of(traffic, &hosts, settings, 10)
    }

    fn find<'f>(findings: &'f [Finding], subject: &str) -> &'f Finding {
        findings.iter().find(|finding| finding.subject == subject).unwrap()
    }

    #[test]
    fn a_flood_of_forged_hosts_does_not_hide_the_resolver_nor_fill_memory() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.1"]);
        let mut traffic = Traffic::new(&settings, vec![link("a")]);
        for forged in 0..200_000_u32 {
            traffic.frame(0, &frame(&message(0x0a00_0000 + forged, false)));
            if forged % 50 == 0 {
                for is_response in [false, true] {
                    traffic.frame(0, &frame(&message(0xc000_0235, is_response)));
                }
            }
        }
        assert!(traffic.askers.sorted().len() <= 4096);
        let findings = judged(&traffic, &settings);
        let addresses = find(&findings, "addresses");
        assert!(addresses.cure.starts_with("DNSQR_RES_ADDRS=\"192.0.2.53"), "{addresses}");
    }

    #[test]
    fn a_listed_host_that_is_not_seen_beside_one_that_is_is_warned_about() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.53, 192.0.2.54, 203.0.113.0/24"]);
        let mut traffic = Traffic::new(&settings, vec![link("a")]);
        traffic.frame(0, &frame(&message(0xc000_0235, false)));
        let findings = judged(&traffic, &settings);
        let found: Vec<_> = findings.iter().filter(|finding| finding.subject == "addresses").collect();
        let outcomes: Vec<_> = found.iter().map(|finding| (finding.outcome, finding.found.as_str())).collect();
        assert_eq!(
            outcomes,
            [
                (Outcome::Ok, "192.0.2.53 (1 queries)"),
                (Outcome::Warn, "nothing over UDP in 10 s of 192.0.2.54, 203.0.113.0/24, in DNSQR_RES_ADDRS")
            ]
        );
    }

    #[test]
    fn vlans_and_tunnels_without_number_are_some_in_memory() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.1"]);
        let mut traffic = Traffic::new(&settings, vec![link("a")]);
        for number in 0..4096_u16 {
            let tag = number.to_be_bytes();
            let udp = [[0, 9], [0x12, 0xb5], [0, 16], [0, 0], [8, 0], [0, 0], [tag[0], tag[1]], [0, 0]].concat();
            let header = [0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
            let bytes = [&[0; 12][..], &[0x81, 0], &tag, &[8, 0], &header, &udp].concat();
            traffic.frame(0, &Frame { link_type: LinkType::Ethernet, ..frame(&bytes) });
        }
        assert_eq!((traffic.vlans.len(), traffic.tunnels.len()), (64, 16));
        assert_eq!(find(&judged(&traffic, &settings), "tunnels").outcome, Outcome::Fail);
    }

    #[test]
    fn a_response_to_a_port_that_tunnels_have_is_dns() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.53"]);
        let mut traffic = Traffic::new(&settings, vec![link("a")]);
        for port in [4789_u16, 8472, 6081, 2152] {
            let mut bytes = message(0xc000_0235, true);
            bytes[22..24].copy_from_slice(&port.to_be_bytes());
            traffic.frame(0, &frame(&bytes));
        }
        assert_eq!((traffic.watched.responses, traffic.tunnels.len()), (4, 0));
    }

    #[test]
    fn frames_cut_anywhere_are_no_dns_and_no_end() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.53"]);
        let whole = message(0xc000_0235, false);
        let mut traffic = Traffic::new(&settings, vec![link("a")]);
        (0..whole.len()).for_each(|length| traffic.frame(0, &frame(&whole[..length])));
        assert_eq!((traffic.dns(), traffic.truncated), (0, whole.len() as u64 - 4));
        let findings = judged(&traffic, &settings);
        assert_eq!(find(&findings, "truncation").outcome, Outcome::Fail);
        assert_eq!(find(&findings, "directions").outcome, Outcome::Skip);
    }

    #[test]
    fn drops_of_the_check_are_not_taken_for_the_sensors() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.53", "capture_buffer_kbytes=1024"]);
        let kernel = stats::Kernel { received: 9, dropped: 2, interface_dropped: 1 };
        let traffic = Traffic::new(&settings, vec![Link { kernel, ..link("a") }, link("b")]);
        let findings = judged(&traffic, &settings);
        let drops = find(&findings, "drops");
        assert_eq!((drops.outcome, &drops.found[..11]), (Outcome::Warn, "2 of 9 pack"));
        assert!(drops.cure.ends_with("sie-dns-sensor status"), "{}", drops.cure);
    }

    #[test]
    fn of_several_interfaces_a_quiet_one_is_only_warned_about_and_directions_are_of_all() {
        let settings = settings(&["DNSQR_RES_ADDRS=192.0.2.53"]);
        let mut traffic = Traffic::new(&settings, vec![link("a"), link("b"), link("c")]);
        traffic.frame(0, &frame(&message(0xc000_0235, false)));
        traffic.frame(1, &frame(&message(0xc000_0235, true)));
        let findings = judged(&traffic, &settings);
        assert_eq!(find(&findings, "directions").outcome, Outcome::Ok);
        assert_eq!(find(&findings, "packets c").outcome, Outcome::Warn);
        assert!(!findings.iter().any(|finding| finding.outcome == Outcome::Fail));
    }
}
