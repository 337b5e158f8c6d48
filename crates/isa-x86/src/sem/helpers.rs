//! Guest functions that generic semantics call by number: rare, large, or in need of what the vocabulary does not have.

use guest_api::Helper;

use crate::exec::Exec;
use crate::fault::Stop;

/// Bits of MXCSR that exist, DAZ among them (SDM 1 11.6.6).
pub const MXCSR_MASK: u32 = 0xffff;

type Function = fn(&mut Exec<'_>, &[u64]) -> Result<u64, Stop>;

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Index { $($name,)* }
        $($(#[$doc])* pub const $name: Helper = Helper(Index::$name as u16);)*
        const TABLE: &[Function] = &[$($f,)*];
    };
}

helpers! {
    /// High half of RDX:RAX / divisor is left to [`super`]'s DIV; see there.
    NOTHING = |_, _| Ok(0);

    /// TOP = 0 and no x87 register empty (SDM 1 9.5.1).
    ENTER_MMX = |cx, _| {
        cx.cpu.fpu.status &= !(7 << 11);
        cx.cpu.fpu.valid = 0xff;
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

/// Calls helper `h`.
pub(crate) fn call(cx: &mut Exec<'_>, h: Helper, args: &[u64]) -> Result<u64, Stop> {
    match TABLE.get(h.0 as usize) {
        Some(f) => f(cx, args),
        None => Err(cx.unimplemented("helper")),
    }
}
