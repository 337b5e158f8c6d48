//! The checking implementation of the vocabulary: nothing has a value, only the order of effects is seen. It holds every row of
//! the table, in every operand form, to the law of precise faults: nothing architectural is written before the last operation
//! that can fault.

use std::collections::{BTreeMap, BTreeSet};

use guest_api::*;

use super::helpers;
use crate::cpu::CodeSize;
use crate::decode::decode;
use crate::insn::Insn;
use crate::table::{Op, translate};

#[derive(Default)]
struct Effects {
    /// The first write of a register or flag.
    committed: Option<&'static str>,
    /// Memory was written.
    stored: bool,
    /// All memory that is written was probed before, so that a second store cannot fault.
    probed: bool,
    broken: Option<String>,
}

impl Effects {
    fn may_fault(&mut self, what: &'static str) {
        if let Some(first) = self.committed {
            self.broken.get_or_insert_with(|| format!("{what} may fault behind {first}"));
        }
        if self.stored && !self.probed {
            self.broken.get_or_insert_with(|| format!("{what} may fault behind a store"));
        }
    }
    fn commit(&mut self, what: &'static str) {
        self.committed.get_or_insert(what);
    }
}

impl Emit for Effects {
    type V = ();
    type C = ();
    type Exit = core::convert::Infallible;

    fn block_pc(&self) -> u64 {
        0
    }
    fn imm(&mut self, _: u64) {}
    fn code_address(&mut self, _: u64) {}
    fn get(&mut self, _: Slot) {}
    fn put(&mut self, _: Slot, (): ()) {
        self.commit("a register");
    }
    fn get_shared(&mut self, _: Slot) {}
    fn put_shared(&mut self, _: Slot, (): ()) {
        self.commit("shared state");
    }
    fn bin(&mut self, _: Bin, (): (), (): ()) {}
    fn un(&mut self, _: Un, (): ()) {}
    fn rel(&mut self, _: Rel, (): (), (): ()) {}
    fn overflows_signed(&mut self, (): (), (): ()) {}
    fn not(&mut self, (): ()) {}
    fn both(&mut self, (): (), (): ()) {}
    fn either(&mut self, (): (), (): ()) {}
    fn value(&mut self, (): ()) {}
    fn select(&mut self, (): (), (): (), (): ()) {}

    fn load(&mut self, _: Width, (): (), _: Space) -> Result<(), Self::Exit> {
        self.may_fault("a load");
        Ok(())
    }
    fn load_rmw(&mut self, _: Width, (): (), _: Space) -> Result<(), Self::Exit> {
        self.may_fault("a load");
        self.probed = true;
        Ok(())
    }
    fn store(&mut self, _: Width, (): (), (): (), _: Space) -> Result<(), Self::Exit> {
        self.may_fault("a store");
        self.stored = true;
        Ok(())
    }
    fn probe_write(&mut self, _: u32, (): (), _: Space) -> Result<(), Self::Exit> {
        self.may_fault("a probe");
        self.probed = true;
        Ok(())
    }

    fn flags(&mut self, _: FlagOp, _: Width, (): (), (): (), (): ()) {
        self.commit("the flags");
    }
    fn flags_with(&mut self, _: Width, (): (), (): (), (): ()) {
        self.commit("the flags");
    }
    fn set_flag(&mut self, _: Flag, (): ()) {
        self.commit("a flag");
    }
    fn flag(&mut self, _: Flag) {}
    fn cond(&mut self, _: Cond) {}

    fn when(&mut self, (): (), f: impl FnOnce(&mut Self) -> Result<(), Self::Exit>) -> Result<(), Self::Exit> {
        f(self)
    }
    fn raise(&mut self, _: Trap) -> Result<(), Self::Exit> {
        self.may_fault("an exception");
        Ok(())
    }
    fn helper(&mut self, h: Helper, _: &[()]) -> Result<(), Self::Exit> {
        match h {
            // Cannot fault, and is a write itself.
            helpers::ENTER_MMX => self.commit("the x87 state"),
            _ => self.may_fault("a helper"),
        }
        Ok(())
    }
    fn jump(&mut self, _: u64) {
        self.commit("RIP");
    }
    fn goto(&mut self, (): ()) {
        self.commit("RIP");
    }
    fn branch(&mut self, (): (), _: u64, _: u64) {
        self.commit("RIP");
    }
}

impl EmitVector for Effects {
    type X = ();

