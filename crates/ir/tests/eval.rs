//! The evaluator: how a region is left, and what each operation computes. Results are written out, so that nothing is compared with itself.

use guest_api::{FlagForm, FlagSource, LazyFlags, Width};
use ir::eval::{Env, Outcome, State, run};
use ir::{Op, Region, SLOTS, verify};

const BASE: u64 = 0x1000;

/// Sixteen bytes of memory at 0x100, and nothing else: helper 1 adds, helper 2 refuses.
struct Small {
    memory: [u8; 16],
    shared: [u64; SLOTS],
    /// What the last helper was told.
    left: i64,
}

impl Default for Small {
    fn default() -> Small {
        Small { memory: [0; 16], shared: [0; SLOTS], left: 0 }
    }
}

impl Env for Small {
    fn load(&mut self, va: u64, bytes: u32, _: bool) -> Option<u128> {
        let at = va.checked_sub(0x100)? as usize;
        let mut v = [0; 16];
        v[..bytes as usize].copy_from_slice(self.memory.get(at..at + bytes as usize)?);
        Some(u128::from_le_bytes(v))
    }
    fn store(&mut self, va: u64, bytes: u32, v: u128) -> bool {
        let Some(at) = va.checked_sub(0x100) else { return false };
        let Some(to) = self.memory.get_mut(at as usize..at as usize + bytes as usize) else { return false };
        to.copy_from_slice(&v.to_le_bytes()[..bytes as usize]);
        true
    }
    fn writable(&mut self, va: u64, bytes: u32) -> bool {
        va >= 0x100 && va + u64::from(bytes) <= 0x110
    }
    fn get_shared(&mut self, slot: u8) -> u64 {
        self.shared[usize::from(slot)]
    }
    fn put_shared(&mut self, slot: u8, v: u64) {
        self.shared[usize::from(slot)] = v;
    }
    fn helper(&mut self, h: u16, args: [u64; 4], left: i64) -> Option<u64> {
        self.left = left;
        (h == 1).then(|| args.iter().sum())
    }
    fn float(&mut self, op: Op, a: u128, b: u128) -> Option<u128> {
        (op.text() == "f2.add.s64").then_some(a + b)
    }
}

fn read(text: &str) -> Region {
    let r: Region = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&r).unwrap_or_else(|e| panic!("{e}\n{text}"));
    r
}

/// Runs `text` with slots 0, 1, .. as given.
fn eval(text: &str, slots: &[u64], left: i64) -> (Outcome, State, Small) {
    let mut state = State::default();
    state.slots[..slots.len()].copy_from_slice(slots);
    let mut env = Small::default();
    let outcome = run(&read(text), &mut state, &mut env, BASE, left);
    (outcome, state, env)
}

/// The first fork is taken where slot 0 is 1, the second where it is 2.
const FORKS: &str = "
block 0 @0x0 insns 5:
  fork 0 to block 1 undone 4
  fork 1 to out @0x40 undone 2
  v0 = get 0
  v1 = const 1
  v2 = rel.eq v0 v1
  fork 0 v2
  put 1 v1
  v5 = const 2
  v6 = rel.eq v0 v5
  fork 1 v6
  put 2 v1
  jump block 1
block 1 @0x20 insns 1:
  jump out @0x24
";

#[test]
fn forks_leave_with_what_was_done() {
    for (slot, pc, left, puts) in [(0, 0x24, 94, [1, 1]), (1, 0x24, 98, [0, 0]), (2, 0x40, 97, [1, 0])] {
        let (out, state, _) = eval(FORKS, &[slot], 100);
        assert_eq!(out, Outcome { pc: BASE + pc, left, interpret: false, exit: None }, "{slot}");
        assert_eq!(state.slots[1..3], puts, "{slot}");
    }
}

const LOOP: &str = "
block 0 @0x0 insns 1:
  v0 = const 0
  put 1 v0
  jump block 1
block 1 @0x4 insns 3:
  v0 = get 1
  v1 = const 1
  v2 = bin.add v0 v1
  put 1 v2
  v4 = get 0
  v5 = rel.ltu v2 v4
  branch v5 block 1 else out @0x20
";

