//! Where the computed jumps and calls at the ends of blocks have gone: what a translator may guess.

/// Jumps of a block that are counted. Later ones are taken to go the same ways.
const ENOUGH: u32 = 1024;
/// Different targets of a block that are counted.
const MOST: usize = 32;
/// A target is one worth knowing if at least one of so many jumps went there.
const RARE: u32 = 2 * MOST as u32;

/// Of the block with such a jump that was decoded as number `n` of its kind, entry `n - 1`.
#[derive(Default)]
pub(super) struct Targets {
    seen: Vec<Seen>,
}

#[derive(Default)]
struct Seen {
    jumps: u32,
    /// Linear addresses, and how often each was jumped to.
    targets: Vec<(u64, u32)>,
}

impl Targets {
    /// The number of another block with a computed jump; 0 if there is none left.
    pub(super) fn number(&mut self) -> u16 {
        match u16::try_from(self.seen.len() + 1) {
            Ok(n) => {
                self.seen.push(Seen::default());
                n
            }
            Err(_) => 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Block number `n` has jumped to `pc`.
    #[inline(never)]
    pub(super) fn note(&mut self, n: u16, pc: u64) {
        let Some(seen) = self.seen.get_mut(usize::from(n) - 1) else { return };
        if seen.jumps >= ENOUGH {
            return;
        }
        seen.jumps += 1;
        if let Some(target) = seen.targets.iter_mut().find(|t| t.0 == pc) {
            target.1 += 1;
        } else if seen.targets.len() < MOST {
            seen.targets.push((pc, 1));
        }
    }

    /// Where block number `n` has gone more than rarely, the most frequent first.
    pub(super) fn of(&self, n: u16) -> Vec<u64> {
        let Some(seen) = usize::from(n).checked_sub(1).and_then(|k| self.seen.get(k)) else { return Vec::new() };
        let mut often: Vec<(u64, u32)> = seen.targets.iter().copied().filter(|t| t.1 * RARE >= seen.jumps).collect();
        often.sort_by_key(|t| core::cmp::Reverse(t.1));
        often.into_iter().map(|t| t.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_targets_come_first_and_rare_ones_not_at_all() {
        let mut targets = Targets::default();
        let (a, b) = (targets.number(), targets.number());
        assert_eq!((a, b), (1, 2));
        for k in 0..200 {
            targets.note(
                a,
                if k == 7 {
                    0x30
                } else if k % 3 == 0 {
                    0x10
                } else {
                    0x20
                },
            );
        }
        targets.note(b, 0x40);
        assert_eq!(targets.of(a), [0x20, 0x10]);
        assert_eq!(targets.of(b), [0x40]);
        assert_eq!(targets.of(0), []);
        targets.clear();
        assert_eq!(targets.of(a), []);
    }

    #[test]
    fn what_is_kept_of_a_block_is_bounded() {
        let mut targets = Targets::default();
        let n = targets.number();
        for pc in 0..10_000 {
            targets.note(n, pc);
        }
        assert_eq!(targets.seen[0].targets.len(), MOST);
        assert_eq!(targets.of(n), [], "each is rare");
        for _ in 0..usize::from(u16::MAX) {
            targets.number();
        }
        assert_eq!(targets.number(), 0);
        targets.note(n, 1);
    }
}
