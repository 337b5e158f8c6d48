//! The state of one logical processor.

use guest_api::{Cond, Exchange, Flag, JUMPS, Jump, LazyFlags, Slot, VERIFIED, Verified};
use mem::Memory;

use crate::fault::StopReason;

/// Slots of [`Cpu::regs`]: the general registers by their encoding, then what address computation adds.
pub const RAX: u8 = 0;
pub const RCX: u8 = 1;
pub const RDX: u8 = 2;
pub const RBX: u8 = 3;
pub const RSP: u8 = 4;
pub const RBP: u8 = 5;
pub const RSI: u8 = 6;
pub const RDI: u8 = 7;
pub const R11: u8 = 11;
/// Always 0: the base or index that an address does not have.
pub const ZERO: u8 = 16;
/// RIP of the block's first instruction: RIP-relative addresses are relative to it.
pub const BLOCK: u8 = 17;
/// The segments' bases, in the order of [`SegReg`].
pub const SEG_BASE: u8 = 18;
/// Direction of string instructions: 1, or all ones where RFLAGS.DF is set. The only place where DF lives.
pub const DIRECTION: u8 = 24;
/// Model-specific registers that translated code reads: IA32_KERNEL_GS_BASE, IA32_LSTAR, IA32_FMASK.
pub const KERNEL_GS_BASE: u8 = 25;
pub const LSTAR: u8 = 26;
pub const FMASK: u8 = 27;
/// RFLAGS but for the condition flags, DF and the fixed bit 1: see [`RFLAGS_REST`]. Helpers use it too.
pub const REST: u8 = 28;
/// Nonzero while translated code runs and no interrupt waits: devices are met between its runs only, so STI need not look.
pub const NONE_WAITS: u8 = 29;
/// What a part of an instruction leaves for the rest of it: IRETQ's helper the RFLAGS that it has popped, a repeated comparison's iteration
/// whether there is another.
pub const PASSED: u8 = 30;
/// The address behind the last STI, where interrupts are held off for one instruction. Not canonical where that has not set IF, or where
/// interrupts were looked at since.
pub const BEHIND_STI: u8 = 31;
/// Bit by which what is in [`BEHIND_STI`] is not canonical.
pub(crate) const NO_STI: u32 = 62;

/// The slot of general register `r` (0..=15).
pub const fn gpr(r: u8) -> Slot {
    Slot(r & 15)
}

/// Segment registers by their encoding (SDM 2 B.1.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SegReg {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

impl SegReg {
    pub const ALL: [SegReg; 6] = [SegReg::Es, SegReg::Cs, SegReg::Ss, SegReg::Ds, SegReg::Fs, SegReg::Gs];
}

/// Selector and hidden part of a segment register, but its base: that is in [`Cpu::regs`] for CS..GS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    pub selector: u16,
    /// Bits 40..=55 of the descriptor: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15. 0: unusable (null).
    pub attr: u16,
    /// Effective limit in bytes, granularity applied.
    pub limit: u32,
}

/// LDTR and TR, GDTR and IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SystemSegment {
    pub base: u64,
    pub segment: Segment,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableRegister {
    pub base: u64,
    pub limit: u16,
}

/// Condition flags in a form that costs a few stores to set and no case distinction to read.
///
/// ZF = `zero == 0`; SF = bit 63 of `sign`, PF = parity of its low byte; CF = bit 63 of `carry`,
/// OF = bit 63 ^ bit 62 of `carry`; AF = bit 4 of `aux`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Flags {
    pub zero: u64,
    pub sign: u64,
    pub carry: u64,
    pub aux: u64,
}

