//! Loops of floating point, translated and as WebAssembly of its own: figures to look at, nothing is asserted.

use bare::Bare;
use diff::guest::Guest;
use diff::{DATA, END, generate};
use iced_x86::Mnemonic;
use isa_x86::CpuExit;
use jit::Jit;
use random::Rng;

use crate::Report;
use crate::host::{Runner, time};

const TURNS: u64 = 10_000_000;

struct Loop {
    name: &'static str,
    /// Its body, before `DEC RCX; JNZ`.
    body: &'static [u8],
    /// Operations in the body.
    ops: u32,
    raw: fn(u64) -> f64,
}

#[inline(never)]
fn add(n: u64) -> f64 {
    let (mut a, b) = core::hint::black_box((1.0, 1.1));
    for _ in 0..n {
        a += b;
    }
    a
}
#[inline(never)]
fn mul_add(n: u64) -> f64 {
    let (mut a, b, c) = core::hint::black_box((1.0, 0.999, 0.7));
    for _ in 0..n {
        a = a * b + c;
    }
    a
}
#[inline(never)]
fn add_memory(n: u64) -> f64 {
    let (mut a, data) = core::hint::black_box((1.0, [1.25_f64; 32]));
    for k in 0..n {
        a += data[k as usize % 32];
    }
    a
}
#[inline(never)]
fn four_chains(n: u64) -> f64 {
    let (mut a, b, c) = core::hint::black_box(([1.0, 2.0, 3.0, 4.0], 0.999, 0.7));
    for _ in 0..n {
        for v in &mut a {
            *v = core::hint::black_box(*v * b + c);
        }
    }
    a[0]
}
#[inline(never)]
fn packed(n: u64) -> f64 {
    use core::arch::wasm32::*;
    let (a, b, c) = core::hint::black_box((1.0, 0.999, 0.7));
    let (mut a, b, c) = (f64x2_splat(a), f64x2_splat(b), f64x2_splat(c));
    for _ in 0..n {
        a = f64x2_add(f64x2_mul(a, b), c);
    }
    f64x2_extract_lane::<0>(a)
}
#[inline(never)]
fn packed32(n: u64) -> f64 {
    use core::arch::wasm32::*;
    let (a, b, c) = core::hint::black_box((1.0, 0.999, 0.7));
    let (mut a, b, c) = (f32x4_splat(a), f32x4_splat(b), f32x4_splat(c));
    for _ in 0..n {
        a = f32x4_add(f32x4_mul(a, b), c);
    }
    f32x4_extract_lane::<0>(a).into()
}
#[inline(never)]
fn convert(n: u64) -> f64 {
    let mut a = core::hint::black_box(0.0);
    for k in 0..n {
        a += k as i64 as f64;
    }
    a
}
#[inline(never)]
fn branches(n: u64) -> f64 {
    let (mut a, b, limit) = core::hint::black_box((1.0, 1.1, 1e300));
    for _ in 0..n {
        a += b;
        if core::hint::black_box(a) > limit {
            a = b;
        }
    }
    a
}