#[test]
fn the_budget_is_looked_at_on_edges_back_and_at_the_start() {
    let left = |times, budget| {
        let (o, s, _) = eval(LOOP, &[times], budget);
        assert!(!o.interpret && o.exit.is_none());
        (o.pc, o.left, s.slots[1])
    };
    assert_eq!(left(3, 100), (BASE + 0x20, 90, 3));
    // Not enough for a turn is enough to begin it; the edge out of the loop is not looked at.
    assert_eq!(left(3, 5), (BASE + 4, -2, 2));
    assert_eq!(left(3, 8), (BASE + 0x20, -2, 3));
    assert_eq!(left(3, 4), (BASE + 4, 0, 1));
    assert_eq!(left(3, 1), (BASE + 4, -3, 1), "no look on the edge forward");
    assert_eq!(left(3, 0), (BASE, 0, 0));
    assert_eq!(left(3, -7), (BASE, -7, 0));
}

#[test]
fn a_helper_is_told_what_is_left_before_its_instruction() {
    const TEXT: &str = "
exit 0 @0x7 undone 2
block 0 @0x0 insns 5:
  v0 = const 1
  v1 = helper 1 v0 v0 v0 v0 !0
  put 1 v1
  jump out @0xb
";
    let (o, s, env) = eval(TEXT, &[], 100);
    assert_eq!((o.left, s.slots[1], env.left), (95, 4, 97));
}

