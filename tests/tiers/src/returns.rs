//! Returns by IRETQ, to user code above all: in translated code, and where that refuses, so that the interpreter does it.

use bare::{Bare, CODE, long_mode};
use guest_api::{NoTier, Tier};
use isa_x86::cpu::{LSTAR, Segment, SystemSegment, TableRegister, rflags};
use isa_x86::{CpuExit, Vcpu, fault};
use jit::Jit;

use crate::Report;
use crate::asm::IRETQ;
use crate::life::{Guest, user_again};

const GDT: u64 = 0x10_c000;
const IDT: u64 = 0x10_d000;
const TSS: u64 = 0x10_e000;
const KERNEL_STACK: u64 = 0x30_1000;
const EVENT_STACK: u64 = 0x30_2000;
/// Linear address at which a user has the first 2 MiB.
const USER: u64 = 0x100_0000;
/// In the program: the user's code, and what interrupts come to.
const USER_CODE: u64 = USER + CODE + 0x280;
const HANDLER: u64 = CODE + 0x2c0;
/// In the program: an STI.
const STI: u64 = 0x310;
const VECTOR: u8 = 0x31;

/// From selector 8 on: the kernel's code and data, the user's data and code. What follows byte 5 of the last is SCASD, RET.
const DESCRIPTORS: [u64; 4] =
    [0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, 0xc3af_fb00_0000_ffff];
const USER_DESCRIPTOR: u64 = GDT + 0x20;
const TURNS: u32 = 2000;

/// A GDT of a null descriptor and `descriptors`.
fn describe(v: &mut Vcpu, descriptors: &[u64]) {
    for (at, descriptor) in (GDT + 8..).step_by(8).zip(descriptors) {
        assert!(v.cpu.mem.dma_write(at, &descriptor.to_le_bytes()));
    }
    v.cpu.gdtr = TableRegister { base: GDT, limit: 8 * descriptors.len() as u16 + 7 };
}

struct Case {
    name: &'static str,
    /// Where the program's part for it begins, and where the user's code comes back to: distances from its begin.
    from: u64,
    back: u64,
    /// RFLAGS of the user's code.
    flags: u64,
    /// Instructions in a slice, and some more.
    slice: u64,
    /// What is done where a slice ended in the kernel: whether that is an event of which the program is to be told.
    event: fn(&mut Vcpu, &mut Bare) -> bool,
    /// What is done about an exception, so that the guest goes on.
    mend: fn(&mut Vcpu),
    /// Instructions of a turn that are left to the interpreter, IRETQ among them where there are any.
    refused: u64,
}

const PLAIN: Case = Case {
    name: "to user code",
    from: 0,
    back: 0x40,
    flags: 2 | rflags::IF,
    slice: 100,
    event: |_, _| false,
    mend: |_| {},
    refused: 0,
};

const CASES: [Case; 8] = [
    PLAIN,
    Case { name: "GS becomes null", from: 0x80, back: 0xc0, refused: 2, ..PLAIN },
    Case { name: "a descriptor is marked that is code", from: 0x100, back: 0x180, slice: 10_000, refused: 2, ..PLAIN },
    Case {
        name: "in a nested task",
        from: 0x200,
        back: 0x240,
        mend: |v| v.cpu.set_rflags(v.cpu.rflags() & !rflags::NT),
        refused: 1,
        ..PLAIN
    },
    Case { name: "with TF", flags: 2 | rflags::TF, refused: 1, ..PLAIN },
    Case { name: "an interrupt waits", event: |_, p| p.pending.replace(VECTOR).is_none(), ..PLAIN },
    Case {
        name: "behind STI",
        from: 0x300,
        // Elsewhere IF is set, and it would come at once.
        event: |v, p| {
            let waits = v.cpu.rflags() & rflags::IF == 0 || v.cpu.rip == CODE + STI + 1;
            waits && p.pending.replace(VECTOR).is_none()
        },
        ..PLAIN
    },
    Case {
        name: "an NMI waits",
        event: |v, p| {
            v.cpu.nmi_blocked = true;
            !core::mem::replace(&mut p.nmi, true)
        },
        ..PLAIN
    },
];

impl Case {
    fn prepare(&self, v: &mut Vcpu) {
        let (gate, high) = (|at: u64| (at & 0xffff) | 8 << 16 | 0x8e00 << 32 | (at >> 16 & 0xffff) << 48, 0_u64);
        let mem = &mut v.cpu.mem;
        for vector in [fault::NMI, VECTOR].map(u64::from) {
            assert!(mem.dma_write(IDT + 16 * vector, &gate(HANDLER).to_le_bytes()));
            assert!(mem.dma_write(IDT + 16 * vector + 8, &high.to_le_bytes()));
        }
        assert!(mem.dma_write(TSS + 4, &EVENT_STACK.to_le_bytes()));
        // What the user's code reads tells whether GS's base is 0 or 8.
        assert!(mem.dma_write(CODE + 0xf000, &[7_u64, 11].map(u64::to_le_bytes).concat()));
        describe(v, &DESCRIPTORS);
        let c = &mut v.cpu;
        c.idtr = TableRegister { base: IDT, limit: 0xfff };
        c.tr = SystemSegment { base: TSS, segment: Segment { selector: 0x28, attr: 0x8b, limit: 0x67 } };
        c.msr.star = 8 << 32;
        c.regs[usize::from(LSTAR)] = CODE + self.back;
        c.regs[usize::from(isa_x86::cpu::FMASK)] = rflags::IF | rflags::TF | rflags::NT | rflags::DF;
        for s in [isa_x86::cpu::SegReg::Fs, isa_x86::cpu::SegReg::Gs] {
            c.seg[s as usize] = Segment::default();
        }
        (c.regs[4], c.regs[5], c.regs[8], c.regs[9]) = (KERNEL_STACK, TURNS.into(), self.flags, USER_DESCRIPTOR);
        (c.regs[10], c.regs[12], c.regs[13]) = (8, USER_CODE, KERNEL_STACK);
        c.rip = CODE + self.from;
    }

