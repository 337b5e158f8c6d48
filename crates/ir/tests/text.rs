//! The text form: what is printed is read as the same, and what is not a region is refused with its line.

use std::collections::HashSet;

use guest_api::{FlagForm, FlagSource, Listed, Width};
use ir::{Block, Effect, Exit, Fork, Inst, Kept, Op, Region, Target, Term, Ty, Val};

/// A region with every operation, and every kind of end.
fn everything() -> Region {
    let inst = |op, args: &[Val], imm| {
        let mut all = [Val::NONE; 4];
        all[..args.len()].copy_from_slice(args);
        Inst { op, args: all, imm, exit: u32::MAX }
    };
    let mut insts = vec![inst(Op::Const, &[], 7), inst(Op::IsZero, &[Val(2)], 0), inst(Op::ConstX, &[], 1)];
    insts.swap(1, 2);
    insts[2].args[0] = Val(1);
    let of = |ty: Ty| match ty {
        Ty::I64 => Val(0),
        Ty::V128 => Val(1),
        Ty::I32 => Val(2),
    };
    for op in Op::list() {
        let shape = op.shape();
        let args: Vec<Val> = shape.args.iter().map(|&ty| of(ty)).collect();
        let imm = match op {
            Op::Const => u64::MAX,
            Op::Pc => -5_i64 as u64,
            Op::Get | Op::Put | Op::GetShared | Op::PutShared => 48 + insts.len() as u64 % 5,
            Op::Probe | Op::Helper => 0x123,
            Op::GetX | Op::PutX => 15,
            Op::ConstX | Op::Shuffle(_) | Op::Extract(_) | Op::Insert(_) => 1,
            _ => 0,
        };
        let mut i = inst(op, &args, imm);
        if shape.effect == Effect::Exits {
            i.exit = insts.len() as u32 % 3;
        }
        insts.push(i);
    }
    let out = Target::Out { pc: -0x10, slot: 0 };
    let forks = vec![Fork { to: Target::Block(2), undone: 1 }, Fork { to: out, undone: 3 }];
    let ends = [
        Term::Jump(Target::Block(3)),
        Term::Branch { cond: Val(2), then: out, other: Target::Out { pc: 0x123, slot: 9 } },
        Term::Goto { to: Val(0), known: vec![(0, 1), (i64::MIN, 2)] },
        Term::Goto { to: Val(0), known: vec![] },
        Term::Interpret { pc: i64::MAX },
    ];
    Region {
        blocks: ends
            .into_iter()
            .map(|term| Block { pc: 0x10, insns: 3, insts: insts.clone(), forks: forks.clone(), term })
            .collect(),
        exits: vec![
            Exit { pc: 0, undone: 3, form: None },
            Exit { pc: 5, undone: 1, form: Some(FlagForm::PACKED) },
            Exit { pc: -1, undone: 2, form: Some(FlagForm::new(FlagSource::SubBorrow, Width::W16)) },
        ],
        consts: vec![0, u128::MAX, 0x0102_0304],
        kept: vec![Kept { writes: false, bytes: 8 }, Kept { writes: true, bytes: 0x200 }],
        units: 5,
        pages: vec![(0x1000, 0x8000), (-0x2000, 0xffff_f000)],
    }
}

#[test]
fn what_is_printed_is_read_as_the_same() {
    let region = everything();
    let text = region.to_string();
    let read: Region = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.to_string(), text);
    assert_eq!(read, region);
}

#[test]
fn each_operation_has_a_name_of_its_own() {
    let all = Op::list();
    assert!(all.len() > 300, "{}", all.len());
    let names: HashSet<String> = all.iter().map(|op| op.text()).collect();
    assert_eq!(names.len(), all.len());
    for name in
        ["bin.rotl32", "load.w8", "v2.addsats.b16", "f1.round.current.quiet.p32", "forder.double", "forder.signal"]
    {
        assert!(names.contains(name), "{name}");
    }
    let widths: Vec<String> = Width::list().into_iter().map(|w| w.label("")).collect();
    assert_eq!(widths, ["w8", "w16", "w32", "w64"]);
}

#[test]
fn numbers_of_values_are_names() {
    let text = "block 0 @0x0 insns 1: ; a comment\n\n  v7 = get 3\n  v9 = un.not v7\n  put %b v9\n  jump out @0x4\n";
    let read: Region = text.parse().expect("reads");
    assert_eq!(
        read.to_string(),
        "block 0 @0x0 insns 1:\n  v0 = get 3\n  v1 = un.not v0\n  put %b v1\n  jump out @0x4\n"
    );
}

#[test]
fn what_is_no_region_is_refused_with_its_line() {
    let in_block = |line: &str| format!("block 0 @0x0 insns 1:\n  v0 = const 1\n  {line}\n  jump out @0x4\n");
    for (text, error) in [
        ("blob".to_string(), "line 1: expected `units`, `page`, `kept`, `const`, `exit` or `block`, found blob"),
        ("const 1 0".to_string(), "line 1: expected number 0, the next, found 1"),
        ("exit 0 @4 undone 1 form add.w9".to_string(), "line 1: expected a form of flags, found add.w9"),
        ("exit 0 4".to_string(), "line 1: expected an offset `@..`, found 4"),
        ("block 0 @0 insns 1".to_string(), "line 1: expected a number and `:`, found 1"),
        (
            "block 0 @0 insns 1:\nend".to_string(),
            "line 2: expected the end of the block: `jump`, `branch`, `goto` or `interpret`, found the end of the line",
        ),
        (in_block("v1 = bin.plus v0 v0"), "line 3: expected an operation or the end of the block, found bin.plus"),
        (in_block("v1 = bin.add v0"), "line 3: expected a value computed before, found the end of the line"),
        (in_block("v1 = bin.add v0 v1"), "line 3: expected a value computed before, found v1"),
        (in_block("v1 = bin.add v0 v0 v0"), "line 3: expected the end of the line, found v0"),
        (in_block("v0 = bin.add v0 v0"), "line 3: expected `v0` once, found the end of the line"),
        (in_block("bin.add v0 v0"), "line 3: expected a result: `v.. = bin.add`, found v0"),
        (in_block("v1 = put 3 v0"), "line 3: expected no result: `put` has none, found 3"),
        (in_block("put x v0"), "line 3: expected a slot, found x"),
        (in_block("v1 = get 300000000000000000000"), "line 3: expected a slot, found 300000000000000000000"),
        (in_block("v1 = load.w8 v0 !x"), "line 3: expected an exit `!..`, found !x"),
        (in_block("jump there"), "line 3: expected a target: `block` or `out`, found there"),
        (in_block("branch v0 block 0 block 1"), "line 3: expected `else`, found block"),
    ] {
        let e = text.parse::<Region>().expect_err(&text);
        assert_eq!(e.to_string(), error, "{text}");
    }
}
