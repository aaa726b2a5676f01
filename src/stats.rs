//! The ledgers: every packet has one fate, every query one end, every response one use; the sums are checked.

use crate::decode::Malformed;
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
            /// The counters with their names.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
}

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
}

impl Ledger {
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
            End::TooLong => &mut queries.too_long,
            End::Filtered => &mut queries.filtered,
        } += 1;
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
        let unanswered =
            queries.timed_out + queries.pushed_out + queries.connection_closed + queries.at_exit + queries.handover;
        let written = queries.answered + unanswered + self.responses.unsolicited + messages.unpaired;
        let checks = [
            ("packets by fate", sum(self.packets.each()), "packets read", self.total),
            ("queries by end and open", sum(queries.each()), "queries", messages.query),
            ("responses by use", sum(self.responses.each()), "responses", messages.response),
            ("connections by end and open", sum(connections.each()) - connections.opened, "opened", connections.opened),
            ("transactions written and dropped", output.transactions + output.dropped_transactions, "made", written),
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
        let groups = [
            ("messages", self.messages.each()),
            ("queries", self.queries.each()),
            ("responses", self.responses.each()),
            ("datagrams", self.datagrams.each()),
            ("connections", self.connections.each()),
            ("output", self.output.each()),
        ];
        for (name, counters) in groups {
            let _ = write!(json, ",\"{name}\":{{{}}}", members(&counters));
        }
        json.push('}');
        json
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
    fn json_nests_the_malformed_layers() {
        let mut ledger = Ledger::default();
        ledger.packet(Fate::Malformed(Malformed::Ip));
        let json: serde_json::Value = serde_json::from_str(&ledger.to_json()).unwrap();
        assert_eq!(json["packets"]["malformed"]["ip"], 1);
        assert_eq!(json["queries"]["open"], 0);
    }
}
