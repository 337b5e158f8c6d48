//! External interrupts and NMI: when they are taken, when they wait, what they push.

use bare::{Bare, CODE, TABLES};
use guest_api::Tier;
use isa_x86::cpu::{SystemSegment, TableRegister, rflags};
use isa_x86::{CpuExit, Platform, fault};

use crate::{Machine, On, TURNS};

const IDT: u64 = 0x8_0000;
const GDT: u64 = 0x7_0000;
const HANDLER: u64 = CODE + 0x1000;
const STACK: u64 = CODE - 0x1000;

/// [`Bare`] with events that a write to a port raises.
#[derive(Default)]
struct Events {
    bare: Bare,
    on_write: Option<u8>,
    nmi_on_write: bool,
}

impl Platform for Events {
    fn mmio_read(&mut self, a: u64, s: u32, at: u64) -> u64 {
        self.bare.mmio_read(a, s, at)
    }
    fn mmio_write(&mut self, a: u64, s: u32, v: u64, at: u64) {
        self.bare.mmio_write(a, s, v, at);
    }
    fn io_read(&mut self, p: u16, s: u32, at: u64) -> u32 {
        self.bare.io_read(p, s, at)
    }
    fn io_write(&mut self, p: u16, s: u32, v: u32, at: u64) {
        self.bare.pending = self.on_write.take();
        self.bare.nmi = self.nmi_on_write;
        self.bare.io_write(p, s, v, at);
    }
    fn interrupt_pending(&mut self) -> bool {
        self.bare.interrupt_pending()
    }
    fn interrupt_ack(&mut self) -> u8 {
        self.bare.interrupt_ack()
    }
    fn take_nmi(&mut self) -> bool {
        self.bare.take_nmi()
    }
    fn msr_read(&mut self, m: u32, at: u64) -> Option<u64> {
        self.bare.msr_read(m, at)
    }
    fn msr_write(&mut self, m: u32, v: u64, at: u64) -> bool {
        self.bare.msr_write(m, v, at)
    }
    fn cr8(&mut self) -> u8 {
        self.bare.cr8()
    }
    fn set_cr8(&mut self, p: u8) {
        self.bare.set_cr8(p);
    }
    fn tsc(&mut self, at: u64) -> u64 {
        self.bare.tsc(at)
    }
    fn random(&mut self) -> u64 {
        self.bare.random()
    }
    fn wants_exit(&mut self) -> bool {
        false
    }
}

/// One with `pending` waiting from the beginning.
fn waiting(pending: u8) -> Events {
    Events { bare: Bare { pending: Some(pending), ..Bare::default() }, ..Events::default() }
}
/// One in which `vector` arises when a port is written.
fn on_write(vector: u8) -> Events {
    Events { on_write: Some(vector), ..Events::default() }
}

/// 64-bit mode with gates for all vectors to [`HANDLER`], which is `handler`.
fn machine<'a, T: Tier>(on: &'a On<T>, code: &[u8], handler: &[u8]) -> Machine<'a, T> {
    let mut m = on.machine(code);
    let ram = &mut m.v.cpu.mem.ram;
    for k in 0..256 {
        assert!(ram.write(IDT + 16 * k, (HANDLER & 0xffff) | 8 << 16 | 0x8e00 << 32 | (HANDLER >> 16) << 48));
        assert!(ram.write(IDT + 16 * k + 8, 0_u64));
    }
    assert!(ram.write(GDT + 8, 0x00af_9b00_0000_ffff_u64));
    assert!(ram.write(GDT + 16, 0x00cf_9300_0000_ffff_u64));
    assert!(ram.write_bytes(HANDLER, handler));
    m.v.cpu.idtr = TableRegister { base: IDT, limit: 0xfff };
    m.v.cpu.gdtr = TableRegister { base: GDT, limit: 0x17 };
    m.v.cpu.tr = SystemSegment::default();
    m
}

impl<T: Tier> Machine<'_, T> {
    /// Before the code's first instruction, with `flags`.
    fn begin(&mut self, flags: u64) {
        let cpu = &mut self.v.cpu;
        (cpu.rip, cpu.regs[4], cpu.halted, cpu.nmi_blocked) = (CODE, STACK, false, false);
        cpu.set_rflags(2 | flags);
    }
    /// Executes the code while nothing arises, up to its HLT.
    fn quiet(&mut self, flags: u64) {
        self.begin(flags);
        assert_eq!(self.run(&mut Events::default(), 20), CpuExit::Halted);
        assert!((CODE..HANDLER).contains(&self.v.cpu.rip));
    }
    /// Runs to the handler's HLT. The RIP that the event pushed.
    fn taken(&mut self, events: &mut Events) -> u64 {
        assert_eq!((self.run(events, 20), self.v.cpu.rip), (CpuExit::Halted, STOPPED));
        self.pushed_rip()
    }
    /// The RIP that the one event pushed.
    fn pushed_rip(&self) -> u64 {
        self.v.cpu.mem.ram.read::<u64>(STACK - 40).expect("RAM")
    }
    fn pushed_flags(&self) -> u64 {
        self.v.cpu.mem.ram.read::<u64>(STACK - 24).expect("RAM")
    }
}

