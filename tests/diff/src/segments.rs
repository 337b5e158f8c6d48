//! Segments of the cases that are not 64-bit code: a local descriptor table, the same on the host and in the guest, and what a program
//! can name of Linux's global one.

use random::Rng;

use crate::{CODE, DATA};

/// A descriptor of the local table: code or data of DPL 3, as modify_ldt(2) makes it.
#[derive(Clone, Copy)]
pub struct Descriptor {
    pub base: u64,
    /// In bytes, or in pages of 4 KiB.
    pub limit: u32,
    pub pages: bool,
    /// Type bits 3:2: 0 data, 1 data that expands down, 2 code, 3 conforming code.
    pub contents: u8,
    /// Data is read-only, code execute-only.
    pub restricted: bool,
    /// D, or B.
    pub big: bool,
    pub present: bool,
}

const fn data(base: u64, limit: u32, big: bool) -> Descriptor {
    Descriptor { base, limit, pages: false, contents: 0, restricted: false, big, present: true }
}
const fn code(contents: u8, restricted: bool, big: bool) -> Descriptor {
    Descriptor { base: CODE, limit: 0x1fff, pages: false, contents, restricted, big, present: true }
}

pub const CODE16: u16 = ldt(0);
pub const CODE32: u16 = ldt(1);
/// Linux's segments for programs.
pub const FLAT_CODE32: u16 = 0x23;
pub const FLAT_DATA: u16 = 0x2b;
pub const FLAT_CODE64: u16 = 0x33;

/// The local table; `None` is an empty entry.
pub const LDT: [Option<Descriptor>; 16] = [
    Some(code(2, false, false)),
    Some(code(2, false, true)),
    Some(data(DATA, 0x3fff, false)),
    Some(data(DATA, 0xffff, false)),
    Some(data(DATA, 0xffff, true)),
    Some(data(DATA + 0x100, 0xff7, false)),
    Some(Descriptor { contents: 1, ..data(DATA, 0x7ff, false) }),
    Some(Descriptor { contents: 1, ..data(DATA, 0x7ff, true) }),
    Some(Descriptor { restricted: true, ..data(DATA, 0x3fff, true) }),
    Some(Descriptor { pages: true, ..data(DATA, 0xf_ffff, true) }),
    Some(Descriptor { present: false, ..data(DATA, 0x3fff, true) }),
    Some(code(2, true, true)),
    Some(Descriptor { present: false, ..code(3, false, true) }),
    Some(Descriptor { present: false, ..code(2, false, true) }),
    None,
    Some(Descriptor { contents: 1, restricted: true, ..data(DATA, 0x7ff, false) }),
];

/// Linux's global table as far as programs see it: code and data of both privileges, TSS, LDT, and the segment whose limit is the processor's number.
pub const GDT: [u64; 16] = {
    let flat = 0x000f_0000_0000_ffff;
    let mut t = [0; 16];
    t[1] = flat | 0xc09b << 40;
    t[2] = flat | 0xa09b << 40;
    t[3] = flat | 0xc093 << 40;
    t[4] = flat | 0xc0fb << 40;
    t[5] = flat | 0xc0f3 << 40;
    t[6] = flat | 0xa0fb << 40;
    t[8] = 0x8b << 40 | 0x206f;
    t[10] = 0x82 << 40 | 0x7f;
    t[15] = 0x40f5 << 40;
    t
};

const fn ldt(n: u16) -> u16 {
    n << 3 | 7
}

impl Descriptor {
    pub fn raw(self) -> u64 {
        let kind = 1 | u64::from(!self.restricted) << 1 | u64::from(self.contents) << 2;
        let access = u64::from(self.present) << 7 | 0x70 | kind;
        let flags = u64::from(self.pages) << 3 | u64::from(self.big) << 2;
        let limit = u64::from(self.limit);
        limit & 0xffff
            | (self.base & 0xff_ffff) << 16
            | access << 40
            | (limit >> 16 & 15 | flags << 4) << 48
            | (self.base >> 24 & 0xff) << 56
    }
}

/// The descriptor of a selector; 0 for none.
pub fn raw(selector: u16) -> u64 {
    let n = usize::from(selector >> 3);
    match selector & 4 {
        0 => GDT.get(n).copied().unwrap_or(0),
        _ => LDT.get(n).copied().flatten().map_or(0, Descriptor::raw),
    }
}

/// Linear address of the segment's first byte.
pub fn base(selector: u16) -> u64 {
    let d = raw(selector);
    d >> 16 & 0xff_ffff | d >> 56 << 24
}
pub fn limit(selector: u16) -> u64 {
    let d = raw(selector);
    let l = d & 0xffff | d >> 32 & 0xf_0000;
    if d >> 55 & 1 != 0 { l << 12 | 0xfff } else { l }
}
/// The D or B bit.
pub fn big(selector: u16) -> bool {
    raw(selector) >> 54 & 1 != 0
}

/// A selector for DS, ES, FS or GS when a case begins; for SS where `stack`.
pub fn random_data(rng: &mut Rng, stack: bool) -> u16 {
    match rng.below(8) {
        0 | 1 => FLAT_DATA,
        2..=4 => ldt(2 + rng.below(3) as u16),
        5 => ldt(9),
        _ if stack => ldt(5 + rng.below(3) as u16),
        _ => rng.pick(&[0, ldt(5), ldt(6), ldt(7), ldt(8), ldt(15), CODE16, FLAT_CODE32]),
    }
}

/// Any selector that a program might try to load.
pub fn random(rng: &mut Rng) -> u16 {
    match rng.below(8) {
        0 => rng.below(4) as u16,
        1 => rng.pick(&[0x08, 0x10, 0x13, 0x18, 0x1b, 0x3b, 0x40, 0x43, 0x50, 0x53, 0x83, 0xfffb, 0x87, 0xffff]),
        2 => rng.pick(&[FLAT_CODE32, FLAT_DATA, FLAT_CODE64, 0x20, 0x28, 0x29, 0x32]),
        3 => (rng.below(16) as u16) << 3 | 4 | rng.below(4) as u16,
        _ => ldt(rng.below(16) as u16),
    }
}

/// An offset in the code segment `selector` at which there is an [`crate::END`], mostly.
pub fn random_target(rng: &mut Rng, selector: u16) -> u64 {
    if rng.one_in(8) {
        return rng.next() & 0xffff;
    }
    let linear = CODE + rng.below(0x2000);
    linear.wrapping_sub(base(selector)) & 0xffff_ffff
}
