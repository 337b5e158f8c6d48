use guest_api::Tier;

use super::*;
use crate::form::Formed;
use crate::testing::{BASE, Chain};

/// A host that takes so many modules, and how many it was asked for.
struct Takes {
    modules: u32,
    asked: u32,
}

impl Host for Takes {
    fn support(&self) -> Support {
        Support::Linked
    }
    fn compile(&mut self, _module: &[u8], _slots: &[u32]) -> Option<NonZeroU32> {
        self.asked += 1;
        NonZeroU32::new(self.asked).filter(|n| n.get() <= self.modules)
    }
    fn drop(&mut self, _module: NonZeroU32) {}
    fn grow(&mut self, _count: u32, _with: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(100)
    }
    fn copy(&mut self, _to: u32, _from: u32, _count: u32) {}
    fn now_ns(&self) -> u64 {
        0
    }
}

const KEY: Key = (BASE, 0);

/// What is translated for a host that takes so many modules: one region, at [`KEY`]; and its slot.
fn with_a_region(modules: u32) -> (Jit<Takes>, u32) {
    let mut jit = Jit::new(Takes { modules, asked: 0 }, StateLayout::default(), 1 << 20);
    let slot = jit.slot(KEY).expect("a slot");
    add(&mut jit, &[KEY.0], 3, false);
    jit.flush();
    assert_eq!(told(&mut jit), (slot, false));
    (jit, slot)
}

/// A region at [`KEY`] that waits, of code at these places.
fn add(jit: &mut Jit<Takes>, code: &[u64], insns: u32, wide: bool) {
    let abi = jit.abi.expect("the host compiles");
    let slot = jit.slot(KEY).expect("a slot");
    let region = format!("block 0 @0x0 insns {insns}:\n  jump out @0x10").parse().expect("a region");
    let ranges = code.iter().map(|&pa| (pa, 16)).collect();
    jit.add(KEY, slot, Formed { region, ranges }, wide, &abi);
}

/// What the interpreter is told, as it takes it, of the code at [`KEY`]: the last word, and whether it was ever gone.
fn told(jit: &mut Jit<Takes>) -> (u32, bool) {
    let (mut last, mut gone) = (0, false);
    jit.changes(&mut |pa, mode, slot| {
        if (pa, mode) == KEY {
            (last, gone) = (slot, gone || slot == 0);
        }
    });
    (last, gone)
}

#[test]
fn code_whose_region_is_made_wide_stays_hot() {
    let (mut jit, slot) = with_a_region(2);
    add(&mut jit, &[KEY.0], 9, true);
    jit.flush();
    // Were it gone in between, it would have to be executed as often again to be part of other regions.
    assert_eq!(told(&mut jit), (slot, false));
    assert_eq!((jit.live_regions(), jit.live_modules()), (1, 1));
    jit.invalidate(jit.owner(slot));
    assert_eq!(told(&mut jit), (0, true));
    assert_eq!((jit.live_regions(), jit.live_modules(), jit.bytes), (0, 0, 0));
}

#[test]
fn what_was_to_become_wide_stays_where_that_is_written_or_refused() {
    let (mut jit, slot) = with_a_region(1);
    let n = jit.owner(slot);
    let stays = |jit: &mut Jit<Takes>| {
        assert_eq!(told(jit), (0, false), "the interpreter goes on to enter it");
        assert_eq!((jit.find(KEY.0, KEY.1), jit.owner(slot), jit.live_regions()), (slot, n, 1));
        let info = jit.regions[n as usize].as_mut().expect("the region");
        assert!(!core::mem::replace(&mut info.wide, true), "it may be made wide again");
    };
    jit.regions[n as usize].as_mut().expect("the region").wide = true;
    // The wide one has code of another page too, which is written while it waits.
    add(&mut jit, &[KEY.0, 0x2000], 9, true);
    jit.written(0x2008, 1);
    stays(&mut jit);
    add(&mut jit, &[KEY.0], 9, true);
    jit.flush();
    assert_eq!(jit.stats.refusals, 1);
    stays(&mut jit);
}

#[test]
fn modules_that_make_room_are_counted_not_those_that_are_not_there() {
    let (mut jit, _) = with_a_region(1);
    for _ in 0..2 {
        jit.evict();
        assert_eq!((jit.live_modules(), jit.live_regions(), jit.stats.evictions), (0, 0, 1));
    }
}

#[test]
fn a_host_that_has_refused_is_left_in_peace() {
    let (mut jit, slot) = with_a_region(1);
    let n = jit.owner(slot);
    jit.refused();
    let sample = |jit: &mut Jit<Takes>| {
        for _ in 0..16 {
            jit.sampled = Some((n, KEY.0));
            jit.sample(&mut Chain(|_| HOT, u32::MAX));
        }
    };
    for _ in 1..REST {
        sample(&mut jit);
        jit.slice_over();
    }
    assert_eq!((jit.rest, jit.host.asked, jit.stats.widened), (1, 1, 0));
    jit.slice_over();
    sample(&mut jit);
    jit.flush();
    assert_eq!((jit.host.asked, jit.stats.widened, jit.stats.refusals), (2, 1, 2), "then it is asked again");
}

#[test]
fn modules_take_no_more_room_than_there_is() {
    let mut jit = Jit::new(Takes { modules: u32::MAX, asked: 0 }, StateLayout::default(), 0);
    let abi = jit.abi.expect("the host compiles");
    let mut one = 0;
    for n in 0..10 {
        let key = (KEY.0 + 0x100 * n, KEY.1);
        let slot = jit.slot(key).expect("a slot");
        let region = "block 0 @0x0 insns 3:\n  jump out @0x10".parse().expect("a region");
        jit.add(key, slot, Formed { region, ranges: vec![(key.0, 16)] }, false, &abi);
        jit.flush();
        if n == 0 {
            one = jit.bytes;
            jit.limit = 3 * one;
        }
        let modules = jit.modules.len();
        assert_eq!(modules, jit.live_regions());
        assert!(
            modules as u64 == (n + 1).min(3) && jit.bytes == one * modules,
            "{modules} modules, {} bytes",
            jit.bytes
        );
    }
    assert_eq!(jit.stats.evictions, 7);
    // The oldest are gone.
    assert_eq!((0..10).filter(|n| jit.find(KEY.0 + 0x100 * n, KEY.1) != 0).collect::<Vec<_>>(), [7, 8, 9]);
}