/// HLT, with interrupts disabled: the end.
const STOP: [u8; 1] = [0xf4];
/// Where that is in [`HANDLER`], RIP then is here.
const STOPPED: u64 = HANDLER + 1;

pub(crate) fn an_interrupt_waits_for_if_and_for_the_instruction_behind_sti<T: Tier>(on: &On<T>) {
    // nop; sti; nop; nop; hlt
    let mut m = machine(on, &[0x90, 0xfb, 0x90, 0x90, 0xf4], &STOP);
    for _ in 0..TURNS {
        m.quiet(0);
        m.begin(0);
        let mut p = waiting(0x31);
        assert_eq!(m.run(&mut p, 1), CpuExit::Budget);
        assert_eq!(m.v.cpu.rip & !7, CODE);
        assert_eq!(m.taken(&mut p), CODE + 3, "one instruction behind STI");
        assert_eq!(m.pushed_flags() & rflags::IF, rflags::IF);
        assert!(!m.v.cpu.interrupts_enabled());
        assert_eq!(m.v.cpu.regs[4], STACK - 40, "no error code");
    }
}

pub(crate) fn sti_with_if_set_holds_nothing_off<T: Tier>(on: &On<T>) {
    // out 0x80,al; sti; nop; hlt
    let mut m = machine(on, &[0xe6, 0x80, 0xfb, 0x90, 0xf4], &STOP);
    for _ in 0..TURNS {
        m.quiet(rflags::IF);
        m.begin(rflags::IF);
        assert_eq!(m.taken(&mut on_write(0x31)), CODE + 2, "taken at once behind the write that raised it");
    }
}

pub(crate) fn of_a_sequence_of_sti_only_the_first_holds_off<T: Tier>(on: &On<T>) {
    for half in [0, 0xffff_8000_0000_0000] {
        // sti; sti; cli; hlt
        let mut m = machine(on, &[0xfb, 0xfb, 0xfa, 0xf4], &STOP);
        // The same mappings in the upper half.
        let lower = m.v.cpu.mem.ram.read::<u64>(TABLES).expect("RAM");
        assert!(m.v.cpu.mem.ram.write(TABLES + 8 * 256, lower));
        for _ in 0..TURNS {
            m.begin(0);
            m.v.cpu.rip += half;
            assert_eq!(m.run(&mut Events::default(), 20), CpuExit::Halted);
            m.begin(0);
            m.v.cpu.rip += half;
            assert_eq!(m.taken(&mut waiting(0x31)), half + CODE + 2, "CLI is behind the second (SDM 2 STI)");
        }
    }
}

pub(crate) fn what_arises_behind_sti_is_taken_behind_the_instruction_that_raised_it<T: Tier>(on: &On<T>) {
    // sti; out 0x80,al; nop; hlt
    let mut m = machine(on, &[0xfb, 0xe6, 0x80, 0x90, 0xf4], &STOP);
    for _ in 0..TURNS {
        m.quiet(0);
        m.begin(0);
        assert_eq!(m.taken(&mut on_write(0x31)), CODE + 3);
    }
}

pub(crate) fn flags_that_are_loaded_let_a_waiting_interrupt_in_at_once<T: Tier>(on: &On<T>) {
    // out 0x80,al; push 0x202; popfq; nop; hlt
    let code = [0xe6, 0x80, 0x68, 0x02, 0x02, 0, 0, 0x9d, 0x90, 0xf4];
    let mut m = machine(on, &code, &STOP);
    for _ in 0..TURNS {
        m.quiet(0);
        m.begin(0);
        assert_eq!(m.taken(&mut on_write(0x31)), CODE + 8);
    }

    // out 0x80,al; ud2; nop; hlt, whose handler returns behind UD2 with IF and RF set:
    // mov dword [rsp],CODE+4; or dword [rsp+16],0x10200; iretq
    let mut handler = vec![0xc7, 0x04, 0x24];
    handler.extend(((CODE + 4) as u32).to_le_bytes());
    handler.extend([0x81, 0x4c, 0x24, 0x10, 0x00, 0x02, 0x01, 0x00, 0x48, 0xcf]);
    let mut m = machine(on, &[0xe6, 0x80, 0x0f, 0x0b, 0x90, 0xf4], &handler);
    // The interrupt has a handler of its own.
    let own = HANDLER + 0x100;
    assert!(m.v.cpu.mem.ram.write_bytes(own, &STOP));
    assert!(m.v.cpu.mem.ram.write(IDT + 16 * 0x31, (own & 0xffff) | 8 << 16 | 0x8e00 << 32 | (own >> 16) << 48));
    for _ in 0..TURNS {
        m.quiet(0);
        m.begin(0);
        assert_eq!(m.run(&mut on_write(0x31), 30), CpuExit::Halted);
        assert_eq!((m.v.cpu.rip, m.pushed_rip()), (own + 1, CODE + 4));
        let both = rflags::IF | rflags::RF;
        assert_eq!(m.pushed_flags() & both, both, "no instruction has cleared RF");
    }
}

