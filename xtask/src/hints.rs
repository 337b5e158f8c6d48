//! Branch hints for the engine (<https://github.com/WebAssembly/branch-hinting>): decision 104. LLVM knows what is seldom, a panic or a call of
//! a `#[cold]` function, but does not write it down for the host.

use crate::guest::read_tree;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use wasm_encoder::{BranchHint, BranchHints, Module, RawSection, SectionId};
use wasmparser::{FunctionBody, KnownCustom, Name, Operator, Parser, Payload, TypeRef};

/// Functions marked `#[cold]`: the name, and that of the crate.
pub struct Cold(Vec<(String, String)>);

impl Cold {
    /// Those of the crates in the folder `crates`.
    pub fn of(crates: &Path) -> Result<Cold> {
        let mut found = Vec::new();
        for entry in fs::read_dir(crates)? {
            let krate = entry?.path();
            let name = krate.file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
            for (path, (_, text)) in read_tree(&krate.join("src"))? {
                if !path.ends_with(".rs") {
                    continue;
                }
                let text = String::from_utf8(text).context(path)?;
                let mut lines = text.lines();
                while lines.any(|line| line.trim() == "#[cold]") {
                    let signature =
                        lines.find_map(|line| line.split_once("fn ")).context("no function behind #[cold]")?;
                    let end = signature.1.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(signature.1.len());
                    found.push((name.clone(), signature.1[..end].to_owned()));
                }
            }
        }
        Ok(Cold(found))
    }

    /// Whether the mangled `symbol` is one of them.
    fn has(&self, symbol: &str) -> bool {
        // With its length before it, and no other digit before that.
        let part = |name: &str| {
            let mut found = symbol.match_indices(name).map(|(at, _)| &symbol[..at]);
            found.any(|before| {
                let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                before[before.len() - digits..].parse() == Ok(name.len())
            })
        };
        self.0.iter().any(|(krate, function)| part(krate) && part(function))
    }
}

/// Where an operator goes.
enum Way {
    /// To the next one.
    Next,
    /// Nowhere: a trap.
    Trap,
    /// Back to the caller.
    Leave,
    Jump(usize),
    /// On a condition to one or the other.
    Branch {
        then: usize,
        other: usize,
    },
    Table(Vec<usize>),
    Call(u32),
}

struct Function {
    index: u32,
    /// Each operator's way, and its distance from the beginning of the body.
    ways: Vec<(Way, u32)>,
}

