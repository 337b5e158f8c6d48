//! Guest functions that generic semantics call by number: rare, large, or in need of what the vocabulary does not have.
//!
//! They get their operands as arguments: general registers and flags are the caller's to commit.

use guest_api::{Helper, Space, Width};
use mem::{Access, PAGE_MASK, PAGE_SIZE};

use crate::cpu::{CodeSize, SegReg};
use crate::exec::Exec;
use crate::fault::{DE, Stop};
use crate::insn::Insn;
use crate::sys::{far, interrupts, misc, msr, registers};

/// Bits of MXCSR that exist, DAZ among them (SDM 1 11.6.6).
pub const MXCSR_MASK: u32 = 0xffff;

type Function = fn(&mut Exec<'_>, &[u64]) -> Result<u64, Stop>;

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Index { $($name,)* }
        $($(#[$doc])* pub const $name: Helper = Helper(Index::$name as u16);)*
        /// Calls the helper with that number in the table. Each is called by name: a table of functions costs twice as much.
        #[inline(always)]
        fn dispatch(cx: &mut Exec<'_>, h: Helper, args: &[u64]) -> Result<u64, Stop> {
            match h {
                $($name => { let f: Function = $f; f(cx, args) })*
                _ => Err(cx.unimplemented("helper")),
            }
        }
        const NAMES: &[&str] = &[$(stringify!($name),)* "COMPARE_STRINGS"];
        /// Kinds of helpers.
        pub(crate) const KINDS: usize = NAMES.len();
    };
}

helpers! {
    /// Quotient of the 128-bit `high:low` and `d`; #DE where it has none of 64 bits.
    DIV_U = |cx, v| { let [high, low, d] = args(cx, v)?; div_u(cx, high, low, d) };
    /// The same, signed.
    DIV_S = |cx, v| { let [high, low, d] = args(cx, v)?; div_s(cx, high, low, d) };
    /// #GP(0) where `target` is beyond CS's limit.
    CHECK_CODE_LIMIT = |cx, v| {
        let [target] = args(cx, v)?;
        if target > u64::from(cx.cpu.seg[SegReg::Cs as usize].limit) { Err(cx.gp0()) } else { Ok(0) }
    };
    /// CRC-32C of `crc` continued over the low `n` bytes of `v`.
    CRC32C = |cx, v| { let [crc, v, n] = args(cx, v)?; Ok(crc32c(crc, v, n)) };
    // The bulk helpers do elements of a repeated string instruction upward within a page, and leave at least one of the `n`.
    // Where they return 0 they did nothing: the instruction's own iteration takes faults, devices, pages of code.
    /// Copies from `from` to `to`; the number of elements.
    BULK_MOVS = |cx, v| { let [from, to, n, how] = args(cx, v)?; Ok(bulk_movs(cx, from, to, n, how).unwrap_or(0)) };
    /// Fills with `v`; the number of elements.
    BULK_STOS = |cx, v| { let [v, to, n, how] = args(cx, v)?; Ok(bulk_stos(cx, v, to, n, how).unwrap_or(0)) };
    /// The number of equal elements.
    BULK_CMPS = |cx, v| { let [from, to, n, how] = args(cx, v)?; Ok(bulk_cmps(cx, from, to, n, how).unwrap_or(0)) };
    /// The number of elements that are not `v`.
    BULK_SCAS = |cx, v| { let [v, to, n, how] = args(cx, v)?; Ok(bulk_scas(cx, v, to, n, how).unwrap_or(0)) };

    /// #GP(0) in virtual-8086 mode where IOPL is below 3.
    REQUIRE_IOPL_IN_V86 = |cx, _| far::require_iopl_in_v86(cx).map(|()| 0);
    /// POPF of `v`, of its low 16 bits where `narrow`, but for the condition flags and DF.
    POP_RFLAGS = |cx, v| { let [v, narrow] = args(cx, v)?; far::pop_rflags(cx, v, narrow != 0) };
    /// Has an interrupt that waits be seen behind the instruction.
    LOOK = |cx, _| interrupts::look(cx);
    /// STAC and CLAC.
    SET_AC = |cx, v| { let [on] = args(cx, v)?; misc::set_ac(cx, on != 0) };
    READ_TSC = |cx, _| msr::read_tsc(cx);
    /// IA32_TSC_AUX.
    READ_TSC_AUX = |cx, _| Ok(cx.cpu.msr.tsc_aux);
    /// Control register `n`.
    READ_CR = |cx, v| { let [n] = args(cx, v)?; registers::read_cr(cx, n) };
    /// Sets control register `n` to `v`; code may be elsewhere behind it.
    WRITE_CR = |cx, v| { let [n, v] = args(cx, v)?; registers::write_cr(cx, n, v) };
    /// INVLPG of `va` in the space of that number; code may be elsewhere behind it.
    INVLPG = |cx, v| { let [va, space] = args(cx, v)?; misc::invlpg(cx, va, Space(space as u8)) };
    /// Does what IRETQ does with a stack at `sp`; where it goes. The new RSP is in its slot, RFLAGS in that of `PASSED`: they are the
    /// caller's to commit.
    IRETQ = |cx, v| { let [sp] = args(cx, v)?; far::iretq(cx, sp) };
    /// Enters the kernel, but for RIP, RCX, R11, the condition flags and DF; what the rest of RFLAGS was.
    SYSCALL = |cx, _| far::syscall(cx);
    /// Returns from it to `target` with RFLAGS `flags`, in 64-bit mode where `long`.
    SYSRET = |cx, v| { let [target, flags, long] = args(cx, v)?; far::sysret(cx, target, flags, long != 0) };

    /// TOP = 0 and no x87 register empty (SDM 1 9.5.1).
    ENTER_MMX = |cx, _| {
        cx.cpu.fpu.enter_mmx();
        Ok(0)
    };
    /// MXCSR.
    MXCSR = |cx, _| Ok(cx.cpu.mxcsr.into());
    /// Sets MXCSR; #GP(0) where a reserved bit is set.
    LOAD_MXCSR = |cx, v| {
        let v = v.first().map_or(0, |&v| v as u32);
        if v & !MXCSR_MASK != 0 {
            return Err(cx.gp0());
        }
        cx.cpu.mxcsr = v;
        Ok(0)
    };
}

/// The arguments of a helper of `N`. Translated code always gives four.
fn args<const N: usize>(cx: &mut Exec<'_>, v: &[u64]) -> Result<[u64; N], Stop> {
    v.first_chunk().copied().ok_or_else(|| cx.unimplemented("number of arguments of a helper"))
}

/// The first of the helpers that compare strings, one for each immediate of PCMPISTRI.
const COMPARE: u16 = 0x100;

/// Compares the strings in two vectors, given as their halves.
pub fn compare_strings(imm: u8) -> Helper {
    Helper(COMPARE | u16::from(imm))
}

/// The name of each kind of helper, and which it is.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied()
}
pub(crate) fn kind(h: u16) -> usize {
    usize::from(h).min(KINDS - 1)
}

