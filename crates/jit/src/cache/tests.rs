use guest_api::Tier;

use super::*;
use crate::form::Formed;

/// A host that takes everything.
struct Anything(u32);

impl Host for Anything {
    fn support(&self) -> Support {
        Support::Linked
    }
    fn compile(&mut self, _module: &[u8], _slots: &[u32]) -> Option<NonZeroU32> {
        self.0 += 1;
        NonZeroU32::new(self.0)
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

/// What the interpreter is told, as it takes it: the last word for each piece of code, and whether that was ever gone.
fn told(jit: &mut Jit<Anything>, key: Key) -> (u32, bool) {
    let (mut last, mut gone) = (0, false);
    jit.changes(&mut |pa, mode, slot| {
        if (pa, mode) == key {
            (last, gone) = (slot, gone || slot == 0);
        }
    });
    (last, gone)
}

#[test]
fn code_whose_region_is_made_wide_stays_hot() {
    let mut jit = Jit::new(Anything(0), StateLayout::default(), 1 << 20);
    let abi = jit.abi.expect("the host compiles");
    let key = (0x1000, 0);
    let slot = jit.slot(key).expect("a slot");
    let formed = |insns: u32| {
        let region = format!("block 0 @0x0 insns {insns}:\n  jump out @0x10").parse().expect("a region");
        Formed { region, ranges: vec![(key.0, 16)] }
    };
    jit.add(key, slot, formed(3), false, &abi);
    jit.flush();
    assert_eq!(told(&mut jit, key), (slot, false));
    jit.add(key, slot, formed(9), true, &abi);
    jit.flush();
    // Were it gone in between, it would have to be executed as often again to be part of other regions.
    assert_eq!(told(&mut jit, key), (slot, false));
    jit.invalidate(jit.owner(slot));
    assert_eq!(told(&mut jit, key), (0, true));
}