bitflags_like! {
    /// RFLAGS bits (SDM 1 3.4.3).
    pub mod rflags: u64 {
        CF = 1 << 0; PF = 1 << 2; AF = 1 << 4; ZF = 1 << 6; SF = 1 << 7; TF = 1 << 8; IF = 1 << 9; DF = 1 << 10;
        OF = 1 << 11; IOPL = 3 << 12; NT = 1 << 14; RF = 1 << 16; VM = 1 << 17; AC = 1 << 18; VIF = 1 << 19;
        VIP = 1 << 20; ID = 1 << 21;
    }
    /// CR0 bits (SDM 3 2.5).
    pub mod cr0: u64 {
        PE = 1 << 0; MP = 1 << 1; EM = 1 << 2; TS = 1 << 3; ET = 1 << 4; NE = 1 << 5; WP = 1 << 16; AM = 1 << 18;
        NW = 1 << 29; CD = 1 << 30; PG = 1 << 31;
    }
    /// CR4 bits (SDM 3 2.5).
    pub mod cr4: u64 {
        VME = 1 << 0; PVI = 1 << 1; TSD = 1 << 2; DE = 1 << 3; PSE = 1 << 4; PAE = 1 << 5; MCE = 1 << 6; PGE = 1 << 7;
        PCE = 1 << 8; OSFXSR = 1 << 9; OSXMMEXCPT = 1 << 10; UMIP = 1 << 11; LA57 = 1 << 12; FSGSBASE = 1 << 16;
        PCIDE = 1 << 17; OSXSAVE = 1 << 18; SMEP = 1 << 20; SMAP = 1 << 21;
    }
    /// IA32_EFER bits (SDM 3 2.2.1).
    pub mod efer: u64 { SCE = 1 << 0; LME = 1 << 8; LMA = 1 << 10; NXE = 1 << 11; }
}

/// RFLAGS bits kept in [`REST`]: all but the condition flags, DF and the fixed bit 1.
pub const RFLAGS_REST: u64 = rflags::TF
    | rflags::IF
    | rflags::IOPL
    | rflags::NT
    | rflags::RF
    | rflags::VM
    | rflags::AC
    | rflags::VIF
    | rflags::VIP
    | rflags::ID;

/// Model-specific registers that are plain storage of the core; [`KERNEL_GS_BASE`], [`LSTAR`] and [`FMASK`] are in [`Cpu::regs`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Msrs {
    pub efer: u64,
    pub star: u64,
    pub cstar: u64,
    pub tsc_aux: u64,
    /// What the guest's writes of IA32_TIME_STAMP_COUNTER add to the machine's counter.
    pub tsc_offset: u64,
    pub tsc_adjust: u64,
    pub spec_ctrl: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub debugctl: u64,
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_variable: [u64; 16],
}

/// Width of the code segment's default operands: the mode that instructions are decoded for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum CodeSize {
    Bits16 = 0,
    Bits32 = 1,
    #[default]
    Bits64 = 2,
}

/// Not reached by [`Cpu::flushes`]: the key of no entry is all ones.
pub(crate) const LAST_FLUSH: u16 = u16::MAX;

/// An entry of the jump cache that nothing finds.
pub(crate) const NOWHERE: Jump = Jump { pc: 0, key: u32::MAX, slot: 0 };

/// One logical processor and the memory it sees.
pub struct Cpu {
    /// General registers and address-computation slots; see the slot constants.
    pub regs: [u64; 32],
    pub flags: Flags,
    /// Offset of the next instruction in CS. While a block runs: the block's, until its end says where to go on.
    pub rip: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub xcr0: u64,
    /// DR0-DR3, (DR4, DR5 unused), DR6, DR7.
    pub dr: [u64; 8],
    pub seg: [Segment; 6],
    pub ldtr: SystemSegment,
    pub tr: SystemSegment,
    pub gdtr: TableRegister,
    pub idtr: TableRegister,
    pub msr: Msrs,
    /// Current privilege level, 0..=3.
    pub cpl: u8,
    /// XMM0-XMM15, lanes little-endian.
    pub xmm: [u128; 16],
    pub mxcsr: u32,
    pub fpu: crate::x87::Fpu,

    /// Interrupts and debug traps are held off for one instruction (after MOV SS, POP SS; SDM 3 6.8.3). For STI see [`BEHIND_STI`].
    pub shadow: bool,
    /// Debug traps that the last instruction earned, as bits of DR6.
    pub debug_trap: u64,
    /// DR7 enables data breakpoints, instruction breakpoints.
    pub(crate) watching: bool,
    pub(crate) code_breakpoints: bool,
    /// Non-maskable interrupts are held off until IRET.
    pub nmi_blocked: bool,
    /// The interpreter must look up: leave the block after this instruction, check interrupts, invalidate code.
    pub attention: bool,
    /// Instructions executed since power-on, up to the current block.
    pub insns: u64,
    /// HLT: waiting for an interrupt.
    pub halted: bool,
    /// Address space and mode under which blocks are found, for code in the lower and in the upper half of the linear addresses:
    /// see [`Cpu::update_context`].
    pub(crate) fetch_keys: [u32; 2],
    /// Flushes of all translations, or of some of code: part of the fetch keys, so that a flush need not touch the jump caches. Below [`LAST_FLUSH`].
    pub(crate) flushes: u16,
    /// The jump caches must be emptied: [`Cpu::flushes`] has begun anew.
    pub(crate) jumps_are_stale: bool,
    /// Why the last instruction returned [`crate::Stop`].
    pub stop: StopReason,
    /// What the last load that missed the TLB has read, the low half first.
    pub(crate) loaded: [u64; 2],

