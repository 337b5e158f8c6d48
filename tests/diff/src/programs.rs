//! Random programs of 64-bit code: loops, calls and returns, indirect jumps, faults, and code that writes to code.
//!
//! A program is a number of blocks in four pages of code, seen at two linear addresses. Each block but those of a wild kind begins by
//! telling where to go on after a fault (R15) and by counting down R12D, with which the program ends. RBP points into the data,
//! R13 is the base of one of the two views of the code, through which code is written. What else registers and stack hold is anything.

use random::Rng;

/// The two views of the code's pages, and the data: writable pages, one that can only be read, one not mapped, one of a device. The program's
/// stack is in the last writable page.
pub const VIEWS: [u64; 2] = [0x4000_0000, 0x4010_0000];
pub const PAGES: usize = 4;
pub const DATA: u64 = 0x4020_0000;
pub const DATA_PAGES: usize = 4;
pub const READ_ONLY: u64 = DATA + 0x4000;
pub const UNMAPPED: u64 = DATA + 0x5000;
pub const DEVICE: u64 = DATA + 0x6000;
/// What RBP holds.
pub const BASE: u64 = DATA + 0x1800;
/// At [`BASE`] less this: addresses of blocks.
pub const TABLE: i32 = 0x400;
pub const TARGETS: usize = 16;
/// The page of code that another one can be mapped instead of, which differs in some immediates.
pub const OTHER: usize = 1;
/// For programs of the system, the page table of the views' 2 MiB, at its unused end four entries that those of page [`OTHER`] may become.
pub const ENTRIES: u64 = 0x4030_0000;
pub const CHOICES: i32 = 0xf80;

/// What programs do.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// They may use privileged instructions, change mappings, meet devices.
    pub system: bool,
    /// Repeated string instructions, whose iterations are not counted alike everywhere.
    pub strings: bool,
    /// Nothing the outcome of which is undefined, and no writes to code but through the view that runs.
    pub defined: bool,
}

#[derive(Clone, Debug)]
pub struct Program {
    pub code: Vec<u8>,
    /// What the page that can be mapped instead of page [`OTHER`] holds.
    pub other: Vec<u8>,
    /// Addresses for the table.
    pub targets: [u64; TARGETS],
    /// Offset of the first instruction.
    pub start: u64,
    /// R12.
    pub fuel: u32,
    /// Offsets of blocks, in order.
    pub blocks: Vec<usize>,
}

/// A place in code that can be written without making the program another than intended: an immediate or a bit of an opcode.
#[derive(Clone, Copy)]
struct Site {
    at: usize,
    /// Bytes of an immediate; 0: an opcode, `flip` being what changes it to another.
    bytes: usize,
    flip: u8,
}

/// A fault of exception `vector`, added to those before it.
pub fn fault(before: u64, vector: u8) -> u64 {
    before.wrapping_mul(31).wrapping_add(u64::from(vector) + 1)
}

struct Maker<'r> {
    rng: &'r mut Rng,
    kind: Kind,
    code: Vec<u8>,
    at: usize,
    sites: Vec<Site>,
    /// Places of 32-bit displacements from their ends to blocks.
    jumps: Vec<(usize, usize)>,
    /// Places of 32-bit offsets in code of a site, and of what to write there.
    patches: Vec<usize>,
    blocks: usize,
    /// Mappings are often changed.
    remaps: bool,
}

const FREE: [u8; 12] = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 0];