/// `wasm` with hints at the branches to what is seldom: traps, and calls of functions that always end in one or are marked `#[cold]`;
/// and how many there are.
pub fn add(wasm: &[u8], marked: &Cold) -> Result<(Vec<u8>, usize)> {
    let (mut imported, mut functions, mut cold) = (0, Vec::new(), HashSet::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => {
                functions.push(Function::read(imported + functions.len() as u32, &body)?)
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for part in names {
                        if let Name::Function(names) = part? {
                            let names = names.into_iter().collect::<Result<Vec<_>, _>>()?;
                            cold.extend(names.iter().filter(|n| marked.has(n.name)).map(|n| n.index));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    // What only calls a function that is seldom is so itself.
    loop {
        let before = cold.len();
        cold.extend(
            functions.iter().filter(|f| f.seldom(&cold).first() == Some(&true)).map(|f| f.index).collect::<Vec<_>>(),
        );
        if cold.len() == before {
            break;
        }
    }
    let (mut section, mut count) = (BranchHints::new(), 0);
    for f in &functions {
        let hints = f.hints(&cold);
        count += hints.len();
        if !hints.is_empty() {
            section.function_hints(f.index, hints);
        }
    }
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Some((id, range)) = payload?.as_section() {
            if id == SectionId::Code as u8 {
                module.section(&section);
            }
            module.section(&RawSection { id, data: &wasm[range.start as usize..range.end as usize] });
        }
    }
    Ok((module.finish(), count))
}

impl Function {
    fn read(index: u32, body: &FunctionBody<'_>) -> Result<Function> {
        let start = body.range().start;
        let mut operators = Vec::new();
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            operators.push(reader.read_with_offset()?);
        }
        // Where each block's END and ELSE are.
        let (mut open, mut ends, mut elses) = (Vec::new(), vec![0; operators.len()], vec![None; operators.len()]);
        for (at, (op, _)) in operators.iter().enumerate() {
            match op {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(at),
                Operator::Else => elses[*open.last().context("ELSE without IF")?] = Some(at),
                Operator::End => {
                    if let Some(begin) = open.pop() {
                        ends[begin] = at;
                    }
                }
                _ => {}
            }
        }
        let mut ways = Vec::with_capacity(operators.len());
        for (at, (op, offset)) in operators.iter().enumerate() {
            let target = |depth: u32| match open.len().checked_sub(1 + depth as usize) {
                // The function's own block: its end.
                None => operators.len() - 1,
                Some(k) if matches!(operators[open[k]].0, Operator::Loop { .. }) => open[k] + 1,
                Some(k) => ends[open[k]],
            };
            let way = match op {
                Operator::Unreachable => Way::Trap,
                Operator::Return | Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } => Way::Leave,
                Operator::Br { relative_depth } => Way::Jump(target(*relative_depth)),
                Operator::BrIf { relative_depth } => Way::Branch { then: target(*relative_depth), other: at + 1 },
                Operator::BrTable { targets } => {
                    let all = targets.targets().chain([Ok(targets.default())]);
                    Way::Table(all.map(|depth| depth.map(target)).collect::<Result<_, _>>()?)
                }
                Operator::If { .. } => {
                    Way::Branch { then: at + 1, other: elses[at].map_or(ends[at], |e: usize| e + 1) }
                }
                Operator::Else => Way::Jump(ends[*open.last().context("ELSE without IF")?]),
                Operator::End if at + 1 == operators.len() => Way::Leave,
                Operator::Call { function_index } => Way::Call(*function_index),
                _ => Way::Next,
            };
            match op {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(at),
                Operator::End => _ = open.pop(),
                _ => {}
            }
            ways.push((way, (*offset - start) as u32));
        }
        Ok(Function { index, ways })
    }

    /// Which operators lead to what is seldom and nowhere else, `cold` being the functions that are.
    fn seldom(&self, cold: &HashSet<u32>) -> Vec<bool> {
        let mut seldom = vec![false; self.ways.len()];
        loop {
            let mut changed = false;
            for (at, (way, _)) in self.ways.iter().enumerate().rev() {
                let is = match way {
                    Way::Trap => true,
                    Way::Leave => false,
                    Way::Next => seldom[at + 1],
                    Way::Call(f) => cold.contains(f) || seldom[at + 1],
                    Way::Jump(to) => seldom[*to],
                    Way::Branch { then, other } => seldom[*then] && seldom[*other],
                    Way::Table(all) => all.iter().all(|&to| seldom[to]),
                };
                changed |= is != seldom[at];
                seldom[at] = is;
            }
            if !changed {
                return seldom;
            }
        }
    }

    fn hints(&self, cold: &HashSet<u32>) -> Vec<BranchHint> {
        let seldom = self.seldom(cold);
        let hint = |(way, offset): &(Way, u32)| match way {
            Way::Branch { then, other } if seldom[*then] != seldom[*other] => {
                Some(BranchHint { branch_func_offset: *offset, branch_hint_value: seldom[*other].into() })
            }
            _ => None,
        };
        self.ways.iter().filter_map(hint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{BlockType, CodeSection, FunctionSection, NameMap, NameSection, TypeSection};

    /// The hints of a module of two functions: `_ZN4mine6seldom17hE`, which returns, and `body`: where they are, counted in operators.
    fn hints(body: &[wasm_encoder::Instruction<'_>]) -> Vec<(usize, bool)> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut functions = FunctionSection::new();
        functions.function(0).function(0);
        let mut offsets = Vec::new();
        let mut of_body = wasm_encoder::Function::new([]);
        for op in body {
            offsets.push(of_body.byte_len());
            of_body.instruction(op);
        }
        let mut seldom = wasm_encoder::Function::new([]);
        seldom.instruction(&wasm_encoder::Instruction::End);
        let mut code = CodeSection::new();
        code.function(&seldom).function(&of_body);
        let (mut names, mut map) = (NameSection::new(), NameMap::new());
        map.append(0, "_ZN4mine6seldom17hE");
        names.functions(&map);
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&code).section(&names);
        let cold = Cold(vec![("mine".to_owned(), "seldom".to_owned())]);
        let (hinted, count) = add(&module.finish(), &cold).unwrap();
        wasmparser::Validator::new().validate_all(&hinted).unwrap();

        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(&hinted) {
            let Payload::CustomSection(section) = payload.unwrap() else { continue };
            let KnownCustom::BranchHints(functions) = section.as_known() else { continue };
            for f in functions {
                let f = f.unwrap();
                assert_eq!(f.func, 1);
                for hint in f.hints {
                    let hint = hint.unwrap();
                    let at = offsets.iter().position(|&o| o == hint.func_offset as usize).unwrap();
                    found.push((at, hint.taken));
                }
            }
        }
        assert_eq!(found.len(), count);
        found
    }

    #[test]
    fn ways_to_traps_and_marked_functions_are_unlikely() {
        use wasm_encoder::Instruction::{Block, Br, BrIf, Call, Else, End, I32Const, If, Loop, Return, Unreachable};
        let empty = BlockType::Empty;
        // a branch over the way out, to a trap
        let trap = [Block(empty), I32Const(0), BrIf(0), Return, End, Unreachable, End];
        assert_eq!(hints(&trap), [(2, false)]);
        // ELSE is seldom
        let other = [I32Const(0), If(empty), Else, Call(0), End, End];
        assert_eq!(hints(&other), [(1, true)]);
        // either way something is called, or nothing is
        assert_eq!(hints(&[I32Const(0), If(empty), Call(0), Else, Call(0), End, End]), []);
        assert_eq!(hints(&[I32Const(0), If(empty), End, End]), []);
        // the way on in a loop is through what is seldom
        let turn = [Loop(empty), I32Const(0), If(empty), Call(0), Br(1), End, End, End];
        assert_eq!(hints(&turn), [(2, false)]);
    }

    #[test]
    fn marked_functions_are_found_by_name() {
        let cold = Cold::of(&crate::util::root().join("crates")).unwrap();
        assert!(cold.has("_ZN7isa_x864exec11load_missed17hef19857f7ce865d1E"));
        assert!(!cold.has("_ZN7isa_x866interp3row3run17h62234da5f92e8cf2E"));
        assert!(!cold.has("_ZN3mem6Memory11load_missed17h62234da5f92e8cf2E"), "of another crate");
        assert!(!cold.has("_ZN7isa_x864exec12xload_missed17hef19857f7ce865d1E"), "the end of another name");
        assert!(!cold.has("_ZN7isa_x864exec13load_missed_it17hef19857f7ce865d1E"), "the begin of another name");
    }
}