    /// Runs it in slices. What has become of it, and the events.
    fn run<T: Tier>(&self, v: &mut Vcpu, tier: &mut T, after: fn(&mut T)) -> (Outcome, u64) {
        self.prepare(v);
        let (mut platform, mut exceptions, mut events) = (Bare::default(), Vec::new(), 0);
        let mut slices = 0;
        let exit = loop {
            slices += 1;
            match v.run_with(&mut platform, tier, self.slice + slices % 32) {
                CpuExit::Budget if v.cpu.cpl == 0 => events += u64::from((self.event)(v, &mut platform)),
                CpuExit::Budget => {}
                CpuExit::Exception(e) if exceptions.len() < 64 * TURNS as usize => {
                    exceptions.push((e.vector, v.cpu.rip));
                    (self.mend)(v);
                }
                exit => break exit,
            }
            after(tier);
        };
        let c = &v.cpu;
        let outcome = Outcome { exit, exceptions, rbx: c.regs[3], rflags: c.rflags(), gs: c.seg[5], insns: c.insns };
        (outcome, events)
    }

    fn check(&self, report: &mut Report) {
        let mut guest = Guest::new(IRETQ, 1 << 20);
        let mut interpreted = long_mode(IRETQ);
        for v in [&mut guest.v, &mut interpreted] {
            user_again(v, USER);
        }
        let (want, events) = self.run(&mut interpreted, &mut NoTier, |_| {});
        let (got, more) = self.run(&mut guest.v, &mut guest.tier, Jit::slice_over);
        let name = self.name;
        let none = more == 0;
        if none && got != want {
            report.fail(format_args!("IRETQ, {name}: {got:x?}, interpreted {want:x?}"));
        }
        for (events, regs) in [(events, &interpreted.cpu.regs), (more, &guest.v.cpu.regs)] {
            let [all, exact] = [regs[14], regs[15]];
            if all != events || exact != events || (events == 0) != none {
                report.fail(format_args!("IRETQ, {name}: of {events} events {all} came, {exact} of them behind it"));
            }
        }
        let bails = guest.tier.stats.exits_interpret + guest.tier.stats.exits_side;
        let share = guest.v.translated * 100 / guest.v.cpu.insns;
        let refused = (bails + u64::from(TURNS) / 2) / u64::from(TURNS);
        if share < 10 || refused != self.refused {
            report.fail(format_args!(
                "IRETQ, {name}: {share} % translated, {bails} instructions left to the interpreter"
            ));
        }
        report.line(format_args!(
            "IRETQ, {name}: {} exceptions, {more} events, {share} % translated, {bails} left to the interpreter",
            got.exceptions.len()
        ));
    }
}

#[derive(PartialEq, Debug)]
struct Outcome {
    exit: CpuExit,
    /// Vector and RIP.
    exceptions: Vec<(u8, u64)>,
    rbx: u64,
    rflags: u64,
    gs: Segment,
    insns: u64,
}

/// IRETQ where a data breakpoint watches the descriptor that it reads: the trap comes behind each, not later.
fn watched(report: &mut Report) {
    // MOV RAX, GDT + 8; MOV DR0, RAX; MOV EAX, four bytes, read or written; MOV DR7, RAX; MOV ECX, turns
    let mut code = vec![0x48, 0xb8];
    code.extend((GDT + 8).to_le_bytes());
    code.extend([0x0f, 0x23, 0xc0, 0xb8, 0x01, 0x04, 0x0f, 0x00, 0x0f, 0x23, 0xf8, 0xb9]);
    code.extend(TURNS.to_le_bytes());
    // L: MOV RDX, RSP; PUSH 16; PUSH RDX; PUSHFQ; PUSH 8; LEA RAX, N; PUSH RAX; IRETQ; N: DEC ECX; JNZ L; HLT
    let first = code.len() as i32;
    code.extend([0x48, 0x89, 0xe2, 0x6a, 0x10, 0x52, 0x9c, 0x6a, 8, 0x48, 0x8d, 5, 3, 0, 0, 0, 0x50, 0x48, 0xcf]);
    let behind = CODE + code.len() as u64;
    code.extend([0xff, 0xc9, 0x75, (first - (code.len() as i32 + 4)) as u8, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    describe(&mut guest.v, &DESCRIPTORS[..2]);
    guest.v.cpu.regs[4] = 0x30_1000;
    guest.v.catch_exceptions = true;
    let (mut traps, mut late) = (0, 0);
    let exit = loop {
        match guest.slice(10_000) {
            CpuExit::Budget => {}
            CpuExit::Exception(e) if e.vector == 1 => {
                traps += 1;
                late += u32::from(guest.v.cpu.rip != behind);
            }
            exit => break exit,
        }
    };
    if exit != CpuExit::Halted || traps != TURNS || late > 0 || guest.v.translated == 0 {
        let translated = guest.v.translated;
        report.fail(format_args!("{exit:?}, {traps} traps, {late} of them late; {translated} translated"));
    }
    report.line(format_args!("IRETQ with a watched descriptor: {traps} traps"));
}

pub fn run(report: &mut Report) {
    for case in &CASES {
        case.check(report);
    }
    watched(report);
}
