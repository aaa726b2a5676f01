//! Capturing from interfaces, in network namespaces of their own. They need root and iproute2, and say so when they
//! skip.

use crate::{
    build::{self, End},
    namespace::Namespace,
};
use pcap::{Active, Capture};
use sie_dns_sensor::{
    capture::{
        LinkType,
        live::{self, Filter, Live, Options, ReadError, Ring},
    },
    config::{self, Interface},
    daemon::SystemClock,
    decode::link,
    time::{Clock, Timestamp},
};
use std::{
    collections::{HashMap, HashSet},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

fn filter(sets: &[&str]) -> Filter {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Filter::new(&config::load(None, &sets).unwrap().0)
}

fn options() -> Options {
    Options { buffer_bytes: 8 << 20, filter: filter(&["DNSQR_RES_ADDRS=192.0.2.53"]) }
}

fn interface(name: &str) -> Interface {
    Interface { name: name.into(), promiscuous: true }
}

fn sender(name: &str) -> Capture<Active> {
    Capture::from_device(name).unwrap().open().unwrap()
}

/// An IPv4 packet in an Ethernet frame with VLAN tags.
fn ethernet(tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend([tag.to_be_bytes(), [0, 7]].as_flattened());
    }
    frame.extend([0x08, 0x00]);
    frame.extend(packet);
    frame
}

fn query(number: u16, from: End, to: End) -> Vec<u8> {
    build::udp(from, to, &build::query(number, "example.net"))
}

/// The frames that come within a time, as (time, bytes).
fn frames(ring: &mut Ring, wait: Duration) -> Vec<(Timestamp, Vec<u8>)> {
    let mut frames = Vec::new();
    let end = Instant::now() + wait;
    while Instant::now() < end {
        ring.read(1000, |frame| frames.push((frame.time, frame.bytes.to_vec()))).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    frames
}

const QUIET: Duration = Duration::from_millis(300);

#[test]
fn the_frames_of_a_resolver_come_in_behind_any_tags_with_nanoseconds_and_its_clients_do_not() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut ring = Ring::open(&interface("a0"), &options()).unwrap();
        assert!(ring.has_nanoseconds() && ring.warning().is_none());
        let before = SystemClock::new().wall();
        let (resolver, server) = (build::resolver(), build::server());
        let client = ([10, 0, 0, 1].into(), 4000);
        let mut sender = sender("b0");
        let mut sent = Vec::new();
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x8100, 0x8100, 0x8100]] {
            sent.push(ethernet(tags, &query(1, resolver, server)));
            sent.push(ethernet(tags, &query(2, server, resolver)));
            sender.sendpacket(ethernet(tags, &query(3, client, (resolver.0, 53)))).unwrap();
            sender.sendpacket(&sent[sent.len() - 2][..]).unwrap();
            sender.sendpacket(&sent[sent.len() - 1][..]).unwrap();
        }
        let come = frames(&mut ring, QUIET);
        assert_eq!(come.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), sent.iter().collect::<Vec<_>>());
        assert!(come.iter().all(|(time, _)| *time >= before && time.since(before) < Duration::from_secs(10)));
        assert!(come.iter().any(|(time, _)| time.as_nanos() % 1000 != 0), "microseconds only");
        let kernel = ring.statistics();
        assert_eq!((kernel.received, kernel.dropped, kernel.interface_dropped), (8, 0, 0));
        assert_eq!(ring.statistics().received, 0);
    });
}

#[test]
fn all_interfaces_at_once_give_cooked_frames_filtered_alike() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut ring = Ring::open(&interface("any"), &options()).unwrap();
        assert_eq!(ring.link_type(), LinkType::LinuxSll);
        let (resolver, server) = (build::resolver(), build::server());
        let mut sender = sender("b0");
        sender.sendpacket(ethernet(&[], &query(1, resolver, server))).unwrap();
        sender.sendpacket(ethernet(&[0x8100], &query(2, resolver, server))).unwrap();
        sender.sendpacket(ethernet(&[], &query(3, ([10, 0, 0, 1].into(), 4000), (resolver.0, 53)))).unwrap();
        let come = frames(&mut ring, QUIET);
        // Once as it leaves b0 and once as it comes to a0, where the tag has been taken out.
        let ids: Vec<u8> = come.iter().map(|(_, bytes)| bytes[bytes.len() - 29 + 1]).collect();
        assert_eq!(ids.iter().filter(|id| **id == 1).count(), 2, "{ids:?}");
        assert!(ids.contains(&2) && !ids.contains(&3), "{ids:?}");
    });
}

