//! Runs a case on the host's processor. Every case ends in a signal: of the HLT behind the instruction, or of the instruction's own
//! fault.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::programs::{self, Program};
use crate::segments::LDT;
use crate::{CODE, CODE_LEN, Case, DATA, DATA_LEN, END, Event, Outcome, READ_ONLY, START, State, in_code};

/// The host's processor, behind a lock: signal handlers and fixed addresses are the process's.
pub struct Native(Mutex<()>);

struct Shared(UnsafeCell<Signal>);
// SAFETY: only touched by the thread that holds `Native`'s lock, and by the signal handler running on that thread.
unsafe impl Sync for Shared {}

struct Signal {
    state: State,
    vector: u8,
    error: u32,
    cr2: u64,
    /// Where the handler sends control back to.
    resume: u64,
    resume_rsp: u64,
    armed: bool,
    /// A program runs: faults elsewhere than at a HLT of its code are counted, and it goes on at R15.
    program: bool,
    faults: u64,
}

static SIGNAL: Shared = Shared(UnsafeCell::new(Signal {
    state: State { fx: [0; 512], regs: [0; 16], rflags: 0, rip: 0, seg: [0; 6] },
    vector: 0,
    error: 0,
    cr2: 0,
    resume: 0,
    resume_rsp: 0,
    armed: false,
    program: false,
    faults: 0,
}));

/// Where the code can be written: no case reaches it, as no special number is near it.
const CODE_ALIAS: u64 = 0x6b5a_1234_5000;

/// Order of the general registers in a signal context, by encoding.
const GREGS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

