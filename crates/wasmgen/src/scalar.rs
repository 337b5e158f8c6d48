//! Integer operations and conditions.

use guest_api::{Bin, FlagForm, FlagSource, Rel, Un, Width};
use ir::{Inst, Op, Val};
use wasm_encoder::{BlockType, ValType};

use crate::abi::Import;
use crate::emit::{Emitter, TEMP};
use crate::place::Place;

impl Emitter<'_> {
    pub(crate) fn scalar(&mut self, i: &Inst) {
        let [a, b, c, _] = i.args;
        match i.op {
            Op::Const => _ = self.i().i64_const(i.imm as i64),
            Op::Pc => self.pc(i.imm as i64),
            Op::Get => self.get_slot(i),
            Op::GetShared => self.load_slot(i.imm as usize),
            Op::Bin(op) => self.bin(op, a, b),
            Op::Un(op) => {
                self.value(a);
                self.un(op);
            }
            Op::Rel(op) => self.rel(op, a, b),
            Op::Not => {
                self.value(a);
                self.i().i32_eqz();
            }
            Op::Both => {
                self.values(&[a, b]);
                self.i().i32_and();
            }
            Op::Either => {
                self.values(&[a, b]);
                self.i().i32_or();
            }
            Op::Value => {
                self.value(a);
                self.i().i64_extend_i32_u();
            }
            Op::Select => {
                self.values(&[b, c, a]);
                self.i().select();
            }
            Op::Overflows => self.overflows(a, b),
            Op::CarryOf => self.carry_of(i.args()),
            Op::PackFlags => {
                self.values(i.args());
                self.i().call(Import::PackFlags as u32);
            }
            // Everything else has an effect or is a vector.
            _ => _ = self.i().unreachable(),
        }
    }

    pub(crate) fn values(&mut self, values: &[Val]) {
        for &v in values {
            self.value(v);
        }
    }

    /// Pushes `v` as 32 bits.
    pub(crate) fn value32(&mut self, v: Val) {
        self.value(v);
        self.i().i32_wrap_i64();
    }

    /// The number that `v` is, if it is constant.
    pub(crate) fn constant(&self, v: Val) -> Option<u64> {
        ir::fold::konst(&self.region.blocks[self.block].insts, v)
    }

    fn bin(&mut self, op: Bin, a: Val, b: Val) {
        match op {
            Bin::Rotl32 | Bin::Rotr32 => {
                self.value32(a);
                self.value32(b);
                let mut i = self.i();
                if op == Bin::Rotl32 {
                    i.i32_rotl()
                } else {
                    i.i32_rotr()
                };
                i.i64_extend_i32_u();
                return;
            }
            Bin::MulHiU | Bin::MulHiS => return self.mul_high(op == Bin::MulHiS, a, b),
            // V8 would make a sum of this and something else one LEA, whose result comes a cycle after that of an addition.
            Bin::Shl if self.constant(b) == Some(1) => {
                let x = self.in_local(a, TEMP[0]);
                self.get(x).local_get(x).i64_add();
                return;
            }
            _ => {}
        }
        self.values(&[a, b]);
        let mut i = self.i();
        match op {
            Bin::Add => i.i64_add(),
            Bin::Sub => i.i64_sub(),
            Bin::Mul => i.i64_mul(),
            Bin::DivU => i.i64_div_u(),
            Bin::RemU => i.i64_rem_u(),
            Bin::DivS => i.i64_div_s(),
            Bin::RemS => i.i64_rem_s(),
            Bin::And => i.i64_and(),
            Bin::Or => i.i64_or(),
            Bin::Xor => i.i64_xor(),
            Bin::Shl => i.i64_shl(),
            Bin::ShrU => i.i64_shr_u(),
            Bin::ShrS => i.i64_shr_s(),
            Bin::Rotl => i.i64_rotl(),
            Bin::Rotr | Bin::Rotl32 | Bin::Rotr32 | Bin::MulHiU | Bin::MulHiS => i.i64_rotr(),
        };
    }

    /// The carry of flags whose form is not known: of a difference, a sum, of logic, or apart.
    fn carry_of(&mut self, args: &[Val]) {
        let [form, a, b, carry] = TEMP;
        self.values(args);
        for local in [carry, b, a, form] {
            self.set(local);
        }
        let source = |s: FlagSource| i64::from(FlagForm::new(s, Width::W8).0 >> 2);
        // Sources of forms that have the carry apart are beyond those of operations.
        let is = |e: &mut Self, s: FlagSource| {
            e.get(form).i64_const(2).i64_shr_u().i64_const(source(s)).i64_eq();
        };
        self.get(a).local_get(b).i64_lt_u();
        // The sum at the form's width: its operands are zero-extended.
        self.get(a).local_get(b).i64_add().i64_const(-1).i64_const(64);
        self.i().i64_const(8).local_get(form).i64_const(3).i64_and().i64_shl().i64_sub().i64_shr_u().i64_and();
        self.get(a).i64_lt_u();
        self.i().i32_const(0);
        self.get(carry).i32_wrap_i64();
        is(self, FlagSource::Logic);
        self.i().select();
        is(self, FlagSource::Add);
        self.i().select();
        is(self, FlagSource::Sub);
        self.i().select();
    }

    /// The high half of a 128-bit product, from products of 32-bit halves.
    fn mul_high(&mut self, signed: bool, a: Val, b: Val) {
        self.factors(a, b);
        self.high_product(signed);
    }

    /// Whether the signed product needs more than 64 bits: numbers are small, nearly always.
    fn overflows(&mut self, a: Val, b: Val) {
        const HALF: i64 = 1 << 31;
        let [x, y] = self.factors(a, b);
        self.get(x).i64_const(HALF).i64_add().local_get(y).i64_const(HALF).i64_add().i64_or();
        self.i().i64_const(32).i64_shr_u().i64_eqz();
        self.if_hinted(BlockType::Result(ValType::I32), true);
        self.i().i32_const(0).else_();
        self.high_product(true);
        self.get(x).local_get(y).i64_mul().i64_const(63).i64_shr_s().i64_ne();
        self.i().end();
    }

    /// Brings the factors of a product to the first two of the scratch values.
    fn factors(&mut self, a: Val, b: Val) -> [u32; 2] {
        let [x, y, ..] = TEMP;
        self.values(&[a, b]);
        self.set(y);
        self.set(x);
        [x, y]
    }

    /// The high half of the product of the first two of the scratch values.
    fn high_product(&mut self, signed: bool) {
        const LOW: i64 = 0xffff_ffff;
        let [x, y, t, _] = TEMP;
        // t = high(x) * low(y) + (low(x) * low(y) >> 32)
        self.get(x).i64_const(32).i64_shr_u().local_get(y).i64_const(LOW).i64_and().i64_mul();
        self.get(x).i64_const(LOW).i64_and().local_get(y).i64_const(LOW).i64_and().i64_mul();
        self.i().i64_const(32).i64_shr_u().i64_add();
        self.set(t);
        // high(x) * high(y) + (t >> 32) + (low(x) * high(y) + low(t) >> 32)
        self.get(x).i64_const(32).i64_shr_u().local_get(y).i64_const(32).i64_shr_u().i64_mul();
        self.get(t).i64_const(32).i64_shr_u().i64_add();
        self.get(x).i64_const(LOW).i64_and().local_get(y).i64_const(32).i64_shr_u().i64_mul();
        self.get(t).i64_const(LOW).i64_and().i64_add().i64_const(32).i64_shr_u().i64_add();
        if signed {
            self.get(x).i64_const(63).i64_shr_s().local_get(y).i64_and().i64_sub();
            self.get(y).i64_const(63).i64_shr_s().local_get(x).i64_and().i64_sub();
        }
    }

    fn un(&mut self, op: Un) {
        match op {
            Un::Neg => {
                // 0 - a: negation by complement keeps the operand on the stack
                self.i().i64_const(-1).i64_xor().i64_const(1).i64_add();
            }
            Un::Bswap => {
                let lanes = i128::from_le_bytes([7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]);
                self.i().i64x2_splat().v128_const(lanes).i8x16_swizzle().i64x2_extract_lane(0);
            }
            Un::Not => _ = self.i().i64_const(-1).i64_xor(),
            Un::Zext8 => _ = self.i().i64_const(0xff).i64_and(),
            Un::Zext16 => _ = self.i().i64_const(0xffff).i64_and(),
            Un::Zext32 => _ = self.i().i32_wrap_i64().i64_extend_i32_u(),
            Un::Sext8 => _ = self.i().i64_extend8_s(),
            Un::Sext16 => _ = self.i().i64_extend16_s(),
            Un::Sext32 => _ = self.i().i64_extend32_s(),
            Un::Clz => _ = self.i().i64_clz(),
            Un::Ctz => _ = self.i().i64_ctz(),
            Un::Popcnt => _ = self.i().i64_popcnt(),
        }
    }

    fn rel(&mut self, op: Rel, a: Val, b: Val) {
        if matches!(op, Rel::Eq | Rel::Ne) && self.constant(b) == Some(0) {
            self.value(a);
            self.i().i64_eqz();
            if op == Rel::Ne {
                self.i().i32_eqz();
            }
            return;
        }
        if self.extended(op, a) && self.extended(op, b) {
            self.low(a);
            self.low(b);
            let mut i = self.i();
            match op {
                Rel::Eq => i.i32_eq(),
                Rel::Ne => i.i32_ne(),
                Rel::LtU => i.i32_lt_u(),
                Rel::LeU => i.i32_le_u(),
                Rel::LtS => i.i32_lt_s(),
                Rel::LeS => i.i32_le_s(),
            };
            return;
        }
        self.values(&[a, b]);
        let mut i = self.i();
        match op {
            Rel::Eq => i.i64_eq(),
            Rel::Ne => i.i64_ne(),
            Rel::LtU => i.i64_lt_u(),
            Rel::LeU => i.i64_le_u(),
            Rel::LtS => i.i64_lt_s(),
            Rel::LeS => i.i64_le_s(),
        };
    }

    /// Whether `v` is a constant or computed here by extending 32 bits, so that for `op` its low half says all.
    fn extended(&self, op: Rel, v: Val) -> bool {
        let signed = matches!(op, Rel::LtS | Rel::LeS);
        let i = &self.region.blocks[self.block].insts[v.index()];
        match i.op {
            Op::Const if signed => i.imm as i32 as u64 == i.imm,
            Op::Const => u64::from(i.imm as u32) == i.imm,
            Op::Un(Un::Sext32) => signed && self.places[v.index()] == Place::Inline,
            Op::Un(Un::Zext32) => !signed && self.places[v.index()] == Place::Inline,
            _ => false,
        }
    }
    /// Pushes the low half of a value that is [`Emitter::extended`].
    fn low(&mut self, v: Val) {
        let i = &self.region.blocks[self.block].insts[v.index()];
        match i.op {
            Op::Const => {
                let low = i.imm as i32;
                self.i().i32_const(low);
            }
            _ => self.value32(i.args[0]),
        }
    }
}
