//! Response codes.

/// How many responses had each response code of the header (RFC 1035 §4.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rcodes([u64; 16]);

impl Rcodes {
    /// Numbers in it.
    pub(super) const LEN: usize = 16;

    /// Counts one; its low four bits.
    #[inline]
    pub(super) fn count(&mut self, rcode: u8) {
        self.0[usize::from(rcode & 15)] += 1;
    }

    /// How many responses had each.
    pub fn counts(&self) -> &[u64; 16] {
        &self.0
    }

    pub(super) fn counters(&mut self) -> impl Iterator<Item = &mut u64> {
        self.0.iter_mut()
    }
}
