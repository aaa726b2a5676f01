//! The ledgers: every packet has one fate, every query one end, every response one use; the sums are checked.

use crate::{decode::Malformed, time::Timestamp};
use std::fmt::Write;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A datagram with a query.
    Query,
    /// A datagram with a response.
    Response,
    /// A fragment of a watched host's datagram.
    Fragment,
    /// A segment of a watched connection.
    Segment,
    /// Not DNS, or not of a watched host.
    Unwatched,
    /// A query that comes from a server's port, or a response that goes to it.
    WrongDirection,
    /// A message that the settings leave out as it arrives.
    Filtered,
    /// Malformed at a layer.
    Malformed(Malformed),
    /// Captured shorter than it was on the wire.
    Truncated,
    /// The same as one before.
    Duplicate,
    /// It would have been used, but its datagram or connection had to be given up.
    GivenUp,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A response came.
    Answered,
    /// It waited too long.
    TimedOut,
    /// The table was full.
    PushedOut,
    /// Its TCP connection ended.
    ConnectionClosed,
    /// The sensor stopped.
    AtExit,
    /// Another capture process took over.
    Handover,
    /// Its response was too long for a datagram.
    TooLong,
    /// It was left out by the RD or name filters.
    Filtered,
}

/// What became of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It answered a query.
    Paired,
    /// Nobody had asked.
    Unsolicited,
    /// It was left out by the RD or name filters.
    Filtered,
    /// Over TCP, to a query that had been answered.
    Repeated,
}

/// A struct of counters that can be walked with their names.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: u64,)* }

        impl $name {
            /// How many counters there are.
            pub(crate) const LEN: usize = [$(stringify!($field)),*].len();

            /// The counters with their names.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }

            /// The counters, in the order of [`Self::each`].
            fn counters(&mut self) -> [&mut u64; Self::LEN] {
                [$(&mut self.$field),*]
            }
        }
    };
}

/// A struct of counters that is on a page by itself.
macro_rules! of_words {
    ($($name:ident)*) => {
        $(impl $name {
            /// The counters as numbers, in their order.
            pub(crate) fn words(&self) -> [u64; Self::LEN] {
                self.clone().counters().map(|counter| *counter)
            }

            /// What [`Self::words`] made these of; what is missing is zero.
            pub(crate) fn from_words(words: &[u64]) -> $name {
                let mut counters = $name::default();
                words.iter().zip(counters.counters()).for_each(|(word, counter)| *counter = *word);
                counters
            }

            /// Adds every counter.
            fn sum(&mut self, other: &$name) {
                let more = other.words();
                self.counters().into_iter().zip(more).for_each(|(counter, more)| *counter = counter.saturating_add(more));
            }
        })*
    };
}

mod histogram;
mod live;
mod rcodes;

pub use histogram::{DELAY_EDGES, Delays, Histogram, SIZE_EDGES, Sizes};
pub use live::{Link, Vitals};
pub use rcodes::Rcodes;

counters! {
    /// Packets by fate; they sum to `total`.
    Packets {
        /// Datagrams with a query.
        query,
        /// Datagrams with a response.
        response,
        /// Fragments.
        fragment,
        /// TCP segments.
        segment,
        /// Not DNS, or not of a watched host.
        unwatched,
        /// Direction and QR bit contradict each other.
        wrong_direction,
        /// Left out by DNSQR_CAPTURE_QR, or in its modes by the RD and name filters.
        filtered,
        /// Malformed link header.
        malformed_link,
        /// Malformed IP header.
        malformed_ip,
        /// Malformed UDP header.
        malformed_udp,
        /// Malformed TCP header.
        malformed_tcp,
        /// Malformed DNS header or question.
        malformed_dns,
        /// Captured in part.
        truncated,
        /// Seen before.
        duplicate,
        /// Of a datagram or connection that was given up.
        given_up,
    }
}

counters! {
    /// DNS messages out of datagrams and streams.
    Messages {
        /// Queries that are or were in the table.
        query,
        /// Responses, all of them used in one way.
        response,
        /// Neither header nor question could be read, or what must be hidden could not be found.
        malformed,
        /// Left out by DNSQR_CAPTURE_QR, or in its modes by the RD and name filters.
        filtered,
        /// Written without pairing, in the modes of DNSQR_CAPTURE_QR.
        unpaired,
        /// QR bit against direction.
        wrong_direction,
        /// Of connections with a zone transfer.
        zone_transfer,
        /// Longer than an IP datagram.
        too_long,
    }
}

