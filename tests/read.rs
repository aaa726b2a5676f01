//! The reader and the forms of `read`, on libnmsg's own files and on what damage makes of them.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use proptest::prelude::*;
use sie_dns_sensor::nmsg::dnsqr::Dnsqr;
use sie_dns_sensor::nmsg::reader::{Counts, ReadError, Reader};
use sie_dns_sensor::present::cof::Table;
use sie_dns_sensor::present::message::Message;
use sie_dns_sensor::present::savefile;
use sie_dns_sensor::present::stats::Stats;

fn vector(name: &str) -> Vec<u8> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors/expected");
    fs::read(vectors.join(name)).unwrap()
}

/// Everything `read` does with a stream; returns the messages, and how often it had to go on after damage.
fn read_all(stream: impl Read) -> (Vec<Vec<u8>>, u64, Counts) {
    let mut reader = Reader::new(stream);
    let (mut table, mut stats, mut out) = (Table::new(4), Stats::new(4), Vec::new());
    let (mut messages, mut errors) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Ok(Some(payload)) => {
                let dnsqr = Dnsqr::decode(&payload.message).ok();
                stats.add(&payload, dnsqr.as_ref());
                if let Some(dnsqr) = &dnsqr {
                    table.add(&payload, dnsqr, &mut out);
                    savefile::write(&payload, dnsqr, &mut out);
                    let _ = dnsqr.query_message();
                }
                messages.push(payload.message.to_vec());
            }
            Ok(None) => break,
            Err(ReadError::Io { error, .. }) => panic!("{error}"),
            Err(_) => errors += 1,
        }
    }
    table.finish(&mut out).unwrap();
    assert!(stats.screen().lines().all(|line| line.len() <= 80));
    (messages, errors, reader.counts())
}

/// Gives one byte at a time.
struct Trickle<'b>(&'b [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer.get_mut(..1).unwrap_or_default())
    }
}

#[test]
fn a_stream_that_trickles_reads_the_same() {
    let bytes = [vector("udp4.nmsg"), b"NMSG damage".to_vec(), vector("frag6-in-order.nmsg")].concat();
    let whole = read_all(bytes.as_slice());
    assert_eq!(whole, read_all(Trickle(&bytes)));
    assert_eq!((whole.1, whole.2.skipped_bytes), (1, 11));
}

#[test]
fn a_fragmented_response_gives_its_whole_message() {
    for name in ["frag4-in-order", "frag4-reversed", "frag6-in-order", "frag6-after-destopt"] {
        let (messages, _, _) = read_all(vector(&format!("{name}.nmsg")).as_slice());
        let dnsqr = Dnsqr::decode(&messages[0]).unwrap();
        assert!(dnsqr.response_packet.len() > 1, "{name}");
        let response = dnsqr.response_message().unwrap();
        assert!(!Message::parse(&response).unwrap().answer.is_empty(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damage_never_panics_and_costs_at_most_what_it_touches(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = [vector("frag4-in-order.nmsg"), vector("rdata-types.nmsg")].concat();
        bytes.truncate(cut.index(bytes.len()) + 1);
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        let whole = vector("udp6.nmsg");
        let clean = read_all(whole.as_slice()).0;
        let behind = [whole, bytes].concat();
        let (messages, _, counts) = read_all(behind.as_slice());
        prop_assert!(messages.starts_with(&clean), "what stands before the damage is read");
        prop_assert_eq!(counts.payloads, u64::try_from(messages.len()).unwrap());
    }

    #[test]
    fn bytes_that_are_no_packets_give_no_message(packets in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
        let dnsqr = Dnsqr { response_packet: packets.iter().map(Vec::as_slice).collect(), ..Dnsqr::default() };
        let _ = dnsqr.response_message();
    }

    #[test]
    fn bytes_that_are_no_container_are_skipped(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(bytes.as_slice());
        let body = [&b"NMSG\x00\x02\x00\x00"[..], &u16::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat();
        read_all(body.as_slice());
    }
}