extern "C" fn handler(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let fs_base = FS_BASE.load(Ordering::Relaxed);
    let (ds, es, fs, gs): (u32, u32, u32, u32);
    // SAFETY: reads segment registers; FS is the thread pointer, which whatever runs from here on may want.
    unsafe {
        core::arch::asm!(
            "mov {0:e}, ds", "mov {1:e}, es", "mov {2:e}, fs", "mov {3:e}, gs",
            "mov fs, {4:e}", "mov gs, {4:e}", "wrfsbase {5}",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, in(reg) 0, in(reg) fs_base,
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: the kernel gives a valid ucontext to an SA_SIGINFO handler; SIGNAL is this thread's while armed.
    unsafe {
        let s = &mut *SIGNAL.0.get();
        let uc = &mut *context.cast::<libc::ucontext_t>();
        if !s.armed {
            // A fault of the test program itself: let it end as it would have.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        let g = &mut uc.uc_mcontext.gregs;
        if s.program {
            let rip = g[libc::REG_RIP as usize] as u64;
            let in_code = rip.wrapping_sub(programs::VIEWS[0]) < 0x1000 * programs::PAGES as u64;
            if !in_code || *(rip as *const u8) != END {
                s.faults = programs::fault(s.faults, g[libc::REG_TRAPNO as usize] as u8);
                g[libc::REG_RIP as usize] = g[libc::REG_R15 as usize];
                core::arch::asm!(
                    "mov ds, {0:e}", "mov es, {1:e}", "mov fs, {2:e}", "mov gs, {3:e}", "wrfsbase {4}",
                    in(reg) ds, in(reg) es, in(reg) fs, in(reg) gs, in(reg) fs_base,
                    options(nostack, preserves_flags),
                );
                return;
            }
        }
        s.armed = false;
        for (k, reg) in GREGS.iter().enumerate() {
            s.state.regs[k] = g[*reg as usize] as u64;
        }
        s.state.rip = g[libc::REG_RIP as usize] as u64;
        let [cs, _, _, ss] = [0, 16, 32, 48].map(|at| (g[libc::REG_CSGSFS as usize] >> at) as u16);
        s.state.seg = [es as u16, cs, ss, ds as u16, fs as u16, gs as u16];
        s.state.rflags = g[libc::REG_EFL as usize] as u64;
        s.vector = g[libc::REG_TRAPNO as usize] as u8;
        s.error = g[libc::REG_ERR as usize] as u32;
        s.cr2 = g[libc::REG_CR2 as usize] as u64;
        core::ptr::copy_nonoverlapping(uc.uc_mcontext.fpregs.cast::<u8>(), s.state.fx.as_mut_ptr(), 512);
        g[libc::REG_RIP as usize] = s.resume as i64;
        g[libc::REG_RSP as usize] = s.resume_rsp as i64;
        // CS and SS: 64 bits again.
        g[libc::REG_CSGSFS as usize] = 0x2b << 48 | 0x33;
        // The host's own code wants the direction, trap and nested-task flags clear, and a clean floating-point state.
        g[libc::REG_EFL as usize] &= !0x4500;
        let fp = uc.uc_mcontext.fpregs.cast::<u8>();
        fp.cast::<u16>().write_unaligned(0x37f);
        fp.add(2).cast::<u16>().write_unaligned(0);
        *fp.add(4) = 0;
        fp.add(24).cast::<u32>().write_unaligned(0x1f80);
    }
}

impl Native {
    /// The one native runner of the process.
    pub fn get() -> &'static Native {
        static ONE: OnceLock<Native> = OnceLock::new();
        ONE.get_or_init(|| {
            // SAFETY: maps fresh fixed ranges (NOREPLACE: nothing of the process is there) and installs handlers.
            unsafe {
                let file = libc::memfd_create(c"code".as_ptr(), 0);
                assert!(file >= 0 && libc::ftruncate(file, CODE_LEN as i64) == 0);
                let share = |at: u64, prot: i32| {
                    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
                    let p = libc::mmap(at as *mut libc::c_void, CODE_LEN, prot, flags, file, 0);
                    assert_eq!(p as u64, at, "cannot map the code at {at:#x}");
                };
                share(CODE_ALIAS, libc::PROT_READ | libc::PROT_WRITE);
                core::ptr::write_bytes(CODE_ALIAS as *mut u8, END, CODE_LEN);
                share(CODE, libc::PROT_READ | libc::PROT_EXEC);
                map(DATA, DATA_LEN, libc::PROT_READ | libc::PROT_WRITE);
                map(READ_ONLY, 0x1000, libc::PROT_READ);
                let stack = libc::mmap(
                    core::ptr::null_mut(),
                    1 << 16,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                assert_ne!(stack, libc::MAP_FAILED);
                for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS, libc::SIGTRAP] {
                    let mut action: libc::sigaction = core::mem::zeroed();
                    action.sa_sigaction = handler as *const () as usize;
                    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                    assert_eq!(libc::sigaction(signal, &action, core::ptr::null_mut()), 0);
                }
                STACK.set(stack as usize).ok();
                // HWCAP2_FSGSBASE (Documentation/arch/x86/elf_auxvec.rst).
                assert_ne!(
                    libc::getauxval(libc::AT_HWCAP2) & 2,
                    0,
                    "the host's kernel must let programs write FS's base"
                );
                install_descriptors();
            }
            Native(Mutex::new(()))
        })
    }

    /// Runs `case`.
    pub fn run(&self, case: &Case) -> Outcome {
        let _lock = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // SAFETY: the ranges were mapped by `get`; the code is a single instruction that cannot name an address outside them but by
        // faulting, and HLTs; `enter` saves what the host's ABI wants saved.
        unsafe {
            prepare_thread();
            let code = (CODE_ALIAS + START) as *mut u8;
            core::ptr::write_bytes(code, END, 64);
            core::ptr::copy_nonoverlapping(case.bytes.as_ptr(), code, case.bytes.len());
            core::ptr::copy_nonoverlapping(case.memory.as_ptr(), DATA as *mut u8, DATA_LEN);
            let s = SIGNAL.0.get();
            enter(&case.state, s, case.bits != 64);
            let s = &*s;
            let mut memory = Box::new([0; DATA_LEN]);
            core::ptr::copy_nonoverlapping(DATA as *const u8, memory.as_mut_ptr(), DATA_LEN);
            let state = s.state.clone();
            let event = if s.vector == 13 && state.rip != case.state.rip && in_code(state.rip, state.seg[1]) {
                Event::Completed
            } else {
                // Linux reports P for each address above the user's half, whatever the CPU said (TASK_SIZE_MAX).
                let hidden = u32::from(s.vector == 14 && s.cr2 >= 0x7fff_ffff_f000);
                Event::Fault {
                    vector: s.vector,
                    error: if matches!(s.vector, 8 | 10..=14 | 17) { s.error & !hidden } else { 0 },
                    cr2: if s.vector == 14 { s.cr2 } else { 0 },
                }
            };
            Outcome { state, memory, event }
        }
    }
}

/// Maps the range at `at`.
///
/// # Safety
/// Whatever runs may access it from now on.
unsafe fn map(at: u64, len: usize, prot: i32) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    // SAFETY: a fresh range; NOREPLACE: nothing of the process is there.
    let p = unsafe { libc::mmap(at as *mut libc::c_void, len, prot, flags, -1, 0) };
    assert_eq!(p as u64, at, "cannot map the test range at {at:#x}");
}

/// What this thread needs to run foreign code: a stack for the signals, and its FS base kept for their handler.
///
/// # Safety
/// [`Native::get`] has mapped the stack.
unsafe fn prepare_thread() {
    let ss_sp = *STACK.get().expect("mapped") as *mut libc::c_void;
    let alt = libc::stack_t { ss_sp, ss_flags: 0, ss_size: 1 << 16 };
    // SAFETY: the stack is mapped, and RDFSBASE only reads.
    unsafe {
        libc::sigaltstack(&alt, core::ptr::null_mut());
        let base: u64;
        core::arch::asm!("rdfsbase {}", out(reg) base);
        FS_BASE.store(base, Ordering::Relaxed);
    }
}

impl Native {
    /// Runs `p`, of a kind that is defined and no system's, from `state` to its end; `data` is changed to what it leaves. The state, what
    /// the code's pages hold, and its faults as [`programs::fault`] has them.
    pub fn run_program(&self, p: &Program, state: &State, data: &mut [u8]) -> (State, Vec<u8>, u64) {
        static MAPPED: OnceLock<()> = OnceLock::new();
        let _lock = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // Not before: single instructions may come across these pages, which their guest does not have.
        // SAFETY: nothing but programs is to access them.
        MAPPED.get_or_init(|| unsafe {
            map(programs::VIEWS[0], 0x1000 * programs::PAGES, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
            map(programs::DATA, 0x1000 * programs::DATA_PAGES, libc::PROT_READ | libc::PROT_WRITE);
            map(programs::READ_ONLY, 0x1000, libc::PROT_READ);
        });
        // SAFETY: as in `run`. The program's stores go to its data and its code, which are its own; it ends, as it counts its blocks.
        unsafe {
            prepare_thread();
            core::ptr::copy_nonoverlapping(p.code.as_ptr(), programs::VIEWS[0] as *mut u8, p.code.len());
            core::ptr::copy_nonoverlapping(data.as_ptr(), programs::DATA as *mut u8, data.len());
            let s = SIGNAL.0.get();
            ((*s).program, (*s).faults) = (true, 0);
            enter(state, s, false);
            (*s).program = false;
            core::ptr::copy_nonoverlapping(programs::DATA as *const u8, data.as_mut_ptr(), data.len());
            let code = core::slice::from_raw_parts(programs::VIEWS[0] as *const u8, p.code.len()).to_vec();
            ((*s).state.clone(), code, (*s).faults)
        }
    }
}

static STACK: OnceLock<usize> = OnceLock::new();

/// The thread pointer of the thread that runs a case.
static FS_BASE: AtomicU64 = AtomicU64::new(0);

/// Makes the process's local descriptor table.
///
/// # Safety
/// The process must use no local descriptors.
unsafe fn install_descriptors() {
    for (n, d) in LDT.iter().enumerate() {
        let Some(d) = d else { continue };
        // struct user_desc of <asm/ldt.h>: entry, base, limit, and bits.
        let bits = u32::from(d.big)
            | u32::from(d.contents) << 1
            | u32::from(d.restricted) << 3
            | u32::from(d.pages) << 4
            | u32::from(!d.present) << 5;
        let description = [n as u32, d.base as u32, d.limit, bits];
        // SAFETY: modify_ldt(2), function 0x11: writes one entry.
        let r = unsafe { libc::syscall(libc::SYS_modify_ldt, 0x11, &raw const description, 16) };
        assert_eq!(r as i32, 0, "modify_ldt: {}", std::io::Error::last_os_error());
    }
}

/// Loads `state` and jumps to the code; comes back by the signal handler. Outside 64-bit code `legacy`, which loads FS and GS too.
#[inline(never)]
unsafe fn enter(state: &State, signal: *mut Signal, legacy: bool) {
    /// A far pointer to the code, where only RIP is needed to find it.
    static TARGET: AtomicU64 = AtomicU64::new(0);
    TARGET.store(state.rip | u64::from(state.seg[1]) << 32, Ordering::Relaxed);
    // SAFETY: all registers that the ABI wants preserved are pushed or declared clobbered; the handler restores RSP and FS.
    unsafe {
        core::arch::asm!(
            "push rbp",
            "push rbx",
            "lea rcx, [rip + 2f]",
            "mov [rax + {resume}], rcx",
            "mov [rax + {rsp}], rsp",
            "mov byte ptr [rax + {armed}], 1",
            "fxrstor64 [r15]",
            "test r14d, r14d",
            "jz 3f",
            "mov fs, [r15 + 664]",
            "mov gs, [r15 + 666]",
            "3:",
            "push qword ptr [r15 + 640]",
            "popfq",
            "mov es, [r15 + 656]",
            "mov ds, [r15 + 662]",
            "mov ss, [r15 + 660]",
            "mov rax, [r15 + 512]",
            "mov rcx, [r15 + 520]",
            "mov rdx, [r15 + 528]",
            "mov rbx, [r15 + 536]",
            "mov rsp, [r15 + 544]",
            "mov rbp, [r15 + 552]",
            "mov rsi, [r15 + 560]",
            "mov rdi, [r15 + 568]",
            "mov r8, [r15 + 576]",
            "mov r9, [r15 + 584]",
            "mov r10, [r15 + 592]",
            "mov r11, [r15 + 600]",
            "mov r12, [r15 + 608]",
            "mov r13, [r15 + 616]",
            "mov r14, [r15 + 624]",
            "mov r15, [r15 + 632]",
            "jmp fword ptr [rip + {target}]",
            "2:",
            "pop rbx",
            "pop rbp",
            resume = const core::mem::offset_of!(Signal, resume),
            rsp = const core::mem::offset_of!(Signal, resume_rsp),
            armed = const core::mem::offset_of!(Signal, armed),
            target = sym TARGET,
            inout("r15") state => _,
            inout("r14") u64::from(legacy) => _,
            inout("rax") signal => _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _, out("st(4)") _, out("st(5)") _,
            out("st(6)") _, out("st(7)") _,
        );
    }
}
