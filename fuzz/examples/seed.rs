//! Fills the corpora from captures: `seed CAPTURES CORPUS`. Whole files, frames, DNS messages and the NMSG that the
//! sensor makes of them, one file for each input.

use sie_dns_sensor::{
    capture::{LinkType, Savefile},
    config,
    decode::{self, link, tcp, udp},
    nmsg::{
        container::HEADER_LEN,
        dnsqr::Dnsqr,
        reader::Reader,
        writer::{Level, Writer, Zlib},
    },
    track::{Limits, Rules, Tracker},
};
use std::{env, ffi::OsStr, fs, io, path::Path};

/// The flags of a fuzzed build leave calls to libFuzzer in every crate.
use libfuzzer_sys as _;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [captures, corpus] = &arguments[..] else { panic!("usage: seed CAPTURES CORPUS") };
    let corpus = Path::new(corpus);
    for target in ["decode", "question", "pipeline", "packets", "container", "deflate", "present", "rsync"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    sessions(&corpus.join("rsync"))?;
    for entry in fs::read_dir(captures)? {
        let path = entry?.path();
        if ["pcap", "pcapng"].map(OsStr::new).iter().any(|extension| path.extension() == Some(extension)) {
            capture(&path, corpus)?;
        }
    }
    Ok(())
}

/// What servers of rsync 3.0, 3.1 and 3.5 say to two files, and one with a full disk.
fn sessions(corpus: &Path) -> io::Result<()> {
    let requests =
        [&b"\x27\0\0\x07\x01\0\xa0"[..], &[0; 16], b"\x01\0\xa0", &[0; 16], b"\0\x04\0\0\x6b\0\0\0\0"].concat();
    let (old, new) = (b"\x05\x1e\0\0\0\x0a\xc0\x28\x01\x6b", b"\x05\x1f\0\0\0\x1a\xc0\x28\x01\x6b");
    let named = b"\x05\x20\0\0\0\x81\xfe\x23xxh128 xxh3 xxh64 md5 md4 sha1 none\xc0\x28\x01\x6b";
    let second = b"\x04\0\0\x6b\x01\0\0\0";
    let exit = b"\x06\0\0\x08full!\n\x04\0\0\x5d\x0b\0\0\0";
    fs::write(corpus.join("old"), [&old[..], &requests, second, b"\x02\0\0\x07\0\0\x01\0\0\x07\0"].concat())?;
    fs::write(corpus.join("new"), [&new[..], &requests, second, b"\x03\0\0\x07\0\0\0\x01\0\0\x07\0"].concat())?;
    fs::write(corpus.join("named"), [&named[..], &requests, second, b"\x03\0\0\x07\0\0\0\x01\0\0\x07\0"].concat())?;
    fs::write(corpus.join("full"), [&new[..], &requests, exit].concat())
}

fn capture(path: &Path, corpus: &Path) -> io::Result<()> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let whole = fs::read(path)?;
    let put = |target: &str, name: &str, bytes: &[u8]| fs::write(corpus.join(target).join(name), bytes);
    // All hosts; watched hosts, hiding all; watched hosts and small tables.
    for (kind, settings) in [[0, 0], [0b0000_0111, 0b0001_0000], [0b0000_0001, 0b0000_1100]].into_iter().enumerate() {
        put("pipeline", &format!("{name}-{kind}"), &[&settings[..], &whole].concat())?;
    }
    let mut file = Savefile::open(path).map_err(io::Error::other)?;
    let (settings, _) = config::load(None, &[]).map_err(|problems| io::Error::other(problems.to_string()))?;
    let mut tracker = Tracker::new(Rules::new(&settings, settings.replay_capture_rd(), 1), Limits::new(&settings));
    let mut writer = Writer::new(Vec::new(), None);
    let mut number = 0;
    // A capture that is cut off gives what is whole.
    while let Ok(Some(frame)) = file.next() {
        number += 1;
        let name = format!("{name}-{number:03}");
        put("decode", &name, &[&[link_type_byte(frame.link_type)], frame.bytes].concat())?;
        if let Some(message) = message(frame.link_type, frame.bytes) {
            put("question", &name, message)?;
            put("present", &name, message)?;
        }
        tracker.packet(&frame, &mut writer);
    }
    tracker.finish(&mut writer);
    let (nmsg, written, _) = writer.finish();
    put("container", &name, &nmsg)?;
    if written.containers == 1 {
        put("container", &format!("{name}-z"), Zlib::new(Level::Fixed(3)).compress(&nmsg))?;
        put("deflate", &name, &nmsg[HEADER_LEN..])?;
    }
    let mut reader = Reader::new(&nmsg[..]);
    let mut number = 0;
    while let Ok(Some(payload)) = reader.next() {
        let Ok(dnsqr) = Dnsqr::decode(&payload.message) else { continue };
        for message in [dnsqr.query_message(), dnsqr.response_message()].into_iter().flatten() {
            number += 1;
            put("question", &format!("{name}-whole-{number}"), &message)?;
            put("present", &format!("{name}-whole-{number}"), &message)?;
        }
    }
    Ok(())
}

/// As in the decode target.
fn link_type_byte(link_type: LinkType) -> u8 {
    match link_type {
        LinkType::Ethernet => 0,
        LinkType::Null => 1,
        LinkType::Loop => 2,
        LinkType::Raw => 3,
        LinkType::Ipv4 => 4,
        LinkType::Ipv6 => 5,
        LinkType::LinuxSll => 6,
        LinkType::LinuxSll2 => 7,
    }
}

/// The DNS message of a frame that has one alone.
fn message(link_type: LinkType, frame: &[u8]) -> Option<&[u8]> {
    let packet = decode::packet(link::network(link_type, frame).ok()??).ok()?;
    if packet.fragment.is_some() {
        return None;
    }
    match packet.protocol {
        decode::UDP => udp::header(packet.payload).ok()?.data().ok(),
        decode::TCP => tcp::segment(packet.payload).ok()?.data.get(2..),
        _ => None,
    }
}