    /// The condition flags, while translated code runs.
    pub(crate) lazy_flags: LazyFlags,
    /// Translated code runs; the budget of instructions that ends then.
    pub(crate) translated: bool,
    pub(crate) budget_end: u64,
    /// What translated code and its caller tell each other.
    pub(crate) exchange: Exchange,
    /// Linear addresses that were translated because the TLB did not have them; both of an access across two pages.
    pub tlb_misses: u64,
    /// Calls by translated code of each kind of helper.
    pub(crate) helper_calls: [u64; crate::sem::helpers::KINDS],
    /// The jump cache of translated code, by [`guest_api::jump_index`].
    pub(crate) jumps: Box<[Jump]>,
    /// Regions of several pages that were verified, by [`Verified::index`].
    pub(crate) verified: Box<[Verified]>,
    /// PDPTE registers of PAE paging (SDM 3 4.4.1).
    pub pdpte: [u64; 4],
    pub(crate) spaces: crate::sys::paging::AddressSpaces,
    pub mem: Memory,
}

impl Cpu {
    /// A processor after RESET (SDM 3 9.1.1) over `mem`.
    pub fn new(mem: Memory) -> Cpu {
        let mut cpu = Cpu {
            regs: [0; 32],
            flags: Flags { zero: 1, sign: 1, carry: 0, aux: 0 },
            rip: 0,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            xcr0: 1,
            dr: [0; 8],
            seg: [Segment::default(); 6],
            ldtr: SystemSegment::default(),
            tr: SystemSegment::default(),
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            msr: Msrs::default(),
            cpl: 0,
            xmm: [0; 16],
            mxcsr: 0x1f80,
            fpu: crate::x87::Fpu::default(),
            shadow: false,
            debug_trap: 0,
            watching: false,
            code_breakpoints: false,
            nmi_blocked: false,
            attention: true,
            insns: 0,
            halted: false,
            fetch_keys: [0; 2],
            flushes: 0,
            jumps_are_stale: false,
            stop: StopReason::None,
            loaded: [0; 2],
            lazy_flags: LazyFlags::default(),
            translated: false,
            budget_end: 0,
            exchange: Exchange::default(),
            tlb_misses: 0,
            helper_calls: [0; crate::sem::helpers::KINDS],
            jumps: vec![NOWHERE; JUMPS].into(),
            verified: vec![Verified::NOTHING; VERIFIED].into(),
            pdpte: [0; 4],
            spaces: crate::sys::paging::AddressSpaces::new(),
            mem,
        };
        cpu.reset();
        cpu
    }

    /// Brings the registers to their state after RESET (SDM 3 table 9-1). RAM is not touched.
    pub fn reset(&mut self) {
        self.regs = [0; 32];
        self.regs[RDX as usize] = u64::from(crate::sys::cpuid::SIGNATURE);
        self.regs[DIRECTION as usize] = 1;
        self.regs[BEHIND_STI as usize] = 1 << NO_STI;
        self.set_rflags(2);
        self.rip = 0xfff0;
        self.cr0 = cr0::ET | cr0::NW | cr0::CD;
        (self.cr2, self.cr3, self.cr4, self.xcr0) = (0, 0, 0, 1);
        self.dr = [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400];
        for s in SegReg::ALL {
            self.seg[s as usize] = Segment { selector: 0, attr: 0x93, limit: 0xffff };
        }
        self.seg[SegReg::Cs as usize] = Segment { selector: 0xf000, attr: 0x9b, limit: 0xffff };
        self.regs[(SEG_BASE + SegReg::Cs as u8) as usize] = 0xffff_0000;
        self.ldtr = SystemSegment { base: 0, segment: Segment { selector: 0, attr: 0x82, limit: 0xffff } };
        self.tr = SystemSegment { base: 0, segment: Segment { selector: 0, attr: 0x8b, limit: 0xffff } };
        self.gdtr = TableRegister { base: 0, limit: 0xffff };
        self.idtr = TableRegister { base: 0, limit: 0xffff };
        self.msr = Msrs { pat: 0x0007_0406_0007_0406, misc_enable: 1, ..Msrs::default() };
        self.cpl = 0;
        self.xmm = [0; 16];
        self.mxcsr = 0x1f80;
        self.fpu = crate::x87::Fpu::default();
        (self.shadow, self.nmi_blocked, self.attention) = (false, false, true);
        (self.debug_trap, self.watching, self.code_breakpoints) = (0, false, false);
        self.halted = false;
        self.stop = StopReason::None;
        self.pdpte = [0; 4];
        self.flush_tlb();
        self.update_context();
    }

