//! A savefile through the whole sensor to NMSG and back. Two bytes of settings, then the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::capture::Savefile;
use sie_dns_sensor_fuzz::{choices::Choices, pipeline::Pipeline};
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut pipeline = Pipeline::new(&mut choices);
    let file = Box::new(Cursor::new(choices.rest().to_vec()));
    let Ok(mut file) = Savefile::from_reader("fuzzed".into(), file) else { return };
    let mut errors = 0;
    loop {
        match file.next() {
            Ok(Some(frame)) => pipeline.packet(&frame),
            Ok(None) => break,
            Err(error) => {
                errors += 1;
                assert!(errors < 2, "a second error: {error}");
            }
        }
    }
    pipeline.finish();
});