/// Calls helper `h`.
pub(crate) fn call(cx: &mut Exec<'_>, h: Helper, args: &[u64]) -> Result<u64, Stop> {
    if h.0 & !0xff == COMPARE {
        let [a, a_high, b, b_high] = self::args(cx, args)?;
        let strings = [(a, a_high), (b, b_high)].map(|(low, high)| u128::from(low) | u128::from(high) << 64);
        return Ok(super::sse_str::compared(h.0 as u8, strings));
    }
    dispatch(cx, h, args)
}

fn div_u(cx: &mut Exec<'_>, high: u64, low: u64, d: u64) -> Result<u64, Stop> {
    // The quotient fits in 64 bits exactly where high < d.
    if high >= d {
        return Err(cx.fault(DE, None));
    }
    if high == 0 {
        return Ok(low / d);
    }
    Ok(((u128::from(high) << 64 | u128::from(low)) / u128::from(d)) as u64)
}

fn div_s(cx: &mut Exec<'_>, high: u64, low: u64, d: u64) -> Result<u64, Stop> {
    let n = (u128::from(high) << 64 | u128::from(low)) as i128;
    let d = d as i64;
    let quotient = match (i64::try_from(n), d) {
        (Ok(n), 1..) => Some(n / d),
        _ => n.checked_div(i128::from(d)).and_then(|q| i64::try_from(q).ok()),
    };
    match quotient {
        Some(q) => Ok(q as u64),
        None => Err(cx.fault(DE, None)),
    }
}

/// CRC-32C, polynomial 0x11EDC6F41, bits reversed (SDM 2 CRC32).
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 };
            k += 1;
        }
        table[n] = c;
        n += 1;
    }
    table
};

fn crc32c(crc: u64, v: u64, n: u64) -> u64 {
    let bytes = v.to_le_bytes();
    u64::from(bytes.iter().take(n as usize).fold(crc as u32, |c, b| c >> 8 ^ CRC_TABLE[usize::from(c as u8 ^ b)]))
}

/// The static part of a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    width: Width,
    /// One more than the last offset; `None` for 2^64.
    end: Option<u64>,
    from: Space,
    to: Space,
}