    /// What the jump cache's entry for code at linear `pc` must carry.
    #[inline(always)]
    pub(crate) fn fetch_key(&self, pc: u64) -> u32 {
        self.fetch_keys[(pc >> 63) as usize]
    }
    /// How code at linear `pc` is decoded.
    #[inline(always)]
    pub(crate) fn fetch_mode(&self, pc: u64) -> u32 {
        self.fetch_key(pc) >> 12 & 15
    }
    /// How many bytes from RIP on are within CS's limit, of code that is not 64-bit. With a limit of 4 GiB RIP wraps.
    pub(crate) fn code_within_limit(&self) -> u64 {
        match self.seg[SegReg::Cs as usize].limit {
            u32::MAX => u64::MAX,
            limit => (u64::from(limit) + 1).saturating_sub(self.rip),
        }
    }
    /// Base of segment `s`.
    #[inline(always)]
    pub fn seg_base(&self, s: SegReg) -> u64 {
        self.regs[(SEG_BASE + s as u8) as usize]
    }
    pub fn set_seg_base(&mut self, s: SegReg, base: u64) {
        self.regs[(SEG_BASE + s as u8) as usize] = base;
    }

    /// IA-32e mode is active (EFER.LMA).
    pub fn long_mode(&self) -> bool {
        self.msr.efer & efer::LMA != 0
    }
    /// The code segment's mode.
    pub fn code_size(&self) -> CodeSize {
        let attr = self.seg[SegReg::Cs as usize].attr;
        if self.long_mode() && attr & (1 << 13) != 0 {
            CodeSize::Bits64
        } else if attr & (1 << 14) != 0 {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        }
    }

    /// RFLAGS, assembled.
    pub fn rflags(&self) -> u64 {
        use rflags::*;
        let f = &self.flags;
        let bit = |c: bool, b: u64| if c { b } else { 0 };
        2 | self.rflags_rest()
            | bit(self.regs[DIRECTION as usize] != 1, DF)
            | bit(f.cf(), CF)
            | bit(f.pf(), PF)
            | bit(f.af(), AF)
            | bit(f.zf(), ZF)
            | bit(f.sf(), SF)
            | bit(f.of(), OF)
    }
    /// Sets all of RFLAGS; bits that do not exist are dropped. The caller applies privilege rules.
    pub fn set_rflags(&mut self, v: u64) {
        use rflags::{IF, RF, TF};
        let old = self.rflags_rest();
        self.load_rflags(v);
        if self.rflags_rest() & (!old & IF | TF | RF) != 0 {
            self.attention = true;
        }
    }
    /// [`Cpu::set_rflags`] where the caller sees to what the interpreter must look up for: a new IF, TF, RF.
    pub(crate) fn load_rflags(&mut self, v: u64) {
        use rflags::*;
        let old = self.rflags_rest();
        *self.rflags_rest_mut() = v & RFLAGS_REST;
        self.regs[DIRECTION as usize] = if v & DF != 0 { u64::MAX } else { 1 };
        self.flags.set_all(v & CF != 0, v & PF != 0, v & AF != 0, v & ZF != 0, v & SF != 0, v & OF != 0);
        if (old ^ self.rflags_rest()) & AC != 0 {
            self.update_context();
        }
    }
    /// Drops all address translations.
    pub fn flush_tlb(&mut self) {
        self.mem.flush();
        self.spaces.flushed();
        self.forget_jumps();
    }
    /// Drops the translation of the page of linear address `va`.
    pub fn flush_page(&mut self, va: u64) {
        self.mem.flush_page(va);
        if self.spaces.may_have_code(va) {
            self.forget_jumps();
        }
    }
    /// Nothing in the jump caches is found any more.
    fn forget_jumps(&mut self) {
        self.flushes += 1;
        if self.flushes == LAST_FLUSH {
            self.flushes = 0;
            self.jumps_are_stale = true;
            self.attention = true;
        }
        self.update_context();
    }
    /// Width of the stack pointer.
    pub fn stack_width(&self) -> guest_api::Width {
        use guest_api::Width;
        match self.code_size() {
            CodeSize::Bits64 => Width::W64,
            _ if self.seg[SegReg::Ss as usize].attr & (1 << 14) != 0 => Width::W32,
            _ => Width::W16,
        }
    }
    /// The bits of [`RFLAGS_REST`].
    #[inline(always)]
    pub fn rflags_rest(&self) -> u64 {
        self.regs[REST as usize]
    }
    #[inline(always)]
    pub fn rflags_rest_mut(&mut self) -> &mut u64 {
        &mut self.regs[REST as usize]
    }
    /// The interrupt flag.
    pub fn interrupts_enabled(&self) -> bool {
        self.rflags_rest() & rflags::IF != 0
    }
}

