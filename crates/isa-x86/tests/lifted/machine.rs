//! A processor with a few pages of data, on which a program runs instruction by instruction or as a region on `ir`'s evaluator.

use bare::{Bare, flat};
use guest_api::{EmitVector, Flag, Helper, Slot, Space, Unit, Width};
use ir::eval::{self, Env, Outcome, State};
use ir::{Lift, Op, Region};
use isa_x86::cpu::{BLOCK, Cpu, REST};
use isa_x86::fault::StopReason;
use isa_x86::sys::paging;
use isa_x86::{Exec, Insn, Stop, execute};
use mem::{Access, PAGE_MASK};

/// Where code is thought to lie; nothing is mapped there.
pub const CODE: u64 = 0x4010_0000;
/// Pages: two of data, one read-only, one of a device, one of data with code in its middle, one of data; nothing around them.
pub const DATA: u64 = 0x4000_0000;
pub const PAGES: u64 = 6;
const READ_ONLY: u64 = 2;
const DEVICE: u64 = 3;
const WITH_CODE: u64 = 4;

const TABLES: u64 = 0x1000;
const DATA_PA: u64 = 0x8000;
const RAM: u64 = 0x10_000;

/// Why something of the region was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The guest faults.
    Fault,
    /// The interpreter must do it, though the guest does not fault.
    Device,
    Code,
}

pub struct Machine {
    pub cpu: Cpu,
}

impl Machine {
    pub fn new() -> Machine {
        let mut mem = bare::memory(RAM);
        let tables: [u64; 3] = core::array::from_fn(|k| TABLES + 0x1000 * k as u64);
        assert!(mem.ram.write(tables[0], tables[1] | 3)); // PML4
        assert!(mem.ram.write(tables[1] + 8, tables[2] | 3)); // the second GiB
        assert!(mem.ram.write(tables[2], (TABLES + 0x3000) | 3));
        for k in 0..PAGES {
            let pa = if k == DEVICE { 0x1000_0000 } else { DATA_PA + 0x1000 * k };
            let bits = if k == READ_ONLY { 1 } else { 3 };
            assert!(mem.ram.write(TABLES + 0x3000 + 8 * k, pa | bits));
        }
        let mut cpu = flat(mem, TABLES);
        let code = DATA_PA + 0x1000 * WITH_CODE;
        cpu.mem.mark_code(code + 0x800, 64);
        let mut machine = Machine { cpu };
        // Helpers for strings do what the TLB knows: let that be the same everywhere.
        machine.with(|cx| {
            for k in (0..PAGES).filter(|&k| k != DEVICE) {
                let at = DATA + 0x1000 * k;
                assert!(cx.load_linear(Width::W8, at, Space::FLAT).is_ok());
                if k != READ_ONLY {
                    assert!(cx.store_linear(Width::W8, at, 0, Space::FLAT).is_ok());
                }
            }
        });
        machine
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Exec<'_>) -> R) -> R {
        f(&mut Exec::new(&mut self.cpu, &mut Bare::default()))
    }

    pub fn memory(&mut self) -> &mut [u8] {
        self.cpu.mem.ram.slice_mut(DATA_PA, PAGES as usize * 0x1000).expect("RAM")
    }

    /// Executes `i`, of a block at `block`.
    pub fn step(&mut self, i: &Insn, block: u64) -> Result<(), StopReason> {
        self.cpu.regs[BLOCK as usize] = block;
        self.cpu.rip = i.next_pc(block);
        self.with(|cx| match execute(cx, i) {
            Ok(()) => Ok(()),
            Err(Stop) => {
                cx.cpu.rip = i.pc(block);
                Err(cx.cpu.stop)
            }
        })
    }

