//! Faults of a task that was switched to (SDM 3 8.3, 7.3): they are delivered in it, each once, and add up to double faults (SDM 3 6.15).

use bare::{Bare, CODE, begin_insn, memory, vcpu};
use isa_x86::cpu::{Cpu, SegReg, Segment, SystemSegment, TableRegister, cr0};
use isa_x86::fault::{DF, Exception, GP, NP, TS, UD};
use isa_x86::{CpuExit, Vcpu};

const CODE32: u16 = 0x08;
const DATA32: u16 = 0x10;
/// TSSs: that of the running task, and two to switch to.
const TSS: [u16; 3] = [0x18, 0x20, 0x28];
/// Beyond the GDT.
const BAD: u16 = 0x100;
/// A data segment that is not present.
const ABSENT: u16 = 0x30;

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS_BASE: u64 = 0x3000;
const TASK_STACK: u32 = 0x8000;

fn tss(n: usize) -> u64 {
    TSS_BASE + 0x100 * n as u64
}
/// Where the handler of `vector` is.
fn handler(vector: u8) -> u64 {
    CODE + 0x1000 + 16 * u64::from(vector)
}
/// Where task `n` begins.
fn entry(n: usize) -> u32 {
    CODE as u32 + 0x800 + 16 * n as u32
}

/// 32-bit protected mode, `code`, a task, the others ready to run; handlers are `jmp $`.
fn machine(code: &[u8]) -> Vcpu {
    let mut v = vcpu(Cpu::new(memory(bare::RAM)));
    begin_insn(&mut v.cpu, 32);
    let ram = &mut v.cpu.mem.ram;
    for (selector, descriptor) in [
        (CODE32, 0x00cf_9b00_0000_ffff_u64),
        (DATA32, 0x00cf_9300_0000_ffff),
        (ABSENT, 0x00cf_1300_0000_ffff),
        (TSS[0], 0x0000_8b00_0000_0067 | tss(0) << 16),
        (TSS[1], 0x0000_8900_0000_0067 | tss(1) << 16),
        (TSS[2], 0x0000_8900_0000_0067 | tss(2) << 16),
    ] {
        assert!(ram.write(GDT + u64::from(selector), descriptor));
    }
    for vector in [UD, DF, TS, NP, GP] {
        let offset = handler(vector);
        assert!(ram.write(IDT + 8 * u64::from(vector), offset & 0xffff | 0x8e00_0008_0000 | offset >> 16 << 48));
        assert!(ram.write(offset, 0xfeeb_u16));
    }
    for n in 1..3 {
        assert!(ram.write(tss(n) + 0x20, entry(n)));
        assert!(ram.write(tss(n) + 0x24, 2_u32));
        assert!(ram.write(tss(n) + 0x38, TASK_STACK));
        assert!(ram.write(tss(n) + 0x4c, u32::from(CODE32)));
        assert!(ram.write(tss(n) + 0x50, u32::from(DATA32)));
    }
    assert!(ram.write_bytes(CODE, code));
    v.cpu.gdtr = TableRegister { base: GDT, limit: 0x37 };
    v.cpu.idtr = TableRegister { base: IDT, limit: 0xff };
    v.cpu.tr = SystemSegment { base: tss(0), segment: Segment { selector: TSS[0], attr: 0x8b, limit: 0x67 } };
    v.cpu.seg[SegReg::Cs as usize].selector = CODE32;
    v.cpu.seg[SegReg::Ss as usize].selector = DATA32;
    v
}

/// A task gate for `vector` to task `n`.
fn task_gate(v: &mut Vcpu, vector: u8, n: usize) {
    assert!(v.cpu.mem.ram.write(IDT + 8 * u64::from(vector), 0x8500_0000_0000 | u64::from(TSS[n]) << 16));
}

/// The code, RIP and CS that an exception with an error code has pushed in a new task.
fn frame(v: &Vcpu) -> [u32; 3] {
    let sp = u64::from(TASK_STACK) - 16;
    assert_eq!(v.cpu.regs[4], sp);
    [0, 4, 8].map(|k| v.cpu.mem.ram.read(sp + k).expect("RAM"))
}

const UD2: [u8; 2] = [0x0f, 0x0b];

/// #UD goes to a task with a bad FS, whose #TS goes to one with an absent GS: #NP while #TS is delivered. QEMU too makes it a double fault.
#[test]
fn a_contributory_fault_of_the_task_that_handles_one_is_a_double_fault() {
    let mut v = machine(&UD2);
    task_gate(&mut v, UD, 1);
    task_gate(&mut v, TS, 2);
    assert!(v.cpu.mem.ram.write(tss(1) + 0x58, BAD));
    assert!(v.cpu.mem.ram.write(tss(2) + 0x5c, ABSENT));
    bare::run(&mut v, 10);
    assert_eq!((v.cpu.rip, v.cpu.tr.segment.selector), (handler(DF), TSS[2]));
    assert_eq!(frame(&v), [0, entry(2), CODE32.into()]);
}

