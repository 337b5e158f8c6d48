//! Tells the host's compiler which branches of the engine are seldom taken, in a section `metadata.code.branch_hint` (WebAssembly's branch hinting), as LLVM
//! does not yet. Seldom is what runs into a trap, a panic, or a call of a function that the source marks `#[cold]`. V8 then puts that aside, and what is
//! called there takes no registers from what is often executed: the interpreter's loop is faster by a tenth (docs/decisions/107-what-the-hosts-compiler-is-told.md).

use anyhow::{Context, Result, ensure};
use rustc_demangle::demangle;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::{fs, iter};
use wasm_encoder::{BranchHint, BranchHints, Encode, Section};
use wasmparser::{FunctionBody, KnownCustom, Name, Operator, Parser, Payload, TypeRef};

/// Instructions looked at behind a branch: what is seldom is short up to its call.
const AHEAD: usize = 60;
/// Jumps followed there.
const JUMPS: usize = 4;

/// A function's crate and its own name.
type Named = (String, String);

/// The functions of `crates/` that are marked `#[cold]`.
pub fn cold_functions(crates: &Path) -> Result<HashSet<Named>> {
    let mut cold = HashSet::new();
    let mut folders = vec![];
    for entry in fs::read_dir(crates)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().replace('-', "_");
        folders.push((name, entry.path().join("src")));
    }
    while let Some((name, folder)) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push((name.clone(), path));
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path)?;
                cold.extend(marked_cold(&text).map(|function| (name.clone(), function.to_owned())));
            }
        }
    }
    Ok(cold)
}

/// The names of the functions in Rust's `source` that are marked `#[cold]`.
fn marked_cold(source: &str) -> impl Iterator<Item = &str> {
    source.split("#[cold]\n").skip(1).filter_map(|behind| {
        let name = behind.split_once("fn ")?.1;
        name.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next()
    })
}

/// `wasm` with hints; what calls one of `cold` is seldom.
pub fn with_hints(wasm: &[u8], cold: &HashSet<Named>) -> Result<Vec<u8>> {
    let module = Module::read(wasm)?;
    let functions: Vec<Function> = module.bodies.iter().map(Function::read).collect::<Result<_>>()?;
    let names: Vec<Option<Named>> =
        (0..functions.len()).map(|k| module.names.get(&module.index(k))).map(|name| named(name?)).collect();
    let found = names.iter().flatten().filter(|name| cold.contains(name)).count();
    ensure!(
        cold.is_empty() || found > 0,
        "no function of engine.wasm is known to be cold: are its names as they were?"
    );
    let seldom: HashSet<u32> = (functions.iter().zip(&names).enumerate())
        .filter(|(_, (function, name))| {
            function.never_returns() || name.as_ref().is_some_and(|name| cold.contains(name))
        })
        .map(|(k, _)| module.index(k))
        .collect();
    let mut hints = BranchHints::new();
    for (k, function) in functions.iter().enumerate() {
        let of = function.hints(&seldom);
        if !of.is_empty() {
            hints.function_hints(module.index(k), of);
        }
    }
    let mut out = wasm[..module.code_section].to_vec();
    out.push(hints.id());
    hints.encode(&mut out);
    out.extend_from_slice(&wasm[module.code_section..]);
    Ok(out)
}

/// The crate and the own name of a mangled function.
fn named(mangled: &str) -> Option<Named> {
    let text = format!("{:#}", demangle(mangled));
    // `<crate::module::Type as crate::Trait>::name::<T>`
    let crate_name = text.trim_start_matches('<').split("::").next()?.to_owned();
    let text = text.find("::<").filter(|_| text.ends_with('>')).map_or(&*text, |at| &text[..at]);
    Some((crate_name, text.rsplit("::").next()?.to_owned()))
}

/// What there is to know of a module.
struct Module<'a> {
    imported: u32,
    bodies: Vec<FunctionBody<'a>>,
    names: HashMap<u32, &'a str>,
    /// Where the section of functions' code begins, with its number.
    code_section: usize,
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> Result<Module<'a>> {
        let mut module = Module { imported: 0, bodies: Vec::new(), names: HashMap::new(), code_section: 0 };
        let mut end = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            match &payload {
                Payload::ImportSection(imports) => {
                    for import in imports.clone().into_imports() {
                        module.imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::CodeSectionStart { .. } => module.code_section = end,
                Payload::CodeSectionEntry(body) => module.bodies.push(body.clone()),
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        for part in names {
                            let Name::Function(functions) = part? else { continue };
                            for function in functions {
                                let function = function?;
                                module.names.insert(function.index, function.name);
                            }
                        }
                    }
                }
                _ => {}
            }
            if let Some((_, range)) = payload.as_section() {
                end = range.end as usize;
            }
        }
        ensure!(module.code_section != 0, "engine.wasm has no code");
        Ok(module)
    }

    /// The index of the function with body `k`.
    fn index(&self, k: usize) -> u32 {
        self.imported + k as u32
    }
}