counters! {
    /// Queries by end; with those that are open they sum to the queries among [`Messages`].
    Queries {
        /// Paired.
        answered,
        /// Waited too long.
        timed_out,
        /// Left because the table was full.
        pushed_out,
        /// Left when their connection ended.
        connection_closed,
        /// Left at the end of the input.
        at_exit,
        /// Left to a new capture process.
        handover,
        /// Their response was too long.
        too_long,
        /// Left out by the RD and name filters.
        filtered,
        /// Forgotten by a capture process that was killed.
        lost,
        /// Still waiting.
        open,
    }
}

counters! {
    /// Responses by use; with those that are open they sum to the responses among [`Messages`].
    Responses {
        /// Answered a query.
        paired,
        /// Answered none.
        unsolicited,
        /// Left out by the RD and name filters.
        filtered,
        /// Second answers over TCP.
        repeated,
        /// Forgotten by a capture process that was killed.
        lost,
        /// Waiting for a query that may come late.
        open,
    }
}

counters! {
    /// Reassembly of datagrams.
    Datagrams {
        /// Put together.
        completed,
        /// Given up after 30 s.
        timed_out,
        /// Given up because the table was full.
        pushed_out,
        /// Given up because fragments overlapped or contradicted each other.
        overlapping,
        /// Given up because there were too many fragments, or too much before their payload.
        too_large,
        /// Of those put together: what they hold is malformed before any message begins.
        malformed,
        /// Forgotten by a capture process that was killed.
        lost,
        /// Still waiting.
        open,
    }
}

counters! {
    /// TCP connections by end; with those that are open they sum to `opened`.
    Connections {
        /// Seen from their SYN.
        opened,
        /// Both sides sent all.
        finished,
        /// Reset.
        reset,
        /// Another one began between the same ports.
        replaced,
        /// Nothing came for too long.
        idle,
        /// More out of order, or more unfinished, than one connection may hold.
        given_up,
        /// Idle longest when the table was full.
        pushed_out,
        /// Forgotten by a capture process that was killed.
        lost,
        /// Still followed.
        open,
    }
}

counters! {
    /// What was written.
    Output {
        /// Transactions and unmatched halves.
        transactions,
        /// Containers.
        containers,
        /// Bytes.
        bytes,
        /// Transactions that could not be written.
        dropped_transactions,
        /// Transactions that were not in a file yet when their process was killed.
        lost_transactions,
        /// Transactions on their way to a file.
        open,
    }
}

counters! {
    /// What the kernel says of live capture.
    Kernel {
        /// Packets that passed its filter, those included that it dropped.
        received,
        /// Packets for which the ring had no room.
        dropped,
        /// Packets that the interface or its driver dropped.
        interface_dropped,
    }
}

counters! {
    /// Time in which an interface that is configured was not captured from.
    Gaps {
        /// How often that happened.
        count,
        /// How long it lasted together.
        milliseconds,
    }
}

/// All counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Packets read.
    pub total: u64,
    /// By fate.
    pub packets: Packets,
    /// Messages out of packets.
    pub messages: Messages,
    /// Queries by end.
    pub queries: Queries,
    /// Responses by use.
    pub responses: Responses,
    /// Reassembly.
    pub datagrams: Datagrams,
    /// TCP.
    pub connections: Connections,
    /// Output.
    pub output: Output,
    /// Live capture: the kernel's own counters.
    pub kernel: Kernel,
    /// Live capture: time without.
    pub gaps: Gaps,
    /// How long the responses of answered queries took.
    pub delays: Delays,
    /// How large responses were.
    pub sizes: Sizes,
    /// Response codes of responses.
    pub rcodes: Rcodes,
}

/// How many counters a [`Ledger`] has.
pub const WORDS: usize = 1
    + Packets::LEN
    + Messages::LEN
    + Queries::LEN
    + Responses::LEN
    + Datagrams::LEN
    + Connections::LEN
    + Output::LEN
    + Kernel::LEN
    + Gaps::LEN
    + Delays::LEN
    + Sizes::LEN
    + Rcodes::LEN;