const WIDTHS: [Width; 4] = [Width::W8, Width::W16, Width::W32, Width::W64];

impl Span {
    pub(crate) fn pack(i: &Insn, to: Space) -> u64 {
        let end = if i.bits() == CodeSize::Bits64 { Width::W64 } else { i.addr_width() };
        i.width() as u64 | (end as u64) << 2 | u64::from(i.space.0) << 8 | u64::from(to.0) << 16
    }
    fn unpack(how: u64) -> Span {
        let end = WIDTHS[(how >> 2 & 3) as usize].mask().checked_add(1);
        Span { width: WIDTHS[(how & 3) as usize], end, from: Space((how >> 8) as u8), to: Space((how >> 16) as u8) }
    }

    /// Physical address of the elements at `offset` and how many of `n` lie in its page; `None` where the TLB does not know.
    fn find(&self, cx: &mut Exec<'_>, access: Access, s: Space, offset: u64, n: u64) -> Option<(u64, u64)> {
        if cx.cpu.debug_trap != 0 {
            return None; // single-step: each iteration traps
        }
        let size = u64::from(self.width.bytes());
        let room = self.end.map_or(u64::MAX, |end| end.saturating_sub(offset));
        let va = cx.linear(s, offset, self.width.bytes(), access == Access::Write).ok()?;
        let n = n.min((PAGE_SIZE - (va & PAGE_MASK)).min(room) / size);
        // The segment must allow all of them; where it does not, the iteration finds the first that it forbids.
        cx.linear(s, offset, (n.max(1) * size) as u32, access == Access::Write).ok()?;
        Some((cx.cpu.mem.lookup(access, va)?, n))
    }
}

fn bulk_movs(cx: &mut Exec<'_>, from: u64, to: u64, n: u64, how: u64) -> Option<u64> {
    if n < 2 {
        return None;
    }
    let span = Span::unpack(how);
    let (src, n) = span.find(cx, Access::Read, span.from, from, n)?;
    let (dst, n) = span.find(cx, Access::Write, span.to, to, n)?;
    let size = u64::from(span.width.bytes());
    let mut n = n.saturating_sub(1);
    if (1..n * size).contains(&dst.wrapping_sub(src)) {
        // A copy onto what is still to be read repeats a pattern: only the elements before the overlap are done at once.
        n = (dst - src) / size;
    }
    cx.cpu.mem.ram.copy(dst, src, (n * size) as usize).then_some(n)
}

fn bulk_stos(cx: &mut Exec<'_>, v: u64, to: u64, n: u64, how: u64) -> Option<u64> {
    if n < 2 {
        return None;
    }
    let span = Span::unpack(how);
    let (dst, n) = span.find(cx, Access::Write, span.to, to, n)?;
    let size = span.width.bytes() as usize;
    let n = n.saturating_sub(1);
    let bytes = cx.cpu.mem.ram.slice_mut(dst, n as usize * size)?;
    let v = v.to_le_bytes();
    if v[..size].iter().all(|&b| b == v[0]) {
        bytes.fill(v[0]);
    } else {
        for element in bytes.chunks_exact_mut(size) {
            element.copy_from_slice(&v[..size]);
        }
    }
    Some(n)
}

fn bulk_cmps(cx: &mut Exec<'_>, from: u64, to: u64, n: u64, how: u64) -> Option<u64> {
    if n < 2 {
        return None;
    }
    let span = Span::unpack(how);
    let (a, n) = span.find(cx, Access::Read, span.from, from, n)?;
    let (b, n) = span.find(cx, Access::Read, span.to, to, n)?;
    let size = span.width.bytes() as usize;
    let n = n.saturating_sub(1) as usize;
    let ram = &cx.cpu.mem.ram;
    let (a, b) = (ram.slice(a, n * size)?, ram.slice(b, n * size)?);
    let equal = a.iter().zip(b).position(|(x, y)| x != y).map_or(n, |at| at / size);
    Some(equal as u64)
}

fn bulk_scas(cx: &mut Exec<'_>, v: u64, to: u64, n: u64, how: u64) -> Option<u64> {
    if n < 2 {
        return None;
    }
    let span = Span::unpack(how);
    let (at, n) = span.find(cx, Access::Read, span.to, to, n)?;
    let size = span.width.bytes() as usize;
    let n = n.saturating_sub(1) as usize;
    let bytes = cx.cpu.mem.ram.slice(at, n * size)?;
    let v = v.to_le_bytes();
    Some(bytes.chunks_exact(size).position(|x| x == &v[..size]).unwrap_or(n) as u64)
}
