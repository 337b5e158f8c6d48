//! CPUID (SDM 2 CPUID): exactly what is implemented.

use super::msr::{APIC_BASE, read_msr};
use super::paging::{LINEAR_BITS, PHYSICAL_BITS};
use super::xsave;
use crate::cpu::{RAX, RBX, RCX, RDX, cr4};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::Insn;

/// Family, model and stepping as EAX of leaf 1 holds them, and EDX after RESET: family 6, model 44 (Westmere), stepping 1.
pub const SIGNATURE: u32 = 0x0002_06c1;
/// The time-stamp counter's frequency, and that of the crystal which it and the local APIC timer count.
pub const TSC_HZ: u32 = 1_000_000_000;

const MAX_BASIC: u32 = 0x16;
const MAX_EXTENDED: u32 = 0x8000_0008;
const MAX_HYPERVISOR: u32 = 0x4000_0000;
const APIC_ENABLED: u64 = 1 << 11;

const VENDOR: &[u8; 12] = b"GenuineIntel";
const HYPERVISOR: &[u8; 12] = b"pagevmpagevm";
const BRAND: &[u8; 48] = b"pagevm virtual CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The bits `list` set.
pub(super) const fn bits64(list: &[u32]) -> u64 {
    let mut v = 0;
    let mut k = 0;
    while k < list.len() {
        v |= 1 << list[k];
        k += 1;
    }
    v
}
const fn bits(list: &[u32]) -> u32 {
    bits64(list) as u32
}

/// Leaf 1 ECX: SSE3, SSSE3, CMPXCHG16B, PCID, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, TSC-deadline, XSAVE, RDRAND, hypervisor.
const FEATURES_1_ECX: u32 = bits(&[0, 9, 13, 17, 19, 20, 21, 22, 23, 24, 26, 30, 31]);
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1 EDX: FPU, DE, PSE, TSC, MSR, PAE, MCE, CMPXCHG8B, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFLUSH, MMX, FXSR, SSE,
/// SSE2.
const FEATURES_1_EDX: u32 = bits(&[0, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26]);
const APIC: u32 = 1 << 9;
/// Leaf 7 EBX: FSGSBASE, TSC_ADJUST, SMEP, ERMS, INVPCID, RDSEED, SMAP.
const FEATURES_7_EBX: u32 = bits(&[0, 1, 7, 9, 10, 18, 20]);
/// Leaf 7 ECX: UMIP, RDPID.
const FEATURES_7_ECX: u32 = bits(&[2, 22]);
/// Leaf 7 EDX: fast short REP MOV, SERIALIZE, SPEC_CTRL and PRED_CMD, STIBP, ARCH_CAPABILITIES, SSBD.
const FEATURES_7_EDX: u32 = bits(&[4, 14, 26, 27, 29, 31]);
/// Leaf 7, subleaf 2, EDX: BHI_CTRL: the kernel then sets a bit instead of clearing the branch history in each system call.
const FEATURES_7_2_EDX: u32 = bits(&[4]);
/// Leaf 80000001H ECX: LAHF in 64-bit mode. EDX: SYSCALL, NX, 1 GiB pages, RDTSCP, 64-bit mode.
const FEATURES_EXT_ECX: u32 = bits(&[0]);
const FEATURES_EXT_EDX: u32 = bits(&[11, 20, 26, 27, 29]);

fn word(text: &[u8], n: usize) -> u32 {
    text.chunks_exact(4).nth(n).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// A cache of leaf 4: level and type, sets, ways, 64-byte lines.
fn cache(level: u32, kind: u32, sets: u32, ways: u32) -> [u32; 4] {
    [kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0]
}

/// EAX, EBX, ECX, EDX of `leaf` and `subleaf`.
fn leaf(cx: &mut Exec<'_>, leaf: u32, subleaf: u32) -> [u32; 4] {
    match leaf {
        // The limit that IA32_MISC_ENABLE can set is for systems that predate leaf 4.
        0 => {
            let max = if cx.cpu.msr.misc_enable & 1 << 22 != 0 { 3 } else { MAX_BASIC };
            [max, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)]
        }
        1 => {
            let apic = read_msr(cx, APIC_BASE).unwrap_or(0) & APIC_ENABLED != 0;
            let osxsave = cx.cpu.cr4 & cr4::OSXSAVE != 0;
            // One logical processor, APIC ID 0, CLFLUSH of 64 bytes.
            [
                SIGNATURE,
                1 << 16 | 8 << 8,
                FEATURES_1_ECX | if osxsave { OSXSAVE } else { 0 },
                FEATURES_1_EDX | if apic { APIC } else { 0 },
            ]
        }
        // "See leaf 4", and no TLB to speak of.
        2 => [0x00fe_ff01, 0, 0, 0],
        4 => match subleaf {
            0 => cache(1, 1, 64, 8),
            1 => cache(1, 2, 128, 4),
            2 => cache(2, 3, 512, 8),
            3 => cache(3, 3, 8192, 16),
            _ => [0; 4],
        },
        // The local APIC timer runs in every power state.
        6 => [1 << 2, 0, 0, 0],
        7 => match subleaf {
            0 => [2, FEATURES_7_EBX, FEATURES_7_ECX, FEATURES_7_EDX],
            2 => [0, 0, 0, FEATURES_7_2_EDX],
            _ => [0; 4],
        },
        // One thread of one core: level type in ECX[15:8].
        0xb => match subleaf {
            0 => [0, 1, 1 << 8, 0],
            1 => [0, 1, 2 << 8 | 1, 0],
            n => [0, 0, n & 0xff, 0],
        },
        0xd => match subleaf {
            0 => [super::registers::XCR0_SUPPORTED as u32, xsave::AREA, xsave::AREA, 0],
            // XSAVEOPT.
            1 => [1, 0, 0, 0],
            _ => [0; 4],
        },
        0x15 => [1, 1, TSC_HZ, 0],
        0x16 => [TSC_HZ / 1_000_000, TSC_HZ / 1_000_000, 100, 0],
        0x4000_0000 => [MAX_HYPERVISOR, word(HYPERVISOR, 0), word(HYPERVISOR, 1), word(HYPERVISOR, 2)],
        0x8000_0000 => [MAX_EXTENDED, 0, 0, 0],
        0x8000_0001 => [0, 0, FEATURES_EXT_ECX, FEATURES_EXT_EDX],
        0x8000_0002..=0x8000_0004 => {
            let n = (leaf - 0x8000_0002) as usize * 4;
            [word(BRAND, n), word(BRAND, n + 1), word(BRAND, n + 2), word(BRAND, n + 3)]
        }
        // L2: 256 KiB, 8 ways, 64-byte lines.
        0x8000_0006 => [0, 0, 256 << 16 | 6 << 12 | 64, 0],
        // Invariant TSC.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [LINEAR_BITS << 8 | PHYSICAL_BITS, 0, 0, 0],
        _ => [0; 4],
    }
}

pub fn cpuid(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    let [a, b, c, d] = leaf(cx, cx.cpu.regs[RAX as usize] as u32, cx.cpu.regs[RCX as usize] as u32);
    for (r, v) in [(RAX, a), (RBX, b), (RCX, c), (RDX, d)] {
        cx.cpu.regs[r as usize] = u64::from(v);
    }
    Ok(())
}