pub(crate) fn mov_ss_holds_an_interrupt_off<T: Tier>(on: &On<T>) {
    // sti; mov ss,eax; nop; nop; hlt
    let mut m = machine(on, &[0xfb, 0x8e, 0xd0, 0x90, 0x90, 0xf4], &STOP);
    m.v.cpu.regs[0] = 16;
    for _ in 0..TURNS {
        m.quiet(0);
        m.begin(0);
        assert_eq!(m.taken(&mut waiting(0x31)), CODE + 4, "behind STI's instruction, MOV SS, and MOV SS's");
    }
}

pub(crate) fn hlt_ends_with_an_interrupt_and_only_then<T: Tier>(on: &On<T>) {
    // sti; hlt; nop; jmp $
    let mut m = machine(on, &[0xfb, 0xf4, 0x90, 0xeb, 0xfe], &STOP);
    for _ in 0..TURNS {
        m.begin(0);
        let (mut p, before) = (Events::default(), m.v.cpu.insns);
        assert_eq!(m.run(&mut p, 100), CpuExit::Halted);
        assert_eq!(m.run(&mut p, 100), CpuExit::Halted);
        assert_eq!(m.v.cpu.insns - before, 2);
        p.bare.pending = Some(0x40);
        assert_eq!(m.run(&mut p, 1), CpuExit::Budget);
        assert_eq!(m.taken(&mut p), CODE + 2);
    }
}

pub(crate) fn an_nmi_ignores_if_and_waits_for_iret<T: Tier>(on: &On<T>) {
    // out 0x80,al; nop; jmp $            handler: inc ebx; out 0x80,al; nop; iretq
    let mut m = machine(on, &[0xe6, 0x80, 0x90, 0xeb, 0xfe], &[0xff, 0xc3, 0xe6, 0x80, 0x90, 0x48, 0xcf]);
    for _ in 0..TURNS {
        m.begin(0);
        m.v.cpu.regs[3] = 0;
        let mut p = Events { nmi_on_write: true, ..Events::default() };
        // The handler raises another NMI: it is taken when the first has returned, not before.
        m.run(&mut p, 4);
        assert_eq!((m.v.cpu.regs[3], m.v.cpu.nmi_blocked), (1, true));
        assert_eq!(m.v.cpu.regs[4], STACK - 40, "not nested");
        m.run(&mut p, 4);
        assert_eq!(m.v.cpu.regs[3], 2);
        assert_eq!(m.v.cpu.regs[4], STACK - 40, "the first has returned");
    }
}

pub(crate) fn an_iret_that_faults_has_let_nmis_in<T: Tier>(on: &On<T>) {
    // iretq, its frame in a page that is not mapped
    let mut m = machine(on, &[0x48, 0xcf], &STOP);
    m.v.catch_exceptions = true;
    for _ in 0..TURNS {
        let mut faults = |flags: u64| {
            m.begin(flags);
            (m.v.cpu.regs[4], m.v.cpu.nmi_blocked) = (1 << 30, true);
            let CpuExit::Exception(e) = m.run(&mut Events::default(), 1) else { panic!("no fault") };
            assert_eq!((m.v.cpu.rip, m.v.cpu.regs[4]), (CODE, 1 << 30));
            (e.vector, m.v.cpu.nmi_blocked)
        };
        assert_eq!(faults(0), (fault::PF, false));
        assert_eq!(faults(rflags::NT), (fault::GP, false), "before the frame is read");
    }
}

pub(crate) fn a_fault_loop_returns_to_the_host<T: Tier>(on: &On<T>) {
    // The handler's first instruction is UD2.
    let mut m = machine(on, &[0x0f, 0x0b], &[0x0f, 0x0b]);
    for _ in 0..TURNS {
        m.begin(0);
        assert_eq!(m.run(&mut Events::default(), 100), CpuExit::Budget);
        assert_eq!(m.v.cpu.insns, 0);
        assert_eq!(m.v.cpu.regs[4], STACK - 100 * 40 - 99 * 8, "a hundred frames, aligned to 16 bytes");
    }
}
