//! Where the interpreter of a guest and the translator of its hot code meet. Neither knows the other: the guest's crate offers
//! its decoded code ([`Code`]) and itself ([`Guest`]), the translator is a [`Tier`].

use crate::{EmitVector, Float, Slot};

/// A basic block that the interpreter has decoded: all of one of its own blocks, or, where that goes on behind conditional jumps, a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Number in the interpreter's cache of the block that it is part of.
    pub id: u32,
    /// Number there of its first instruction.
    pub first: u32,
    /// How far in bytes its beginning is behind the address that [`Code::BLOCK`] stands for.
    pub lead: u32,
    /// Physical address of its first byte.
    pub pa: u64,
    /// How its bytes are decoded: two blocks at one place that differ in this are different code.
    pub mode: u32,
    pub insns: u32,
    /// Length in bytes.
    pub bytes: u32,
    /// Physical address of the page in which its only instruction ends, where that is another one than it begins in.
    pub next_page: Option<u64>,
    /// How often it was executed.
    pub runs: u32,
}

/// The interpreter's decoded code, as seen from where the guest stands.
pub trait Code {
    /// The slot that always reads 0, and the one that reads the address of the block.
    const ZERO: Slot;
    const BLOCK: Slot;

    /// Address of the state block that [`StateLayout`] describes; it does not move while translated code is kept.
    fn state(&self) -> u32;
    /// The block that starts at linear address `pc`, up to its first conditional jump, if the interpreter has it and the address is mapped.
    fn block_at(&mut self, pc: u64) -> Option<Decoded>;
    /// What the interpreter goes on with where the conditional jump at the end of `part` is not taken, if that is the same block of its own.
    fn behind(&self, part: &Decoded) -> Option<Decoded>;
    /// Distance in bytes of instruction `k` of `part` from its start. `k` may be the number of instructions.
    fn offset(&self, part: &Decoded, k: u32) -> u32;
    /// Linear addresses to which the computed jump or call at the end of `part` has gone, the most frequent first.
    fn targets(&self, part: &Decoded) -> Vec<u64>;
    /// Writes down the meaning of instruction `k` of `part`; `None` where it has none in the vocabulary: the interpreter must
    /// execute it.
    fn lift<E: EmitVector>(&self, part: &Decoded, k: u32, e: &mut E) -> Option<Result<(), E::Exit>>;
}

/// The guest, as translated code sees it while it runs. Registers are in the state that [`Guest::state`] points to.
pub trait Guest {
    /// The state block that [`StateLayout`] describes.
    fn state(&mut self) -> *mut u8;
    /// Host address at which `bytes` (1..=4096) of linear address `va` can be read: RAM, or a copy of 16 bytes at most that cross a
    /// page. `None`: the access faults, or meets a device, or there is no such copy. Nothing has happened then: the interpreter is to do it.
    fn readable(&mut self, va: u64, bytes: u32) -> Option<usize>;
    /// The same for an access that will also be written.
    fn updatable(&mut self, va: u64, bytes: u32) -> Option<usize>;
    /// Writes the low `bytes` (1..=16) of `v`; false where the interpreter is to do it, nothing having happened.
    fn store(&mut self, va: u64, bytes: u32, v: u128) -> bool;
    /// Whether `bytes` (1..=4096) at `va` can be written.
    fn writable(&mut self, va: u64, bytes: u32) -> bool;
    /// Calls helper `h` of the guest's table. Sets [`Exchange::refused`], and returns 0, where the interpreter is to execute the instruction.
    fn helper(&mut self, h: u16, args: [u64; 4]) -> u64;
    /// Does a floating-point operation in the guest's environment; `None` where it traps: the interpreter is to execute the
    /// instruction, and nothing has happened.
    fn float(&mut self, op: Float, a: u128, b: u128) -> Option<u128>;
    /// Whether linear page `va` is mapped to physical page `pa` for execution.
    fn executes(&mut self, va: u64, pa: u64) -> bool;
    /// Notes that region `serial`, entered at `base`, was found to have all its pages: see [`Verified`].
    fn verified(&mut self, serial: u32, base: u64);
}

/// Where translated code finds the guest's state: byte offsets from the pointer that it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateLayout {
    /// [`crate::Slot`]s, 8 bytes each.
    pub slots: u32,
    /// [`crate::XSlot`]s, 16 bytes each.
    pub xslots: u32,
    /// A [`crate::LazyFlags`].
    pub flags: u32,
    /// The TLB: tables of [`StateLayout::tlb_entries`] (a power of two) entries of 16 bytes, `{ tag: u64, addend: u32 }`.
    pub tlb_read: u32,
    pub tlb_write: u32,
    pub tlb_entries: u32,
    /// The 12 low bits of a valid tag, in 64 bits.
    pub tlb_context: u32,
    /// An [`Exchange`].
    pub exchange: u32,
    /// Two 32-bit words: the key that entries of the jump cache and of the table of verified regions must have, for code in the lower
    /// and in the upper half.
    pub fetch_keys: u32,
}

/// Entries of the jump cache: see [`jump_index`].
pub const JUMPS: usize = 1 << 14;

/// An entry of the jump cache: the table slot of the code for `pc` in the mode and address space `key`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Jump {
    pub pc: u64,
    pub key: u32,
    pub slot: u32,
}

/// The entry for code at `pc`: code within 16 KiB has entries of its own.
#[inline(always)]
pub const fn jump_index(pc: u64) -> usize {
    (pc ^ (pc >> 14)) as usize % JUMPS
}

/// Entries of the table of verified regions: see [`Verified::index`].
pub const VERIFIED: usize = 1 << 12;

