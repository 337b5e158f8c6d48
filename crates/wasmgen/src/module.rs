//! Functions gathered to a module.

use wasm_encoder::{
    BranchHint, BranchHints, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    FunctionSection, ImportSection, MemoryType, Module, RefType, TableType, TypeSection,
};

use crate::abi::{Abi, IMPORT_MODULE, IMPORTS, MEMORY, REGION_PARAMS, REGION_RESULT, TABLE};
use crate::emit::Code;
use crate::shared;

/// Functions that become one module.
#[derive(Default)]
pub struct Batch {
    functions: Vec<Function>,
}

struct Function {
    /// The region's.
    number: u32,
    slot: u32,
    code: Code,
}

impl Batch {
    /// Adds the function of region `number`, to be found at table slot `slot`.
    pub fn add(&mut self, number: u32, slot: u32, code: Code) {
        self.functions.push(Function { number, slot, code });
    }
    /// Takes out the function of region `number`.
    pub fn remove(&mut self, number: u32) {
        self.functions.retain(|f| f.number != number);
    }
    pub fn len(&self) -> usize {
        self.functions.len()
    }
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
    /// Bytes of the functions' bodies.
    pub fn bytes(&self) -> usize {
        self.functions.iter().map(|f| f.code.body.len()).sum()
    }
    /// The functions' slots.
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.functions.iter().map(|f| f.slot)
    }
    /// Forgets the functions.
    pub fn clear(&mut self) {
        self.functions.clear();
    }

    /// The module. Where modules are linked, it puts its functions into the table; otherwise it exports them as `f0`, `f1` ...
    pub fn module(&self, abi: &Abi) -> Vec<u8> {
        let linked = abi.linked;
        let mut types = TypeSection::new();
        types.ty().function(REGION_PARAMS, [REGION_RESULT]);
        let mut imports = ImportSection::new();
        let minimum = abi.memory_pages();
        let memory = MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None };
        imports.import(IMPORT_MODULE, MEMORY, EntityType::Memory(memory));
        if linked {
            let table =
                TableType { element_type: RefType::FUNCREF, table64: false, minimum: 1, maximum: None, shared: false };
            imports.import(IMPORT_MODULE, TABLE, EntityType::Table(table));
        }
        for (n, (name, params, result)) in IMPORTS.iter().enumerate() {
            types.ty().function(params.iter().copied(), [*result]);
            imports.import(IMPORT_MODULE, name, EntityType::Function(n as u32 + 1));
        }
        let leave_type = IMPORTS.len() as u32 + 1;
        types.ty().function(shared::LEAVE_PARAMS, [REGION_RESULT]);
        let mut functions = FunctionSection::new();
        functions.function(leave_type);
        let mut first = shared::LEAVE + 1;
        let shares = self.functions.iter().fold(0, |s, f| s | f.code.shares);
        if shares != 0 {
            for double in [false, true] {
                let (params, results) = shared::signature(double);
                types.ty().function(params, results);
                for _ in shared::OPS {
                    functions.function(leave_type + 1 + u32::from(double));
                    first += 1;
                }
            }
        }
        let mut exports = ExportSection::new();
        let mut elements = ElementSection::new();
        let mut hints = BranchHints::new();
        let mut codes = CodeSection::new();
        codes.function(&shared::leave(abi));
        if shares != 0 {
            for double in [false, true] {
                for op in shared::OPS {
                    let used = shares & shared::bit(op, double) != 0;
                    codes.function(&if used { shared::function(op, double, abi) } else { shared::unused() });
                }
            }
        }
        for (n, Function { slot, code, .. }) in self.functions.iter().enumerate() {
            let index = first + n as u32;
            functions.function(0);
            if linked {
                elements.active(None, &ConstExpr::i32_const(*slot as i32), Elements::Functions((&[index][..]).into()));
            } else {
                exports.export(&format!("f{n}"), ExportKind::Func, index);
            }
            let branches: Vec<BranchHint> = code
                .hints
                .iter()
                .map(|&(at, likely)| BranchHint { branch_func_offset: at, branch_hint_value: likely.into() })
                .collect();
            hints.function_hints(index, branches);
            codes.raw(&code.body);
        }
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions);
        if linked {
            module.section(&elements);
        } else {
            module.section(&exports);
        }
        module.section(&hints).section(&codes);
        module.finish()
    }
}
