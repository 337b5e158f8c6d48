//! The executing implementation of the vocabulary: values are `u64`, everything happens at once. With it the semantics are
//! the interpreter.

mod vector;
pub(crate) use vector::{at_hand, host_rounds};

use guest_api::{Bin, Cond, Emit, Flag, FlagOp, Helper, Rel, Slot, Space, Trap, Un, Width, signed_product_overflows};
use mem::{Access, PAGE_MASK, PAGE_SIZE};

use crate::cpu::{BLOCK, Cpu};
use crate::fault::{Exception, Stop, StopReason};
use crate::insn::space_segment;
use crate::platform::Platform;
use crate::sys::{paging, segments};

/// A processor in its machine: what instructions execute on.
///
/// The interpreter's loop makes one for each instruction and keeps it in locals: what is out of line takes the two references, not this.
pub struct Exec<'a> {
    pub cpu: &'a mut Cpu,
    pub platform: &'a mut dyn Platform,
    /// Only an attempt: what an access that misses the TLB needs, or a fault, is not done. `Err` means that nothing has
    /// happened that does not when it is done again.
    pub(crate) attempt: bool,
    /// Conditions are those of an order: see [`is_ordered`].
    pub(crate) ordered: bool,
}

/// Whether `c` says how two numbers are ordered: B, AE, BE, A, L, GE, LE, G.
pub(crate) const fn is_ordered(c: Cond) -> bool {
    matches!(c, Cond::B | Cond::Ae | Cond::Be | Cond::A | Cond::L | Cond::Ge | Cond::Le | Cond::G)
}

impl<'a> Exec<'a> {
    #[inline(always)]
    pub fn new(cpu: &'a mut Cpu, platform: &'a mut dyn Platform) -> Exec<'a> {
        Exec { cpu, platform, attempt: false, ordered: false }
    }
    /// For an [attempt](Self::attempt).
    #[inline(always)]
    pub(crate) fn attempt(cpu: &'a mut Cpu, platform: &'a mut dyn Platform) -> Exec<'a> {
        Exec { cpu, platform, attempt: true, ordered: false }
    }
}

/// Whether `bytes` (1..=4096) at `va` are not all in one page.
fn crosses_page(va: u64, bytes: u32) -> bool {
    va & PAGE_MASK > PAGE_SIZE - u64::from(bytes)
}

/// Sets the reason for [`Stop`].
#[cold]
#[inline(never)]
fn except(cpu: &mut Cpu, vector: u8, error: Option<u32>) {
    cpu.stop = StopReason::Exception(Exception { vector, error });
}