impl Ledger {
    /// Every counter, in one order.
    fn counters(&mut self) -> impl Iterator<Item = &mut u64> {
        std::iter::once(&mut self.total)
            .chain(self.packets.counters())
            .chain(self.messages.counters())
            .chain(self.queries.counters())
            .chain(self.responses.counters())
            .chain(self.datagrams.counters())
            .chain(self.connections.counters())
            .chain(self.output.counters())
            .chain(self.kernel.counters())
            .chain(self.gaps.counters())
            .chain(self.delays.counters())
            .chain(self.sizes.counters())
            .chain(self.rcodes.counters())
    }

    /// All counters as numbers, for a page that processes share.
    pub fn to_words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let mut ledger = self.clone();
        words.iter_mut().zip(ledger.counters()).for_each(|(word, counter)| *word = *counter);
        words
    }

    /// The ledger that [`Ledger::to_words`] made these of.
    pub fn from_words(words: &[u64; WORDS]) -> Ledger {
        let mut ledger = Ledger::default();
        words.iter().zip(ledger.counters()).for_each(|(word, counter)| *counter = *word);
        ledger
    }

    /// Adds what another part of the sensor counted.
    pub fn add(&mut self, other: &Ledger) {
        self.counters().zip(other.to_words()).for_each(|(counter, more)| *counter = counter.saturating_add(more));
    }

    /// What was counted since `earlier`, a state of the same ledger. What is open is what is open now.
    pub fn since(&self, earlier: &Ledger) -> Ledger {
        let mut since = self.clone();
        since
            .counters()
            .zip(earlier.to_words())
            .for_each(|(counter, before)| *counter = counter.saturating_sub(before));
        since.queries.open = self.queries.open;
        since.responses.open = self.responses.open;
        since.datagrams.open = self.datagrams.open;
        since.connections.open = self.connections.open;
        since.output.open = self.output.open;
        since
    }

    /// The process that counted this was killed: what was open is lost, and what was made and is not in a file too.
    pub fn killed(&mut self) {
        self.queries.lost += std::mem::take(&mut self.queries.open);
        self.responses.lost += std::mem::take(&mut self.responses.open);
        self.datagrams.lost += std::mem::take(&mut self.datagrams.open);
        self.connections.lost += std::mem::take(&mut self.connections.open);
        self.output.open = 0;
        self.output.lost_transactions += self.made().saturating_sub(
            self.output.transactions + self.output.dropped_transactions + self.output.lost_transactions,
        );
    }

    /// Transactions that left the tables.
    fn made(&self) -> u64 {
        let queries = &self.queries;
        let unanswered =
            queries.timed_out + queries.pushed_out + queries.connection_closed + queries.at_exit + queries.handover;
        queries.answered + unanswered + self.responses.unsolicited + self.messages.unpaired
    }

    /// Enters a packet's fate. `total` is counted elsewhere, so that the sum means something.
    #[inline]
    pub fn packet(&mut self, fate: Fate) {
        let packets = &mut self.packets;
        *match fate {
            Fate::Query => &mut packets.query,
            Fate::Response => &mut packets.response,
            Fate::Fragment => &mut packets.fragment,
            Fate::Segment => &mut packets.segment,
            Fate::Unwatched => &mut packets.unwatched,
            Fate::WrongDirection => &mut packets.wrong_direction,
            Fate::Filtered => &mut packets.filtered,
            Fate::Malformed(Malformed::Link) => &mut packets.malformed_link,
            Fate::Malformed(Malformed::Ip) => &mut packets.malformed_ip,
            Fate::Malformed(Malformed::Udp) => &mut packets.malformed_udp,
            Fate::Malformed(Malformed::Tcp) => &mut packets.malformed_tcp,
            Fate::Malformed(Malformed::Dns) => &mut packets.malformed_dns,
            Fate::Truncated => &mut packets.truncated,
            Fate::Duplicate => &mut packets.duplicate,
            Fate::GivenUp => &mut packets.given_up,
        } += 1;
    }

    /// Enters a query's end.
    #[inline]
    pub fn query(&mut self, end: End) {
        let queries = &mut self.queries;
        *match end {
            End::Answered => &mut queries.answered,
            End::TimedOut => &mut queries.timed_out,
            End::PushedOut => &mut queries.pushed_out,
            End::ConnectionClosed => &mut queries.connection_closed,
            End::AtExit => &mut queries.at_exit,
            End::Handover => &mut queries.handover,
            End::TooLong => &mut queries.too_long,
            End::Filtered => &mut queries.filtered,
        } += 1;
    }

    /// Enters how long the response of a query took that is answered.
    #[inline]
    pub fn delay(&mut self, query: Timestamp, response: Timestamp) {
        // As numbers: seconds and nanoseconds would be a division for each transaction.
        self.delays.count(&DELAY_EDGES, response.as_nanos().saturating_sub(query.as_nanos()));
    }

    /// Enters the length of a response.
    #[inline]
    pub fn size(&mut self, len: usize) {
        self.sizes.count(&SIZE_EDGES, len as u64);
    }

    /// Enters the response code of a response.
    #[inline]
    pub fn rcode(&mut self, rcode: u8) {
        self.rcodes.count(rcode);
    }

    /// Enters what a response was used for.
    #[inline]
    pub fn response(&mut self, used: Use) {
        let responses = &mut self.responses;
        *match used {
            Use::Paired => &mut responses.paired,
            Use::Unsolicited => &mut responses.unsolicited,
            Use::Filtered => &mut responses.filtered,
            Use::Repeated => &mut responses.repeated,
        } += 1;
    }

    /// Every sum that does not hold, in words; none if all is accounted for.
    pub fn imbalances(&self) -> Vec<String> {
        let sum = |counters: Vec<(&str, u64)>| counters.iter().map(|(_, count)| count).sum::<u64>();
        let Ledger { messages, queries, output, connections, .. } = self;
        let outputs = output.transactions + output.dropped_transactions + output.lost_transactions + output.open;
        let checks = [
            ("packets by fate", sum(self.packets.each()), "packets read", self.total),
            ("queries by end and open", sum(queries.each()), "queries", messages.query),
            ("responses by use", sum(self.responses.each()), "responses", messages.response),
            ("connections by end and open", sum(connections.each()) - connections.opened, "opened", connections.opened),
            ("transactions written, dropped, lost and open", outputs, "made", self.made()),
        ];
        let off = checks.into_iter().filter(|(_, sum, _, total)| sum != total);
        off.map(|(what, sum, of, total)| format!("{what} are {sum}, {of} are {total}")).collect()
    }

    /// One JSON object, keys as documented.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        let mut malformed = Vec::new();
        let mut packets = Vec::new();
        for (name, count) in self.packets.each() {
            match name.strip_prefix("malformed_") {
                Some(layer) => malformed.push((layer, count)),
                None => packets.push((name, count)),
            }
        }
        let _ = write!(json, "\"packets\":{{{},\"malformed\":{{{}}}", members(&packets), members(&malformed));
        let _ = write!(json, ",\"total\":{}}}", self.total);
        for (name, counters) in self.groups().into_iter().skip(1) {
            let _ = write!(json, ",\"{name}\":{{{}}}", members(&counters));
        }
        json.push('}');
        json
    }

    /// Every group of counters with its name and theirs.
    pub fn groups(&self) -> [(&'static str, Vec<(&'static str, u64)>); 9] {
        [
            ("packets", self.packets.each()),
            ("messages", self.messages.each()),
            ("queries", self.queries.each()),
            ("responses", self.responses.each()),
            ("datagrams", self.datagrams.each()),
            ("connections", self.connections.each()),
            ("output", self.output.each()),
            ("kernel", self.kernel.each()),
            ("gaps", self.gaps.each()),
        ]
    }

    /// For people: a line a group; of the counters that may well be zero only those that are not.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, total: Option<u64>, counters: Vec<(&str, u64)>| {
            let _ = write!(text, "{name:<9}");
            if let Some(total) = total {
                let _ = write!(text, " {total:>11}");
            }
            let shown = counters.iter().filter(|(_, count)| *count > 0);
            let shown: Vec<String> = shown.map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect();
            let _ = writeln!(text, "  {}", if shown.is_empty() { "none".to_string() } else { shown.join(", ") });
        };
        line("packets", Some(self.total), self.packets.each());
        line("messages", Some(self.messages.each().iter().map(|(_, count)| count).sum()), self.messages.each());
        line("queries", Some(self.messages.query), self.queries.each());
        line("responses", Some(self.messages.response), self.responses.each());
        if self.datagrams != Datagrams::default() {
            let total = self.datagrams.each().iter().map(|(_, count)| count).sum();
            line("datagrams", Some(total), self.datagrams.each());
        }
        if self.connections != Connections::default() {
            let ends = self.connections.each().into_iter().skip(1).collect();
            line("TCP", Some(self.connections.opened), ends);
        }
        if self.kernel != Kernel::default() {
            line("kernel", None, self.kernel.each());
        }
        if self.gaps != Gaps::default() {
            line("gaps", None, self.gaps.each());
        }
        let written: Vec<_> = self.output.each().into_iter().skip(1).collect();
        if written.iter().any(|(_, count)| *count > 0) {
            line("written", Some(self.output.transactions), written);
        } else {
            // Without an output they are only made.
            let _ = writeln!(text, "{:<9} {:>11}", "made", self.output.transactions);
        }
        text
    }
}

