//! Accesses that share a look into the TLB ([`ir::passes::share`]) and yet are often in two pages.
//!
//! Such a one leaves its region by the side exit, for the interpreter. Where that happens again and again, the region is translated anew
//! from the same entry, and accesses that begin there look for themselves.

use ir::{Op, Region};
use rustc_hash::FxHashMap;

use crate::cache::Key;

/// How often in a slice of 2.5 ms is too often: 0.3 us each, and until the region is entered again.
const OFTEN: u32 = 192;

/// The side exits of a region that shared accesses take, in order, and how often each was taken in the last slice in which one was.
#[derive(Default)]
pub(crate) struct Reaches {
    slice: u64,
    taken: Vec<(u32, u32)>,
}

impl Reaches {
    pub(crate) fn of(region: &Region) -> Reaches {
        let insts = region.blocks.iter().flat_map(|b| &b.insts);
        let mut taken: Vec<_> = insts.filter(|i| matches!(i.op, Op::Reach(_))).map(|i| (i.exit, 0)).collect();
        taken.sort_unstable();
        taken.dedup();
        Reaches { slice: 0, taken }
    }

    /// Side exit `exit` was taken. Whether it was one time too many.
    pub(crate) fn note(&mut self, exit: u32, slice: u64) -> bool {
        let Ok(at) = self.taken.binary_search_by_key(&exit, |t| t.0) else { return false };
        if self.slice != slice {
            self.slice = slice;
            self.taken.iter_mut().for_each(|t| t.1 = 0);
        }
        self.taken[at].1 += 1;
        self.taken[at].1 == OFTEN
    }

    /// Those that were taken often, or nearly so.
    pub(crate) fn often(&self) -> impl Iterator<Item = u32> {
        self.taken.iter().filter(|t| t.1 >= OFTEN / 4).map(|t| t.0)
    }
}

/// What regions do not share, by their entries.
#[derive(Default)]
pub(crate) struct Apart(FxHashMap<Key, Option<Vec<i64>>>);

impl Apart {
    /// Offsets from the entry where accesses begin that are not to share; `None`: all of them.
    pub(crate) fn of(&self, entry: Key) -> Option<&[i64]> {
        self.0.get(&entry).map_or(Some(&[]), |offsets| offsets.as_deref())
    }
    pub(crate) fn add(&mut self, entry: Key, offsets: impl Iterator<Item = i64>) {
        if let Some(all) = self.0.entry(entry).or_insert_with(|| Some(Vec::new())) {
            for offset in offsets {
                if !all.contains(&offset) {
                    all.push(offset);
                }
            }
        }
    }
    /// From now on the regions of `entry` share nothing. False: so it was before.
    pub(crate) fn all(&mut self, entry: Key) -> bool {
        self.0.insert(entry, None) != Some(None)
    }
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str = "exit 0 @0x0 undone 3
exit 1 @0x4 undone 2
exit 2 @0x8 undone 1
block 0 @0x0 insns 3:
  v0 = get 3
  v1 = reach.writes 0x10 v0 !2
  storenear.w64 0 v0 v0 v1 !2
  v3 = reach 0x10 v0 !0
  v4 = loadnear.w64 0 v0 v3 !0
  v5 = load.w64 v4 !1
  put 3 v5
  jump out @0xc
";

    #[test]
    fn what_is_often_apart_is_so_within_a_slice() {
        let mut reaches = Reaches::of(&REGION.parse().expect("a region"));
        let mut times = |exit, n: u32, slice| (0..n).filter(|_| reaches.note(exit, slice)).count();
        assert_eq!(times(1, 10 * OFTEN, 1), 0, "an access that shares nothing");
        for slice in 2..100 {
            assert_eq!(times(0, OFTEN - 1, slice), 0);
        }
        assert_eq!((times(2, OFTEN / 4, 100), times(0, OFTEN / 4 - 1, 100)), (0, 0));
        assert_eq!(times(2, OFTEN, 100), 1, "once, whatever comes behind");
        assert!(reaches.often().eq([2]));
    }

    #[test]
    fn what_is_apart_is_so_for_an_entry() {
        let mut apart = Apart::default();
        let (a, b) = ((0x1000, 0), (0x1000, 1));
        apart.add(a, [4, -8].into_iter());
        apart.add(a, [12, 4].into_iter());
        assert_eq!((apart.of(a), apart.of(b)), (Some(&[4, -8, 12][..]), Some(&[][..])));
        assert!(apart.all(a));
        assert!(!apart.all(a));
        apart.add(a, [1].into_iter());
        assert_eq!(apart.of(a), None);
        assert!(apart.all(b));
        apart.clear();
        assert_eq!(apart.of(a), Some(&[][..]));
    }
}
