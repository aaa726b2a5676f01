//! Any bytes, compressed as the body of a container, come out again.

#![no_main]

use libdeflater::Decompressor;
use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::nmsg::deflate::{Deflate, Effort};

fuzz_target!(|data: &[u8]| {
    let mut stream = Vec::new();
    let mut back = vec![0; data.len() + 1];
    for effort in [Effort::Quick, Effort::Dense] {
        let end = Deflate::default().compress(data, effort, &mut stream, 0);
        assert_eq!(Decompressor::new().deflate_decompress(&stream[..end], &mut back), Ok(data.len()));
        assert!(back[..data.len()] == *data);
    }
});
