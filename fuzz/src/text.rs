//! What must hold of everything that is shown to people and programs.

use sie_dns_sensor::{
    nmsg::{Payload, dnsqr::Dnsqr},
    present::{json, pres},
};

/// Presentation form and JSON of a payload: text without control bytes, and JSON that parses, on one line.
pub fn check(payload: &Payload<'_>) {
    let mut text = Vec::new();
    pres::write(payload, &mut text);
    check_lines(&text);
    let mut line = Vec::new();
    json::write(payload, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "JSON on several lines");
    check_lines(&line);
    check_json(&line);
}

/// No control byte but the line feed, no C1 control, no broken UTF-8: what a terminal is sent cannot command it.
pub fn check_lines(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("UTF-8");
    if let Some(control) = text.chars().find(|char| char.is_control() && *char != '\n') {
        panic!("control character {control:?} in {text:?}");
    }
}

/// One JSON value, by a reader of its own.
pub fn check_json(line: &[u8]) -> serde_json::Value {
    match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(line)),
    }
}

/// A payload of type dnsqr around `message`.
pub fn payload(message: Vec<u8>) -> Payload<'static> {
    Payload {
        vid: sie_dns_sensor::nmsg::VENDOR_BASE,
        msgtype: sie_dns_sensor::nmsg::MSGTYPE_DNSQR,
        time_sec: 1_700_000_000,
        time_nsec: 5,
        message: message.into(),
        source: 0,
        operator: 0,
        group: 0,
    }
}

/// The dnsqr of a payload, where it is one.
pub fn dnsqr<'p>(payload: &'p Payload<'_>) -> Option<Dnsqr<'p>> {
    let is_dnsqr =
        (payload.vid, payload.msgtype) == (sie_dns_sensor::nmsg::VENDOR_BASE, sie_dns_sensor::nmsg::MSGTYPE_DNSQR);
    is_dnsqr.then(|| Dnsqr::decode(&payload.message).ok()).flatten()
}