#[test]
fn all_interfaces_at_once_show_what_is_behind_several_tags_and_filter_there() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut ring = Ring::open(&interface("any"), &options()).unwrap();
        let (resolver, server) = (build::resolver(), build::server());
        let mut sender = sender("b0");
        let wanted = query(1, resolver, server);
        let client = query(2, ([10, 0, 0, 1].into(), 4000), (resolver.0, 53));
        for tags in [&[0x9100][..], &[0x88a8, 0x8100], &[0x8100, 0x8100], &[0x9100, 0x8100], &[0x8100; 3], &[0x8100; 4]]
        {
            for packet in [&wanted, &client] {
                sender.sendpacket(ethernet(tags, packet)).unwrap();
            }
            let come = frames(&mut ring, QUIET);
            let packets: Vec<_> = come.iter().map(|(_, bytes)| link::network(ring.link_type(), bytes)).collect();
            assert!(packets.contains(&Ok(Some(&wanted))), "{tags:04x?}: {come:02x?}");
            assert!(!packets.contains(&Ok(Some(&client))), "{tags:04x?}: {come:02x?}");
        }
    });
}

#[test]
fn waiting_ends_for_a_packet_and_for_what_else_is_waited_for() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut live = Live::new(vec![Ring::open(&interface("a0"), &options()).unwrap()], 0);
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let long = Duration::from_secs(60);
        let started = Instant::now();
        assert!(!live.wait(long, &[near.as_fd()]).unwrap());
        assert!(started.elapsed() >= Duration::from_millis(90) && started.elapsed() < long);
        let frame = ethernet(&[], &query(1, build::resolver(), build::server()));
        sender("b0").sendpacket(frame).unwrap();
        let mut come = 0;
        while come == 0 && started.elapsed() < long {
            assert!(!live.wait(long, &[near.as_fd()]).unwrap());
            come += live.read(SystemClock::new().wall(), 10, |_| ()).frames;
        }
        assert_eq!(come, 1);
        drop(far);
        assert!(live.wait(long, &[near.as_fd()]).unwrap());
    });
}

#[test]
fn packets_that_find_no_room_are_counted_and_received_counts_them_too() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut ring = Ring::open(&interface("a0"), &Options { buffer_bytes: 1 << 20, ..options() }).unwrap();
        let mut sender = sender("b0");
        let frame = ethernet(&[], &query(1, build::resolver(), build::server()));
        (0..50_000).for_each(|_| sender.sendpacket(&frame[..]).unwrap());
        let come = frames(&mut ring, QUIET).len() as u64;
        let kernel = ring.statistics();
        assert!(kernel.dropped > 0);
        assert_eq!((kernel.received, kernel.received - kernel.dropped), (50_000, come));
    });
}

#[test]
fn no_packet_is_lost_while_filters_are_exchanged() {
    exchange_filters("a0", 1);
}

#[test]
fn no_cooked_packet_is_lost_while_filters_are_exchanged() {
    exchange_filters("any", 2); // each leaves b0 and comes to a0
}