const LOOPS: &[Loop] = &[
    // addsd xmm0, xmm1
    Loop { name: "addsd chain", body: &[0xf2, 0x0f, 0x58, 0xc1], ops: 1, raw: add },
    // mulsd xmm0, xmm2; addsd xmm0, xmm3
    Loop { name: "mulsd, addsd chain", body: &[0xf2, 0x0f, 0x59, 0xc2, 0xf2, 0x0f, 0x58, 0xc3], ops: 2, raw: mul_add },
    // movzx eax, cl; addsd xmm0, [rbx + rax]
    Loop {
        name: "addsd from memory",
        body: &[0x0f, 0xb6, 0xc1, 0xf2, 0x0f, 0x58, 0x04, 0xc3],
        ops: 1,
        raw: add_memory,
    },
    Loop {
        name: "four chains of mulsd, addsd",
        body: &[
            0xf2, 0x0f, 0x59, 0xc2, 0xf2, 0x0f, 0x58, 0xc3, 0xf2, 0x0f, 0x59, 0xe2, 0xf2, 0x0f, 0x58, 0xe3, 0xf2, 0x0f,
            0x59, 0xea, 0xf2, 0x0f, 0x58, 0xeb, 0xf2, 0x0f, 0x59, 0xf2, 0xf2, 0x0f, 0x58, 0xf3,
        ],
        ops: 8,
        raw: four_chains,
    },
    // mulpd xmm0, xmm2; addpd xmm0, xmm3
    Loop { name: "mulpd, addpd chain", body: &[0x66, 0x0f, 0x59, 0xc2, 0x66, 0x0f, 0x58, 0xc3], ops: 2, raw: packed },
    // mulps xmm7, xmm8; addps xmm7, xmm9
    Loop { name: "mulps, addps chain", body: &[0x41, 0x0f, 0x59, 0xf8, 0x41, 0x0f, 0x58, 0xf9], ops: 2, raw: packed32 },
    // pxor xmm10, xmm10; cvtsi2sd xmm10, rcx; addsd xmm0, xmm10
    Loop {
        name: "cvtsi2sd, addsd",
        body: &[0x66, 0x45, 0x0f, 0xef, 0xd2, 0xf2, 0x4c, 0x0f, 0x2a, 0xd1, 0xf2, 0x41, 0x0f, 0x58, 0xc2],
        ops: 2,
        raw: convert,
    },
    // addsd xmm0, xmm1; comisd xmm0, xmm11; jbe +4; movapd xmm0, xmm1
    Loop {
        name: "addsd, comisd, branch",
        body: &[0xf2, 0x0f, 0x58, 0xc1, 0x66, 0x41, 0x0f, 0x2f, 0xc3, 0x76, 0x04, 0x66, 0x0f, 0x28, 0xc1],
        ops: 2,
        raw: branches,
    },
];

pub fn run(report: &mut Report) {
    let mut guest = Guest::new();
    let layout = isa_x86::tier::layout();
    let mut rng = Rng(1);
    let case = loop {
        if let Some((case, _)) = generate::case(&mut rng, 64, &|m| m == Mnemonic::Nop) {
            break case;
        }
    };
    for l in LOOPS {
        for (what, mxcsr) in [("", 0x1fa0), (", PE clear, integral", 0x1f80)] {
            let mut code = l.body.to_vec();
            // DEC RCX; JNZ
            code.extend([0x48, 0xff, 0xc9, 0x0f, 0x85]);
            code.extend((-(code.len() as i32) - 4).to_le_bytes());
            code.extend([END; 4]);
            let mut case = case.clone();
            for c in case.memory.chunks_exact_mut(8) {
                c.copy_from_slice(&1.25_f64.to_le_bytes());
            }
            guest.load(&case, &code);
            let cpu = &mut guest.vcpu.cpu;
            cpu.mxcsr = mxcsr;
            let two = |v: f64| u128::from(v.to_bits()) << 64 | u128::from(v.to_bits());
            let four = |v: f32| u128::from(v.to_bits()) * 0x1_0000_0001_0000_0001_0000_0001;
            let exact = mxcsr == 0x1f80;
            let of = |v: f64| if exact { 1.0 } else { v };
            cpu.xmm[..7].copy_from_slice(&[1.0, of(1.1), of(0.999), of(0.7), 2.0, 3.0, 4.0].map(two));
            cpu.xmm[7..10].copy_from_slice(&[1.0, of(0.999) as f32, of(0.7) as f32].map(four));
            cpu.xmm[11] = two(1e300);
            cpu.regs[3] = DATA;
            let turns = if exact { TURNS / 4 } else { TURNS };
            cpu.regs[1] = turns;
            let mut tier = Jit::new(Runner, layout, 1 << 20);
            let mut platform = Bare::default();
            for _ in 0..8 {
                guest.vcpu.run_with(&mut platform, &mut tier, 4000);
                tier.flush();
            }
            let start = time();
            while let CpuExit::Budget = guest.vcpu.run_with(&mut platform, &mut tier, 1_000_000) {}
            let ns = (time() - start) * 1e6 / turns as f64;
            let start = time();
            let r = (l.raw)(TURNS);
            let raw = (time() - start) * 1e6 / TURNS as f64;
            report.line(format_args!(
                "{:28} {ns:7.2} ns a turn of {}, raw {raw:5.2} ns: {:4.2}{what} ({} side exits, {} bytes){}",
                l.name,
                l.ops,
                ns / raw,
                tier.stats.exits_side,
                tier.stats.wasm_bytes,
                if r == 0.5 { "." } else { "" }
            ));
        }
    }
}
