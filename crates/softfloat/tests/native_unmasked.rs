//! Which flags an SSE instruction sets when exceptions are unmasked, against the machine's own: its #XM arrives as SIGFPE.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(unsafe_code)]

mod common;

use common::{Operands, hard, rng};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use softfloat::{Env, sse};

/// MXCSR as the last SIGFPE found it; `NONE` if none came.
static FAULT: AtomicU32 = AtomicU32::new(NONE);
const NONE: u32 = !0;
const FLAGS: u32 = 0x3f;

/// Notes MXCSR, masks everything and steps over the instruction, which is four bytes long as all those below are.
extern "C" fn on_fpe(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext whose FP state is present.
    unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let fp = &mut *context.uc_mcontext.fpregs;
        FAULT.store(fp.mxcsr, Ordering::SeqCst);
        fp.mxcsr = 0x1f80;
        context.uc_mcontext.gregs[libc::REG_RIP as usize] += 4;
    }
}

/// The instruction's destination, MXCSR after it, and whether it faulted.
macro_rules! native {
    ($ins:literal, $a:expr, $b:expr, $csr:expr) => {{
        let (mut csr, mut host, mut dst): (u32, u32, u64) = ($csr, 0, $a);
        FAULT.store(NONE, Ordering::SeqCst);
        // SAFETY: the handler above steps over a fault; MXCSR is restored before the block ends.
        unsafe {
            asm!("stmxcsr [{host}]", "movq xmm0, {d}", "movq xmm1, {b}", "ldmxcsr [{csr}]", concat!($ins, " xmm0, xmm1"),
                 "stmxcsr [{csr}]", "ldmxcsr [{host}]", "movq {d}, xmm0",
                 host = in(reg) &mut host, csr = in(reg) &mut csr, d = inout(reg) dst, b = in(reg) $b,
                 out("xmm0") _, out("xmm1") _);
        }
        match FAULT.load(Ordering::SeqCst) {
            NONE => (dst, csr & FLAGS, false),
            fault => (dst, fault & FLAGS, true),
        }
    }};
}

fn packed(a: u64, b: u64, env: &mut Env, f: fn(u32, u32, &mut Env) -> u32) -> u64 {
    let low = f(a as u32, b as u32, env);
    let high = f((a >> 32) as u32, (b >> 32) as u32, env);
    u64::from(high) << 32 | u64::from(low)
}

fn check(a: u64, b: u64, csr: u32) {
    macro_rules! ops {
        ($($ins:literal $e:expr;)*) => {$({
            let mut env = Env::new(csr);
            #[allow(clippy::redundant_closure_call)]
            let r = $e(&mut env);
            let faults = env.finish();
            let ours = (if faults { a } else { r }, env.mxcsr & FLAGS, faults);
            let native = native!($ins, a, b, csr);
            assert!(ours == native, "{} {a:x} {b:x} mxcsr {csr:04x}: ours {ours:x?}, native {native:x?}", $ins);
        })*};
    }
    let keep_high = |r: u32| a >> 32 << 32 | u64::from(r);
    ops! {
        "addsd" |e: &mut _| sse::add64(a, b, e);
        "subsd" |e: &mut _| sse::sub64(a, b, e);
        "mulsd" |e: &mut _| sse::mul64(a, b, e);
        "divsd" |e: &mut _| sse::div64(a, b, e);
        "sqrtsd" |e: &mut _| sse::sqrt64(b, e);
        "maxsd" |e: &mut _| sse::max64(a, b, e);
        "cvtsd2ss" |e: &mut _| keep_high(sse::f64_to_f32(b, e));
        "cvtss2sd" |e: &mut _| sse::f32_to_f64(b as u32, e);
        "mulss" |e: &mut _| keep_high(sse::mul32(a as u32, b as u32, e));
        "divss" |e: &mut _| keep_high(sse::div32(a as u32, b as u32, e));
    }
    if !std::is_x86_feature_detected!("avx") {
        return;
    }
    // the upper halves of the registers are zero and raise nothing; the VEX forms are four bytes long
    ops! {
        "vaddps xmm0," |e: &mut _| packed(a, b, e, sse::add32);
        "vmulps xmm0," |e: &mut _| packed(a, b, e, sse::mul32);
    }
}

#[test]
fn unmasked_exceptions_set_the_flags_the_machine_sets() {
    // SAFETY: the handler touches only the saved context and an atomic.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = on_fpe as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGFPE, &action, core::ptr::null_mut());
    }
    let mut rng = rng();
    let (hard64, hard32) = (hard(52, 11), hard(23, 8));
    for i in 0..100_000 {
        let csr = (rng.next() as u32 & 0xffff) & !0x3f | if i % 4 == 0 { 0x20 } else { 0 };
        let (a, b) = match i % 3 {
            0 => (rng.pick(&hard64), rng.pick(&hard64)),
            1 => (rng.pick(&hard32) << 32 | rng.pick(&hard32), rng.pick(&hard32) << 32 | rng.pick(&hard32)),
            _ => (rng.f64(), rng.f64()),
        };
        check(a, b, csr);
    }
}
