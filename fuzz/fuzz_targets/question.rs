//! A DNS message as far as the sensor reads it: header and question, and where client networks stand.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::{
    decode::{dns, ecs},
    present::message::Message,
};
use sie_dns_sensor_fuzz::slow;

fuzz_target!(|bytes: &[u8]| {
    check_question(bytes);
    check_subnets(bytes);
});

fn check_question(bytes: &[u8]) {
    let Ok(ours) = dns::message(bytes) else {
        assert_eq!(slow::message(bytes), None);
        return;
    };
    let (id, flags, question) = slow::message(bytes).expect("we read it");
    assert_eq!(ours.id, id);
    assert_eq!(ours.is_response(), flags >= 0x8000);
    assert_eq!(ours.recursion_desired(), flags / 256 % 2 == 1);
    assert_eq!(u16::from(ours.rcode()), flags % 16);
    assert_eq!(ours.question.map(|question| question.bytes().to_vec()), question);
    let Some(ours) = ours.question else { return };
    assert!(ours.qname().len() <= dns::NAME_MAX && ours.qname().ends_with(&[0]));
    assert_eq!(dns::Question::from_bytes(ours.bytes()), Some(ours));
    // The printer reads names by other code.
    let mut alone = [&[0; 5][..], &[1], &[0; 6], ours.bytes()].concat();
    let message = Message::parse(&alone).expect("a message of one question");
    if ours.qtype() != 41 {
        assert_eq!(message.question[0].name, ours.qname());
        assert_eq!((message.question[0].rrtype, message.question[0].class), (ours.qtype(), ours.qclass()));
    }
    alone.pop();
    assert!(dns::message(&alone).is_err());
}

fn check_subnets(bytes: &[u8]) {
    let mut found = Vec::new();
    let ours = ecs::client_subnets(bytes, &mut found).ok().map(|()| found);
    assert_eq!(ours, slow::client_subnets(bytes));
    let Some(found) = ours else { return };
    let mut stripped = bytes.to_vec();
    for range in found {
        stripped[range].fill(0);
    }
    let mut again = Vec::new();
    ecs::client_subnets(&stripped, &mut again).expect("lengths are as before");
    assert!(again.iter().all(|range| stripped[range.clone()].iter().all(|byte| *byte == 0)));
    // The networks stand in OPT, which is in no section; a name may point into them, so that names may change.
    let counts = |bytes: &[u8]| {
        let message = Message::parse(bytes).ok()?;
        Some([message.question.len(), message.answer.len(), message.authority.len(), message.additional.len()])
    };
    if let (Some(before), Some(after)) = (counts(bytes), counts(&stripped)) {
        assert_eq!(before, after);
    }
}
