//! Computed jumps to blocks of the region: a few addresses are compared one by one, many after a look at some of their bits.

use ir::Target;
use wasm_encoder::BlockType;

use crate::emit::{BASE, Emitter, TO};
use crate::structure::Label;

/// Addresses compared one by one.
const FEW: usize = 4;
/// Places in a table at most.
const MAX_BITS: u32 = 6;
/// Bits of addresses from which the place may be taken: those above are the same within the reach of a region, nearly always.
const MAX_SHIFT: u32 = 16;

/// How addresses are told apart by `bits` of their distance from the base, above `shift`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hash {
    shift: u32,
    bits: u32,
}

impl Hash {
    fn place(self, pc: i64) -> u32 {
        (pc >> self.shift) as u32 & ((1 << self.bits) - 1)
    }

    /// The one under which the fewest of `known` must be compared, of those the one with the smallest table.
    fn of(known: &[(i64, u32)]) -> Hash {
        let least = known.len().next_power_of_two().ilog2();
        let all = (least..=MAX_BITS.max(least))
            .flat_map(|bits| (0..=MAX_SHIFT - bits.min(MAX_SHIFT)).map(move |shift| Hash { shift, bits }));
        let comparisons = |h: &Hash| -> u32 {
            let mut counts = vec![0; 1 << h.bits];
            known.iter().for_each(|k| counts[h.place(k.0) as usize] += 1);
            counts.iter().map(|n| n * n).sum()
        };
        all.min_by_key(comparisons).unwrap_or(Hash { shift: 0, bits: least })
    }
}

impl Emitter<'_> {
    /// From block `n` to that of the `known` whose address `TO` is; else it is looked up.
    pub(crate) fn switch(&mut self, n: u32, known: &[(i64, u32)]) {
        if known.len() <= FEW {
            self.compare(n, known);
            return self.look_up();
        }
        let hash = Hash::of(known);
        let mut places: Vec<u32> = known.iter().map(|k| hash.place(k.0)).collect();
        places.sort_unstable();
        places.dedup();
        // The place of an address leads behind the end of the innermost block but as many as there are places before it.
        let none = places.len() as u32;
        for _ in 0..=none {
            self.i().block(BlockType::Empty);
            self.labels.push(Label::If);
        }
        let table: Vec<u32> =
            (0..1 << hash.bits).map(|p| places.binary_search(&p).map_or(none, |k| k as u32)).collect();
        self.get(TO).local_get(BASE).i64_sub().i64_const(hash.shift.into()).i64_shr_u().i32_wrap_i64();
        self.i().i32_const((1 << hash.bits) - 1).i32_and().br_table(table, none);
        for (k, &place) in places.iter().enumerate() {
            self.labels.pop();
            self.i().end();
            let here: Vec<_> = known.iter().copied().filter(|k| hash.place(k.0) == place).collect();
            self.compare(n, &here);
            self.i().br(none - 1 - k as u32);
        }
        self.labels.pop();
        self.i().end();
        self.look_up();
    }

    /// Goes to the one of `known` whose address `TO` is; goes on where it is none.
    fn compare(&mut self, n: u32, known: &[(i64, u32)]) {
        for &(pc, block) in known {
            self.get(TO);
            self.pc(pc);
            self.i().i64_eq().if_(BlockType::Empty);
            self.labels.push(Label::If);
            self.branch(n, Target::Block(block));
            self.labels.pop();
            self.i().end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hash;

    #[test]
    fn addresses_are_told_apart_by_bits_in_which_they_differ() {
        let at = |pcs: &[i64]| pcs.iter().map(|&pc| (pc, 0)).collect::<Vec<_>>();
        let regular = at(&[0x40, 0x80, 0xc0, 0x100, 0x140, 0x180, 0x1c0, 0x200]);
        assert_eq!(Hash::of(&regular), Hash { shift: 6, bits: 3 });
        let below = at(&[-0x40, -0x80, -0xc0, -0x100, -0x140]);
        let hash = Hash::of(&below);
        let mut places: Vec<u32> = below.iter().map(|k| hash.place(k.0)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 5);
    }
}
