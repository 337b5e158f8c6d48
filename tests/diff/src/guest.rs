//! Runs a case in the interpreter, or with a second tier, at CPL 3 with the same memory map as the host's.

use bare::Bare;
use guest_api::{NoTier, Tier, Width};
use iced_x86::{Decoder, DecoderOptions};
use isa_x86::cpu::{CodeSize, Cpu, SegReg, Segment, SystemSegment, TableRegister};
use isa_x86::{CpuExit, Exception, Vcpu};

use crate::segments::{self, GDT, LDT};
use crate::{
    CODE, CODE_LEN, Case, DATA, DATA_LEN, END, Event, Outcome, READ_ONLY, SCRATCH, SCRATCH_LEN, START, State, in_code,
};

/// Physical addresses of the code page, the data pages and the tables.
pub const CODE_PA: u64 = 0x1000;
pub const DATA_PA: u64 = 0x10_000;
const TABLES: u64 = 0x2_0000;
pub const SCRATCH_PA: u64 = 0x1_8000;

/// Where the descriptor tables lie, for the system alone: beyond what code of 32 bits can name.
const TABLES_VA: u64 = 0x1234_5678_9000;
const GDT_PA: u64 = 0x3000;
const LDT_PA: u64 = 0x3800;

/// The interpreter with its map.
pub struct Guest {
    pub vcpu: Vcpu,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest::new()
    }
}

impl Guest {
    pub fn new() -> Guest {
        Guest::with(0)
    }

    /// One with the scratch pages, which the host does not have.
    pub fn with_scratch() -> Guest {
        Guest::with(SCRATCH_LEN)
    }

    fn with(scratch: usize) -> Guest {
        let mut mem = bare::memory(0x4_0000);
        let mut next = TABLES + 0x1000;
        let mut map = |va: u64, pa: u64, bits: u64| {
            let mut table = TABLES;
            for level in [39, 30, 21] {
                let at = table + 8 * (va >> level & 511);
                let entry = mem.ram.read::<u64>(at).unwrap_or(0);
                table = if entry == 0 {
                    next += 0x1000;
                    assert!(mem.ram.write(at, (next - 0x1000) | 7));
                    next - 0x1000
                } else {
                    entry & !0xfff
                };
            }
            assert!(mem.ram.write(table + 8 * (va >> 12 & 511), pa | bits));
        };
        map(CODE, CODE_PA, 0x65);
        map(CODE + 0x1000, CODE_PA + 0x1000, 0x65);
        for k in 0..DATA_LEN as u64 / 0x1000 {
            map(DATA + 0x1000 * k, DATA_PA + 0x1000 * k, 0x67 | 1 << 63);
        }
        for k in 0..scratch as u64 / 0x1000 {
            map(SCRATCH + 0x1000 * k, SCRATCH_PA + 0x1000 * k, 0x67 | 1 << 63);
        }
        map(TABLES_VA, GDT_PA, 0x63);
        map(READ_ONLY, DATA_PA + DATA_LEN as u64, 0x65 | 1 << 63);
        assert!(mem.ram.write_bytes(CODE_PA, &[END; CODE_LEN]));
        let mut cpu = Cpu::new(mem);
        bare::set_long_mode(&mut cpu, TABLES);
        for (k, d) in GDT.into_iter().enumerate() {
            assert!(cpu.mem.ram.write(GDT_PA + 8 * k as u64, d));
        }
        for (k, d) in LDT.into_iter().enumerate() {
            assert!(cpu.mem.ram.write(LDT_PA + 8 * k as u64, d.map_or(0, segments::Descriptor::raw)));
        }
        cpu.gdtr = TableRegister { base: TABLES_VA, limit: 8 * GDT.len() as u16 - 1 };
        cpu.ldtr = SystemSegment {
            base: TABLES_VA + LDT_PA - GDT_PA,
            segment: Segment { selector: 0x50, attr: 0x82, limit: 8 * LDT.len() as u32 - 1 },
        };
        cpu.cpl = 3;
        cpu.flush_tlb();
        cpu.update_context();
        let mut vcpu = bare::vcpu(cpu);
        vcpu.catch_exceptions = true;
        Guest { vcpu }
    }

    /// Brings the processor to the state before `case`; its code and memory to their places. Code that is there already stays translated.
    pub fn load(&mut self, case: &Case, code: &[u8]) {
        let v = &mut self.vcpu;
        for (s, &selector) in SegReg::ALL.into_iter().zip(&case.state.seg) {
            let d = segments::raw(selector);
            let segment = Segment {
                selector,
                attr: (d >> 40) as u16 & 0xf0ff,
                limit: if d == 0 { 0 } else { segments::limit(selector) as u32 },
            };
            v.cpu.set_segment(s, segment, segments::base(selector));
        }
        v.cpu.cpl = 3;
        v.cpu.update_context();
        if v.cpu.mem.ram.slice(CODE_PA + START, code.len()) != Some(code) {
            assert!(v.cpu.mem.dma_write(CODE_PA + START, code));
        }
        assert!(v.cpu.mem.ram.write_bytes(DATA_PA, &case.memory[..]));
        assert!(v.cpu.mem.ram.write_bytes(DATA_PA + DATA_LEN as u64, &[0; 0x1000]));
        v.cpu.regs[..16].copy_from_slice(&case.state.regs);
        v.cpu.set_rflags(case.state.rflags);
        v.cpu.rip = case.state.rip;
        load_fx(&mut v.cpu, &case.state.fx);
    }

