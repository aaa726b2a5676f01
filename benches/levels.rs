//! What the levels of compression cost and give on real containers:
//!
//!     sie-dns-sensor replay -w lab.nmsg lab.pcap && cargo bench --bench levels -- lab.nmsg
//!
//! The reference is level 6 of zlib-rs, which is at hand here; zlib's own level 6 makes the file 1.5 % smaller, so against
//! that every figure is 1.5 points higher (`benches/speed` compares with zlib itself).

use flate2::{Compression, write::ZlibEncoder};
use sie_dns_sensor::nmsg::{
    container::HEADER_LEN,
    deflate::Effort,
    writer::{Level, Zlib},
};
use std::{io::Write, time::Instant};

fn main() {
    // cargo adds --bench, and without a file there is nothing to measure.
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        println!("levels: name an uncompressed NMSG file");
        return;
    };
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let containers = containers(&file);
    let reference: usize = containers.iter().map(|container| zlib6(&container[HEADER_LEN..])).sum();
    println!("{} containers, {} bytes; zlib level 6: {reference}", containers.len(), file.len());
    let levels = [("quick", Level::Own(Effort::Quick)), ("dense", Level::Own(Effort::Dense))];
    let levels = levels.map(|(name, level)| (name.to_owned(), level));
    let libdeflate = (1..=6).map(|level| (format!("libdeflate {level}"), Level::Fixed(level)));
    for (name, level) in levels.into_iter().chain(libdeflate) {
        let mut zlib = Zlib::new(level);
        let start = Instant::now();
        let len: usize = containers.iter().map(|container| zlib.compress(container).len()).sum();
        let seconds = start.elapsed().as_secs_f64();
        let speed = file.len() as f64 / seconds / 1e6;
        println!("{name:12} {speed:4.0} MB/s, {:+5.1} %", 100.0 * (len as f64 / reference as f64 - 1.0));
    }
}

/// The containers of a file, headers included.
fn containers(mut file: &[u8]) -> Vec<&[u8]> {
    let mut containers = Vec::new();
    while let Some((header, _)) = file.split_first_chunk::<HEADER_LEN>() {
        let [magic @ .., flags, _, a, b, c, d] = *header;
        assert!(magic == *b"NMSG" && flags == 0, "not an uncompressed NMSG file");
        let (container, rest) = file.split_at(HEADER_LEN + u32::from_be_bytes([a, b, c, d]) as usize);
        containers.push(container);
        file = rest;
    }
    containers
}

fn zlib6(body: &[u8]) -> usize {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(body).unwrap();
    HEADER_LEN + size_of::<u32>() + encoder.finish().unwrap().len()
}