fn members(counters: &[(&str, u64)]) -> String {
    let members: Vec<String> = counters.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
    members.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_does_not_balance_says_where() {
        let mut ledger = Ledger { total: 2, ..Ledger::default() };
        ledger.packet(Fate::Query);
        ledger.messages.query = 1;
        ledger.query(End::TooLong);
        assert_eq!(ledger.imbalances(), ["packets by fate are 1, packets read are 2"]);
        ledger.packet(Fate::Malformed(Malformed::Udp));
        assert!(ledger.imbalances().is_empty());
    }

    #[test]
    fn what_is_not_written_is_only_made() {
        let mut ledger = Ledger::default();
        ledger.output.transactions = 2;
        assert!(ledger.to_text().ends_with("\nmade                2\n"), "{}", ledger.to_text());
        ledger.output.containers = 1;
        assert!(ledger.to_text().ends_with("\nwritten             2  containers 1\n"), "{}", ledger.to_text());
    }

    #[test]
    fn a_ledger_is_its_words_and_a_sum_of_its_parts() {
        let mut words = [0; WORDS];
        words.iter_mut().zip(1..).for_each(|(word, number)| *word = number);
        let ledger = Ledger::from_words(&words);
        assert_eq!(ledger.to_words(), words);
        let mut twice = ledger.clone();
        twice.add(&ledger);
        assert_eq!(twice.to_words(), words.map(|word| 2 * word));
        let since = twice.since(&ledger);
        assert_eq!((since.total, since.output.bytes), (ledger.total, ledger.output.bytes));
        assert_eq!(since.queries.open, twice.queries.open);
    }

    #[test]
    fn what_a_killed_process_had_open_is_lost_and_the_sums_hold() {
        let mut ledger = Ledger { total: 5, ..Ledger::default() };
        ledger.packets.query = 3;
        ledger.packets.response = 2;
        (ledger.messages.query, ledger.messages.response) = (3, 2);
        (ledger.queries.answered, ledger.queries.open) = (1, 2);
        (ledger.responses.paired, ledger.responses.open) = (1, 1);
        ledger.output.open = 1;
        assert!(ledger.imbalances().is_empty(), "{:?}", ledger.imbalances());
        ledger.killed();
        assert!(ledger.imbalances().is_empty(), "{:?}", ledger.imbalances());
        assert_eq!((ledger.queries.lost, ledger.responses.lost, ledger.output.lost_transactions), (2, 1, 1));
    }

    #[test]
    fn json_nests_the_malformed_layers() {
        let mut ledger = Ledger::default();
        ledger.packet(Fate::Malformed(Malformed::Ip));
        let json: serde_json::Value = serde_json::from_str(&ledger.to_json()).unwrap();
        assert_eq!(json["packets"]["malformed"]["ip"], 1);
        assert_eq!(json["queries"]["open"], 0);
    }
}