    fn require(&mut self, _: Unit) -> Result<(), Self::Exit> {
        self.may_fault("use of a unit");
        Ok(())
    }
    fn getx(&mut self, _: XSlot) {}
    fn putx(&mut self, _: XSlot, (): ()) {
        self.commit("a vector register");
    }
    fn loadx(&mut self, _: Align, (): (), _: Space) -> Result<(), Self::Exit> {
        self.may_fault("a load");
        Ok(())
    }
    fn storex(&mut self, _: Align, (): (), (): (), _: Space) -> Result<(), Self::Exit> {
        self.may_fault("a store");
        self.stored = true;
        Ok(())
    }
    fn immx(&mut self, _: u128) {}
    fn v1(&mut self, _: V1, (): ()) {}
    fn v2(&mut self, _: V2, (): (), (): ()) {}
    fn vshift(&mut self, _: Bin, _: Lane, (): (), (): ()) {}
    fn shuffle(&mut self, _: Lane, _: [u8; 16], (): (), (): ()) {}
    fn vselect(&mut self, (): (), (): (), (): ()) {}
    fn widen(&mut self, (): ()) {}
    fn extract(&mut self, _: Lane, _: u8, (): ()) {}
    fn insert(&mut self, _: Lane, _: u8, (): (), (): ()) {}
    fn movemask(&mut self, _: Lane, (): ()) {}
    fn is_zero(&mut self, (): ()) {}
    fn f2(&mut self, _: F2, _: Fp, (): (), (): ()) -> Result<(), Self::Exit> {
        self.may_fault("floating point");
        Ok(())
    }
    fn f1(&mut self, _: F1, _: Fp, (): (), (): ()) -> Result<(), Self::Exit> {
        self.may_fault("floating point");
        Ok(())
    }
    fn fcmp(&mut self, _: FpRel, _: Fp, (): (), (): ()) -> Result<(), Self::Exit> {
        self.may_fault("floating point");
        Ok(())
    }
    fn forder(&mut self, _: bool, _: bool, (): (), (): ()) -> Result<FpOrder<()>, Self::Exit> {
        self.may_fault("floating point");
        Ok(FpOrder { less: (), equal: (), unordered: () })
    }
    fn fcvt(&mut self, _: FpCvt, (): (), (): ()) -> Result<(), Self::Exit> {
        self.may_fault("floating point");
        Ok(())
    }
    fn to_int(&mut self, _: bool, _: bool, _: FpMode, (): ()) -> Result<(), Self::Exit> {
        self.may_fault("floating point");
        Ok(())
    }
    fn to_float(&mut self, _: bool, _: bool, (): (), (): ()) -> Result<(), Self::Exit> {
        self.may_fault("floating point");
        Ok(())
    }
}

/// Calls `f` with the decoding of every opcode in every mode, under the prefixes that matter, with all forms of operands.
fn every_form(mut f: impl FnMut(&[u8], &Insn)) {
    const PREFIXES: &[&[u8]] = &[&[], &[0x66], &[0x67], &[0xf2], &[0xf3], &[0xf0], &[0x48], &[0x66, 0x48], &[0x64]];
    const MAPS: &[&[u8]] = &[&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]];
    // Registers 0 and 4 (AH), 1, 2 and 3 (where they are part of the opcode), [rBX], [rSP] or 16 bits' [SI], disp32 or RIP-relative, [rBP + disp8].
    const RM: [u8; 9] = [0xc0, 0xc4, 0xc1, 0xc2, 0xc3, 0x03, 0x04, 0x05, 0x45];
    // What follows ModRM: displacements, immediates; a level for ENTER.
    const REST: [u8; 2] = [0, 5];
    for (bits, stack) in
        [(CodeSize::Bits64, Width::W64), (CodeSize::Bits32, Width::W32), (CodeSize::Bits16, Width::W16)]
    {
        for prefix in PREFIXES {
            for map in MAPS {
                for opcode in 0..=255 {
                    for reg in 0..8 {
                        for rm in RM {
                            for rest in REST {
                                let mut bytes = [prefix, map, &[opcode, rm | reg << 3][..]].concat();
                                bytes.resize(15, rest);
                                if let Ok(i) = decode(&bytes, bits, stack, 0) {
                                    f(&bytes, &i);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_written_before_the_last_operation_that_can_fault() {
    let mut seen = BTreeSet::new();
    let mut broken = BTreeMap::new();
    every_form(|bytes, i| {
        let mut e = Effects::default();
        if translate(&mut e, i).is_some() {
            seen.insert(i.op as u16);
            if let Some(why) = e.broken {
                broken.entry(format!("{:?}: {why}", i.op)).or_insert_with(|| format!("{bytes:02x?} {:?}", i.bits()));
            }
        }
    });
    assert!(broken.is_empty(), "{broken:#?}");
    // Every row that is written in the vocabulary was looked at.
    let missed: Vec<Op> = Op::ALL
        .iter()
        .copied()
        .filter(|&op| !seen.contains(&(op as u16)))
        .filter(|&op| {
            let mut insn = Insn::default();
            insn.op = op;
            translate(&mut Effects::default(), &insn).is_some()
        })
        .collect();
    assert!(missed.is_empty(), "no form of {missed:?} was tried");
}

#[test]
fn a_broken_law_is_found() {
    let mut e = Effects::default();
    let Ok(()) = e.load(Width::W8, (), Space::FLAT);
    let Ok(()) = e.store(Width::W8, (), (), Space::FLAT);
    e.put(Slot(0), ());
    assert!(e.broken.is_none());
    let Ok(()) = e.load(Width::W8, (), Space::FLAT);
    assert_eq!(e.broken.as_deref(), Some("a load may fault behind a register"));
    let mut e = Effects::default();
    let Ok(()) = e.store(Width::W8, (), (), Space::FLAT);
    let Ok(()) = e.store(Width::W8, (), (), Space::FLAT);
    assert_eq!(e.broken.as_deref(), Some("a store may fault behind a store"));
}
