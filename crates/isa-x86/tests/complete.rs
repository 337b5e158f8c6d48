//! The instruction set as a whole: what CPUID announces decodes to an operation, everything else is an invalid opcode. All prefixes that
//! select an instruction, opcodes and ModRM bytes are tried in all three modes.

use std::collections::{BTreeMap, BTreeSet};

use bare::{long_mode, run};
use guest_api::Width;
use iced_x86::{Code, CpuidFeature, Decoder, DecoderOptions, EncodingKind, Instruction, Mnemonic, OpKind};
use isa_x86::cpu::CodeSize;
use isa_x86::{CpuExit, DecodeError, decode};

/// What CPUID says: features are asked for by leaf, register (EAX to EDX) and bit.
struct Announced(BTreeMap<u32, [u32; 4]>);

impl Announced {
    fn ask() -> Announced {
        let leaf = |n: u32| {
            // cpuid; jmp $
            let mut v = long_mode(&[0x0f, 0xa2, 0xeb, 0xfe]);
            v.cpu.regs[0] = n.into();
            v.cpu.regs[1] = u64::from(n == 0xd);
            assert_eq!(run(&mut v, 1), CpuExit::Budget);
            [0, 3, 1, 2].map(|r| v.cpu.regs[r] as u32)
        };
        Announced([1, 7, 0xd, 0x8000_0001].map(|n| (n, leaf(n))).into())
    }

    fn has(&self, f: CpuidFeature) -> bool {
        use CpuidFeature::*;
        const EAX: usize = 0;
        const EBX: usize = 1;
        const ECX: usize = 2;
        const EDX: usize = 3;
        let (leaf, register, bit) = match f {
            // The base, with each part's successors.
            INTEL8086 | INTEL186 | INTEL286 | INTEL386 | INTEL486 | X64 | CPUID | MULTIBYTENOP | PAUSE | RDPMC => {
                return true;
            }
            FPU | FPU287 | FPU387 => (1, EDX, 0),
            TSC => (1, EDX, 4),
            MSR => (1, EDX, 5),
            CX8 => (1, EDX, 8),
            SEP => (1, EDX, 11),
            CMOV => (1, EDX, 15),
            CLFSH => (1, EDX, 19),
            MMX => (1, EDX, 23),
            FXSR => (1, EDX, 24),
            SSE => (1, EDX, 25),
            SSE2 => (1, EDX, 26),
            SSE3 => (1, ECX, 0),
            PCLMULQDQ => (1, ECX, 1),
            MONITOR => (1, ECX, 3),
            VMX => (1, ECX, 5),
            SMX => (1, ECX, 6),
            SSSE3 => (1, ECX, 9),
            FMA => (1, ECX, 12),
            CMPXCHG16B => (1, ECX, 13),
            SSE4_1 => (1, ECX, 19),
            SSE4_2 => (1, ECX, 20),
            MOVBE => (1, ECX, 22),
            POPCNT => (1, ECX, 23),
            AES => (1, ECX, 25),
            XSAVE => (1, ECX, 26),
            AVX => (1, ECX, 28),
            F16C => (1, ECX, 29),
            RDRAND => (1, ECX, 30),
            FSGSBASE => (7, EBX, 0),
            BMI1 => (7, EBX, 3),
            AVX2 => (7, EBX, 5),
            BMI2 => (7, EBX, 8),
            INVPCID => (7, EBX, 10),
            RTM => (7, EBX, 11),
            RDSEED => (7, EBX, 18),
            ADX => (7, EBX, 19),
            SMAP => (7, EBX, 20),
            CLFLUSHOPT => (7, EBX, 23),
            CLWB => (7, EBX, 24),
            SHA => (7, EBX, 29),
            PKU => (7, ECX, 3),
            RDPID => (7, ECX, 22),
            SERIALIZE => (7, EDX, 14),
            XSAVEOPT => (0xd, EAX, 0),
            XSAVEC => (0xd, EAX, 1),
            XSAVES => (0xd, EAX, 3),
            LZCNT => (0x8000_0001, ECX, 5),
            SSE4A => (0x8000_0001, ECX, 6),
            PREFETCHW => (0x8000_0001, ECX, 8),
            SYSCALL => (0x8000_0001, EDX, 11),
            RDTSCP => (0x8000_0001, EDX, 27),
            // Other makers' and system features that no x86-64 guest of ours is told of.
            _ => return false,
        };
        self.0[&leaf][register] >> bit & 1 != 0
    }
}