impl Maker<'_> {
    fn emit(&mut self, bytes: &[u8]) {
        self.code[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
    fn reg(&mut self) -> u8 {
        self.rng.pick(&FREE)
    }
    fn imm32(&mut self) -> u32 {
        let v = self.rng.next() as u32;
        self.rng.pick(&[v, v & 0xff, v & 0x1f, v | 0xffff_ff00, 0, 1, 0x8000_0000, 0x7fff_ffff])
    }
    /// REX for a register and a register or base operand.
    fn rex(wide: bool, reg: u8, rm: u8) -> u8 {
        0x40 | u8::from(wide) << 3 | reg >> 3 << 2 | rm >> 3
    }
    /// `opcode` with operands `reg` and the register `rm`.
    fn two(&mut self, wide: bool, opcode: &[u8], reg: u8, rm: u8) {
        self.emit(&[Self::rex(wide, reg, rm)]);
        self.emit(opcode);
        self.emit(&[0xc0 | (reg & 7) << 3 | rm & 7]);
    }
    /// `opcode` with operands `reg` and the memory at `base` (not RSP or R12) and a displacement.
    fn memory(&mut self, wide: bool, opcode: &[u8], reg: u8, base: u8, displacement: i32) {
        self.emit(&[Self::rex(wide, reg, base)]);
        self.emit(opcode);
        self.emit(&[0x80 | (reg & 7) << 3 | base & 7]);
        self.emit(&displacement.to_le_bytes());
    }
    fn jump_to(&mut self, opcode: &[u8], block: usize) {
        self.emit(opcode);
        self.jumps.push((self.at, block));
        self.emit(&[0; 4]);
    }
    fn block(&mut self) -> usize {
        self.rng.below(self.blocks as u64) as usize
    }

    /// An instruction on registers.
    fn alu(&mut self) {
        let (a, b, wide) = (self.reg(), self.reg(), self.rng.one_in(2));
        let defined = self.kind.defined;
        match self.rng.below(22) {
            0..=4 => {
                let op = self.rng.pick(&[0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x03, 0x2b]);
                // ADD or OR, SUB or XOR ...: one bit apart, and both of the same length
                if op & 0xc7 == 1 {
                    self.sites.push(Site { at: self.at + 1, bytes: 0, flip: 0x08 });
                }
                self.two(wide, &[op], a, b);
            }
            5..=7 => {
                // MOV r32, imm32
                self.emit(&[Self::rex(false, 0, a), 0xb8 | a & 7]);
                self.sites.push(Site { at: self.at, bytes: 4, flip: 0 });
                let v = self.imm32();
                self.emit(&v.to_le_bytes());
            }
            8 | 9 => {
                // op r, imm8
                let digit = self.rng.below(8) as u8;
                self.two(wide, &[0x83], digit, a);
                self.sites.push(Site { at: self.at, bytes: 1, flip: 0 });
                let v = self.rng.next() as u8;
                self.emit(&[v]);
            }
            10 => {
                let cc = self.rng.below(16) as u8;
                self.two(wide, &[0x0f, 0x40 | cc], a, b);
            }
            11 => {
                let cc = self.rng.below(16) as u8;
                self.two(false, &[0x0f, 0x90 | cc], 0, a);
            }
            12 => {
                let digit = self.rng.pick(&[0, 1, 4, 5, 7]);
                self.two(wide, &[0xd1], digit, a);
            }
            13 if !defined => {
                let digit = self.rng.pick(&[0, 1, 2, 3, 4, 5, 7]);
                self.two(wide, &[0xc1], digit, a);
                self.sites.push(Site { at: self.at, bytes: 1, flip: 0 });
                let v = self.rng.next() as u8;
                self.emit(&[v]);
            }
            14 if !defined => self.two(wide, &[0x0f, 0xaf], a, b),
            13 | 14 => {
                let op = self.rng.pick(&[0xb6, 0xb7, 0xbe, 0xbf]);
                self.two(wide, &[0x0f, op], a, b);
            }
            15 => {
                let digit = self.rng.below(2) as u8;
                self.two(wide, &[0xff], digit, a);
            }
            16 => {
                let digit = self.rng.pick(&[2, 3]);
                self.two(wide, &[0xf7], digit, a);
            }
            17 if !defined => {
                // MUL, or DIV, which may fault
                let digit = self.rng.pick(&[4, 5, 6, 7]);
                self.two(wide, &[0xf7], digit, a);
            }
            17 | 18 => {
                self.two(wide, &[0x0f, 0xc1], a, b);
            }
            19 => {
                // LEA a, [b + disp8], b not RSP or R12
                self.emit(&[Self::rex(wide, a, b), 0x8d, 0x40 | (a & 7) << 3 | b & 7]);
                self.sites.push(Site { at: self.at, bytes: 1, flip: 0 });
                let v = self.rng.next() as u8;
                self.emit(&[v]);
            }
            20 => {
                let x = self.rng.below(4) as u8;
                let y = self.rng.below(4) as u8;
                let (op, low) = (self.rng.pick(&[0xfe, 0xfa, 0xef, 0xd4, 0x6f, 0x62, 0x76]), self.low());
                match self.rng.below(3) {
                    0 => self.emit(&[0x66, 0x0f, op, 0xc0 | x << 3 | y]),
                    1 => self.emit(&[0x66, 0x48, 0x0f, 0x6e, 0xc0 | x << 3 | low]),
                    _ => self.emit(&[0x66, 0x48, 0x0f, 0x7e, 0xc0 | x << 3 | low]),
                }
            }
            // what PUSHF shows of AF may be undefined
            _ if defined => self.two(wide, &[0x85], a, b),
            _ => {
                // PUSHF, a register, POPF of the condition flags
                self.emit(&[0x9c, 0x81, 0x34, 0x24]);
                let bits = self.rng.next() as u32 & 0x8d5;
                self.emit(&bits.to_le_bytes());
                self.emit(&[0x9d]);
            }
        }
    }
    fn low(&mut self) -> u8 {
        self.rng.pick(&[0, 1, 2, 3, 6, 7])
    }

    /// An instruction on data.
    fn data(&mut self) {
        let (r, wide) = (self.reg(), self.rng.one_in(2));
        let page = match self.rng.below(24) {
            0 => READ_ONLY,
            1 => UNMAPPED,
            2 if self.kind.system => DEVICE,
            n => DATA + 0x1000 * (n % (DATA_PAGES as u64 - 1)),
        };
        let offset = if self.rng.one_in(6) { 0xff0 + self.rng.below(16) } else { self.rng.below(0xff) * 16 };
        let at = (page + offset).wrapping_sub(BASE) as i32;
        // not the table
        let at = if (-TABLE..-TABLE + 8 * TARGETS as i32 + 16).contains(&at) { at + 0x200 } else { at };
        let at = if (-TABLE - 16..-TABLE).contains(&at) { at - 0x40 } else { at };
        let (to, from) =
            (self.rng.pick(&[0x01, 0x29, 0x31, 0x39, 0x11]), self.rng.pick(&[0x03, 0x2b, 0x33, 0x3b, 0x13]));
        match self.rng.below(10) {
            0..=2 => self.memory(wide, &[0x8b], r, 5, at),
            3 | 4 => self.memory(wide, &[0x89], r, 5, at),
            5 => self.memory(wide, &[to], r, 5, at),
            6 => self.memory(wide, &[from], r, 5, at),
            7 => {
                self.emit(&[0xf0]);
                self.memory(wide, &[0x0f, 0xc1], r, 5, at);
            }
            8 => {
                self.emit(&[0xf3]);
                let (op, x) = (self.rng.pick(&[0x6f, 0x7f]), self.rng.below(4) as u8);
                self.memory(false, &[0x0f, op], x, 5, at);
            }
            _ => {
                let op = self.rng.pick(&[0x88, 0x8a, 0x00, 0x30]);
                self.memory(false, &[op], r, 5, at);
            }
        }
    }

    /// Skips what `body` emits most times, so that code is not rewritten before it is translated.
    fn sometimes(&mut self, body: impl FnOnce(&mut Self)) {
        // TEST R12B, mask; JNZ over it
        let mask = self.rng.pick(&[0, 1, 3, 7, 15, 31]);
        if mask == 0 {
            return body(self);
        }
        self.emit(&[0x41, 0xf6, 0xc4, mask, 0x0f, 0x85, 0, 0, 0, 0]);
        let from = self.at;
        body(self);
        let over = (self.at - from) as u32;
        self.code[from - 4..from].copy_from_slice(&over.to_le_bytes());
    }

    /// R13 becomes the base of a view of the code.
    fn view(&mut self) {
        if self.kind.defined {
            return; // it is that of the view that runs
        }
        let view = self.rng.pick(&VIEWS) as u32;
        self.emit(&[0x41, 0xbd]);
        self.emit(&view.to_le_bytes());
    }

    /// Writes to code. `near`: what comes next.
    fn patch(&mut self, near: bool) {
        if self.rng.one_in(2) {
            self.view();
        }
        if near {
            // MOV r, [offset]; then MOV r32, imm32 that it has changed, at once or behind something
            let (r, target) = (self.reg(), self.reg());
            self.memory(false, &[0x89], r, 13, 0);
            let patch = self.at - 4;
            if self.rng.one_in(3) {
                self.alu();
            }
            self.emit(&[Self::rex(false, 0, target), 0xb8 | target & 7]);
            let site = self.at as u32;
            self.emit(&[0; 4]);
            self.code[patch..patch + 4].copy_from_slice(&site.to_le_bytes());
            return;
        }
        // What is written is chosen when all places are known.
        self.patches.push(self.at);
        self.emit(&[0x90; 16]);
    }

    /// Writes to a place in the pages of code where there is none, or nothing that runs.
    fn beside(&mut self, free: &[usize]) {
        if free.is_empty() {
            return;
        }
        let at = self.rng.pick(free);
        let (r, op) = (self.reg(), self.rng.pick(&[0x89, 0x01, 0x31]));
        self.memory(self.at.is_multiple_of(2), &[op], r, 13, at as i32);
    }

    /// Changes the mapping of page [`OTHER`].
    fn remap(&mut self) {
        let view = self.rng.below(2) as i32;
        let page = VIEWS[view as usize] + 0x1000 * OTHER as u64;
        // MOV R14, ENTRIES
        self.emit(&[0x49, 0xc7, 0xc6]);
        self.emit(&(ENTRIES as u32).to_le_bytes());
        let choice = if self.rng.one_in(4) { self.rng.below(4) } else { self.rng.below(2) } as i32;
        // MOV RAX, [R14 + choice]; MOV [R14 + place], RAX
        self.memory(true, &[0x8b], 0, 14, CHOICES + 8 * choice);
        self.memory(true, &[0x89], 0, 14, view * 0x800 + 8 * (OTHER as i32));
        match self.rng.below(5) {
            0 => self.emit(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]), // MOV RAX, CR3; MOV CR3, RAX
            _ => {
                self.emit(&[0x49, 0xc7, 0xc6]);
                self.emit(&(page as u32 + 0x10).to_le_bytes());
                self.emit(&[0x41, 0x0f, 0x01, 0x3e]); // INVLPG [R14]
            }
        }
    }

    fn strings(&mut self) {
        // RSI and RDI to data or code, ECX small, then REP MOVS or STOS
        let target = match self.rng.below(4) {
            0 => self.rng.pick(&VIEWS) + self.rng.below(0x4000 - 64),
            1 => READ_ONLY - self.rng.below(40),
            _ => DATA + self.rng.below(0x1000),
        };
        // a copy of code onto itself leaves the program what it is
        let source = if target < DATA { target & !(VIEWS[0] ^ VIEWS[1]) } else { DATA + self.rng.below(0x1000) };
        self.emit(&[0xbe]);
        self.emit(&(source as u32).to_le_bytes());
        self.emit(&[0xbf]);
        self.emit(&(target as u32).to_le_bytes());
        self.emit(&[0xb9]);
        let n = self.rng.below(8) as u32;
        self.emit(&n.to_le_bytes());
        let stores = target >= DATA && self.rng.one_in(3);
        let wide = self.rng.one_in(2);
        self.emit(&[0xf3]);
        if wide {
            self.emit(&[0x48]);
        }
        let op = if stores { 0xaa } else { 0xa4 };
        self.emit(&[op | u8::from(wide)]);
    }

    fn body(&mut self, free: &[usize]) {
        let kind = self.kind;
        match self.rng.below(40) {
            0..=17 => self.alu(),
            18..=21 => self.data(),
            26 | 27 => self.sometimes(|m| m.patch(false)),
            28 => self.sometimes(|m| m.patch(true)),
            29 => self.sometimes(|m| m.beside(free)),
            30 if kind.system => self.sometimes(Self::remap),
            31 if kind.strings => self.sometimes(Self::strings),
            32 => self.view(),
            33 => {
                // PUSH; POP
                let (a, b) = (self.reg(), self.reg());
                self.emit(&[0x41, 0x50 | a & 7]);
                if a < 8 {
                    self.code[self.at - 2] = 0x40;
                }
                self.emit(&[0x40 | b >> 3, 0x58 | b & 7]);
            }
            34 if !kind.defined && self.rng.one_in(3) => {
                // Single-step: PUSHF; OR [RSP], TF; POPF; and a trap behind the next instruction
                self.sometimes(|m| m.emit(&[0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d]));
            }
            22..=25 if self.remaps => self.sometimes(Self::remap),
            35 if self.rng.one_in(4) => self.emit(&[0x0f, 0x0b]), // UD2
            36..=38 => self.alu(),
            _ => self.data(),
        }
    }

    /// How a block ends.
    fn end(&mut self, n: usize) {
        let (to, other) = (self.block(), self.block());
        let near = (n + 1) % self.blocks;
        match self.rng.below(16) {
            0..=4 => {
                let cc = self.rng.below(16) as u8;
                self.jump_to(&[0x0f, 0x80 | cc], to);
                self.jump_to(&[0xe9], near);
            }
            5 | 6 => self.jump_to(&[0xe9], to),
            7 | 8 => {
                // CALL, and a few instructions to come back to
                self.jump_to(&[0xe8], to);
                self.alu();
                self.jump_to(&[0xe9], near);
            }
            9 | 10 => self.emit(&[0xc3]),
            11 | 12 => {
                // JMP or CALL [RBP - TABLE + 8 * r]
                let r = self.low();
                self.two(false, &[0x83], 4, r); // AND r, 15
                self.emit(&[TARGETS as u8 - 1]);
                let digit = self.rng.pick(&[2, 4]);
                self.emit(&[0xff, 0x84 | digit << 3, 0xc5 | r << 3]);
                self.emit(&(-TABLE).to_le_bytes());
                self.jump_to(&[0xe9], near);
            }
            13 => {
                // LEA R14, [block]; JMP R14
                self.jump_to(&[0x4c, 0x8d, 0x35], to);
                self.emit(&[0x41, 0xff, 0xe6]);
            }
            14 => {
                // a loop of its own: DEC R12D; JNZ
                let from = self.at;
                self.alu();
                self.data();
                self.emit(&[0x41, 0xff, 0xcc, 0x0f, 0x85]);
                let back = from as i32 - (self.at as i32 + 4);
                self.emit(&back.to_le_bytes());
                self.jump_to(&[0xe9], other);
            }
            _ => self.jump_to(&[0xe9], near),
        }
    }
}