impl Exec<'_> {
    /// Raises exception `vector`. The instruction's function returns the result.
    #[inline(always)]
    pub fn fault(&mut self, vector: u8, error: Option<u32>) -> Stop {
        if !self.attempt {
            except(self.cpu, vector, error);
        }
        Stop
    }
    /// Raises #GP(0).
    #[inline(always)]
    pub fn gp0(&mut self) -> Stop {
        self.fault(crate::fault::GP, Some(0))
    }
    /// Raises #UD.
    #[cold]
    pub fn ud(&mut self) -> Stop {
        self.fault(crate::fault::UD, None)
    }
    /// Stops the machine: the emulator lacks something, named by `what`.
    #[cold]
    pub fn unimplemented(&mut self, what: &'static str) -> Stop {
        self.cpu.stop = StopReason::Unimplemented(what);
        Stop
    }

    /// Linear address of `addr` in `s`, for an access of `bytes`.
    #[inline(always)]
    pub fn linear(&mut self, s: Space, addr: u64, bytes: u32, write: bool) -> Result<u64, Stop> {
        match space_segment(s) {
            None => Ok(addr),
            Some(seg) => segments::linear(self, seg, addr, bytes, write),
        }
    }

    /// Loads `w` at linear address `va`.
    #[inline(always)]
    pub fn load_linear(&mut self, w: Width, va: u64, s: Space) -> Result<u64, Stop> {
        let hit = match w {
            Width::W8 => self.cpu.mem.load::<u8>(va).map(u64::from),
            Width::W16 => self.cpu.mem.load::<u16>(va).map(u64::from),
            Width::W32 => self.cpu.mem.load::<u32>(va).map(u64::from),
            Width::W64 => self.cpu.mem.load::<u64>(va),
        };
        match hit {
            Some(v) => Ok(v),
            None => self.load_missed(w, va, s, Access::Read),
        }
    }

    /// Stores the low `w` of `v` at linear address `va`.
    #[inline(always)]
    pub fn store_linear(&mut self, w: Width, va: u64, v: u64, s: Space) -> Result<(), Stop> {
        let hit = match w {
            Width::W8 => self.cpu.mem.store(va, v as u8),
            Width::W16 => self.cpu.mem.store(va, v as u16),
            Width::W32 => self.cpu.mem.store(va, v as u32),
            Width::W64 => self.cpu.mem.store(va, v),
        };
        if hit {
            return Ok(());
        }
        if self.attempt {
            return Err(Stop);
        }
        store_missed(self.cpu, self.platform, w, va, v, s)
    }

    #[inline(always)]
    fn load_missed(&mut self, w: Width, va: u64, s: Space, access: Access) -> Result<u64, Stop> {
        if self.attempt {
            return Err(Stop);
        }
        load_missed(self.cpu, self.platform, w, va, s, access)?;
        Ok(self.cpu.loaded[0])
    }

    /// Raises the faults of a store of `bytes` at linear address `va`.
    fn probe_linear(&mut self, bytes: u32, va: u64, s: Space) -> Result<(), Stop> {
        if crosses_page(va, bytes) {
            self.translate_pair(va, Access::Write, s)?;
        } else {
            paging::translate(self, va, Access::Write, s)?;
        }
        Ok(())
    }

    /// Physical addresses of `va` and of the page behind its own, for an access that crosses into it.
    fn translate_pair(&mut self, va: u64, access: Access, s: Space) -> Result<(u64, u64), Stop> {
        let next = (va | PAGE_MASK).wrapping_add(1);
        if self.cpu.long_mode() && !paging::canonical(next) {
            // #GP or #SS, even where the first page would give a page fault.
            paging::translate(self, next, access, s)?;
        }
        Ok((paging::translate(self, va, access, s)?, paging::translate(self, next, access, s)?))
    }

    /// A load that missed the TLB: walks the page tables, crosses pages, reads devices.
    fn load_slow(&mut self, w: Width, va: u64, s: Space, access: Access) -> Result<u64, Stop> {
        let n = w.bytes();
        let left = (PAGE_SIZE - (va & PAGE_MASK)) as u32;
        if n > left {
            // Both pages must be good before either is read: a device's read may have effects.
            let (first, second) = self.translate_pair(va, access, s)?;
            paging::check_access(self, va, n, access)?;
            let low = self.read_physical(first, left);
            let high = self.read_physical(second, n - left);
            return Ok(low | high << (8 * left));
        }
        let pa = paging::translate(self, va, access, s)?;
        paging::check_access(self, va, n, access)?;
        paging::enter(self, access, va, pa);
        Ok(self.read_physical(pa, n))
    }

    /// A store that missed the TLB, or went to a page that holds code.
    fn store_slow(&mut self, w: Width, va: u64, v: u64, s: Space) -> Result<(), Stop> {
        let n = w.bytes();
        let left = (PAGE_SIZE - (va & PAGE_MASK)) as u32;
        if n > left {
            let (first, second) = self.translate_pair(va, Access::Write, s)?;
            paging::check_access(self, va, n, Access::Write)?;
            self.write_physical(first, left, v);
            self.write_physical(second, n - left, v >> (8 * left));
            return Ok(());
        }
        let pa = match self.cpu.mem.guarded(va) {
            Some(pa) => pa,
            None => {
                let pa = paging::translate(self, va, Access::Write, s)?;
                paging::check_access(self, va, n, Access::Write)?;
                paging::enter(self, Access::Write, va, pa);
                pa
            }
        };
        self.write_physical(pa, n, v);
        Ok(())
    }

    /// Reads `n` (1..=8) bytes of physical memory, within one page: RAM or a device.
    pub fn read_physical(&mut self, pa: u64, n: u32) -> u64 {
        if self.cpu.mem.is_ram(pa & !PAGE_MASK) {
            let ram = &self.cpu.mem.ram;
            return match n {
                1 => ram.read::<u8>(pa).map(u64::from),
                2 => ram.read::<u16>(pa).map(u64::from),
                4 => ram.read::<u32>(pa).map(u64::from),
                8 => ram.read::<u64>(pa),
                _ => {
                    let mut b = [0; 8];
                    let _ = ram.read_bytes(pa, &mut b[..n as usize]);
                    Some(u64::from_le_bytes(b))
                }
            }
            .unwrap_or(0);
        }
        self.cpu.attention = true;
        if n.is_power_of_two() {
            return self.platform.mmio_read(pa, n, self.cpu.insns);
        }
        (0..n).fold(0, |v, k| v | self.platform.mmio_read(pa + u64::from(k), 1, self.cpu.insns) << (8 * k))
    }

    /// Writes `n` (1..=8) bytes of physical memory, within one page: RAM or a device.
    pub fn write_physical(&mut self, pa: u64, n: u32, v: u64) {
        if self.cpu.mem.is_ram(pa & !PAGE_MASK) {
            let _ = self.cpu.mem.ram.write_low(pa, n as usize, v.into());
            if self.cpu.mem.wrote(pa, n) {
                self.cpu.attention = true;
            }
            return;
        }
        self.cpu.attention = true;
        if n.is_power_of_two() {
            self.platform.mmio_write(pa, n, v, self.cpu.insns);
        } else {
            for k in 0..n {
                self.platform.mmio_write(pa + u64::from(k), 1, v >> (8 * k) & 0xff, self.cpu.insns);
            }
        }
    }

    /// Parity of a carry chain: the carries out of each bit of `r = a + b + c`.
    #[inline(always)]
    fn set_result(&mut self, w: Width, r: u64, carries: u64, aux: u64) {
        let up = 64 - w.bits();
        let f = &mut self.cpu.flags;
        f.zero = r;
        // The sign goes to bit 63 without disturbing the low byte that parity is taken from.
        f.sign = match w {
            Width::W8 => r as i8 as u64,
            Width::W16 => r as i16 as u64,
            Width::W32 => r as i32 as u64,
            Width::W64 => r,
        };
        f.carry = carries << up;
        f.aux = aux;
    }
}

