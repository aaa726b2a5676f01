//! An NMSG file: reading ends, and whatever a payload holds can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::{
    nmsg::{container::INFLATED_MAX, reader::Reader},
    present::{cof, savefile, stats::Stats},
};
use sie_dns_sensor_fuzz::text;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let mut table = cof::Table::new(16);
    let mut stats = Stats::new(4);
    let (mut lines, mut packets) = (Vec::new(), Vec::new());
    let (mut errors, mut payloads, mut delivered) = (0, 0, 0);
    loop {
        let payload = match reader.next() {
            Ok(Some(payload)) => payload,
            Ok(None) => break,
            Err(error) => {
                text::check_lines(error.to_string().as_bytes());
                errors += 1;
                assert!(errors <= bytes.len(), "more errors than bytes");
                continue;
            }
        };
        payloads += 1;
        delivered += payload.message.len();
        // Showing is what takes time; the first ones, and short ones, are enough.
        if payloads <= 64 && payload.message.len() <= 1 << 16 {
            text::check(&payload);
            let dnsqr = text::dnsqr(&payload);
            stats.add(&payload, dnsqr.as_ref());
            if let Some(dnsqr) = dnsqr {
                table.add(&payload, &dnsqr, &mut lines);
                savefile::write(&payload, &dnsqr, &mut packets);
            }
        }
    }
    // A container has ten bytes of header, and deflate makes at most 1032 bytes out of one; where a length is wrong, bytes
    // are decoded twice.
    assert!(delivered <= bytes.len() * 2 * 1032 && delivered <= bytes.len().div_ceil(10) * INFLATED_MAX);
    let counts = reader.counts();
    assert_eq!(counts.payloads, payloads);
    assert!(counts.containers <= bytes.len() as u64 / 10 && counts.skipped_bytes <= bytes.len() as u64);
    table.finish(&mut lines).expect("memory");
    text::check_lines(&lines);
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| drop(text::check_json(line)));
    text::check_lines(stats.screen().as_bytes());
});
