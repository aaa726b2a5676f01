//! The sending side of rsync against any server. The first byte chooses how many files there are and in what portions the
//! rest comes, which is all that the server says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::upload::rsync::{
    Entry,
    sender::{Event, Need, Sender},
};

/// More than this does not wait to be written: when there is enough, nothing is needed, and answers are short.
const WAITING_MAX: usize = 256 << 10;

const SIZES: [u64; 4] = [0, 5, 70_000, 1];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, said)) = bytes.split_first() else { return };
    let count = usize::from(first % 4) + 1;
    let mut session = Session { sender: Sender::new(count), confirmed: [false; 4] };
    session.answer();
    for portion in said.chunks(usize::from(first / 4) + 1) {
        let mut events = Vec::new();
        let received = session.sender.receive(portion, &mut events);
        session.check(&events, count);
        if let Err(fault) = received {
            assert!(fault.to_string().len() < 5_000);
            break;
        }
        session.answer();
    }
    let _ = session.sender.ended();
});

struct Session {
    sender: Sender,
    confirmed: [bool; 4],
}

impl Session {
    fn check(&mut self, events: &[Event], count: usize) {
        for event in events {
            match event {
                Event::Confirmed(index) => {
                    assert!(*index < count && !self.confirmed[*index], "confirmed twice, or none of ours");
                    self.confirmed[*index] = true;
                }
                Event::Said(_, text) => assert!(text.len() <= 1 << 16),
                Event::Greeted | Event::Asked => (),
            }
        }
    }

    /// Gives what is needed; the last file is never begun.
    fn answer(&mut self) {
        loop {
            assert!(self.sender.outgoing().len() <= WAITING_MAX);
            self.sender.keep_alive();
            let waiting = self.sender.outgoing().len();
            self.sender.wrote(waiting);
            match self.sender.need() {
                None => return,
                Some(Need::Entry(index)) => {
                    let name = ["a", "ab", "b", "c"][index];
                    let entry = Entry { name, size: SIZES[index], modified: 1_700_000_000, mode: 0o100_644 };
                    self.sender.list(&entry).expect("names are in order");
                }
                Some(Need::Begin(3)) => self.sender.withhold(),
                Some(Need::Begin(_)) => self.sender.begin(),
                Some(Need::Data(index, len)) => {
                    assert!(len > 0 && len as u64 <= SIZES[index]);
                    self.sender.data(&vec![7; len]);
                }
                Some(Need::End(_)) => self.sender.finish(),
            }
        }
    }
}
