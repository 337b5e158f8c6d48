//! Reads the text form of regions: see [`crate::print`]. What follows a `;` is a comment.

use core::fmt::{Display, Formatter};
use core::str::FromStr;
use std::collections::HashMap;

use guest_api::FlagForm;

use crate::print::{FLAG_SLOTS, Imm, form_text, forms};
use crate::{Block, Exit, Fork, Inst, Kept, Op, Region, Target, Term, Val};

/// Where a text is not one of a region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    pub expected: String,
    /// What stands there; empty at the end of the line.
    pub found: String,
}

impl Display for ParseError {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        let found = if self.found.is_empty() { "the end of the line" } else { &self.found };
        write!(f, "line {}: expected {}, found {found}", self.line, self.expected)
    }
}

impl std::error::Error for ParseError {}

impl FromStr for Region {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Region, ParseError> {
        Parser::new().region(text)
    }
}

/// A block being read.
struct Open {
    pc: i64,
    insns: u32,
    insts: Vec<Inst>,
    forks: Vec<Fork>,
    values: HashMap<String, Val>,
}

struct Parser {
    ops: HashMap<String, Op>,
    forms: HashMap<String, FlagForm>,
    region: Region,
    open: Option<Open>,
}

/// The words of a line that are still to be read.
struct Words<'t> {
    line: usize,
    rest: Vec<&'t str>,
}

impl<'t> Words<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.rest.last().copied()
    }
    fn error<T>(&self, expected: impl Into<String>) -> Result<T, ParseError> {
        let found = self.peek().unwrap_or_default().to_string();
        Err(ParseError { line: self.line, expected: expected.into(), found })
    }
    /// The next word through `f`.
    fn take<T>(&mut self, expected: &str, f: impl FnOnce(&'t str) -> Option<T>) -> Result<T, ParseError> {
        match self.peek().and_then(f) {
            Some(v) => {
                self.rest.pop();
                Ok(v)
            }
            None => self.error(expected),
        }
    }
    fn word(&mut self, word: &str) -> Result<(), ParseError> {
        self.take(&format!("`{word}`"), |w| (w == word).then_some(()))
    }
    fn is(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        if is {
            self.rest.pop();
        }
        is
    }
    fn number<T: TryFrom<u128>>(&mut self) -> Result<T, ParseError> {
        self.take("a number", |w| unsigned(w).and_then(|n| T::try_from(n).ok()))
    }
    fn offset(&mut self) -> Result<i64, ParseError> {
        self.take("an offset `@..`", |w| signed(w.strip_prefix('@')?))
    }
    fn end(&self) -> Result<(), ParseError> {
        if self.rest.is_empty() { Ok(()) } else { self.error("the end of the line") }
    }
    /// The number that an element of a list must have.
    fn ordinal(&mut self, n: usize) -> Result<(), ParseError> {
        self.take(&format!("number {n}, the next"), |w| (unsigned(w)? == n as u128).then_some(()))
    }
    fn target(&mut self) -> Result<Target, ParseError> {
        if self.is("block") {
            return Ok(Target::Block(self.number()?));
        }
        if self.is("out") {
            let pc = self.offset()?;
            let slot = if self.is("slot") { self.number()? } else { 0 };
            return Ok(Target::Out { pc, slot });
        }
        self.error("a target: `block` or `out`")
    }
}