/// Every packet comes so many times.
fn exchange_filters(name: &str, times: usize) {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut ring =
            Ring::open(&interface(name), &Options { buffer_bytes: times * (64 << 20), ..options() }).unwrap();
        let others = [filter(&["DNSQR_RES_ADDRS=192.0.2.53,192.0.2.54"]), options().filter];
        let done = AtomicBool::new(false);
        let (mut come, mut exchanges) = (0, 0);
        const PACKETS: usize = 200_000;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut sender = sender("b0");
                let frame = ethernet(&[], &query(1, build::resolver(), build::server()));
                (0..PACKETS).for_each(|_| sender.sendpacket(&frame[..]).unwrap());
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                ring.set_filter(&others[exchanges % 2]).unwrap();
                exchanges += 1;
                come += ring.read(10_000, |_| ()).unwrap();
            }
        });
        come += frames(&mut ring, QUIET).len();
        assert_eq!((come, ring.statistics().dropped), (times * PACKETS, 0), "{exchanges} exchanges");
        assert!(exchanges > 20, "{exchanges} exchanges");
    });
}

/// A host's traffic with others: queries, responses, fragments of them; with and without tags.
fn conversation(host: u8) -> Vec<Vec<u8>> {
    let resolver = ([192, 0, 2, 53].into(), 4000);
    let server = ([198, 51, 100, host].into(), 53);
    let mut packets = vec![query(1, resolver, server), query(2, server, resolver)];
    let long = build::datagram(server, resolver, &vec![7; 2000]);
    packets.extend(build::fragments(server.0, resolver.0, host.into(), &long, &[800, 1600]));
    packets
        .iter()
        .flat_map(|packet| [&[][..], &[0x8100], &[0x88a8, 0x8100]].map(|tags| ethernet(tags, packet)))
        .collect()
}

/// Source and destination address of the IPv4 packet at the end of a frame, the lower first.
fn pair(frame: &[u8]) -> [[u8; 4]; 2] {
    let at = frame.windows(2).position(|two| two == [0x08, 0x00]).unwrap() + 2;
    let mut pair = [frame[at + 12..at + 16].try_into().unwrap(), frame[at + 16..at + 20].try_into().unwrap()];
    pair.sort_unstable();
    pair
}

#[test]
fn what_two_addresses_say_to_each_other_comes_to_one_thread_from_all_interfaces() {
    for threads in [2, 3] {
        let Some(namespace) = Namespace::new(2) else { return };
        namespace.inside(|| {
            let interfaces = [interface("a0"), interface("a1")];
            let mut shares = live::open(&interfaces, threads, &options()).unwrap();
            let mut senders = [sender("b0"), sender("b1")];
            let mut sent = 0;
            for host in 1..=200 {
                for (number, frame) in conversation(host).iter().enumerate() {
                    senders[number % 2].sendpacket(&frame[..]).unwrap();
                    sent += 1;
                }
            }
            let mut of_pair: HashMap<_, HashSet<usize>> = HashMap::new();
            let mut come = vec![0; threads];
            for (thread, share) in shares.iter_mut().enumerate() {
                for (_, frame) in share.iter_mut().flat_map(|ring| frames(ring, QUIET)) {
                    of_pair.entry(pair(&frame)).or_default().insert(thread);
                    come[thread] += 1;
                }
            }
            assert_eq!(come.iter().sum::<usize>(), sent, "{come:?}");
            assert_eq!(of_pair.len(), 200);
            assert!(of_pair.values().all(|threads| threads.len() == 1));
            assert!(come.iter().all(|count| *count > sent / threads * 7 / 10), "{come:?}");
            let dropped: u64 = shares.iter_mut().flatten().map(|ring| ring.statistics().dropped).sum();
            assert_eq!(dropped, 0);
        });
    }
}

#[test]
fn threads_share_an_interface_as_before_when_it_was_down() {
    let Some(namespace) = Namespace::new(2) else { return };
    namespace.inside(|| {
        let interfaces = [interface("a0"), interface("a1")];
        let mut shares = live::open(&interfaces, 3, &options()).unwrap();
        namespace.link(&["set", "a0", "down"]);
        namespace.link(&["set", "a0", "up"]);
        let mut senders = [sender("b0"), sender("b1")];
        for frame in (1..=50).flat_map(conversation) {
            senders.iter_mut().for_each(|sender| sender.sendpacket(&frame[..]).unwrap());
        }
        let mut of_pair: HashMap<_, HashSet<usize>> = HashMap::new();
        for (thread, share) in shares.iter_mut().enumerate() {
            for (_, frame) in share.iter_mut().flat_map(|ring| frames(ring, QUIET)) {
                of_pair.entry(pair(&frame)).or_default().insert(thread);
            }
        }
        assert!(of_pair.values().all(|threads| threads.len() == 1), "{of_pair:?}");
    });
}

