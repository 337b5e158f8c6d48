//! What the verifier refuses, each with its reason.

use ir::{Effect, Fork, Inst, Op, Region, Target, Term, Val, exists, verify};

fn read(text: &str) -> Region {
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

const GOOD: &str = "
const 0 0x1
exit 0 @0x0 undone 2
exit 1 @0x3 undone 1 form sub.w32
block 0 @0x0 insns 2:
  v0 = get 0
  v1 = load.w8 v0 !0
  v2 = rel.eq v0 v1
  if v2
    v4 = bin.add v0 v1
    if v2
      put 1 v4
    end
    bail !1
  end
  store.w64 v0 v1 !1
  v10 = constx 0
  putx 15 v10
  branch v2 block 1 else block 0
block 1 @0x9 insns 0:
  v0 = pc @0x0
  goto v0 @0x0 block 0 @0x9 block 1
";

/// The reason that [`GOOD`] is refused for, once `f` has changed it.
fn refused(f: impl FnOnce(&mut Region)) -> String {
    let mut r = read(GOOD);
    f(&mut r);
    verify(&r).expect_err("it is refused").to_string()
}

fn op(r: &mut Region, block: usize, k: usize) -> &mut Inst {
    &mut r.blocks[block].insts[k]
}

#[test]
fn a_good_region_is_accepted() {
    assert_eq!(verify(&read(GOOD)), Ok(()));
}

#[test]
fn values_have_a_type_and_a_scope() {
    assert_eq!(
        refused(|r| op(r, 0, 1).args[0] = Val(1)),
        "block 0, operation 1 `load.w8 v1 !0`: v1 is not computed before"
    );
    assert_eq!(
        refused(|r| op(r, 0, 10).args[1] = Val(4)),
        "block 0, operation 10 `store.w64 v0 v4 !1`: v4 is computed in a conditional part that has ended"
    );
    assert_eq!(refused(|r| op(r, 0, 3).args[0] = Val(0)), "block 0, operation 3 `if v0`: v0 is of type I64, not I32");
    assert_eq!(
        refused(|r| op(r, 0, 10).args[0] = Val(3)),
        "block 0, operation 10 `store.w64 v3 v1 !1`: v3 is of an operation without a result"
    );
    assert_eq!(
        refused(|r| op(r, 0, 2).args[1] = Val::NONE),
        "block 0, operation 2 `rel.eq v0`: none is not computed before"
    );
    assert_eq!(refused(|r| op(r, 0, 0).args[0] = Val(0)), "block 0, operation 0 `get 0 v0`: operand 0 is one too many");
    let cond = |v| {
        move |r: &mut Region| {
            let Term::Branch { cond, .. } = &mut r.blocks[0].term else { panic!() };
            *cond = v;
        }
    };
    assert_eq!(refused(cond(Val(1))), "block 0: v1 is of type I64, not I32");
    assert_eq!(refused(cond(Val(99))), "block 0: v99 is not computed before");
}

#[test]
fn conditional_parts_pair() {
    assert_eq!(refused(|r| op(r, 0, 9).op = Op::Const), "block 0: an `if` has no `end`");
    assert_eq!(
        refused(|r| *op(r, 0, 3) = Inst { op: Op::End, args: [Val::NONE; 4], imm: 0, exit: u32::MAX }),
        "block 0, operation 3 `end`: there is no `if`"
    );
}

#[test]
fn what_is_static_is_in_range() {
    let range = |k: usize, imm| refused(move |r| op(r, 0, k).imm = imm);
    assert_eq!(range(0, 53), "block 0, operation 0 `get 53`: 53 is not below 53");
    assert_eq!(range(12, 16), "block 0, operation 12 `putx 0x10 v11`: 16 is not below 16");
    assert_eq!(range(11, 1), "block 0, operation 11 `constx 1`: 1 is not below 1");
    assert_eq!(range(2, 1), "block 0, operation 2 `rel.eq 0x1 v0 v1`: 1 is not below 1");
    let probe = |imm| {
        refused(|r| {
            *op(r, 0, 1) = Inst { op: Op::Probe, args: [Val(0), Val::NONE, Val::NONE, Val::NONE], imm, exit: 0 }
        })
    };
    assert_eq!(probe(0), "block 0, operation 1 `probe 0 v0 !0`: no bytes are probed");
    assert_eq!(probe(4097), "block 0, operation 1 `probe 0x1001 v0 !0`: 4097 is not below 4097");
}

#[test]
fn side_exits_are_where_they_belong() {
    assert_eq!(
        refused(|r| op(r, 0, 1).exit = u32::MAX),
        "block 0, operation 1 `load.w8 v0`: it may leave but has no side exit"
    );
    assert_eq!(
        refused(|r| op(r, 0, 0).exit = 0),
        "block 0, operation 0 `get 0 !0`: it cannot leave but has a side exit"
    );
    assert_eq!(refused(|r| op(r, 0, 1).exit = 2), "block 0, operation 1 `load.w8 v0 !2`: there is no exit 2");
    for undone in [0, 3] {
        assert_eq!(
            refused(|r| r.exits[0].undone = undone),
            format!("block 0, operation 1 `load.w8 v0 !0`: exit 0 gives back {undone} of 2 instructions")
        );
    }
    assert_eq!(
        refused(|r| {
            r.blocks[1].insns = 2;
            let i = *op(r, 0, 1);
            r.blocks[1].insts.push(i);
        }),
        "block 1, operation 1 `load.w8 v0 !0`: exit 0 is one of block 0"
    );
}

#[test]
fn forks_are_between_instructions_each_once() {
    let forked = |f: fn(&mut Region)| {
        refused(|r| {
            let cond = Inst { op: Op::Fork, args: [Val(2), Val::NONE, Val::NONE, Val::NONE], imm: 0, exit: u32::MAX };
            r.blocks[0].insts.push(cond);
            r.blocks[0].forks.push(Fork { to: Target::Block(1), undone: 2 });
            assert_eq!(verify(r), Ok(()));
            f(r);
        })
    };
    assert_eq!(forked(|r| r.blocks[0].forks.clear()), "block 0, operation 13 `fork 0 v2`: 0 is not below 0");
    let extra = |r: &mut Region| r.blocks[0].forks.push(Fork { to: Target::Block(1), undone: 0 });
    assert_eq!(forked(extra), "block 0: its 2 forks are not each one operation, in order");
    let nowhere = |r: &mut Region| r.blocks[0].forks[0].to = Target::Block(2);
    assert_eq!(forked(nowhere), "block 0: there is no block 2");
    let more = |r: &mut Region| r.blocks[0].forks[0].undone = 3;
    assert_eq!(forked(more), "block 0: a fork gives back 3 of 2 instructions");
    let inside = |r: &mut Region| {
        let (fork, end) = (13, 9);
        r.blocks[0].insts.swap(fork, end);
        // Its `if` ends where the fork was.
        r.blocks[0].insts[8].op = Op::Const;
        r.blocks[0].insts[8] = Inst { op: Op::Fork, ..r.blocks[0].insts[end] };
    };
    assert_eq!(forked(inside), "block 0, operation 8 `fork 0 v2`: it is in a conditional part");
}

#[test]
fn control_goes_to_blocks_that_exist_in_an_order_that_passes_expect() {
    assert_eq!(refused(|r| r.blocks.clear()), "block 0: there is no block at the base");
    assert_eq!(refused(|r| r.blocks[0].pc = 4), "block 0: there is no block at the base");
    let known = |k| refused(|r| r.blocks[1].term = Term::Goto { to: Val(0), known: vec![k] });
    assert_eq!(known((0, 7)), "block 1: there is no block 7");
    assert_eq!(known((4, 1)), "block 1: block 1 is at 0x9, not at 0x4");
    assert_eq!(refused(|r| r.blocks[1].term = Term::Jump(Target::Block(2))), "block 1: there is no block 2");
    assert_eq!(refused(|r| r.blocks[0].term = Term::Jump(Target::Block(0))), "block 1: no earlier block goes to it");
}

#[test]
fn operations_have_the_lanes_that_exist() {
    let lacking: Vec<String> = Op::list().into_iter().filter(|&op| !exists(op)).map(Op::text).collect();
    for name in [
        "v2.addsats.b32",
        "v2.mins.b64",
        "v1.abs.b64",
        "v2.mullo.b8",
        "vshift.shl.b8",
        "vshift.add.b32",
        "movemask.b16",
        "f1.rcp.p64",
        "f2.addsub.s32",
    ] {
        assert!(lacking.iter().any(|l| l == name), "{name}");
    }
    assert!(Op::list().into_iter().filter(|&op| exists(op)).count() > 300);
    assert_eq!(
        refused(|r| op(r, 0, 11).op = Op::V1(guest_api::V1::Abs(guest_api::Lane::B64))),
        "block 0, operation 11 `v1.abs.b64`: none is not computed before"
    );
    // Every shape is one that the checks above know.
    assert!(Op::list().into_iter().all(|op| op.shape().effect != Effect::Nests || matches!(op, Op::If | Op::End)));
}
