use super::*;
use crate::nmsg::samples;
use libdeflater::Decompressor;

const BOTH: [Effort; 2] = [Effort::Quick, Effort::Dense];

fn compressed(deflate: &mut Deflate, data: &[u8], effort: Effort) -> Vec<u8> {
    let mut out = vec![0xaa; 3];
    let end = deflate.compress(data, effort, &mut out, 3);
    assert_eq!(out[..3], [0xaa; 3]);
    out[3..end].to_vec()
}

/// What comes out is what went in, and how long it was in between.
fn checked(data: &[u8]) -> [usize; 2] {
    BOTH.map(|effort| {
        let stream = compressed(&mut Deflate::default(), data, effort);
        let mut back = vec![0; data.len() + 1];
        assert_eq!(Decompressor::new().deflate_decompress(&stream, &mut back), Ok(data.len()));
        assert!(back[..data.len()] == *data);
        let again = flate2::read::DeflateDecoder::new(&stream[..]);
        assert!(std::io::Read::bytes(again).map(Result::unwrap).eq(data.iter().copied()));
        stream.len()
    })
}

#[test]
fn what_has_no_repetitions_or_nothing_else_comes_back() {
    for len in [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 18, 31, 255, 256, 257, 258, 259, 300, 65_536] {
        checked(&vec![0; len]);
        checked(&(0..len).map(|i| (i * i / 7) as u8).collect::<Vec<_>>());
        checked(&noise(len));
    }
    assert!(checked(&vec![b'x'; 300_000])[1] < 700);
    // Without stored blocks noise costs a little: codes of nine bits, and what says which.
    assert!(checked(&noise(1 << 18)).iter().all(|&len| len < (1 << 18) + (1 << 11)));
}

#[test]
fn copies_reach_32_kib_and_no_further() {
    for distance in [32_767, 32_768, 32_769, 40_000, 65_536, 65_537, 98_304] {
        let mut data = noise(distance);
        data.extend_from_within(..1000);
        let lens = checked(&data);
        assert_eq!(lens[0] < distance + 500, distance <= 32_768, "{distance}: {lens:?}");
    }
}

#[test]
fn a_container_comes_back_whole_cut_and_damaged() {
    let container = container();
    let plain = [1, 3].map(|level| {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
        compressor.deflate_compress(&container, &mut vec![0; container.len()]).unwrap()
    });
    let [quick, dense] = checked(&container);
    assert!(quick < plain[0] && dense < quick && dense < plain[1] * 102 / 100, "{quick} {dense} {plain:?}");
    for len in (0..1500).step_by(7).chain([container.len() - 5000, container.len() - 7, container.len() - 1]) {
        checked(&container[..len]);
    }
    for at in 0..600 {
        let mut damaged = container[..700].to_vec();
        damaged[at] ^= 0x55;
        checked(&damaged);
        damaged[at] = 0xff;
        checked(&damaged);
    }
}

#[test]
fn the_same_data_give_the_same_stream_whatever_came_before() {
    let (container, noise) = (container(), noise(30_000));
    let mut deflate = Deflate::default();
    for effort in BOTH {
        let first = compressed(&mut deflate, &container, effort);
        compressed(&mut deflate, &noise, effort);
        assert!(compressed(&mut deflate, &container, effort) == first);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_said_again_come_back(pieces in proptest::collection::vec((0_usize..2000, 1_usize..700, 0_u8..4), 0..60)) {
        let mut data = noise(300);
        for (back, len, new) in pieces {
            let from = data.len() - (back % data.len()).max(1).min(data.len());
            data.extend_from_within(from..(from + len).min(data.len()));
            data.extend(std::iter::repeat_n(len as u8, new.into()));
        }
        checked(&data);
    }
}

/// Bytes like no others.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The body of a container of the sort that a sensor writes.
fn container() -> Vec<u8> {
    let mut noise = noise(1 << 15).into_iter();
    let mut random = || u16::from_be_bytes([noise.next().unwrap(), noise.next().unwrap()]);
    let mut body = samples::Nmsg::default();
    for i in 0..400_u32 {
        let (port, id, server) = (random(), random(), (i * i % 23) as u8);
        let name = [b"\x03www\x07example".as_slice(), &[2, b'a' + (i % 26) as u8, b'0' + server % 10, 0]].concat();
        let now = 600_000_000 + i * 40_000 + u32::from(random());
        let (ours, theirs) = ([192, 0, 2, 53], [198, 51, 100, server]);
        let query = packet(ours, theirs, [port, 53], random(), &message(id, 0x10, &name, false));
        let response = packet(theirs, ours, [53, port], random(), &message(id, 0x8400, &name, true));
        let dnsqr = samples::NmsgDnsqr {
            kind: 1,
            query_ip: ours.to_vec(),
            response_ip: theirs.to_vec(),
            proto: 17,
            query_port: port.into(),
            response_port: 53,
            id: id.into(),
            qname: Some(name),
            qtype: Some(1),
            qclass: Some(1),
            rcode: Some(0),
            query_packet: vec![query],
            query_time_sec: vec![1_700_000_000],
            query_time_nsec: vec![now as i32],
            response_packet: vec![response],
            response_time_sec: vec![1_700_000_000],
            response_time_nsec: vec![(now + 90_000 + u32::from(random())) as i32],
        };
        body.push(samples::NmsgPayload {
            vid: 1,
            msgtype: 9,
            time_sec: 1_700_000_000,
            time_nsec: now,
            payload: Some(prost::Message::encode_to_vec(&dnsqr)),
            ..Default::default()
        });
    }
    body.encoded()
}

fn message(id: u16, flags: u16, name: &[u8], is_answered: bool) -> Vec<u8> {
    let head = [id, flags, 1, is_answered.into(), 0, 0].map(u16::to_be_bytes);
    let question = [name, &[0, 1, 0, 1]].concat();
    let answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 203, 0, 113, 5];
    [head.as_flattened(), &question, if is_answered { &answer } else { &[] }].concat()
}

fn packet(from: [u8; 4], to: [u8; 4], ports: [u16; 2], by_chance: u16, message: &[u8]) -> Vec<u8> {
    let len = 28 + message.len() as u16;
    let ip = [0x4500, len, by_chance, 0, 0x4011, !by_chance].map(u16::to_be_bytes);
    let udp = [ports[0], ports[1], len - 20, by_chance ^ 0x1234].map(u16::to_be_bytes);
    [ip.as_flattened(), &from, &to, udp.as_flattened(), message].concat()
}