/// A function's instructions.
struct Function<'a> {
    /// Each with its distance from where the body begins.
    insns: Vec<(Operator<'a>, u32)>,
    /// Where a branch goes, by its place; not those to loops and out of the function.
    targets: HashMap<usize, usize>,
    /// Where the other part of an `if` begins, by its place.
    others: HashMap<usize, usize>,
    /// A branch leads to its end.
    is_left_by_branch: bool,
}

impl<'a> Function<'a> {
    fn read(body: &FunctionBody<'a>) -> Result<Function<'a>> {
        let start = body.range().start;
        let insns: Vec<(Operator, u32)> = body
            .get_operators_reader()?
            .into_iter_with_offsets()
            .map(|insn| insn.map(|(operator, at)| (operator, (at - start) as u32)))
            .collect::<Result<_, _>>()?;
        let mut function =
            Function { insns: Vec::new(), targets: HashMap::new(), others: HashMap::new(), is_left_by_branch: false };
        // The constructs that are open: where they begin, and the branches out of them.
        let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
        for (k, (operator, _)) in insns.iter().enumerate() {
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push((k, Vec::new())),
                Operator::Else => {
                    let begin = open.last().context("an else without an if")?.0;
                    function.others.insert(begin, k + 1);
                }
                Operator::End => {
                    if let Some((begin, branches)) = open.pop()
                        && !matches!(insns[begin].0, Operator::Loop { .. })
                    {
                        function.targets.extend(branches.into_iter().map(|branch| (branch, k + 1)));
                    }
                }
                Operator::Br { relative_depth: depth } | Operator::BrIf { relative_depth: depth } => {
                    match open.len().checked_sub(*depth as usize + 1) {
                        Some(at) => open[at].1.push(k),
                        None => function.is_left_by_branch = true,
                    }
                }
                Operator::BrTable { targets } => {
                    for depth in targets.targets().chain(iter::once(Ok(targets.default()))) {
                        function.is_left_by_branch |= depth? as usize >= open.len();
                    }
                }
                _ => {}
            }
        }
        function.insns = insns;
        Ok(function)
    }

