//! Every vector operation as a function of its own is a valid module, and so are accesses that keep pages.

use ir::{Block, Inst, Op, Region, Target, Term, Ty, Val};
use wasmgen::abi::Abi;
use wasmgen::{Batch, Id};

/// A region that computes `op` of registers, and keeps the result in one.
fn region(op: Op) -> Region {
    let shape = op.shape();
    let mut insts = Vec::new();
    let mut args = [Val::NONE; 4];
    let mut push = |op, args, imm| {
        insts.push(Inst { op, args, imm, exit: 0 });
        Val(insts.len() as u32 - 1)
    };
    let none = [Val::NONE; 4];
    for (n, ty) in shape.args.iter().enumerate() {
        args[n] = match ty {
            Ty::V128 => push(Op::GetX, none, n as u64),
            Ty::I64 => push(Op::Get, none, n as u64),
            Ty::I32 => {
                let [a, b] = [0, 1].map(|s| push(Op::Get, none, s));
                push(Op::Rel(guest_api::Rel::Eq), [a, b, Val::NONE, Val::NONE], 0)
            }
        };
    }
    let r = push(op, args, 0);
    let first = |v| [v, Val::NONE, Val::NONE, Val::NONE];
    match shape.result {
        Some(Ty::V128) => _ = push(Op::PutX, first(r), 3),
        Some(Ty::I64) => _ = push(Op::Put, first(r), 3),
        Some(Ty::I32) => {
            let v = push(Op::Value, first(r), 0);
            push(Op::Put, first(v), 3);
        }
        None => {}
    }
    let term = Term::Jump(Target::Out { pc: 4, slot: 0 });
    Region {
        blocks: vec![Block { pc: 0, insns: 1, insts, forks: vec![], term }],
        exits: vec![ir::Exit { pc: 0, undone: 1, form: None }],
        consts: vec![u128::from_le_bytes([0, 9, 17, 3, 1, 5, 2, 2, 0, 0, 0, 0, 1, 31, 4, 7])],
        ..Region::default()
    }
}

#[test]
fn accesses_that_keep_pages_are_valid() {
    let text = "kept 0 reads 0x40\nkept 1 writes 0x10\nexit 0 @0x0 undone 1
block 0 @0x0 insns 1:
  v0 = get 1
  v1 = load.w8 v0 !0 page 0
  v2 = loadrmw.w64 v0 !0 page 1
  store.w64 v0 v2 !0 page 1
  v4 = loadx.natural v0 !0 page 0
  v5 = helper 7 v0 v0 v0 v0 !0
  store.w32 v0 v1 !0 page 1
  storex.any v0 v4 !0 page 1
  v8 = reach 0x40 v0 !0 page 0
  v9 = loadnear.w32 8 v0 v8 !0
  v10 = reach.writes 0xc v0 !0 page 1
  storenear.w32 4 v0 v9 v10 !0
  jump block 0
";
    let region: Region = text.parse().expect("a region");
    ir::verify(&region).expect("valid");
    valid(&region);
}

/// The layout of a state.
fn layout() -> guest_api::StateLayout {
    guest_api::StateLayout {
        xslots: 512,
        flags: 1024,
        tlb_read: 4096,
        tlb_write: 8192,
        tlb_entries: 64,
        exchange: 2048,
        ..Default::default()
    }
}

/// Checks that a module with the function of `region` is valid.
fn valid(region: &Region) {
    let features = wasmparser::WasmFeatures::WASM2 | wasmparser::WasmFeatures::TAIL_CALL;
    for linked in [false, true] {
        let abi = Abi { layout: layout(), state: 1 << 20, lookup_slot: 1, interpret_slot: 2, linked };
        let mut batch = Batch::default();
        batch.add(7, 3, wasmgen::function(region, Id { number: 7, serial: 9 }, &abi));
        if let Err(e) = wasmparser::Validator::new_with_features(features).validate_all(&batch.module(&abi)) {
            panic!("{region}\n{e}");
        }
    }
}

#[test]
fn every_vector_operation_is_valid() {
    let (mut ops, refused): (Vec<Op>, Vec<Op>) = ir::vector_ops().into_iter().partition(|&op| wasmgen::supports(op));
    // Of 32 and 64 bits to 32 and 64; three of vectors; each down and up.
    assert_eq!(refused.len(), (4 + 3) * 2, "{refused:?}");
    assert!(refused.iter().all(|op| ["down", "up"].iter().any(|mode| op.text().ends_with(mode))), "{refused:?}");
    ops.extend([guest_api::Align::Any, guest_api::Align::Natural].map(Op::LoadX));
    ops.extend([guest_api::Align::Any, guest_api::Align::Natural].map(Op::StoreX));
    for &op in &ops {
        valid(&region(op));
    }
}

#[test]
fn hints_are_of_branches() {
    use wasmparser::{KnownCustom, Operator, Parser, Payload};
    let text = "exit 0 @0x0 undone 1
block 0 @0x0 insns 1:
  v0 = get 1
  v1 = load.w8 v0 !0
  put 2 v1
  v3 = rel.eq v0 v1
  branch v3 block 0 else out @0x10
";
    let region: Region = text.parse().expect("a region");
    let abi = Abi { layout: layout(), state: 1 << 20, lookup_slot: 1, interpret_slot: 2, linked: true };
    let mut batch = Batch::default();
    for number in 0..2 {
        batch.add(number, number, wasmgen::function(&region, Id { number, serial: 9 }, &abi));
    }
    let module = batch.module(&abi);
    let (mut imports, mut bodies, mut hints) = (0, Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(&module) {
        match payload.expect("a module") {
            Payload::ImportSection(s) => {
                let s = s.into_imports().map(|i| i.expect("an import").ty);
                imports = s.filter(|ty| matches!(ty, wasmparser::TypeRef::Func(_))).count() as u32;
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            Payload::CustomSection(s) => {
                if let KnownCustom::BranchHints(s) = s.as_known() {
                    hints.extend(s.into_iter().map(|f| f.expect("hints of a function")));
                }
            }
            _ => {}
        }
    }
    assert_eq!(hints.len(), 2);
    for function in hints {
        let body = &bodies[(function.func - imports) as usize];
        let (mut likely, mut unlikely) = (0, 0);
        for hint in function.hints {
            let hint = hint.expect("a hint");
            *(if hint.taken { &mut likely } else { &mut unlikely }) += 1;
            let mut operators = body.get_operators_reader().expect("operators");
            let at = loop {
                let (operator, at) = operators.read_with_offset().expect("an operator at the hint's place");
                if at - body.range().start == hint.func_offset.into() {
                    break operator;
                }
            };
            assert!(matches!(at, Operator::If { .. } | Operator::BrIf { .. }), "{at:?}");
        }
        // The budget at entry and at the edge back, what the TLB misses and is refused; and what it has.
        assert!(likely >= 1 && unlikely >= 2, "{likely} likely, {unlikely} unlikely");
    }
}