/// Whether an instruction that exists must work.
fn expected(announced: &Announced, i: &Instruction) -> bool {
    use Code::{Reservednop_rm16_r16_0F0D, Reservednop_rm32_r32_0F0D, Reservednop_rm64_r64_0F0D};
    let code = i.code();
    // RSM outside system management mode is an invalid opcode (SDM 2 RSM), and so is PREFETCHW of a register (AMD APM 3).
    let invalid = code.mnemonic() == Mnemonic::Rsm
        || matches!(code, Reservednop_rm16_r16_0F0D | Reservednop_rm32_r32_0F0D | Reservednop_rm64_r64_0F0D)
            && i.op0_kind() == OpKind::Register;
    !i.is_invalid()
        && !invalid
        && code.encoding() == EncodingKind::Legacy
        && code.cpuid_features().iter().all(|&f| announced.has(f))
}

#[test]
fn what_is_announced_has_a_row_and_nothing_else_has() {
    const MODES: [(u32, CodeSize, Width); 3] =
        [(16, CodeSize::Bits16, Width::W16), (32, CodeSize::Bits32, Width::W32), (64, CodeSize::Bits64, Width::W64)];
    const PREFIXES: [&[u8]; 8] = [&[], &[0x66], &[0xf2], &[0xf3], &[0x48], &[0x66, 0x48], &[0xf2, 0x48], &[0xf3, 0x48]];
    // The last two are VEX: with W, and of two bytes.
    const MAPS: [&[u8]; 6] = [&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a], &[0xc4, 0xe2, 0xf9], &[0xc5, 0xf8]];
    let options = DecoderOptions::NO_MPFX_0FBC
        | DecoderOptions::NO_MPFX_0FBD
        | DecoderOptions::NO_WBNOINVD
        | DecoderOptions::FORCE_RESERVED_NOP;
    let announced = Announced::ask();
    let (mut seen, mut lacking, mut excess) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (bits, size, stack) in MODES {
        for (prefix, map) in PREFIXES.into_iter().flat_map(|p| MAPS.map(|m| (p, m))) {
            for opcode in 0..=0xffff_u16 {
                let mut bytes = [0; 15];
                let n = prefix.len() + map.len();
                bytes[..prefix.len()].copy_from_slice(prefix);
                bytes[prefix.len()..n].copy_from_slice(map);
                bytes[n..n + 2].copy_from_slice(&opcode.to_be_bytes());
                let i = Decoder::with_ip(bits, &bytes, 0, options).decode();
                let code = i.code();
                let is = expected(&announced, &i);
                let name = || format!("{:?} ({i})", code.mnemonic());
                match decode(&bytes, size, stack, 0) {
                    Ok(_) if !is => drop(excess.insert(name())),
                    Ok(_) => drop(seen.insert(code.mnemonic() as u32)),
                    Err(DecodeError::Invalid) if !is => {}
                    Err(_) if is => drop(lacking.insert(format!("{code:?}"))),
                    Err(e) => drop(excess.insert(format!("{e:?} {}", name()))),
                }
            }
        }
    }
    assert!(lacking.is_empty(), "announced and lacking: {lacking:?}");
    assert!(excess.is_empty(), "not announced but there: {excess:#?}");
    use Mnemonic::{
        Db, Dd, Dq, Dw, Fclex, Fdisi, Feni, Finit, Fsave, Fsetpm, Fstcw, Fstenv, Fstsw, INVALID, Prefetchnta,
        Prefetcht0, Prefetcht1, Prefetcht2, Rsm, Zero_bytes,
    };
    // An assembler's: data, and WAIT with the instruction behind it. Prefetches are decoded as the reserved NOPs they are.
    let names_only = |m| {
        matches!(m, INVALID | Db | Dw | Dd | Dq | Zero_bytes | Rsm)
            || matches!(m, Fclex | Fdisi | Feni | Finit | Fsave | Fsetpm | Fstcw | Fstenv | Fstsw)
            || matches!(m, Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2)
    };
    let missed: BTreeSet<_> = Code::values()
        .filter(|c| {
            c.encoding() == EncodingKind::Legacy
                && c.cpuid_features().iter().all(|&f| announced.has(f))
                && !seen.contains(&(c.mnemonic() as u32))
                && !names_only(c.mnemonic())
        })
        .map(|c| format!("{:?}", c.mnemonic()))
        .collect();
    assert!(missed.is_empty(), "announced but not tried: {missed:?}");
}
