//! External interrupts and NMI: when they are taken, when they wait, what they push.

use bare::{Bare, CODE, TABLES, long_mode};
use isa_x86::cpu::{SystemSegment, TableRegister, rflags};
use isa_x86::{CpuExit, Platform, Vcpu, fault};

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

/// 64-bit mode with gates for all vectors to [`HANDLER`], which is `handler`.
fn machine(code: &[u8], handler: &[u8]) -> Vcpu {
    let mut v = long_mode(code);
    let ram = &mut v.cpu.mem.ram;
    for k in 0..256 {
        assert!(ram.write(IDT + 16 * k, (HANDLER & 0xffff) | 8 << 16 | 0x8e00 << 32 | (HANDLER >> 16) << 48));
        assert!(ram.write(IDT + 16 * k + 8, 0_u64));
    }
    assert!(ram.write(GDT + 8, 0x00af_9b00_0000_ffff_u64));
    assert!(ram.write(GDT + 16, 0x00cf_9300_0000_ffff_u64));
    assert!(ram.write_bytes(HANDLER, handler));
    v.cpu.idtr = TableRegister { base: IDT, limit: 0xfff };
    v.cpu.gdtr = TableRegister { base: GDT, limit: 0x17 };
    v.cpu.tr = SystemSegment::default();
    v.cpu.regs[4] = STACK;
    v
}

/// The RIP that the one event pushed.
fn pushed_rip(v: &Vcpu) -> u64 {
    v.cpu.mem.ram.read::<u64>(STACK - 40).expect("RAM")
}

const STAY: [u8; 2] = [0xeb, 0xfe];

#[test]
fn an_interrupt_waits_for_if_and_for_the_instruction_behind_sti() {
    // nop; sti; nop; nop; jmp $
    let mut v = machine(&[0x90, 0xfb, 0x90, 0x90, 0xeb, 0xfe], &STAY);
    let mut p = Events { bare: Bare { pending: Some(0x31), ..Bare::default() }, ..Events::default() };
    assert_eq!(v.run(&mut p, 1), CpuExit::Budget);
    assert_eq!(v.cpu.rip & !7, CODE);
    v.run(&mut p, 20);
    assert_eq!(v.cpu.rip, HANDLER);
    assert_eq!(pushed_rip(&v), CODE + 3, "one instruction behind STI");
    assert_eq!(v.cpu.mem.ram.read::<u64>(STACK - 24).expect("RAM") & rflags::IF, rflags::IF);
    assert!(!v.cpu.interrupts_enabled());
    assert_eq!(v.cpu.regs[4], STACK - 40, "no error code");
}

#[test]
fn sti_with_if_set_holds_nothing_off() {
    // out 0x80,al; sti; nop
    let mut v = machine(&[0xe6, 0x80, 0xfb, 0x90, 0xeb, 0xfe], &STAY);
    v.cpu.set_rflags(rflags::IF);
    v.run(&mut Events { on_write: Some(0x31), ..Events::default() }, 20);
    assert_eq!(pushed_rip(&v), CODE + 2, "taken at once behind the write that raised it");
}

#[test]
fn of_a_sequence_of_sti_only_the_first_holds_off() {
    for half in [0, 0xffff_8000_0000_0000] {
        // sti; sti; cli; jmp $
        let mut v = machine(&[0xfb, 0xfb, 0xfa, 0xeb, 0xfe], &STAY);
        // The same mappings in the upper half.
        let lower = v.cpu.mem.ram.read::<u64>(TABLES).expect("RAM");
        assert!(v.cpu.mem.ram.write(TABLES + 8 * 256, lower));
        v.cpu.rip += half;
        v.run(&mut Bare { pending: Some(0x31), ..Bare::default() }, 20);
        assert_eq!((v.cpu.rip, pushed_rip(&v)), (HANDLER, half + CODE + 2), "CLI is behind the second (SDM 2 STI)");
    }
}

#[test]
fn what_arises_behind_sti_is_taken_behind_the_instruction_that_raised_it() {
    // sti; out 0x80,al; nop
    let mut v = machine(&[0xfb, 0xe6, 0x80, 0x90, 0xeb, 0xfe], &STAY);
    v.run(&mut Events { on_write: Some(0x31), ..Events::default() }, 20);
    assert_eq!(pushed_rip(&v), CODE + 3);
}

