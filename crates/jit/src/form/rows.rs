//! Which nodes become one block: an extended basic block, entered at its start only and left wherever it branches. What is known of slots and
//! flags goes over from node to node then, and accesses of several share a probe of the TLB.

use rustc_hash::FxHashMap;

use super::Node;

/// The nodes as rows, each of which becomes a block: what a row goes on with is entered from there only. Where one of two ways must be a fork,
/// the row goes on with the one that was executed more often. It neither enters nor leaves a loop, of which it would be a part.
pub(super) fn rows(nodes: &[Node], order: &[usize], index: &FxHashMap<u64, usize>) -> Vec<Vec<usize>> {
    let mut place = vec![0; nodes.len()];
    for (k, &n) in order.iter().enumerate() {
        place[n] = k;
    }
    let next = |n: usize| nodes[n].next.iter().filter_map(|pc| index.get(pc).copied());
    let depth = depths(order, &place, next);
    let mut is_in_row = vec![false; nodes.len()];
    let mut rows = Vec::with_capacity(order.len());
    for &first in order {
        if is_in_row[first] {
            continue;
        }
        let mut row = vec![first];
        let mut at = first;
        loop {
            let goes_back = nodes[at].computed || next(at).any(|t| place[t] <= place[at]);
            let follows = |t: &usize| !goes_back && nodes[*t].preds == 1 && depth[*t] == depth[at];
            let Some(t) = next(at).filter(follows).max_by_key(|&t| nodes[t].decoded.runs) else { break };
            is_in_row[t] = true;
            row.push(t);
            at = t;
        }
        rows.push(row);
    }
    rows
}

/// Of each node, how many loops it is in. `place`: of each, its number in `order`.
fn depths<I: Iterator<Item = usize>>(order: &[usize], place: &[usize], next: impl Fn(usize) -> I) -> Vec<u32> {
    let mut before = vec![Vec::new(); place.len()];
    for &n in order {
        next(n).for_each(|t| before[t].push(n));
    }
    let mut depth = vec![0; place.len()];
    for &head in order {
        // From where it goes back, against the way there.
        let mut left: Vec<usize> = before[head].iter().copied().filter(|&n| place[n] >= place[head]).collect();
        if left.is_empty() {
            continue;
        }
        let mut inside = vec![false; place.len()];
        inside[head] = true;
        while let Some(n) = left.pop() {
            if !core::mem::replace(&mut inside[n], true) {
                left.extend(before[n].iter().filter(|&&p| place[p] > place[head]));
            }
        }
        depth.iter_mut().zip(inside).for_each(|(d, inside)| *d += u32::from(inside));
    }
    depth
}

#[cfg(test)]
mod tests {
    use guest_api::Decoded;
    use rustc_hash::FxHashMap;

    use super::super::{Node, count_preds, order_of_nodes};
    use super::rows;

    /// A node at `pc`, executed `runs` times, that goes to `next`.
    fn node(pc: u64, runs: u32, next: &[u64]) -> Node {
        let decoded = Decoded { id: 0, first: 0, lead: 0, pa: pc, mode: 0, insns: 1, bytes: 1, next_page: None, runs };
        Node { pc, decoded, insns: 1, next: next.to_vec(), computed: false, back: None, preds: 0 }
    }

    /// The rows of a region that begins with the first node, by addresses.
    fn addresses(mut nodes: Vec<Node>) -> Vec<Vec<u64>> {
        let order = order_of_nodes(&nodes, nodes[0].pc);
        let index: FxHashMap<u64, usize> = order.iter().map(|&n| (nodes[n].pc, n)).collect();
        count_preds(&mut nodes, &order, &index);
        let rows = rows(&nodes, &order, &index);
        let mut rows: Vec<Vec<u64>> = rows.into_iter().map(|r| r.into_iter().map(|n| nodes[n].pc).collect()).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_row_goes_the_way_that_is_taken_more_often() {
        let branch = |a, b| vec![node(1, 9, &[2, 3]), node(2, a, &[4]), node(3, b, &[4]), node(4, 9, &[])];
        // Where both are as often, it is the way that is not a jump. 4 is entered from two nodes.
        assert_eq!(addresses(branch(5, 5)), [vec![1, 3], vec![2], vec![4]]);
        assert_eq!(addresses(branch(6, 5)), [vec![1, 2], vec![3], vec![4]]);
    }

    #[test]
    fn a_row_goes_on_as_long_as_nobody_else_enters() {
        let nodes = vec![node(1, 9, &[2]), node(2, 9, &[3, 7]), node(3, 9, &[4, 8]), node(4, 9, &[5])];
        assert_eq!(addresses(nodes), [[1, 2, 3, 4]]);
    }

    #[test]
    fn loops_are_neither_entered_nor_left_in_a_row() {
        // 2 to 3 is a loop; 3 goes back to 2, or out to 4.
        let nodes = vec![node(1, 9, &[2]), node(2, 9, &[3]), node(3, 9, &[2, 4]), node(4, 9, &[])];
        assert_eq!(addresses(nodes), [vec![1], vec![2, 3], vec![4]]);
        // It is left from its first node, which goes on with the other.
        let nodes = vec![node(1, 9, &[2]), node(2, 5, &[4, 3]), node(3, 4, &[2]), node(4, 9, &[])];
        assert_eq!(addresses(nodes), [vec![1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn what_is_reached_by_a_computed_jump_or_a_return_begins_a_row() {
        let mut nodes = vec![node(1, 9, &[2]), node(2, 9, &[3]), node(3, 9, &[])];
        nodes[1].computed = true;
        assert_eq!(addresses(nodes), [vec![1, 2], vec![3]]);
        // 1 calls 3, which returns to 2.
        let mut nodes = vec![node(1, 9, &[3]), node(2, 9, &[]), node(3, 9, &[])];
        nodes[0].back = Some(2);
        assert_eq!(addresses(nodes), [vec![1, 3], vec![2]]);
    }
}