/// [`Exec::load_slow`], the value in [`Cpu::loaded`]: a result that is returned through memory would be kept there by those that hit too.
#[cold]
#[inline(never)]
fn load_missed(
    cpu: &mut Cpu,
    platform: &mut dyn Platform,
    w: Width,
    va: u64,
    s: Space,
    access: Access,
) -> Result<(), Stop> {
    let v = Exec::new(cpu, platform).load_slow(w, va, s, access)?;
    cpu.loaded[0] = v;
    Ok(())
}

#[cold]
#[inline(never)]
fn store_missed(cpu: &mut Cpu, platform: &mut dyn Platform, w: Width, va: u64, v: u64, s: Space) -> Result<(), Stop> {
    Exec::new(cpu, platform).store_slow(w, va, v, s)
}

impl Emit for Exec<'_> {
    type V = u64;
    type C = bool;
    type Exit = Stop;

    #[inline(always)]
    fn block_pc(&self) -> u64 {
        self.cpu.regs[BLOCK as usize]
    }
    #[inline(always)]
    fn imm(&mut self, v: u64) -> u64 {
        v
    }
    #[inline(always)]
    fn code_address(&mut self, pc: u64) -> u64 {
        pc
    }
    #[inline(always)]
    fn get(&mut self, s: Slot) -> u64 {
        self.cpu.regs[(s.0 & 31) as usize]
    }
    #[inline(always)]
    fn put(&mut self, s: Slot, v: u64) {
        self.cpu.regs[(s.0 & 31) as usize] = v;
    }
    #[inline(always)]
    fn get_shared(&mut self, s: Slot) -> u64 {
        self.get(s)
    }
    #[inline(always)]
    fn put_shared(&mut self, s: Slot, v: u64) {
        self.put(s, v);
    }
    #[inline(always)]
    fn bin(&mut self, op: Bin, a: u64, b: u64) -> u64 {
        op.of(a, b)
    }
    #[inline(always)]
    fn un(&mut self, op: Un, a: u64) -> u64 {
        op.of(a)
    }
    #[inline(always)]
    fn overflows_signed(&mut self, a: u64, b: u64) -> bool {
        signed_product_overflows(a, b)
    }
    #[inline(always)]
    fn rel(&mut self, op: Rel, a: u64, b: u64) -> bool {
        op.holds(a, b)
    }
    #[inline(always)]
    fn not(&mut self, c: bool) -> bool {
        !c
    }
    #[inline(always)]
    fn both(&mut self, a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn either(&mut self, a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn value(&mut self, c: bool) -> u64 {
        u64::from(c)
    }
    #[inline(always)]
    fn select(&mut self, c: bool, then: u64, other: u64) -> u64 {
        if c { then } else { other }
    }

    #[inline(always)]
    fn load(&mut self, w: Width, addr: u64, s: Space) -> Result<u64, Stop> {
        let va = self.linear(s, addr, w.bytes(), false)?;
        self.load_linear(w, va, s)
    }
    #[inline(always)]
    fn load_rmw(&mut self, w: Width, addr: u64, s: Space) -> Result<u64, Stop> {
        let va = self.linear(s, addr, w.bytes(), true)?;
        let hit = match w {
            Width::W8 => self.cpu.mem.load_rmw::<u8>(va).map(u64::from),
            Width::W16 => self.cpu.mem.load_rmw::<u16>(va).map(u64::from),
            Width::W32 => self.cpu.mem.load_rmw::<u32>(va).map(u64::from),
            Width::W64 => self.cpu.mem.load_rmw::<u64>(va),
        };
        match hit {
            Some(v) => Ok(v),
            None => self.load_missed(w, va, s, Access::Write),
        }
    }
    #[inline(always)]
    fn store(&mut self, w: Width, addr: u64, v: u64, s: Space) -> Result<(), Stop> {
        let va = self.linear(s, addr, w.bytes(), true)?;
        self.store_linear(w, va, v, s)
    }
    fn probe_write(&mut self, bytes: u32, addr: u64, s: Space) -> Result<(), Stop> {
        let va = self.linear(s, addr, bytes, true)?;
        self.probe_linear(bytes, va, s)
    }

    #[inline(always)]
    fn flags(&mut self, op: FlagOp, w: Width, a: u64, b: u64, r: u64) {
        match op {
            // Carries out of each bit, right for any carry into bit 0.
            FlagOp::Add => self.set_result(w, r, (a & b) | ((a | b) & !r), a ^ b ^ r),
            FlagOp::Sub => self.set_result(w, r, (!a & b) | ((!a | b) & r), a ^ b ^ r),
            FlagOp::Logic => self.set_result(w, r, 0, 0),
        }
    }
    #[inline(always)]
    fn flags_with(&mut self, w: Width, r: u64, carry: bool, overflow: bool) {
        self.set_result(w, r, 0, 0);
        self.cpu.flags.set_carry_overflow(carry, overflow);
    }
    #[inline(always)]
    fn set_flag(&mut self, flag: Flag, c: bool) {
        let f = &mut self.cpu.flags;
        match flag {
            // Bit 63 is CF and bit 62 is CF ^ OF: flipping CF flips both.
            Flag::Carry => {
                let flip = u64::from(c) ^ f.carry >> 63;
                f.carry ^= flip << 63 | flip << 62;
            }
            Flag::Overflow => {
                let cf = f.cf();
                f.set_carry_overflow(cf, c);
            }
            Flag::Zero => f.zero = u64::from(!c),
            Flag::Aux => f.aux = u64::from(c) << 4,
            Flag::Sign => f.sign = f.sign & (u64::MAX >> 1) | u64::from(c) << 63,
            Flag::Parity => f.sign = f.sign & !0xff | u64::from(!c),
        }
    }
    #[inline(always)]
    fn flag(&mut self, flag: Flag) -> bool {
        let f = &self.cpu.flags;
        match flag {
            Flag::Carry => f.cf(),
            Flag::Parity => f.pf(),
            Flag::Aux => f.af(),
            Flag::Zero => f.zf(),
            Flag::Sign => f.sf(),
            Flag::Overflow => f.of(),
        }
    }
    #[inline(always)]
    fn cond(&mut self, c: Cond) -> bool {
        // No case distinction (docs/decisions/002-flags.md): which of them it is can't be predicted either.
        let f = &self.cpu.flags;
        if self.ordered {
            return f.ordered(c);
        }
        let (less, below_or_equal) = (f.sf() != f.of(), f.cf() | f.zf());
        let conditions = [f.of(), f.cf(), f.zf(), below_or_equal, f.sf(), f.pf(), less, less | f.zf()];
        let bits = conditions.into_iter().enumerate().fold(0, |bits, (k, c)| bits | u32::from(c) << k);
        bits >> (c as u32 >> 1) & 1 != c as u32 & 1
    }

    #[inline(always)]
    fn when(&mut self, c: bool, f: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        if c { f(self) } else { Ok(()) }
    }
    #[inline(always)]
    fn raise(&mut self, t: Trap) -> Result<(), Stop> {
        let Exception { vector, error } = t.into();
        Err(self.fault(vector, error))
    }
    fn helper(&mut self, h: Helper, args: &[u64]) -> Result<u64, Stop> {
        crate::sem::helpers::call(self, h, args)
    }

    #[inline(always)]
    fn jump(&mut self, target: u64) {
        self.cpu.rip = target;
    }
    #[inline(always)]
    fn goto(&mut self, target: u64) {
        self.cpu.rip = target;
    }
    #[inline(always)]
    fn branch(&mut self, c: bool, taken: u64, next: u64) {
        self.cpu.rip = if c { taken } else { next };
    }
}
