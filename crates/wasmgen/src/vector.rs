//! Vector operations: WebAssembly's own where it has them.

use ir::{Inst, Op};

use crate::emit::Emitter;

/// Whether `op` can be generated.
pub fn supports(op: Op) -> bool {
    matches!(op, Op::GetX | Op::PutX | Op::ConstX | Op::LoadX(_) | Op::StoreX(_) | Op::VSelect | Op::Widen)
}

/// Pushes what a pure operation computes.
pub(crate) fn compute(e: &mut Emitter<'_>, i: &Inst) {
    match i.op {
        Op::GetX => {
            let slot = e.xslot(i.imm);
            e.i().local_get(slot);
        }
        Op::ConstX => {
            let v = e.region.consts[i.imm as usize];
            e.i().v128_const(v as i128);
        }
        Op::VSelect => {
            e.values(&[i.args[1], i.args[2], i.args[0]]);
            e.i().v128_bitselect();
        }
        Op::Widen => {
            e.i().v128_const(0);
            e.value(i.args[0]);
            e.i().i64x2_replace_lane(0);
        }
        _ => _ = e.i().unreachable(),
    }
}

/// A floating-point operation.
pub(crate) fn float(e: &mut Emitter<'_>, _: &Inst) {
    e.i().unreachable();
}