    /// Runs `case`.
    ///
    /// # Errors
    /// `"undecoded"` where the announced processor lacks the instruction, or the interpreter's own words.
    pub fn run(&mut self, case: &Case) -> Result<Outcome, String> {
        self.run_with(case, &mut NoTier)
    }

    /// The same, where code that `tier` knows is executed by that.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn run_with<T: Tier>(&mut self, case: &Case, tier: &mut T) -> Result<Outcome, String> {
        let stack = if segments::big(case.state.seg[2]) { Width::W32 } else { Width::W16 };
        let (size, stack) = match case.bits {
            64 => (CodeSize::Bits64, Width::W64),
            32 => (CodeSize::Bits32, stack),
            _ => (CodeSize::Bits16, stack),
        };
        let known = !Decoder::new(case.bits, &case.bytes, DecoderOptions::NONE).decode().is_invalid();
        if known && isa_x86::decode(&case.bytes, size, stack, 0).is_err() {
            return Err("undecoded".into());
        }
        let mut code = [END; 64];
        code[..case.bytes.len()].copy_from_slice(&case.bytes);
        self.load(case, &code);
        let v = &mut self.vcpu;
        let (mut event, mut platform) = (Event::Completed, Bare::default());
        // A repeated string instruction runs an iteration at a time.
        for _ in 0..100_000 {
            match v.run_with(&mut platform, tier, 1) {
                // The same instruction again, or a branch to where no code is: the fetch faults.
                CpuExit::Budget if v.cpu.rip == case.state.rip || !in_code(v.cpu.rip, v.cpu.seg[1].selector) => {
                    continue;
                }
                CpuExit::Budget => break,
                CpuExit::Exception(Exception { vector: 13, .. })
                    if v.cpu.rip != case.state.rip && in_code(v.cpu.rip, v.cpu.seg[1].selector) =>
                {
                    break;
                }
                CpuExit::Exception(e) => {
                    event = Event::Fault {
                        vector: e.vector,
                        error: e.error.unwrap_or(0),
                        cr2: if e.vector == 14 { v.cpu.cr2 } else { 0 },
                    };
                    break;
                }
                other => return Err(format!("{other:?}")),
            }
        }
        let mut memory = Box::new([0; DATA_LEN]);
        assert!(v.cpu.mem.ram.read_bytes(DATA_PA, &mut memory[..]));
        let seg = v.cpu.seg.map(|s| s.selector);
        let mut state = State { fx: case.state.fx, regs: [0; 16], rflags: v.cpu.rflags(), rip: v.cpu.rip, seg };
        state.regs.copy_from_slice(&v.cpu.regs[..16]);
        save_fx(&v.cpu, &mut state.fx);
        Ok(Outcome { state, memory, event })
    }
}

/// The legacy FXSAVE area into the processor.
fn load_fx(cpu: &mut Cpu, fx: &[u8; 512]) {
    let u16_at = |k: usize| u16::from_le_bytes([fx[k], fx[k + 1]]);
    cpu.fpu.control = u16_at(0);
    cpu.fpu.status = u16_at(2);
    cpu.fpu.valid = 0;
    cpu.mxcsr = u32::from_le_bytes(fx[24..28].try_into().expect("4 bytes"));
    let top = usize::from(cpu.fpu.status >> 11 & 7);
    for k in 0..8 {
        let physical = (top + k) % 8;
        cpu.fpu.significand[physical] = u64::from_le_bytes(fx[32 + 16 * k..40 + 16 * k].try_into().expect("8 bytes"));
        cpu.fpu.sign_exp[physical] = u16_at(40 + 16 * k);
    }
    cpu.fpu.valid = fx[4];
    for k in 0..16 {
        cpu.xmm[k] = u128::from_le_bytes(fx[160 + 16 * k..176 + 16 * k].try_into().expect("16 bytes"));
    }
}

/// The processor into the legacy FXSAVE area; what the processor does not keep stays.
pub fn save_fx(cpu: &Cpu, fx: &mut [u8; 512]) {
    fx[0..2].copy_from_slice(&cpu.fpu.control.to_le_bytes());
    fx[2..4].copy_from_slice(&cpu.fpu.status.to_le_bytes());
    fx[4] = cpu.fpu.valid;
    fx[24..28].copy_from_slice(&cpu.mxcsr.to_le_bytes());
    let top = usize::from(cpu.fpu.status >> 11 & 7);
    for k in 0..8 {
        let physical = (top + k) % 8;
        fx[32 + 16 * k..40 + 16 * k].copy_from_slice(&cpu.fpu.significand[physical].to_le_bytes());
        fx[40 + 16 * k..42 + 16 * k].copy_from_slice(&cpu.fpu.sign_exp[physical].to_le_bytes());
    }
    for k in 0..16 {
        fx[160 + 16 * k..176 + 16 * k].copy_from_slice(&cpu.xmm[k].to_le_bytes());
    }
}
