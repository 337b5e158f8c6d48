//! Runs a case on the host's processor. Every case ends in a signal: INT3 behind the instruction, or the instruction's own fault.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::{CODE, Case, DATA, DATA_LEN, Event, Outcome, READ_ONLY, State};

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
}

static SIGNAL: Shared = Shared(UnsafeCell::new(Signal {
    state: State { fx: [0; 512], regs: [0; 16], rflags: 0, rip: 0 },
    vector: 0,
    error: 0,
    cr2: 0,
    resume: 0,
    resume_rsp: 0,
    armed: false,
}));

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
    // SAFETY: the kernel gives a valid ucontext to an SA_SIGINFO handler; SIGNAL is this thread's while armed.
    unsafe {
        let s = &mut *SIGNAL.0.get();
        let uc = &mut *context.cast::<libc::ucontext_t>();
        if !s.armed {
            // A fault of the test program itself: let it end as it would have.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        s.armed = false;
        let g = &mut uc.uc_mcontext.gregs;
        for (k, reg) in GREGS.iter().enumerate() {
            s.state.regs[k] = g[*reg as usize] as u64;
        }
        s.state.rip = g[libc::REG_RIP as usize] as u64;
        s.state.rflags = g[libc::REG_EFL as usize] as u64;
        s.vector = g[libc::REG_TRAPNO as usize] as u8;
        s.error = g[libc::REG_ERR as usize] as u32;
        s.cr2 = g[libc::REG_CR2 as usize] as u64;
        core::ptr::copy_nonoverlapping(uc.uc_mcontext.fpregs.cast::<u8>(), s.state.fx.as_mut_ptr(), 512);
        g[libc::REG_RIP as usize] = s.resume as i64;
        g[libc::REG_RSP as usize] = s.resume_rsp as i64;
        // CS: 64 bits again.
        g[libc::REG_CSGSFS as usize] = g[libc::REG_CSGSFS as usize] & !0xffff | 0x33;
        // The host's own code wants the direction and trap flags clear, and a clean floating-point state.
        g[libc::REG_EFL as usize] &= !0x500;
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
                let map = |at: u64, len: usize, prot: i32| {
                    let flags =
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
                    let p = libc::mmap(at as *mut libc::c_void, len, prot, flags, -1, 0);
                    assert_eq!(p as u64, at, "cannot map the test range at {at:#x}");
                };
                map(CODE, 0x2000, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
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
            }
            Native(Mutex::new(()))
        })
    }

    /// Runs `case`.
    pub fn run(&self, case: &Case) -> Outcome {
        let _lock = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // SAFETY: the ranges were mapped by `get`; the code is a single instruction that cannot name an address outside them but by
        // faulting, and INT3s; `enter` saves what the host's ABI wants saved.
        unsafe {
            let alt = libc::stack_t {
                ss_sp: *STACK.get().expect("mapped") as *mut libc::c_void,
                ss_flags: 0,
                ss_size: 1 << 16,
            };
            libc::sigaltstack(&alt, core::ptr::null_mut());
            let code = CODE as *mut u8;
            core::ptr::write_bytes(code, 0xcc, 64);
            core::ptr::copy_nonoverlapping(case.bytes.as_ptr(), code, case.bytes.len());
            core::ptr::copy_nonoverlapping(case.memory.as_ptr(), DATA as *mut u8, DATA_LEN);
            let s = SIGNAL.0.get();
            enter(&case.state, s, if case.bits == 32 { 0x23 } else { 0x33 });
            let s = &*s;
            let mut memory = Box::new([0; DATA_LEN]);
            core::ptr::copy_nonoverlapping(DATA as *const u8, memory.as_mut_ptr(), DATA_LEN);
            let mut state = s.state.clone();
            let event = if s.vector == 3 {
                state.rip -= 1;
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

static STACK: OnceLock<usize> = OnceLock::new();

/// Loads `state` and jumps to the code in the code segment `cs`; comes back by the signal handler.
#[inline(never)]
unsafe fn enter(state: &State, signal: *mut Signal, cs: u16) {
    /// A far pointer to the code, where only RIP is needed to find it.
    static TARGET: AtomicU64 = AtomicU64::new(0);
    TARGET.store(CODE | u64::from(cs) << 32, Ordering::Relaxed);
    // SAFETY: all registers that the ABI wants preserved are pushed or declared clobbered; the handler restores RSP.
    unsafe {
        core::arch::asm!(
            "push rbp",
            "push rbx",
            // Data segments, which only code of 32 bits asks about.
            "mov ecx, 0x2b",
            "mov ds, ecx",
            "mov es, ecx",
            "lea rcx, [rip + 2f]",
            "mov [rax + {resume}], rcx",
            "mov [rax + {rsp}], rsp",
            "mov byte ptr [rax + {armed}], 1",
            "fxrstor64 [r15]",
            "push qword ptr [r15 + 640]",
            "popfq",
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
            inout("rax") signal => _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _, out("r14") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _, out("st(4)") _, out("st(5)") _,
            out("st(6)") _, out("st(7)") _,
        );
    }
}
