//! What is computed while recording: operations of constants, operations that change nothing, and masks of bits that are 0 anyway or
//! that nobody reads.

use guest_api::{Bin, Rel, Un, Width};

use crate::{Inst, Op, Val};

/// The number that `v` is, if it is constant.
pub fn konst(insts: &[Inst], v: Val) -> Option<u64> {
    let i = &insts[v.index()];
    (i.op == Op::Const).then_some(i.imm)
}

fn push(insts: &mut Vec<Inst>, op: Op, args: &[Val], imm: u64) -> Val {
    insts.push(Inst::new(op, args, imm, u32::MAX));
    Val(insts.len() as u32 - 1)
}

/// Bits of `v` that may be other than 0: that many low ones.
fn bits(insts: &[Inst], v: Val) -> u32 {
    let i = &insts[v.index()];
    match i.op {
        Op::Const => 64 - i.imm.leading_zeros(),
        Op::Load(w) | Op::LoadRmw(w) | Op::LoadNear(w) => w.bits(),
        Op::Un(Un::Zext8) => 8,
        Op::Un(Un::Zext16) => 16,
        Op::Un(Un::Zext32) => 32,
        Op::Un(Un::Clz | Un::Ctz | Un::Popcnt) => 7,
        Op::Value => 1,
        Op::Bin(Bin::And) => bits_of_const(insts, i.args[1]).min(bits_of_const(insts, i.args[0])),
        Op::Bin(Bin::Rotl32 | Bin::Rotr32) => 32,
        Op::Bin(Bin::ShrU) => match konst(insts, i.args[1]) {
            Some(n) => 64 - (n & 63) as u32,
            None => 64,
        },
        Op::MoveMask(_) => 16,
        Op::Extract(lane) => 8 * lane.bytes() as u32,
        _ => 64,
    }
}
fn bits_of_const(insts: &[Inst], v: Val) -> u32 {
    konst(insts, v).map_or(64, |k| 64 - k.leading_zeros())
}

fn zext_width(op: Un) -> Option<Width> {
    match op {
        Un::Zext8 => Some(Width::W8),
        Un::Zext16 => Some(Width::W16),
        Un::Zext32 => Some(Width::W32),
        _ => None,
    }
}
fn sext_width(op: Un) -> Option<Width> {
    match op {
        Un::Sext8 => Some(Width::W8),
        Un::Sext16 => Some(Width::W16),
        Un::Sext32 => Some(Width::W32),
        _ => None,
    }
}

/// What `v` extends, where it only changes bits above the low `w`.
pub(crate) fn strip(insts: &[Inst], v: Val, w: Width) -> Val {
    match insts[v.index()].op {
        Op::Un(op) if zext_width(op).or_else(|| sext_width(op)).is_some_and(|x| x >= w) => {
            strip(insts, insts[v.index()].args[0], w)
        }
        _ => v,
    }
}