#[test]
fn two_processes_share_nothing() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut two = [(); 2].map(|()| live::open(&[interface("a0")], 2, &options()).unwrap());
        let mut sender = sender("b0");
        let sent: Vec<_> = (1..=50).flat_map(conversation).collect();
        sent.iter().for_each(|frame| sender.sendpacket(&frame[..]).unwrap());
        for shares in &mut two {
            let come: usize = shares.iter_mut().flatten().map(|ring| frames(ring, QUIET).len()).sum();
            assert_eq!(come, sent.len());
        }
    });
}

#[test]
fn interfaces_that_cannot_be_opened_are_named_with_the_cure() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.link(&["set", "a0", "down"]);
    namespace.inside(|| {
        let error = |name| Ring::open(&interface(name), &options()).map(|_| ()).unwrap_err().to_string();
        let cure = "\"ip link\" or \"ifconfig\" lists them";
        assert_eq!(error("c0"), format!("cannot capture on c0: no such interface; {cure}"));
        let cure = "\"ip link set a0 up\" brings it up";
        assert_eq!(error("a0"), format!("cannot capture on a0: the interface is down; {cure}"));
        caps::clear(None, caps::CapSet::Effective).unwrap(); // of this thread
        let message = error("b0");
        assert!(message.starts_with("cannot capture on b0: no permission ("), "{message}");
        assert!(message.ends_with("); run it as root or with CAP_NET_RAW"), "{message}");
    });
}

#[test]
fn a_ring_outlives_its_interface_being_down_or_renamed() {
    let Some(namespace) = Namespace::new(1) else { return };
    namespace.inside(|| {
        let mut ring = Ring::open(&interface("a0"), &options()).unwrap();
        let mut sender = sender("b0");
        let frame = ethernet(&[], &query(1, build::resolver(), build::server()));
        // Where the carrier is gone, or not back yet, there is nobody to take a frame.
        let mut comes = || sender.sendpacket(&frame[..]).is_ok() && frames(&mut ring, QUIET).len() == 1;
        assert!(comes());
        namespace.link(&["set", "a0", "down"]);
        assert!(!comes());
        namespace.link(&["set", "a0", "up"]);
        assert!((0..50).any(|_| comes())); // it takes the kernel a moment to notice
        namespace.link(&["set", "a0", "name", "c0"]);
        assert!(comes());
    });
}

#[test]
fn an_interface_that_goes_is_told_and_the_others_go_on() {
    let Some(namespace) = Namespace::new(2) else { return };
    namespace.inside(|| {
        let rings = ["a0", "a1"].map(|name| Ring::open(&interface(name), &options()).unwrap());
        let mut live = Live::new(rings.into(), 0);
        namespace.link(&["del", "a0"]);
        let mut sender = sender("b1");
        let clock = SystemClock::new();
        let frame = ethernet(&[], &query(1, build::resolver(), build::server()));
        let (mut failed, mut come) = (Vec::new(), 0);
        for _ in 0..50 {
            sender.sendpacket(&frame[..]).unwrap();
            live.wait(Duration::from_millis(20), &[]).unwrap();
            let turn = live.read(clock.wall(), 1000, |_| come += 1);
            failed.extend(turn.failed);
        }
        thread::sleep(QUIET);
        live.read(clock.wall(), 1000, |_| come += 1);
        live.flush(|_| come += 1);
        assert!(matches!(&failed[..], [(0, ReadError::Down(_))]), "{failed:?}");
        live.look();
        assert_eq!((come, live.kernel().received), (50, 50));
        let packets: Vec<u64> = live.links().iter().map(|link| link.packets).collect();
        assert_eq!(packets, [0, 50]);
        assert_eq!(live.links()[1].bytes, 50 * frame.len() as u64);
    });
}
