//! What only live capture counts: beside the ledger, for who watches the sensor.

counters! {
    /// How things stand in a capture process. The first are as they are now; the others only grow.
    Vitals {
        /// Bytes of queries that wait.
        queries_bytes,
        /// Bytes of responses that wait for their query.
        early_bytes,
        /// Bytes of datagrams in pieces.
        fragments_bytes,
        /// Bytes of TCP connections and their data.
        streams_bytes,
        /// Bytes of packets remembered to recognise duplicates.
        duplicates_bytes,
        /// Bytes of containers in memory.
        output_bytes,
        /// Containers that wait to be written.
        queued_containers,
        /// Level that was last compressed by; 0: not at all.
        level,
        /// Bytes of containers before compression.
        raw_bytes,
        /// The same afterwards, as they are written.
        packed_bytes,
        /// Frames of several interfaces that were followed out of order.
        out_of_order,
    }
}

counters! {
    /// What came from one interface.
    Link {
        /// Packets read.
        packets,
        /// Their bytes on the wire.
        bytes,
        /// Packets that passed the kernel's filter, those included that it dropped.
        received,
        /// Packets for which the ring had no room.
        dropped,
        /// Packets that the interface or its driver dropped.
        interface_dropped,
    }
}

of_words! { Vitals Link }

impl Vitals {
    /// Adds another thread's or process's.
    pub fn add(&mut self, other: &Vitals) {
        let level = self.level.max(other.level);
        self.sum(other);
        self.level = level;
    }

    /// The process has ended: what it had in memory is gone, what it did stays.
    pub fn ended(self) -> Vitals {
        let Vitals { raw_bytes, packed_bytes, out_of_order, .. } = self;
        Vitals { raw_bytes, packed_bytes, out_of_order, ..Vitals::default() }
    }
}

impl Link {
    /// Adds another thread's or process's.
    pub fn add(&mut self, other: &Link) {
        self.sum(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_do_not_add_up_and_what_is_gone_is_not_in_memory() {
        let mut vitals = Vitals { level: 3, queries_bytes: 5, raw_bytes: 7, ..Vitals::default() };
        vitals.add(&Vitals { level: 2, queries_bytes: 6, raw_bytes: 8, ..Vitals::default() });
        assert_eq!((vitals.level, vitals.queries_bytes, vitals.raw_bytes), (3, 11, 15));
        assert_eq!(vitals.ended(), Vitals { raw_bytes: 15, ..Vitals::default() });
    }
}
