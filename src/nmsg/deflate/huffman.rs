//! Huffman codes of bounded length (RFC 1951, section 3.2.2).

use super::bits::Code;

/// As many symbols as the largest alphabet has.
const MOST: usize = 288;

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Leaf {
    count: u32,
    symbol: u16,
}

/// How many bits each symbol takes, at most `limit` of them, when they occur as often as `counts` says; 0 for those that do
/// not. At least two have a code, since some decoders want that.
pub(super) fn lengths<const N: usize>(counts: &[u32; N], limit: usize) -> [u8; N] {
    let mut lengths = [0; N];
    let mut leaves = [Leaf::default(); MOST];
    let leaves = used(counts, &mut leaves);
    leaves.sort_unstable();
    let mut at_depth = [0; MOST];
    for depth in depths(leaves).into_iter().take(leaves.len()) {
        at_depth[usize::from(depth).min(limit)] += 1;
    }
    complete(&mut at_depth, limit);
    let rarest_last = (1..=limit).flat_map(|depth| std::iter::repeat_n(depth as u8, at_depth[depth]));
    for (leaf, depth) in leaves.iter().rev().zip(rarest_last) {
        lengths[usize::from(leaf.symbol)] = depth;
    }
    lengths
}

/// The symbols that occur; others as if they did, while there are fewer than two.
fn used<'l, const N: usize>(counts: &[u32; N], leaves: &'l mut [Leaf; MOST]) -> &'l mut [Leaf] {
    let mut missing = 2_usize.saturating_sub(counts.iter().filter(|&&count| count > 0).count());
    let mut used = 0;
    for (symbol, &count) in (0..).zip(counts) {
        if count == 0 && missing == 0 {
            continue;
        }
        missing -= usize::from(count == 0);
        leaves[used] = Leaf { count: count.max(1), symbol };
        used += 1;
    }
    &mut leaves[..used]
}

/// How deep each of the sorted leaves lies in a Huffman tree: the two lightest nodes become one until there is one left.
/// Both leaves and nodes made come in the order of their weights, so two queues do.
fn depths(leaves: &[Leaf]) -> [u16; MOST] {
    let mut weights = [0; MOST];
    // Of leaves, then of nodes made.
    let mut parents = [0_usize; 2 * MOST];
    let (mut leaf, mut node) = (0, 0);
    let made = leaves.len().saturating_sub(1);
    for new in 0..made {
        for _ in 0..2 {
            let is_leaf = leaf < leaves.len() && (node == new || leaves[leaf].count <= weights[node]);
            if is_leaf {
                weights[new] += leaves[leaf].count;
                parents[leaf] = new;
                leaf += 1;
            } else {
                weights[new] += weights[node];
                parents[MOST + node] = new;
                node += 1;
            }
        }
    }
    let mut of_nodes = [0; MOST];
    for node in (0..made.saturating_sub(1)).rev() {
        of_nodes[node] = of_nodes[parents[MOST + node]] + 1;
    }
    let mut depths = [0; MOST];
    for (depth, &parent) in depths.iter_mut().zip(&parents).take(leaves.len()) {
        *depth = of_nodes[parent] + 1;
    }
    depths
}

/// Leaves moved up to the limit take more room than there is: others go down, the deepest of them first, until each code
/// is the prefix of no other and none is left over.
fn complete(at_depth: &mut [usize; MOST], limit: usize) {
    let taken: usize = (1..=limit).map(|depth| at_depth[depth] << (limit - depth)).sum();
    for _ in 1 << limit..taken {
        if let Some(depth) = (1..limit).rev().find(|&depth| at_depth[depth] > 0) {
            at_depth[limit] -= 1;
            at_depth[depth] -= 1;
            at_depth[depth + 1] += 2;
        }
    }
}

/// The codes of symbols whose lengths these are, in the order of bits in which they are written.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut next = [0_u16; 16];
    for &length in lengths.iter().filter(|&&length| length > 0) {
        next[usize::from(length)] += 1;
    }
    let mut code = 0;
    for first in &mut next {
        let here = *first;
        code <<= 1;
        *first = code;
        code += here;
    }
    lengths.map(|length| {
        if length == 0 {
            return Code::default();
        }
        let code = &mut next[usize::from(length)];
        let bits = code.reverse_bits() >> (16 - u16::from(length));
        *code = code.wrapping_add(1);
        Code::new(bits.into(), length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of the code's room, in parts of 2^limit.
    fn left(lengths: &[u8], limit: u32) -> i64 {
        let taken: i64 =
            lengths.iter().filter(|&&length| length > 0).map(|&length| 1 << (limit - u32::from(length))).sum();
        (1 << limit) - taken
    }

    #[test]
    fn frequent_symbols_have_shorter_codes() {
        assert_eq!(lengths(&[40, 0, 10, 30, 20], 15), [1, 0, 3, 2, 3]);
    }

    #[test]
    fn there_are_always_two_codes() {
        assert_eq!(lengths(&[0; 5], 7), [1, 1, 0, 0, 0]);
        assert_eq!(lengths(&[0, 0, 9], 7), [1, 0, 1]);
    }

    #[test]
    fn no_code_is_longer_than_the_limit_and_none_is_left_over() {
        let mut fibonacci = [1_u32; 40];
        (2..40).for_each(|i| fibonacci[i] = fibonacci[i - 1] + fibonacci[i - 2]);
        for limit in 6..16 {
            let lengths = lengths(&fibonacci, limit);
            assert!(lengths.iter().all(|&length| usize::from(length) <= limit && length > 0), "{lengths:?}");
            assert_eq!(left(&lengths, limit as u32), 0, "{lengths:?}");
        }
        assert_eq!(left(&lengths(&[7; 286], 9), 9), 0);
        assert_eq!(left(&lengths(&std::array::from_fn::<u32, 286, _>(|i| 1 << (i % 23)), 14), 14), 0);
    }

    #[test]
    fn codes_are_those_of_the_example_of_rfc_1951() {
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let reversed = [0b010, 0b110, 0b001, 0b101, 0b011, 0b00, 0b0111, 0b1111];
        let expected: Vec<_> =
            reversed.iter().zip([3, 3, 3, 3, 3, 2, 4, 4]).map(|(&bits, n)| Code::new(bits, n)).collect();
        assert_eq!(codes[..], expected[..]);
    }
}