/// Its error code has EXT: an earlier event has led to the task (SDM 3 6.13).
#[test]
fn a_fault_of_the_task_that_handles_one_tells_that_an_event_led_to_it() {
    let mut v = machine(&UD2);
    task_gate(&mut v, UD, 1);
    assert!(v.cpu.mem.ram.write(tss(1) + 0x58, BAD));
    bare::run(&mut v, 10);
    assert_eq!((v.cpu.rip, v.cpu.tr.segment.selector), (handler(TS), TSS[1]));
    assert_eq!(frame(&v), [u32::from(BAD) | 1, entry(1), CODE32.into()]);
}

/// Each task's CR3 maps another copy of its page, which is page directory, page table, GDT, IDT and TSS, and has a bad LDT: a chain of tasks
/// of which each handles the #TS of the one before.
#[test]
fn a_chain_of_tasks_that_fault_ends_in_a_shutdown() {
    const TASKS: u64 = 20;
    let mut v = machine(&UD2);
    let page = |k: u64| 0x10_0000 + k * 0x1000;
    let ram = &mut v.cpu.mem.ram;
    for k in 0..TASKS {
        let p = page(k);
        assert!(ram.write(p, p as u32 | 0x67));
        assert!(ram.write(p + 4, 0x8063_u32));
        for (at, descriptor) in [
            (0x108, 0x00cf_9b00_0000_ffff_u64),
            (0x110, 0x00cf_9300_0000_ffff),
            (0x118, 0x0000_8900_0400_0067),
            (0x120, 0x0000_8b00_0500_0067),
            (0x230, 0x8500_0018_0000), // #UD
            (0x250, 0x8500_0018_0000), // #TS
        ] {
            assert!(ram.write(p + at, descriptor));
        }
        for (at, word) in [
            (0x41c, page((k + 1).min(TASKS - 1)) as u32),
            (0x420, 0x1000),
            (0x424, 2),
            (0x438, 0x800),
            (0x44c, 8),
            (0x450, 0x10),
            (0x460, 0x28), // the LDT
        ] {
            assert!(ram.write(p + at, word));
        }
    }
    assert!(ram.write_bytes(0x8000, &UD2));
    v.cpu.gdtr = TableRegister { base: 0x100, limit: 0x27 };
    v.cpu.idtr = TableRegister { base: 0x200, limit: 0xff };
    v.cpu.tr = SystemSegment { base: 0x500, segment: Segment { selector: 0x20, attr: 0x8b, limit: 0x67 } };
    v.cpu.cr4 = 0;
    v.cpu.cr3 = page(0);
    v.cpu.cr0 |= cr0::PG;
    v.cpu.rip = 0x1000;
    v.cpu.flush_tlb();
    v.cpu.update_context();
    assert_eq!(bare::run(&mut v, 1000), CpuExit::TripleFault);
    // #UD in the first task, #TS in the second; that of the third is a double fault, which there is no handler for.
    assert_eq!(v.cpu.cr3, page(2));
}

/// A jump, a call, INT n and IRET to a task whose FS is bad: its #TS is pushed in it, at its first instruction.
#[test]
fn a_fault_of_the_task_that_an_instruction_switches_to_is_its_own() {
    let far = |opcode: u8| vec![opcode, 0, 0, 0, 0, TSS[1] as u8, 0];
    for (code, len, nested) in
        [(far(0xea), 7, false), (far(0x9a), 7, true), (vec![0xcd, UD], 2, true), (vec![0xcf], 1, false)]
    {
        for catch in [false, true] {
            let mut v = machine(&code);
            task_gate(&mut v, UD, 1);
            assert!(v.cpu.mem.ram.write(tss(1) + 0x58, BAD));
            if code == [0xcf] {
                v.cpu.set_rflags(1 << 14); // NT
                assert!(v.cpu.mem.ram.write(tss(0), TSS[1]));
                assert!(v.cpu.mem.ram.write(GDT + u64::from(TSS[1]) + 5, 0x8b_u8));
            }
            v.catch_exceptions = catch;
            let exit = v.run(&mut Bare::default(), 2);
            assert_eq!(v.cpu.mem.ram.read(tss(0) + 0x20), Some(CODE as u32 + len), "{code:02x?}");
            assert_eq!((v.cpu.insns, v.cpu.tr.segment.selector), (1, TSS[1]), "{code:02x?}");
            let error = u32::from(BAD);
            if catch {
                assert_eq!(exit, CpuExit::Exception(Exception { vector: TS, error: Some(error) }), "{code:02x?}");
                assert_eq!(v.cpu.rip, u64::from(entry(1)), "{code:02x?}");
            } else {
                assert_eq!(v.cpu.rip, handler(TS), "{code:02x?}");
                assert_eq!(frame(&v), [error, entry(1), CODE32.into()], "{code:02x?}");
                let flags = v.cpu.mem.ram.read::<u32>(u64::from(TASK_STACK) - 4).expect("RAM");
                assert_eq!(flags >> 14 & 1 != 0, nested, "{code:02x?}");
            }
        }
    }
}