/// Region `serial`, whose code is in several pages, finds each of them where it expects it when it is entered at `base` in the mode and
/// address space `key`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Verified {
    pub base: u64,
    pub key: u32,
    pub serial: u32,
}

impl Verified {
    /// What is true of no region.
    pub const NOTHING: Verified = Verified { base: 0, key: u32::MAX, serial: 0 };

    /// The entry for region `serial`.
    #[inline(always)]
    pub const fn index(serial: u32) -> usize {
        serial as usize % VERIFIED
    }
}

/// Bits of [`Exchange::inexact`].
pub mod inexact {
    /// The host's arithmetic is not exactly the guest's.
    pub const YES: u32 = 1;
    /// It would be, if inexact results were told of.
    pub const UNTOLD: u32 = 4;
}

/// Pages that a region can keep.
pub const KEPT: usize = 8;

/// A page that accesses of the region that runs were in: nothing but the region knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct KeptPage {
    /// Its linear address.
    pub page: u64,
    /// Accesses at less than this from its begin are within it; 0: there is none.
    pub limit: u64,
    /// Host address less linear address, modulo 2^32.
    pub addend: u32,
}

/// What translated code and its caller tell each other, in the guest's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Exchange {
    /// On return: where the guest continues, or the side exit taken.
    pub pc: u64,
    /// On return, and when a helper is called: instructions left of the budget.
    pub left: i64,
    /// On return by a side exit, or because the budget is used up: the address at which the region was entered.
    pub base: u64,
    /// And the region.
    pub region: u32,
    /// Set by helpers: the interpreter is to execute the instruction.
    pub refused: u32,
    /// Set by the guest: 0 where the floating-point environment is one in which the host's arithmetic is exact; else [`inexact`]'s.
    pub inexact: u32,
    /// Set by the guest: bits of [`crate::Unit`]s that can be used without a fault.
    pub units: u32,
    /// Set by the guest: address of the jump cache of translated code: [`JUMPS`] entries [`Jump`].
    pub jumps: u32,
    /// Set by the guest: address of the table of verified regions: [`VERIFIED`] entries [`Verified`].
    pub verified: u32,
    /// Vector operands, and the first the result, of floating-point operations that the guest does.
    pub vectors: [[u64; 2]; 2],
    /// The pages that the region keeps. What they say holds until it ends or calls a helper, as nothing else changes what may be accessed.
    pub kept: [KeptPage; KEPT],
}

/// How translated code was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// Linear address of the next instruction.
    pub pc: u64,
    /// Instructions left of the budget; may be below 0.
    pub left: i64,
    /// The next instruction cannot be executed by translated code.
    pub interpret: bool,
}

/// A second way to execute a guest's code, beside its interpreter. What is not said otherwise is that of one that translates nothing.
pub trait Tier {
    /// Executions after which a block is offered by [`Tier::hot`], 4095 at most; 0: never. Asked once a run.
    fn threshold(&self) -> u32;
    /// What begins with `block`, at linear address `pc`, became hot. After how many executions more it shall be offered again, if it is not translated
    /// then: the threshold at most.
    fn hot<C: Code>(&mut self, code: &mut C, block: Decoded, pc: u64) -> u32;
    /// The budget was used up in translated code, which is a sample of where time goes.
    fn sample<C: Code>(&mut self, _code: &mut C) {}
    /// What shall happen to the guest that may happen to a guest at any time; `None` unless this is a test. Asked when a run begins
    /// and when what the answer says is over.
    #[inline(always)]
    fn disturb(&mut self) -> Option<Disturbance> {
        None
    }
    /// The table slot of translated code that starts at physical address `pa`, decoded as `mode` says; 0: there is none.
    fn find(&self, _pa: u64, _mode: u32) -> u32 {
        0
    }
    /// Whether [`Tier::find`] may find something in the page of physical address `pa`.
    fn in_page(&self, _pa: u64) -> bool {
        true
    }
    /// Runs the translated code of `slot` at linear address `pc` for about `left` instructions. The flags are in the state's
    /// [`crate::LazyFlags`], before and after.
    fn enter(&mut self, _guest: &mut dyn Guest, _slot: u32, pc: u64, left: i64) -> Left {
        Left { pc, left, interpret: true }
    }
    /// `len` bytes of code at physical address `pa` (within one page) were written.
    fn written(&mut self, _pa: u64, _len: u64) {}
    /// Memory is not what it was: all translated code is wrong.
    fn drop_all(&mut self) {}
    /// Calls `each` with the physical ranges (within one page each) that translated code was made from: all, or those in one page.
    fn ranges(&self, _page: Option<u64>, _each: &mut dyn FnMut(u64, u32)) {}
    /// Whether [`Tier::find`] would answer otherwise than it did.
    fn changed(&self) -> bool {
        false
    }
    /// Calls `each` with the physical address, mode and slot (0: none any more) of each answer of [`Tier::find`] that has changed
    /// since this was last called. Code that has none any more can become hot anew. True where slots may mean other code than before: jump caches must be emptied.
    fn changes(&mut self, _each: &mut dyn FnMut(u64, u32, u32)) -> bool {
        false
    }
}

/// A part of a run, for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disturbance {
    /// It has about this many instructions; then interrupts are looked at.
    pub insns: u64,
    /// The TLB is emptied before it.
    pub flush: bool,
    /// An interrupt comes before it that nothing has asked for.
    pub interrupt: bool,
}

/// No second tier.
pub struct NoTier;

impl Tier for NoTier {
    #[inline(always)]
    fn threshold(&self) -> u32 {
        0
    }
    fn hot<C: Code>(&mut self, _: &mut C, _: Decoded, _: u64) -> u32 {
        0
    }
    #[inline(always)]
    fn in_page(&self, _: u64) -> bool {
        false
    }
}