#[test]
fn flags_that_are_loaded_let_a_waiting_interrupt_in_at_once() {
    // out 0x80,al; push 0x202; popfq; nop
    let code = [0xe6, 0x80, 0x68, 0x02, 0x02, 0, 0, 0x9d, 0x90, 0xeb, 0xfe];
    let mut v = machine(&code, &STAY);
    v.run(&mut Events { on_write: Some(0x31), ..Events::default() }, 20);
    assert_eq!((v.cpu.rip, pushed_rip(&v)), (HANDLER, CODE + 8));

    // out 0x80,al; ud2, whose handler returns behind it with IF and RF set:
    // mov dword [rsp],CODE+4; or dword [rsp+16],0x10200; iretq
    let mut handler = vec![0xc7, 0x04, 0x24];
    handler.extend(((CODE + 4) as u32).to_le_bytes());
    handler.extend([0x81, 0x4c, 0x24, 0x10, 0x00, 0x02, 0x01, 0x00, 0x48, 0xcf]);
    let mut v = machine(&[0xe6, 0x80, 0x0f, 0x0b, 0x90, 0xeb, 0xfe], &handler);
    // The interrupt has a handler of its own.
    let own = HANDLER + 0x100;
    assert!(v.cpu.mem.ram.write_bytes(own, &STAY));
    assert!(v.cpu.mem.ram.write(IDT + 16 * 0x31, (own & 0xffff) | 8 << 16 | 0x8e00 << 32 | (own >> 16) << 48));
    v.run(&mut Events { on_write: Some(0x31), ..Events::default() }, 30);
    assert_eq!((v.cpu.rip, pushed_rip(&v)), (own, CODE + 4));
    let flags = v.cpu.mem.ram.read::<u64>(STACK - 24).expect("RAM");
    assert_eq!(flags & (rflags::IF | rflags::RF), rflags::IF | rflags::RF, "no instruction has cleared RF");
}

#[test]
fn mov_ss_holds_an_interrupt_off() {
    // sti; mov ss,eax; nop; nop
    let mut v = machine(&[0xfb, 0x8e, 0xd0, 0x90, 0x90, 0xeb, 0xfe], &STAY);
    v.cpu.regs[0] = 16;
    let mut p = Events { bare: Bare { pending: Some(0x31), ..Bare::default() }, ..Events::default() };
    v.run(&mut p, 20);
    assert_eq!(pushed_rip(&v), CODE + 4, "behind STI's instruction, MOV SS, and MOV SS's");
}

#[test]
fn hlt_ends_with_an_interrupt_and_only_then() {
    // sti; hlt; nop; jmp $
    let mut v = machine(&[0xfb, 0xf4, 0x90, 0xeb, 0xfe], &STAY);
    let mut p = Events::default();
    assert_eq!(v.run(&mut p, 100), CpuExit::Halted);
    assert_eq!(v.run(&mut p, 100), CpuExit::Halted);
    assert_eq!(v.cpu.insns, 2);
    p.bare.pending = Some(0x40);
    assert_eq!(v.run(&mut p, 1), CpuExit::Budget);
    v.run(&mut p, 10);
    assert_eq!((v.cpu.rip, pushed_rip(&v)), (HANDLER, CODE + 2));
}

#[test]
fn an_nmi_ignores_if_and_waits_for_iret() {
    // out 0x80,al; nop; jmp $            handler: inc ebx; out 0x80,al; nop; iretq
    let mut v = machine(&[0xe6, 0x80, 0x90, 0xeb, 0xfe], &[0xff, 0xc3, 0xe6, 0x80, 0x90, 0x48, 0xcf]);
    let mut p = Events { nmi_on_write: true, ..Events::default() };
    // The handler raises another NMI: it is taken when the first has returned, not before.
    v.run(&mut p, 4);
    assert_eq!((v.cpu.regs[3], v.cpu.nmi_blocked), (1, true));
    assert_eq!(v.cpu.regs[4], STACK - 40, "not nested");
    v.run(&mut p, 4);
    assert_eq!(v.cpu.regs[3], 2);
    assert_eq!(v.cpu.regs[4], STACK - 40, "the first has returned");
}

#[test]
fn an_iret_that_faults_has_let_nmis_in() {
    // iretq, its frame in a page that is not mapped
    let faults = |flags: u64| {
        let mut v = machine(&[0x48, 0xcf], &STAY);
        v.catch_exceptions = true;
        v.cpu.regs[4] = 1 << 30;
        v.cpu.nmi_blocked = true;
        v.cpu.set_rflags(flags);
        let CpuExit::Exception(e) = v.run(&mut Events::default(), 1) else { panic!("no fault") };
        assert_eq!((v.cpu.rip, v.cpu.regs[4]), (CODE, 1 << 30));
        (e.vector, v.cpu.nmi_blocked)
    };
    assert_eq!(faults(2), (fault::PF, false));
    assert_eq!(faults(2 | rflags::NT), (fault::GP, false), "before the frame is read");
}

#[test]
fn a_fault_loop_returns_to_the_host() {
    // The handler's first instruction is UD2.
    let mut v = machine(&[0x0f, 0x0b], &[0x0f, 0x0b]);
    v.cpu.idtr.limit = 0xfff;
    assert_eq!(v.run(&mut Events::default(), 100), CpuExit::Budget);
    assert_eq!(v.cpu.insns, 0);
    assert_eq!(v.cpu.regs[4], STACK - 100 * 40 - 99 * 8, "a hundred frames, aligned to 16 bytes");
}