#[test]
fn what_shares_a_probe_is_found_from_there() {
    // The halves of a vector are both said to be at the vector's address.
    const TEXT: &str = "
exit 0 @0x0 undone 1
block 0 @0x0 insns 1:
  v0 = get 0
  v1 = reach.writes 0x10 v0 !0
  v2 = const 7
  storenear.w64 8 v0 v2 v1 !0
  v4 = loadnear.w64 0 v0 v1 !0
  v5 = loadnear.w64 8 v0 v1 !0
  put 1 v4
  put 2 v5
  v8 = loadxnear.any 0 v0 v1 !0
  putx 0 v8
  jump out @0x8
";
    let (_, s, env) = eval(TEXT, &[0x100], 10);
    assert_eq!((&s.slots[1..3], s.xslots[0]), (&[0, 7][..], 7 << 64));
    assert_eq!(env.memory[8..], [7, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_side_exit_gives_back_what_was_not_done_and_names_the_form() {
    const TEXT: &str = "
exit 0 @0x7 undone 2 form sub.w32
exit 1 @0x9 undone 1
block 0 @0x0 insns 4:
  v0 = get 0
  v1 = load.w32 v0 !0
  put 1 v1
  v3 = get 2
  v4 = const 0
  v5 = rel.ne v3 v4
  if v5
    bail !1
  end
  jump out @0xb
";
    let (o, s, _) = eval(TEXT, &[0x10d], 10);
    assert_eq!(o, Outcome { pc: BASE + 7, left: 8, interpret: true, exit: Some(0) });
    assert_eq!(s.flags().form, FlagForm::new(FlagSource::Sub, Width::W32).0.into());
    let (o, s, _) = eval(TEXT, &[0x10c, 0, 1], 10);
    assert_eq!(o, Outcome { pc: BASE + 9, left: 7, interpret: true, exit: Some(1) });
    assert_eq!(s.flags().form, 0);
    let (o, ..) = eval(TEXT, &[0x10c, 0, 0], 10);
    assert_eq!(o, Outcome { pc: BASE + 11, left: 6, interpret: false, exit: None });
}

#[test]
fn everything_that_can_refuse_leaves() {
    for line in [
        "v1 = load.w64 v0 !0",
        "v1 = loadrmw.w64 v0 !0",
        "store.w64 v0 v0 !0",
        "probe 8 v0 !0",
        "v1 = helper 2 v0 v0 v0 v0 !0",
        "v1 = loadx.any v0 !0",
        "storex.any v0 v2 !0",
        "v1 = f2.sub.s64 v2 v2 !0",
        "bail !0",
    ] {
        let text = format!(
            "exit 0 @0x0 undone 1\nblock 0 @0x0 insns 1:\n  v0 = get 0\n  v2 = getx 0\n  put 1 v0\n  {line}\n  put 2 v0\n  interpret @0x5\n"
        );
        let (o, s, _) = eval(&text, &[0x10c], 3);
        assert_eq!((o.pc, o.left, o.exit), (BASE, 3, Some(0)), "{line}");
        assert_eq!((s.slots[1], s.slots[2]), (0x10c, 0), "{line}");
    }
    // Alignment is asked for before anything else.
    let text = "exit 0 @0x0 undone 1\nblock 0 @0x0 insns 1:\n  v0 = get 0\n  v1 = loadx.natural v0 !0\n  putx 3 v1\n  interpret @0x5\n";
    assert_eq!(eval(text, &[0x101], 3).0.exit, Some(0));
    assert_eq!(eval(text, &[0x100], 3).0, Outcome { pc: BASE + 5, left: 2, interpret: true, exit: None });
}

#[test]
fn a_computed_target_is_compared_with_those_known() {
    const TEXT: &str = "
block 0 @0x0 insns 1:
  v0 = get 0
  goto v0 @0x0 block 0 @0x10 block 1
block 1 @0x10 insns 1:
  v0 = pc @-0x10
  put 1 v0
  jump out @0x14
";
    assert_eq!(eval(TEXT, &[BASE + 0x10], 5).0.left, 3);
    assert_eq!(eval(TEXT, &[BASE + 0x10], 5).1.slots[1], BASE - 0x10);
    assert_eq!(eval(TEXT, &[0x77], 5).0, Outcome { pc: 0x77, left: 4, interpret: false, exit: None });
    assert_eq!(
        eval(TEXT, &[BASE], 5).0,
        Outcome { pc: BASE, left: 0, interpret: false, exit: None },
        "round and round"
    );
}

#[test]
fn products_overflow_from_65_bits_on() {
    const TEXT: &str = "
block 0 @0x0 insns 1:
  v0 = get 0
  v1 = get 1
  v2 = overflows v0 v1
  v3 = value v2
  put 2 v3
  jump out @0x4
";
    const MIN: u64 = 1 << 63;
    let cases =
        [(3, 5, 0), (MIN, 1, 0), (MIN, u64::MAX, 1), (1 << 31, 1 << 31, 0), (1 << 31, 1 << 32, 1), (MIN >> 1, 2, 1)];
    for (a, b, over) in cases {
        assert_eq!(eval(TEXT, &[a, b], 1).1.slots[2], over, "{a:#x} {b:#x}");
    }
}

#[test]
fn conditional_parts_nest() {
    const TEXT: &str = "
block 0 @0x0 insns 1:
  v0 = get 0
  v1 = const 1
  v2 = bin.and v0 v1
  v3 = rel.eq v2 v1
  v4 = const 2
  v5 = rel.ltu v1 v0
  if v3
    put 1 v1
    if v5
      put 2 v1
    end
    put 3 v1
  end
  put 4 v1
  jump out @0x0
";
    let is = |n| eval(TEXT, &[n], 1).1.slots[..5].to_vec();
    assert_eq!(is(0), [0, 0, 0, 0, 1]);
    assert_eq!(is(1), [1, 1, 0, 1, 1]);
    assert_eq!(is(2), [2, 0, 0, 0, 1]);
    assert_eq!(is(3), [3, 1, 1, 1, 1]);
}

#[test]
fn memory_is_written_and_read() {
    let (_, s, env) = eval(
        "
exit 0 @0x0 undone 1
block 0 @0x0 insns 1:
  v0 = get 0
  v1 = get 1
  store.w16 v0 v1 !0
  v3 = loadrmw.w64 v0 !0
  put 2 v3
  v5 = loadx.any v0 !0
  v6 = v2.add.b64 v5 v5
  storex.natural v0 v6 !0
  probe 0x10 v0 !0
  v9 = helper 1 v0 v1 v0 v1 !0
  put 3 v9
  v11 = f2.add.s64 v6 v6 !0
  putx 2 v11
  jump out @0x0
",
        &[0x100, 0x12345],
        1,
    );
    assert_eq!(s.slots[2..4], [0x2345, 0x2_488a]);
    assert_eq!(s.xslots[2], 0x2345 * 4);
    assert_eq!(env.memory[..3], [0x8a, 0x46, 0]);
}

/// The result of a vector operation of constants.
fn vector(op: &str, a: u128, b: u128) -> u128 {
    let text = format!(
        "const 0 {a:#x}\nconst 1 {b:#x}\nblock 0 @0x0 insns 1:\n  v0 = constx 0\n  v1 = constx 1\n  v2 = get 0\n  v3 = {op}\n  putx 0 v3\n  jump out @0x0\n"
    );
    eval(&text, &[4], 1).1.xslots[0]
}

#[test]
fn vectors_are_computed_lane_by_lane() {
    const A: u128 = 0x8000_7fff_ffff_0001_8000_0000_0102_ff7f;
    const B: u128 = 0x8000_0001_0002_fffe_ffff_ffff_7f80_0180;
    #[rustfmt::skip]
    let cases = [
        ("v2.and v0 v1", 0x80000001000200008000000001000100),
        ("v2.andnot v0 v1", 0x000000000000fffe7fffffff7e800080),
        ("v2.add.b16 v0 v1", 0x000080000001ffff7fffffff808200ff),
        ("v2.sub.b32 v0 v1", 0x00007ffefffc0003800000018182fdff),
        ("v2.addsats.b16 v0 v1", 0x80007fff0001ffff8000ffff7fff00ff),
        ("v2.addsatu.b8 v0 v1", 0xff007fffffffffffffffffff8082ffff),
        ("v2.subsats.b8 v0 v1", 0x00007ffefffd010381010101827ffe7f),
        ("v2.subsatu.b16 v0 v1", 0x00007ffefffd0000000000000000fdff),
        ("v2.mins.b32 v0 v1", 0x80000001ffff0001800000000102ff7f),
        ("v2.maxu.b8 v0 v1", 0x80007ffffffffffeffffffff7f80ff80),
        ("v2.avgu.b8 v0 v1", 0x8000408080818080c080808040418080),
        ("v2.eq.b16 v0 v1", 0xffff0000000000000000000000000000),
        ("v2.gts.b16 v0 v1", 0x0000ffff0000ffff0000ffff00000000),
        ("v2.mullo.b32 v0 v1", 0x00007fff0004fffe8000000044ff3e80),
        ("v2.mulhis16 v0 v1", 0x40000000ffffffff000000000080ffff),
        ("v2.mulhiu16 v0 v1", 0x40000000000100007fff00000080017f),
        ("v2.mulround16 v0 v1", 0x8000000100000000000100000101fffe),
        ("v2.mulevenu32 v0 v1", 0x0002fffb0004fffe0080fe4144ff3e80),
        ("v2.mulevens32 v0 v1", 0xfffffffd0004fffe0080fe4144ff3e80),
        ("v2.dot16 v0 v1", 0x40007ffffffffffc00008000007fbd80),
        ("v2.dotsat8 v0 v1", 0xc00000ff01fefffeff800000ff7fc17f),
        ("v2.sad8 v0 v1", 0x00000000000005750000000000000577),
        ("v2.narrows16 v0 v1", 0x800102feffff7f7f807fff0180007f80),
        ("v2.narrowu32 v0 v1", 0x0000ffff0000ffff000000000000ffff),
        ("v2.swizzle v0 v1", 0x007f7fff7f020000000000000000ff00),
        ("v1.abs.b16 v0", 0x80007fff000100018000000001020081),
        ("v1.widens8 v0", 0xff8000000000000000010002ffff007f),
        ("v1.widenu32 v0", 0x0000000080000000000000000102ff7f),
        ("vshift.shl.b16 v0 v2", 0x0000fff0fff00010000000001020f7f0),
        ("vshift.shrs.b32 v0 v2", 0xf80007fffffff000f800000000102ff7),
        ("vshift.shru.b64 v0 v2", 0x080007fffffff0000800000000102ff7),
        ("shuffle.b16 1 v0 v1", 0x80008000800080008000ff7f0102ff7f),
        ("vselect v0 v1 v0", 0x80000001000200008000000001000100),
        ("widen v2", 0x00000000000000000000000000000004),
        ("insert.b16 3 v0 v2", 0x80007fffffff0001000400000102ff7f),
    ];
    for (op, want) in cases {
        assert_eq!(vector(op, A, B), want, "{op}: {:#034x}", vector(op, A, B));
    }
}

#[test]
fn flags_are_packed_as_their_form_says() {
    let f = LazyFlags { form: FlagForm::new(FlagSource::Sub, Width::W8).0.into(), a: 0x10, b: 0x11, r: 0, carry: 1 };
    let mut s = State::default();
    s.set_flags(&f);
    assert_eq!(s.flags(), f);
}

#[test]
fn helpers_share_slots() {
    let text = "
block 0 @0x0 insns 1:
  v0 = getshared 3
  v1 = const 5
  v2 = bin.add v0 v1
  putshared 3 v2
  v4 = getshared 3
  put 1 v4
  jump out @0x4
";
    let mut env = Small::default();
    env.shared[3] = 2;
    let mut state = State::default();
    run(&read(text), &mut state, &mut env, BASE, 10);
    assert_eq!((env.shared[3], state.slots[1], state.slots[3]), (7, 7, 0));
}
