//! The recorder, where its state and what it has recorded could part.

use guest_api::{Emit, Flag, FlagForm, FlagOp, FlagSource, Rel, Slot, Trap, Width};
use ir::{Lift, Region};

fn lift(region: &mut Region) -> Lift<'_> {
    Lift::new(region, 0x1000, Slot(200), Slot(201), |_| true)
}

/// The form of the flags is written at the end, though a refused instruction had written it as the operation of the same number.
#[test]
fn what_a_refused_instruction_wrote_is_forgotten() {
    let mut region = Region::default();
    let mut e = lift(&mut region);
    e.begin_block(None);
    e.begin_insn(0x1000, 0x1000);
    let (a, b) = (e.get(Slot(0)), e.get(Slot(1)));
    let r = e.sub(a, b);
    e.flags(FlagOp::Sub, Width::W64, a, b, r);
    assert!(e.end_insn());
    e.begin_insn(0x1000, 0x1003);
    let carry = e.flag(Flag::Carry);
    let Ok(()) = e.when(carry, |e| e.raise(Trap(0)));
    let Ok(()) = e.raise(Trap(0));
    assert!(!e.end_insn());
    let block = e.end_block();
    drop(e);
    let form = FlagForm::new(FlagSource::Sub, Width::W64);
    assert_eq!(block.way.form, Some(form));
    let last: Vec<String> = block.insts.iter().rev().take(2).map(ToString::to_string).collect();
    assert_eq!(last[0], format!("put %form v{}", block.insts.len() - 2), "{last:?}");
    assert_eq!(last[1], format!("const {:#x}", form.0));
    assert!(region.exits.is_empty());
}

/// Side exits tell how many instructions of the block were not done, and the form of the flags before the instruction.
#[test]
fn exits_know_what_was_done() {
    let mut region = Region::default();
    let mut e = lift(&mut region);
    e.begin_block(Some(FlagForm::PACKED));
    for k in 0..3 {
        e.begin_insn(0x1000, 0x1000 + 4 * k);
        let a = e.get(Slot(0));
        let Ok(v) = e.load(Width::W8, a, guest_api::Space::FLAT);
        let zero = e.imm(0);
        let c = e.rel(Rel::Ne, v, zero);
        let Ok(()) = e.when(c, |e| e.raise(Trap(0)));
        if k == 1 {
            e.flags(FlagOp::Logic, Width::W8, v, v, v);
        }
        assert!(e.end_insn());
    }
    e.end_block();
    drop(e);
    let exits: Vec<String> = region.exits.iter().map(ToString::to_string).collect();
    assert_eq!(
        exits,
        ["@0x0 undone 3 form packed.w64", "@0x4 undone 2 form packed.w64", "@0x8 undone 1 form logic.w8"]
    );
}

/// What is written in a part of a part is not known behind either.
#[test]
fn nested_parts_forget_what_they_wrote() {
    let mut region = Region::default();
    let mut e = lift(&mut region);
    e.begin_block(None);
    e.begin_insn(0x1000, 0x1000);
    let (a, b) = (e.get(Slot(0)), e.get(Slot(1)));
    let c = e.rel(Rel::Eq, a, b);
    let Ok(()) = e.when(c, |e| {
        e.when(c, |e| {
            e.put(Slot(0), b);
            Ok(())
        })
    });
    let after = e.get(Slot(0));
    assert_ne!(after, a);
    assert_eq!(e.get(Slot(1)), b);
    assert!(e.end_insn());
}

/// Flags that are looked at in a conditional part are computed there, and anew behind it.
#[test]
fn flags_looked_at_in_a_part_stay_there() {
    let mut region = Region::default();
    let mut e = lift(&mut region);
    e.begin_block(Some(FlagForm::new(FlagSource::Add, Width::W32)));
    e.begin_insn(0x1000, 0x1000);
    let (a, b) = (e.get(Slot(0)), e.get(Slot(1)));
    let c = e.rel(Rel::Eq, a, b);
    let Ok(()) = e.when(c, |e| {
        let le = e.cond(guest_api::Cond::Le);
        let le = e.value(le);
        e.put(Slot(2), le);
        Ok(())
    });
    let le = e.cond(guest_api::Cond::Le);
    let le = e.value(le);
    e.put(Slot(3), le);
    assert!(e.end_insn());
    let block = e.end_block();
    drop(e);
    assert_eq!(block.way.form, Some(FlagForm::new(FlagSource::Add, Width::W32)));
    let term = ir::Term::Jump(ir::Target::Out { pc: 4, slot: 0 });
    region.blocks.push(ir::Block { pc: 0, insns: 1, insts: block.insts, forks: block.forks, term });
    ir::verify(&region).unwrap_or_else(|e| panic!("{e}\n{region}"));
}
