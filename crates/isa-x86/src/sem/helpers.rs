//! Guest functions that generic semantics call by number: rare, large, or in need of what the vocabulary does not have.

use guest_api::Helper;

use crate::exec::Exec;
use crate::fault::Stop;

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
}

/// Calls helper `h`.
pub(crate) fn call(cx: &mut Exec<'_>, h: Helper, args: &[u64]) -> Result<u64, Stop> {
    match TABLE.get(h.0 as usize) {
        Some(f) => f(cx, args),
        None => Err(cx.unimplemented("helper")),
    }
}