/// `op` of `a` and `b`, where it need not be recorded.
pub(crate) fn bin(insts: &mut Vec<Inst>, op: Bin, a: Val, b: Val) -> Option<Val> {
    let (x, y) = (konst(insts, a), konst(insts, b));
    if let (Some(x), Some(y)) = (x, y) {
        return Some(push(insts, Op::Const, &[], op.of(x, y)));
    }
    match (op, x, y) {
        (Bin::Add | Bin::Or | Bin::Xor, Some(0), _) => return Some(b),
        (Bin::Add | Bin::Sub | Bin::Or | Bin::Xor, _, Some(0)) => return Some(a),
        (Bin::Shl | Bin::ShrU | Bin::ShrS | Bin::Rotl | Bin::Rotr, _, Some(0)) => return Some(a),
        (Bin::Mul | Bin::DivU | Bin::DivS, _, Some(1)) | (Bin::And, _, Some(u64::MAX)) => return Some(a),
        (Bin::And, Some(u64::MAX), _) => return Some(b),
        (Bin::And | Bin::Mul, Some(0), _) | (Bin::And | Bin::Mul, _, Some(0)) => {
            return Some(push(insts, Op::Const, &[], 0));
        }
        (Bin::Xor | Bin::Sub, ..) if a == b => return Some(push(insts, Op::Const, &[], 0)),
        (Bin::And | Bin::Or, ..) if a == b => return Some(a),
        // x + k + l, and the address of code plus a constant
        (Bin::Add, None, Some(k)) => {
            let i = insts[a.index()];
            if i.op == Op::Pc {
                return Some(push(insts, Op::Pc, &[], i.imm.wrapping_add(k)));
            }
            if i.op == Op::Bin(Bin::Add)
                && let Some(l) = konst(insts, i.args[1])
            {
                let k = push(insts, Op::Const, &[], k.wrapping_add(l));
                return Some(push(insts, Op::Bin(Bin::Add), &[i.args[0], k], 0));
            }
        }
        // A mask that keeps all there is
        (Bin::And, None, Some(k)) if k.trailing_ones() >= bits(insts, a) => return Some(a),
        _ => {}
    }
    None
}

/// `op` of `a`, where it need not be recorded as it is.
pub(crate) fn un(insts: &mut Vec<Inst>, op: Un, a: Val) -> Option<Val> {
    if let Some(k) = konst(insts, a) {
        return Some(push(insts, Op::Const, &[], op.of(k)));
    }
    if let Some(w) = zext_width(op) {
        if bits(insts, a) <= w.bits() {
            return Some(a);
        }
        // Nobody reads the operand's upper bits, nor those of its operands where they do not come down.
        let low = low_bits(insts, a, w);
        return (low != a).then(|| push(insts, Op::Un(op), &[low], 0));
    }
    if let Some(w) = sext_width(op) {
        if bits(insts, a) < w.bits() {
            return Some(a);
        }
        let low = low_bits(insts, a, w);
        return (low != a).then(|| push(insts, Op::Un(op), &[low], 0));
    }
    None
}

/// A value whose low `w` bits are those of `v`.
fn low_bits(insts: &mut Vec<Inst>, v: Val, w: Width) -> Val {
    let v = strip(insts, v, w);
    let i = insts[v.index()];
    let Op::Bin(op) = i.op else { return v };
    let args = match op {
        Bin::Add | Bin::Sub | Bin::Mul | Bin::And | Bin::Or | Bin::Xor => {
            [strip(insts, i.args[0], w), strip(insts, i.args[1], w)]
        }
        Bin::Shl => [strip(insts, i.args[0], w), i.args[1]],
        _ => return v,
    };
    if args == i.args[..2] { v } else { push(insts, i.op, &args, 0) }
}

/// The negation of `c`, where it need not be recorded.
pub(crate) fn not(insts: &mut Vec<Inst>, c: Val) -> Option<Val> {
    let i = insts[c.index()];
    match i.op {
        Op::Not => Some(i.args[0]),
        Op::Rel(op) => {
            let (op, swap) = match op {
                Rel::Eq => (Rel::Ne, false),
                Rel::Ne => (Rel::Eq, false),
                Rel::LtU => (Rel::LeU, true),
                Rel::LeU => (Rel::LtU, true),
                Rel::LtS => (Rel::LeS, true),
                Rel::LeS => (Rel::LtS, true),
            };
            let (a, b) = (i.args[0], i.args[1]);
            let args = if swap { [b, a] } else { [a, b] };
            Some(push(insts, Op::Rel(op), &args, 0))
        }
        _ => None,
    }
}

/// 1 where `c` holds, else 0, where it need not be recorded.
pub(crate) fn value(insts: &mut Vec<Inst>, c: Val) -> Option<Val> {
    let i = insts[c.index()];
    let Op::Rel(op) = i.op else { return None };
    let (x, y) = (konst(insts, i.args[0])?, konst(insts, i.args[1])?);
    Some(push(insts, Op::Const, &[], op.holds(x, y).into()))
}