fn unsigned(word: &str) -> Option<u128> {
    match word.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn signed(word: &str) -> Option<i64> {
    match word.strip_prefix('-') {
        Some(w) => u64::try_from(unsigned(w)?).ok().filter(|&n| n <= 1 << 63).map(|n| n.wrapping_neg() as i64),
        None => i64::try_from(unsigned(word)?).ok(),
    }
}

impl Parser {
    fn new() -> Parser {
        Parser {
            ops: Op::list().into_iter().map(|op| (op.text(), op)).collect(),
            forms: forms().map(|form| (form_text(form), form)).collect(),
            region: Region::default(),
            open: None,
        }
    }

    fn region(mut self, text: &str) -> Result<Region, ParseError> {
        let mut lines = 0;
        for (n, line) in text.lines().enumerate() {
            lines = n + 1;
            let code = line.split(';').next().unwrap_or_default();
            let mut w = Words { line: lines, rest: code.split_whitespace().rev().collect() };
            if w.rest.is_empty() {
                continue;
            }
            match self.open.take() {
                Some(open) => self.in_block(&mut w, open)?,
                None => self.outside(&mut w)?,
            }
            w.end()?;
        }
        let end = Words { line: lines, rest: Vec::new() };
        if self.open.is_some() {
            end.error("the end of the block: `jump`, `branch`, `goto` or `interpret`")
        } else {
            Ok(self.region)
        }
    }

    fn outside(&mut self, w: &mut Words) -> Result<(), ParseError> {
        let r = &mut self.region;
        if w.is("units") {
            r.units = w.number()?;
        } else if w.is("page") {
            let distance = w.take("a distance", signed)?;
            w.word("at")?;
            r.pages.push((distance, w.number()?));
        } else if w.is("kept") {
            w.ordinal(r.kept.len())?;
            let writes = w.take("`reads` or `writes`", |k| ["reads", "writes"].iter().position(|s| *s == k))? == 1;
            r.kept.push(Kept { writes, bytes: w.number()? });
        } else if w.is("const") {
            w.ordinal(r.consts.len())?;
            r.consts.push(w.number()?);
        } else if w.is("exit") {
            w.ordinal(r.exits.len())?;
            let pc = w.offset()?;
            w.word("undone")?;
            let undone = w.number()?;
            let form = match w.is("form") {
                true => Some(w.take("a form of flags", |f| self.forms.get(f).copied())?),
                false => None,
            };
            r.exits.push(Exit { pc, undone, form });
        } else if w.is("block") {
            w.ordinal(r.blocks.len())?;
            let pc = w.offset()?;
            w.word("insns")?;
            let insns = w.take("a number and `:`", |n| u32::try_from(unsigned(n.strip_suffix(':')?)?).ok())?;
            self.open = Some(Open { pc, insns, insts: Vec::new(), forks: Vec::new(), values: HashMap::new() });
        } else {
            return w.error("`units`, `page`, `kept`, `const`, `exit` or `block`");
        }
        Ok(())
    }

    fn in_block(&mut self, w: &mut Words, mut open: Open) -> Result<(), ParseError> {
        if let Some(term) = term(w, &open)? {
            let Open { pc, insns, insts, forks, .. } = open;
            self.region.blocks.push(Block { pc, insns, insts, forks, term });
            return Ok(());
        }
        if w.peek() == Some("fork") && w.rest.iter().rev().nth(2) == Some(&"to") {
            w.word("fork")?;
            w.ordinal(open.forks.len())?;
            w.word("to")?;
            let to = w.target()?;
            w.word("undone")?;
            open.forks.push(Fork { to, undone: w.number()? });
            self.open = Some(open);
            return Ok(());
        }
        let result = match w.rest.len() {
            2.. if w.rest[w.rest.len() - 2] == "=" => {
                let name = w.take("a value", |v| is_value(v).then(|| v.to_string()))?;
                w.word("=")?;
                Some(name)
            }
            _ => None,
        };
        let op = w.take("an operation or the end of the block", |name| self.ops.get(name).copied())?;
        let shape = op.shape();
        match (&result, shape.result) {
            (Some(_), None) => return w.error(format!("no result: `{}` has none", op.text())),
            (None, Some(_)) => return w.error(format!("a result: `v.. = {}`", op.text())),
            _ => {}
        }
        let imm = match Imm::of(op) {
            Some(Imm::Number) => w.number()?,
            Some(Imm::Offset) => w.offset()? as u64,
            Some(Imm::Slot) => w.take("a slot", |s| match FLAG_SLOTS.iter().find(|f| f.0 == s) {
                Some(f) => Some(f.1.into()),
                None => u64::try_from(unsigned(s)?).ok(),
            })?,
            None => 0,
        };
        let mut args = [Val::NONE; 4];
        for arg in &mut args[..shape.args.len()] {
            *arg = value(w, &open)?;
        }
        let exit = match w.peek() {
            Some(e) if e.starts_with('!') => w.take("an exit `!..`", |e| u32::try_from(unsigned(&e[1..])?).ok())?,
            _ => u32::MAX,
        };
        let v = Val(open.insts.len() as u32);
        let mut inst = Inst { op, args, imm, exit };
        if inst.probes().is_some() && w.is("page") {
            inst.set_page(w.number::<u32>()? as usize);
        }
        open.insts.push(inst);
        if let Some(name) = result
            && open.values.insert(name.clone(), v).is_some()
        {
            w.rest.clear();
            return w.error(format!("`{name}` once"));
        }
        self.open = Some(open);
        Ok(())
    }
}

fn is_value(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn value(w: &mut Words, open: &Open) -> Result<Val, ParseError> {
    w.take("a value computed before", |v| open.values.get(v).copied())
}

/// The block's end, if the line is one.
fn term(w: &mut Words, open: &Open) -> Result<Option<Term>, ParseError> {
    if w.is("jump") {
        return Ok(Some(Term::Jump(w.target()?)));
    }
    if w.is("branch") {
        let cond = value(w, open)?;
        let then = w.target()?;
        w.word("else")?;
        return Ok(Some(Term::Branch { cond, then, other: w.target()? }));
    }
    if w.is("goto") {
        let to = value(w, open)?;
        let mut known = Vec::new();
        while w.peek().is_some() {
            let pc = w.offset()?;
            w.word("block")?;
            known.push((pc, w.number()?));
        }
        return Ok(Some(Term::Goto { to, known }));
    }
    if w.is("interpret") {
        return Ok(Some(Term::Interpret { pc: w.offset()? }));
    }
    Ok(None)
}