const END: usize = usize::MAX;

/// A random program.
pub fn program(rng: &mut Rng, kind: Kind) -> Program {
    let blocks = 4 + rng.below(16) as usize;
    let mut places = Vec::new();
    let first = rng.pick(&[0x40, 0xc00, 0xe00, 0xf60]);
    let mut m = Maker {
        rng,
        kind,
        code: vec![crate::END; PAGES * 0x1000],
        at: first,
        sites: Vec::new(),
        jumps: Vec::new(),
        patches: Vec::new(),
        blocks,
        remaps: false,
    };
    // Or the blocks lie in two pages in turn, one of which is often remapped.
    let mut turns = (kind.system && m.rng.one_in(3)).then_some([0x40, OTHER * 0x1000 + 0x40]);
    m.remaps = turns.is_some();
    // Places beside code: behind the last page's block, and in front of the first.
    let free: Vec<usize> = (0..4).map(|k| 8 * k).chain((1..PAGES).map(|p| p * 0x1000 + 0xf00)).collect();
    for n in 0..blocks {
        // Some blocks lie across the end of a page, and instructions too; most share pages.
        match m.rng.below(6) {
            _ if turns.is_some() => {}
            0 => {
                let end = (m.at | 0xfff) + 1;
                let at = end - m.rng.below(70) as usize;
                if at >= m.at && end < (PAGES - 1) * 0x1000 {
                    m.at = at;
                }
            }
            1 => m.at += m.rng.below(100) as usize,
            2 => {
                let next = (m.at | 0xfff) + 1 + m.rng.below(0x100) as usize;
                let room = PAGES * 0x1000 - next.min(PAGES * 0x1000);
                if room > 0x180 * (blocks - n) {
                    m.at = next;
                }
            }
            _ => {}
        }
        if let Some(turns) = &mut turns {
            m.at = turns[n % 2];
        }
        let end = if turns.is_some() { (m.at | 0xfff) + 1 } else { PAGES * 0x1000 };
        if m.at + 0x300 > end {
            break;
        }
        places.push(m.at);
        if kind.defined || !m.rng.one_in(10) {
            // LEA R15, [next]; DEC R12D; JLE end
            m.jump_to(&[0x4c, 0x8d, 0x3d], (n + 1) % blocks);
            m.emit(&[0x41, 0xff, 0xcc]);
            m.jump_to(&[0x0f, 0x8e], END);
        }
        if m.rng.one_in(4) {
            // LEA RSP, [RBP + x]: into the last page
            m.emit(&[0x48, 0x8d, 0xa5]);
            let at = (DATA + 0x3400 - BASE) as u32 + 8 * m.rng.below(0x100) as u32;
            m.emit(&at.to_le_bytes());
        }
        for _ in 0..m.rng.below(7) {
            m.body(&free);
        }
        m.end(n);
        if let Some(turns) = &mut turns {
            turns[n % 2] = m.at;
        }
    }
    if let Some(turns) = turns {
        m.at = turns[0];
    }
    let end = m.at;
    m.emit(&[crate::END]);
    let place = |block: usize| if block == END { end } else { places[block % places.len()] };
    for &(at, block) in &m.jumps {
        let value = place(block) as i32 - (at as i32 + 4);
        m.code[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    for at in core::mem::take(&mut m.patches) {
        if m.sites.is_empty() {
            continue;
        }
        let site = m.rng.pick(&m.sites);
        m.at = at;
        match site.bytes {
            0 => {
                // XOR byte [site], flip
                m.memory(false, &[0x80], 6, 13, site.at as i32);
                m.emit(&[site.flip]);
            }
            1 => {
                let r = m.reg();
                m.memory(false, &[0x88], r, 13, site.at as i32);
            }
            _ => match m.rng.below(5) {
                0 => {
                    m.emit(&[0xf0]);
                    let r = m.reg();
                    m.memory(false, &[0x0f, 0xc1], r, 13, site.at as i32);
                }
                1 => {
                    let r = m.reg();
                    m.memory(false, &[0x88], r, 13, site.at as i32 + 1);
                }
                2 => {
                    let r = m.reg();
                    m.emit(&[0x66]);
                    m.memory(false, &[0x89], r, 13, site.at as i32 + 2);
                }
                _ => {
                    let r = m.reg();
                    m.memory(false, &[0x89], r, 13, site.at as i32);
                }
            },
        }
    }
    let targets = core::array::from_fn(|_| {
        let view = if kind.defined { VIEWS[0] } else { m.rng.pick(&VIEWS) };
        view + place(m.rng.below(places.len() as u64) as usize) as u64
    });
    let mut other = m.code[OTHER * 0x1000..(OTHER + 1) * 0x1000].to_vec();
    for s in m.sites.iter().filter(|s| s.at >> 12 == OTHER && (s.at + s.bytes) >> 12 == OTHER) {
        if !m.rng.one_in(4) {
            other[s.at & 0xfff] ^= if s.bytes == 0 { s.flip } else { m.rng.next() as u8 };
        }
    }
    // Some of its blocks only jump to others.
    if m.rng.one_in(2) {
        for &at in places.iter().filter(|&&at| at >> 12 == OTHER && at & 0xfff < 0xff0) {
            let to = place(m.rng.below(places.len() as u64) as usize);
            if to >> 12 != OTHER && m.rng.one_in(2) {
                let distance = to as i32 - (at as i32 + 5);
                other[at & 0xfff] = 0xe9;
                other[(at & 0xfff) + 1..(at & 0xfff) + 5].copy_from_slice(&distance.to_le_bytes());
            }
        }
    }
    let start = places[0] as u64;
    Program { code: m.code, other, targets, start, fuel: 60 + m.rng.below(400) as u32, blocks: places }
}