    /// Runs `region`, made for [`CODE`]; why something was refused. `flags` are the flags at the start, in their form.
    pub fn run(&mut self, region: &Region, flags: &guest_api::LazyFlags, left: i64) -> (Outcome, Option<Why>) {
        let usable =
            self.with(|cx| (0..32).filter(|n| region.units >> n & 1 != 0).all(|n| cx.require(Unit(n)).is_ok()));
        if !usable {
            self.cpu.rip = CODE;
            set_flags(&mut self.cpu, flags.packed());
            return (Outcome { pc: CODE, left, interpret: true, exit: None }, None);
        }
        let mut state = State { xslots: self.cpu.xmm, ..State::default() };
        let n = self.cpu.regs.len();
        state.slots[..n].copy_from_slice(&self.cpu.regs);
        // What no region may look at.
        state.slots[BLOCK as usize] = 0xdead_dead_dead_dead;
        state.set_flags(flags);
        let mut env = Guest { machine: self, why: None };
        let outcome = eval::run(region, &mut state, &mut env, CODE, left);
        let why = env.why;
        let cpu = &mut self.cpu;
        let shared = cpu.regs[usize::from(REST)..].to_vec();
        cpu.regs.copy_from_slice(&state.slots[..n]);
        // Those that helpers share are set already.
        cpu.regs[usize::from(REST)..].copy_from_slice(&shared);
        cpu.xmm = state.xslots;
        cpu.rip = outcome.pc;
        set_flags(cpu, state.flags().packed());
        (outcome, why)
    }
}

/// Sets the condition flags from packed ones.
pub fn set_flags(cpu: &mut Cpu, bits: u64) {
    let f = |f: Flag| bits & f.bit() != 0;
    let f = [Flag::Carry, Flag::Parity, Flag::Aux, Flag::Zero, Flag::Sign, Flag::Overflow].map(f);
    cpu.flags.set_all(f[0], f[1], f[2], f[3], f[4], f[5]);
}

struct Guest<'a> {
    machine: &'a mut Machine,
    why: Option<Why>,
}

impl Guest<'_> {
    /// Physical addresses of the bytes of an access, all in RAM; `store`: none where there is code.
    fn find(&mut self, va: u64, bytes: u32, write: bool, code: bool) -> Option<Vec<u64>> {
        let access = if write { Access::Write } else { Access::Read };
        let found: Result<Vec<u64>, Stop> = self.machine.with(|cx| {
            (0..u64::from(bytes)).map(|k| paging::translate(cx, va.wrapping_add(k), access, Space::FLAT)).collect()
        });
        let Ok(found) = found else {
            self.why = Some(Why::Fault);
            return None;
        };
        let mem = &self.machine.cpu.mem;
        if found.iter().any(|pa| !mem.is_ram(pa & !PAGE_MASK)) {
            self.why = Some(Why::Device);
            return None;
        }
        if code && found.iter().any(|&pa| mem.code_lines(pa) != 0) {
            self.why = Some(Why::Code);
            return None;
        }
        Some(found)
    }
}

impl Env for Guest<'_> {
    fn load(&mut self, va: u64, bytes: u32, updates: bool) -> Option<u128> {
        let at = self.find(va, bytes, updates, updates)?;
        let ram = &self.machine.cpu.mem.ram;
        Some(at.iter().rev().fold(0, |v, &pa| v << 8 | u128::from(ram.read::<u8>(pa).expect("RAM"))))
    }
    fn store(&mut self, va: u64, bytes: u32, v: u128) -> bool {
        let Some(at) = self.find(va, bytes, true, true) else { return false };
        for (k, pa) in at.into_iter().enumerate() {
            assert!(self.machine.cpu.mem.ram.write(pa, (v >> (8 * k)) as u8));
        }
        true
    }
    fn writable(&mut self, va: u64, bytes: u32) -> bool {
        self.find(va, bytes, true, false).is_some()
    }
    fn get_shared(&mut self, slot: u8) -> u64 {
        self.machine.cpu.regs[usize::from(slot)]
    }
    fn put_shared(&mut self, slot: u8, v: u64) {
        self.machine.cpu.regs[usize::from(slot)] = v;
    }
    fn helper(&mut self, h: u16, args: [u64; 4], _: i64) -> Option<u64> {
        use guest_api::Emit;
        let r = self.machine.with(|cx| cx.helper(Helper(h), &args));
        if r.is_err() {
            self.why = Some(Why::Fault);
        }
        r.ok()
    }
    fn float(&mut self, op: Op, a: u128, b: u128) -> Option<u128> {
        let op = op.float().expect("a floating-point operation");
        let r = self.machine.with(|cx| guest_api::Guest::float(cx, op, a, b));
        if r.is_none() {
            self.why = Some(Why::Fault);
        }
        r
    }
}

/// A recorder into `region`, whose base is `base`.
pub fn lifter(region: &mut Region, base: u64) -> Lift<'_> {
    Lift::new(region, base, Slot(isa_x86::cpu::ZERO), Slot(BLOCK), |_| true)
}
