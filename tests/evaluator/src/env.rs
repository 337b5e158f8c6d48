//! What a region meets outside itself, of a guest that is lent: its slots, memory, helpers and arithmetic.

use core::mem::offset_of;

use guest_api::{Exchange, Guest, StateLayout};
use ir::eval::{Env, State};
use ir::{Op, Region, SLOTS, flag_slot};

/// The slots that a region uses, a bit each. The vector slots are behind the others.
pub(crate) struct Used {
    read: u128,
    written: u128,
}

impl Used {
    pub(crate) fn by(region: &Region) -> Used {
        let (mut read, mut written) = (0, 0);
        for i in region.blocks.iter().flat_map(|b| &b.insts) {
            match i.op {
                Op::Get => read |= 1 << i.imm,
                Op::Put => written |= 1 << i.imm,
                Op::GetX => read |= 1 << (SLOTS as u64 + i.imm),
                Op::PutX => written |= 1 << (SLOTS as u64 + i.imm),
                _ => {}
            }
        }
        // Side exits tell the form of the flags.
        if region.exits.iter().any(|e| e.form.is_some()) {
            written |= 1 << flag_slot::FORM;
        }
        // On some ways out nothing was written: then what there was is written back.
        Used { read: read | written, written }
    }
}

/// The slots of `used`; a vector slot is counted from [`SLOTS`] on.
fn slots(used: u128) -> impl Iterator<Item = usize> {
    (0..128).filter(move |n| used >> n & 1 != 0)
}

/// A guest, as long as a region of it runs. Accesses to memory all look into the page tables: that is allowed, and plainer than to look into the TLB.
pub(crate) struct Lent<'a> {
    pub(crate) guest: &'a mut dyn Guest,
    pub(crate) layout: &'a StateLayout,
}

impl Lent<'_> {
    /// What is at `offset` in the guest's state.
    fn read<T: Copy>(&mut self, offset: usize) -> T {
        // SAFETY: the offsets that are asked for are those of integers in what the layout describes, which is in the state; the guest is ours.
        unsafe { self.guest.state().wrapping_add(offset).cast::<T>().read() }
    }
    fn write<T: Copy>(&mut self, offset: usize, v: T) {
        // SAFETY: as in `read`.
        unsafe { self.guest.state().wrapping_add(offset).cast::<T>().write(v) }
    }

    /// A field of [`Exchange`].
    pub(crate) fn exchange<T: Copy>(&mut self, field: usize) -> T {
        self.read(self.layout.exchange as usize + field)
    }

    /// Where slot `n` is, which is none of the vector slots.
    fn slot(&self, n: usize) -> usize {
        match n.checked_sub(flag_slot::FORM.into()) {
            Some(field) => self.layout.flags as usize + 8 * field,
            None => self.layout.slots as usize + 8 * n,
        }
    }
    fn xslot(&self, n: usize) -> usize {
        self.layout.xslots as usize + 16 * n
    }

    pub(crate) fn load_slots(&mut self, used: &Used, state: &mut State) {
        for n in slots(used.read) {
            match n.checked_sub(SLOTS) {
                Some(x) => state.xslots[x] = self.read(self.xslot(x)),
                None => state.slots[n] = self.read(self.slot(n)),
            }
        }
    }
    /// Brings what the region has written back to the guest. What it has not, helpers may have.
    pub(crate) fn store_slots(&mut self, used: &Used, state: &State) {
        for n in slots(used.written) {
            match n.checked_sub(SLOTS) {
                Some(x) => self.write(self.xslot(x), state.xslots[x]),
                None => self.write(self.slot(n), state.slots[n]),
            }
        }
    }
}

impl Env for Lent<'_> {
    fn load(&mut self, va: u64, bytes: u32, updates: bool) -> Option<u128> {
        let host = if updates { self.guest.updatable(va, bytes) } else { self.guest.readable(va, bytes) }?;
        let mut v = [0; 16];
        let to = &mut v[..bytes as usize];
        // SAFETY: so many bytes can be read there, says the guest, which has done nothing since.
        unsafe { core::ptr::with_exposed_provenance::<u8>(host).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
        Some(u128::from_le_bytes(v))
    }
    fn store(&mut self, va: u64, bytes: u32, v: u128) -> bool {
        self.guest.store(va, bytes, v)
    }
    fn writable(&mut self, va: u64, bytes: u32) -> bool {
        self.guest.writable(va, bytes)
    }
    fn get_shared(&mut self, slot: u8) -> u64 {
        self.read(self.slot(slot.into()))
    }
    fn put_shared(&mut self, slot: u8, v: u64) {
        self.write(self.slot(slot.into()), v);
    }
    fn helper(&mut self, h: u16, args: [u64; 4], left: i64) -> Option<u64> {
        self.write(self.layout.exchange as usize + offset_of!(Exchange, left), left);
        let r = self.guest.helper(h, args);
        (self.exchange::<u32>(offset_of!(Exchange, refused)) == 0).then_some(r)
    }
    fn float(&mut self, op: Op, a: u128, b: u128) -> Option<u128> {
        self.guest.float(op.float()?, a, b)
    }
}