    fn never_returns(&self) -> bool {
        let end = self.insns.iter().rev().nth(1);
        let returns = |operator: &Operator| {
            matches!(operator, Operator::Return | Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. })
        };
        matches!(end, Some((Operator::Unreachable, _)))
            && !self.is_left_by_branch
            && !self.insns.iter().any(|(o, _)| returns(o))
    }

    /// Whether what begins at `place` is seldom, where calls of `seldom` are.
    fn is_seldom(&self, mut place: usize, seldom: &HashSet<u32>) -> bool {
        let mut jumps = 0;
        for _ in 0..AHEAD {
            match self.insns.get(place).map(|(operator, _)| operator) {
                Some(Operator::Unreachable) => return true,
                Some(Operator::Call { function_index }) if seldom.contains(function_index) => return true,
                Some(Operator::Br { .. }) if jumps < JUMPS && self.targets.contains_key(&place) => {
                    jumps += 1;
                    place = self.targets[&place];
                    continue;
                }
                None
                | Some(
                    Operator::Br { .. }
                    | Operator::BrIf { .. }
                    | Operator::BrTable { .. }
                    | Operator::If { .. }
                    | Operator::Else
                    | Operator::Loop { .. }
                    | Operator::Return
                    | Operator::ReturnCall { .. }
                    | Operator::ReturnCallIndirect { .. },
                ) => return false,
                Some(_) => place += 1,
            }
        }
        false
    }

    /// The hints for its branches.
    fn hints(&self, seldom: &HashSet<u32>) -> Vec<BranchHint> {
        let hint = |(k, (operator, at)): (usize, &(Operator, u32))| {
            let [taken, other] = match operator {
                Operator::BrIf { .. } => [self.targets.get(&k).copied(), Some(k + 1)],
                Operator::If { .. } => [Some(k + 1), self.others.get(&k).copied()],
                _ => return None,
            }
            .map(|place| place.is_some_and(|place| self.is_seldom(place, seldom)));
            (taken != other).then_some(BranchHint { branch_func_offset: *at, branch_hint_value: u32::from(other) })
        };
        self.insns.iter().enumerate().filter_map(hint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{
        BlockType, CodeSection, FunctionSection, InstructionSink, NameMap, NameSection, TypeSection, ValType,
    };
    use wasmparser::Validator;

    const PANICS: u32 = 0;
    const COLD: u32 = 1;
    const OTHER: u32 = 2;
    /// Of them the source says that the second is cold.
    const NAMES: [&str; 3] = [
        "_ZN4core9panicking5panic17h0123456789abcdefE",
        "_ZN62_$LT$isa_x86..exec..Exec$u20$as$u20$guest_api..tier..Guest$GT$4slow17h0123456789abcdefE",
        "_ZN3jit4slow17h0123456789abcdefE",
    ];

    type Code = fn(&mut InstructionSink);

    fn module(code: Code) -> Vec<u8> {
        let (mut types, mut functions, mut bodies) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
        types.ty().function([], []);
        types.ty().function([ValType::I32], []);
        let codes: [(u32, Code); 4] = [(0, |i| _ = i.unreachable()), (0, |_| {}), (0, |_| {}), (1, code)];
        for (of, code) in codes {
            functions.function(of);
            let mut body = wasm_encoder::Function::new([]);
            code(&mut body.instructions());
            body.instructions().end();
            bodies.function(&body);
        }
        let mut names = NameMap::new();
        (0..).zip(NAMES).for_each(|(k, name)| names.append(k, name));
        let mut section = NameSection::new();
        section.functions(&names);
        let mut module = wasm_encoder::Module::new();
        module.section(&types).section(&functions).section(&bodies).section(&section);
        module.finish()
    }

    fn cold() -> HashSet<Named> {
        HashSet::from([("isa_x86".into(), "slow".into())])
    }

    /// The instructions of `code` that have hints, by their place, and whether they branch often.
    fn hinted(code: Code) -> Vec<(usize, bool)> {
        let wasm = with_hints(&module(code), &cold()).unwrap();
        Validator::new().validate_all(&wasm).unwrap();
        let module = Module::read(&wasm).unwrap();
        let function = Function::read(&module.bodies[3]).unwrap();
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(&wasm) {
            let Ok(Payload::CustomSection(section)) = payload else { continue };
            let KnownCustom::BranchHints(hints) = section.as_known() else { continue };
            for of in hints {
                let of = of.unwrap();
                assert_eq!(of.func, 3);
                found.extend(of.hints.into_iter().map(|hint| {
                    let hint = hint.unwrap();
                    let place = function.insns.iter().position(|insn| insn.1 == hint.func_offset).unwrap();
                    (place, hint.taken)
                }));
            }
        }
        found
    }

    #[test]
    fn what_panics_or_calls_what_is_cold_is_seldom() {
        // Around it: where it is branched to, and where it is not.
        assert_eq!(hinted(|i| _ = i.local_get(0).if_(BlockType::Empty).call(PANICS).unreachable().end()), [(1, false)]);
        assert_eq!(hinted(|i| _ = i.local_get(0).if_(BlockType::Empty).else_().call(COLD).end()), [(1, true)]);
        assert_eq!(hinted(|i| _ = i.block(BlockType::Empty).local_get(0).br_if(0).call(COLD).end()), [(2, true)]);
        let branch = |i: &mut InstructionSink| {
            i.block(BlockType::Empty)
                .block(BlockType::Empty)
                .local_get(0)
                .br_if(0)
                .br(1)
                .end()
                .nop()
                .unreachable()
                .end();
        };
        assert_eq!(hinted(branch), [(3, false)]);
        // By way of a jump.
        let jump = |i: &mut InstructionSink| {
            i.block(BlockType::Empty).local_get(0).if_(BlockType::Empty).br(1).end().return_().end().call(COLD);
        };
        assert_eq!(hinted(jump), [(2, false)]);
    }

    #[test]
    fn of_other_branches_nothing_is_said() {
        assert_eq!(hinted(|i| _ = i.local_get(0).if_(BlockType::Empty).call(OTHER).end()), []);
        assert_eq!(hinted(|i| _ = i.local_get(0).if_(BlockType::Empty).call(COLD).else_().unreachable().end()), []);
        assert_eq!(hinted(|i| _ = i.loop_(BlockType::Empty).local_get(0).br_if(0).end()), []);
        // It is not known whether the other branch is taken.
        let twice = |i: &mut InstructionSink| {
            i.block(BlockType::Empty).local_get(0).br_if(0).local_get(0).br_if(0).call(COLD).end();
        };
        assert_eq!(hinted(twice), [(4, true)]);
    }

    #[test]
    fn names_that_are_not_known_any_more_are_an_error() {
        let cold = HashSet::from([("isa_x86".into(), "quick".into())]);
        assert!(with_hints(&module(|_| {}), &cold).unwrap_err().to_string().contains("engine.wasm"));
    }

    #[test]
    fn what_is_cold_is_read_from_the_source() {
        let source =
            "#[cold]\n#[inline(never)]\nfn a<T>() {}\nfn b() {}\n    #[cold]\n    pub(crate) fn c2(&mut self) {}";
        assert_eq!(marked_cold(source).collect::<Vec<_>>(), ["a", "c2"]);
        let cold = cold_functions(&crate::util::root().join("crates")).unwrap();
        assert!(cold.contains(&("isa_x86".into(), "by_table".into())));
        let v0 = "_RINvNtCs1234_7isa_x866interp6attendNtNtCs1234_3jit4tier3JitEB4_";
        assert_eq!(named(v0), Some(("isa_x86".into(), "attend".into())));
        assert_eq!(named("_ZN7isa_x866interp6attend17h0123456789abcdefE"), Some(("isa_x86".into(), "attend".into())));
    }
}
