//! Random programs that rewrite themselves, on this machine's CPU, in the interpreter, and recorded as `ir` and evaluated.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use bare::Bare;
use diff::guest::save_fx;
use diff::native::Native;
use diff::programs::{BASE, DATA, DATA_PAGES, Kind, PAGES, Program, READ_ONLY, TABLE, VIEWS, fault, program};
use diff::{END, State};
use evaluator::Evaluator;
use guest_api::{NoTier, Tier};
use isa_x86::cpu::Cpu;
use isa_x86::{CpuExit, Vcpu};
use random::Rng;

const CODE_PA: u64 = 0x1_0000;
const DATA_PA: u64 = 0x1_8000;
const DATA_LEN: usize = DATA_PAGES * 0x1000;
/// Of all instructions, those that must be evaluated, in percent: 93 are.
const EVALUATED: u64 = 85;
/// Carry, parity, zero, sign, direction, overflow: AF is undefined after logical operations.
const FLAGS: u64 = 0xcc5;

/// A user's program in memory laid out as the host's.
fn guest() -> Vcpu {
    let mut mem = bare::memory(0x2_0000);
    let mut put = |at: u64, v: u64| assert!(mem.ram.write(at, v));
    put(0x1000, 0x2067);
    put(0x2008, 0x3067);
    put(0x3000, 0x4067);
    put(0x3008, 0x5067);
    for k in 0..PAGES as u64 {
        put(0x4000 + 8 * k, (CODE_PA + 0x1000 * k) | 0x67);
    }
    for k in 0..DATA_PAGES as u64 {
        put(0x5000 + 8 * k, (DATA_PA + 0x1000 * k) | 0x67);
    }
    put(0x5000 + 8 * ((READ_ONLY - DATA) >> 12), 0x6065);
    let mut cpu = Cpu::new(mem);
    bare::set_long_mode(&mut cpu, 0x1000);
    bare::set_flat_segments(&mut cpu, 0x33, 0x2b, 3);
    cpu.flush_tlb();
    cpu.update_context();
    let mut v = bare::vcpu(cpu);
    v.catch_exceptions = true;
    v
}

/// The faults of `p`, as [`fault`] has them; `None` where it does not end.
fn run<T: Tier>(v: &mut Vcpu, tier: &mut T, p: &Program, state: &State, data: &[u8]) -> Option<u64> {
    assert!(v.cpu.mem.dma_write(CODE_PA, &p.code) && v.cpu.mem.ram.write_bytes(DATA_PA, data));
    v.cpu.regs[..16].copy_from_slice(&state.regs);
    v.cpu.set_rflags(state.rflags);
    v.cpu.rip = state.rip;
    v.cpu.mxcsr = 0x1f80;
    for k in 0..16 {
        v.cpu.xmm[k] = u128::from_le_bytes(state.fx[160 + 16 * k..176 + 16 * k].try_into().expect("16 bytes"));
    }
    let (mut faults, mut platform) = (0, Bare::default());
    for _ in 0..20_000 {
        match v.run_with(&mut platform, tier, 10_000) {
            CpuExit::Budget => {}
            CpuExit::Exception(e) => {
                let at = v.cpu.rip.wrapping_sub(VIEWS[0]);
                if at < 0x1000 * PAGES as u64 && v.cpu.mem.ram.read::<u8>(CODE_PA + at) == Some(END) {
                    return Some(faults);
                }
                faults = fault(faults, e.vector);
                v.cpu.rip = v.cpu.regs[15];
            }
            other => panic!("{other:?}"),
        }
    }
    None
}

#[test]
fn programs_that_rewrite_themselves_do_what_the_cpu_does() {
    let native = Native::get();
    let [mut alone, mut second] = [(); 2].map(|()| guest());
    let mut tier = Evaluator::new(isa_x86::tier::layout());
    let kind = Kind { system: false, strings: false, defined: true };
    let mut rng = Rng(1);
    let (mut insns, mut rewritten) = (0, 0);
    for n in 0..3000 {
        let seed = rng.next();
        let mut rng = Rng(seed);
        let p = program(&mut rng, kind);
        let mut data: Vec<u8> =
            (0..DATA_LEN).map(|_| rng.next() as u8 & if rng.one_in(2) { 0 } else { 0xff }).collect();
        for (k, t) in p.targets.iter().enumerate() {
            let at = (BASE - DATA) as usize - TABLE as usize + 8 * k;
            data[at..at + 8].copy_from_slice(&t.to_le_bytes());
        }
        let rip = VIEWS[0] + p.start;
        let mut state = State { fx: [0; 512], regs: [0; 16], rflags: 0x202, rip, seg: [0x2b, 0x33, 0x2b, 0x2b, 0, 0] };
        state.fx[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        state.fx[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        state.fx[160..416].fill_with(|| rng.next() as u8);
        state.regs.fill_with(|| rng.next() >> (8 * rng.below(8)));
        state.regs[4] = DATA + 0x3800;
        state.regs[5] = BASE;
        state.regs[12] = p.fuel.into();
        state.regs[13] = VIEWS[0];
        state.regs[15] = state.rip;
        let what = format!("program {n}, {seed:#x}");
        let before = alone.cpu.insns;
        let faults = run(&mut alone, &mut NoTier, &p, &state, &data);
        insns += alone.cpu.insns - before;
        let again = run(&mut second, &mut tier, &p, &state, &data);
        assert!(faults.is_some(), "{what} does not end");
        let (end, code, native_faults) = native.run_program(&p, &state, &mut data);
        for (how, v, faults) in [("interpreted", &alone, faults), ("evaluated", &second, again)] {
            let what = format!("{what}, {how}");
            let mut fx = end.fx;
            save_fx(&v.cpu, &mut fx);
            let ram = &v.cpu.mem.ram;
            assert_eq!(Some(native_faults), faults, "{what}: faults");
            assert_eq!((end.rip, end.regs), (v.cpu.rip, core::array::from_fn(|k| v.cpu.regs[k])), "{what}: registers");
            assert_eq!(end.rflags & FLAGS, v.cpu.rflags() & FLAGS, "{what}: flags");
            assert!(end.fx[160..416] == fx[160..416], "{what}: vectors");
            assert!(Some(&code[..]) == ram.slice(CODE_PA, code.len()), "{what}: code");
            assert!(Some(&data[..]) == ram.slice(DATA_PA, DATA_LEN), "{what}: data");
        }
        assert_eq!(alone.cpu.insns, second.cpu.insns, "{what}: instructions");
        rewritten += u32::from(code != p.code);
    }
    assert!(insns > 1_000_000 && rewritten > 1000, "{insns} instructions, {rewritten} programs rewritten");
    assert!(
        second.translated * 100 >= insns * EVALUATED,
        "{} of {insns} instructions were evaluated",
        second.translated
    );
}