impl Flags {
    #[inline(always)]
    pub fn cf(&self) -> bool {
        self.carry >> 63 != 0
    }
    #[inline(always)]
    pub fn of(&self) -> bool {
        (self.carry ^ (self.carry << 1)) >> 63 != 0
    }
    #[inline(always)]
    pub fn zf(&self) -> bool {
        self.zero == 0
    }
    #[inline(always)]
    pub fn sf(&self) -> bool {
        self.sign >> 63 != 0
    }
    #[inline(always)]
    pub fn pf(&self) -> bool {
        (self.sign as u8).count_ones() & 1 == 0
    }
    #[inline(always)]
    pub fn af(&self) -> bool {
        self.aux & 16 != 0
    }
    #[inline(always)]
    pub fn set_carry_overflow(&mut self, cf: bool, of: bool) {
        self.carry = u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
    }
    /// Whether `c` holds, one that says how two numbers are ordered: a third of what it takes to tell any.
    #[inline(always)]
    pub(crate) fn ordered(&self, c: Cond) -> bool {
        // Their codes (SDM 2 B.1.4): bit 3 of those of signed numbers, bits 2 and 1 where equal ones count, bit 0 of the contrary.
        let code = c as u64;
        let signed = (code >> 3).wrapping_neg();
        let less = self.carry ^ (self.carry << 1 ^ self.sign) & signed;
        let equal = u64::from(self.zf()) & code >> 2 & code >> 1;
        (less >> 63 | equal) != code & 1
    }
    /// All flags, each in its [`Flag::bit`].
    pub fn packed(&self) -> u64 {
        u64::from(self.cf()) << Flag::Carry as u8
            | u64::from(self.pf()) << Flag::Parity as u8
            | u64::from(self.af()) << Flag::Aux as u8
            | u64::from(self.zf()) << Flag::Zero as u8
            | u64::from(self.sf()) << Flag::Sign as u8
            | u64::from(self.of()) << Flag::Overflow as u8
    }
    pub fn set_packed(&mut self, v: u64) {
        let bit = |f: Flag| v & f.bit() != 0;
        self.set_all(
            bit(Flag::Carry),
            bit(Flag::Parity),
            bit(Flag::Aux),
            bit(Flag::Zero),
            bit(Flag::Sign),
            bit(Flag::Overflow),
        );
    }
    pub fn set_all(&mut self, cf: bool, pf: bool, af: bool, zf: bool, sf: bool, of: bool) {
        self.zero = u64::from(!zf);
        self.sign = u64::from(sf) << 63 | u64::from(!pf);
        self.aux = u64::from(af) << 4;
        self.set_carry_overflow(cf, of);
    }
}

macro_rules! bitflags_like {
    ($($(#[$doc:meta])* pub mod $name:ident : $t:ty { $($flag:ident = $v:expr;)* })*) => {
        $($(#[$doc])* pub mod $name { $(pub const $flag: $t = $v;)* })*
    };
}
use bitflags_like;
