//! The decoder against yaxpeax-x86, another author's: random instructions in the three modes must be valid in both or in neither,
//! of one length, and with the same memory operand. What may differ is listed with its reason: [`not_announced`], [`yaxpeax_differs`].

use std::collections::BTreeMap;

use guest_api::Width;
use isa_x86::cpu::{BLOCK, CodeSize, SEG_BASE, SegReg, ZERO};
use isa_x86::insn::{Kind, space_segment};
use isa_x86::{DecodeError, Insn, decode};
use random::Rng;
use yaxpeax_arch::{Decoder, LengthedInstruction, U8Reader};

/// Instructions a mode in the short test; `PAGEVM_DECODINGS` asks for more.
const SHORT: u64 = 150_000;

/// A memory operand as both decoders see it.
#[derive(PartialEq, Debug, Default)]
struct Address {
    /// Bits of the address.
    width: u32,
    /// Numbers of the registers; 16 is the instruction pointer.
    base: Option<u8>,
    index: Option<u8>,
    scale: u8,
    /// Masked to the address's width.
    disp: u64,
    /// FS or GS in 64-bit mode, any segment in the others.
    segment: Option<SegReg>,
}

/// What yaxpeax says of some bytes.
struct Theirs {
    name: String,
    text: String,
    len: usize,
    memory: Option<Address>,
}

/// Number and bits of a register by yaxpeax's name.
fn register(name: &str) -> (u8, u32) {
    const NAMES: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    let n = |s: &str| NAMES.iter().position(|&x| x == s).map(|k| k as u8);
    match name {
        "rip" => (16, 64),
        "eip" => (16, 32),
        _ => {
            if let Some(k) = n(name) {
                (k, 16)
            } else if let Some(k) = name.strip_prefix('e').and_then(n) {
                (k, 32)
            } else if let Some(k) = name.strip_prefix('r').and_then(n) {
                (k, 64)
            } else {
                let digits: String = name.chars().filter(char::is_ascii_digit).collect();
                let bits = if name.ends_with('d') { 32 } else { 64 };
                (digits.parse().unwrap_or_else(|_| panic!("no address register: {name}")), bits)
            }
        }
    }
}

/// One mode of yaxpeax's: its types differ by mode, their shape does not.
macro_rules! yaxpeax {
    ($name:ident, $mode:ident, $disp:ident, $($absolute:ident $signed:ty),*) => {
        fn $name(bytes: &[u8], bits: u32) -> Option<Theirs> {
            use yaxpeax_x86::$mode::{InstDecoder, Operand as O, Segment};
            let i = InstDecoder::default().decode(&mut U8Reader::new(bytes)).ok()?;
            let len = (0..16).find(|&n| i.len() == yaxpeax_arch::AddressDiff::from_const(n)).expect("a length") as usize;
            let mut memory = None;
            for n in 0..i.operand_count() {
                let (base, index, scale, disp) = match i.operand(n) {
                    $(O::$absolute { addr } => (None, None, 1, addr as $signed as u64),)*
                    O::MemDeref { base } => (Some(base), None, 1, 0),
                    O::$disp { base, disp } => (Some(base), None, 1, disp as u64),
                    O::MemIndexScale { index, scale } => (None, Some(index), scale, 0),
                    O::MemIndexScaleDisp { index, scale, disp } => (None, Some(index), scale, disp as u64),
                    O::MemBaseIndexScale { base, index, scale } => (Some(base), Some(index), scale, 0),
                    O::MemBaseIndexScaleDisp { base, index, scale, disp } => {
                        (Some(base), Some(index), scale, disp as u64)
                    }
                    _ => continue,
                };
                let base = base.map(|r| register(r.name()));
                let index = index.map(|r| register(r.name()));
                let width = base.or(index).map_or(0, |(_, w)| w);
                let segment = i.segment_override_for_op(n).and_then(|s| match s {
                    Segment::ES => Some(SegReg::Es),
                    Segment::CS => Some(SegReg::Cs),
                    Segment::SS => Some(SegReg::Ss),
                    Segment::FS => Some(SegReg::Fs),
                    Segment::GS => Some(SegReg::Gs),
                    _ => None,
                });
                let default = match base {
                    _ if bits == 64 => None,
                    Some((4 | 5, _)) => Some(SegReg::Ss),
                    _ => Some(SegReg::Ds),
                };
                memory = Some(Address {
                    width,
                    base: base.map(|r| r.0),
                    index: index.map(|r| r.0),
                    scale: if index.is_some() { scale } else { 1 },
                    disp,
                    segment: segment.filter(|&s| bits != 64 || matches!(s, SegReg::Fs | SegReg::Gs)).or(default),
                });
            }
            Some(Theirs { name: i.opcode().to_string(), text: i.to_string(), len, memory })
        }
    };
}

yaxpeax!(long, long_mode, Disp, AbsoluteU32 i32, AbsoluteU64 u64);
yaxpeax!(protected, protected_mode, Disp, AbsoluteU16 u16, AbsoluteU32 u32);
yaxpeax!(real, real_mode, MemDisp, AbsoluteU16 u16, AbsoluteU32 u32);

/// Our memory operand.
fn ours(i: &Insn) -> Option<Address> {
    i.kinds.contains(&Kind::Mem).then(|| {
        let register = |r: u8| match r {
            ZERO => None,
            BLOCK => Some(16),
            r => Some(r),
        };
        let (base, index) = (register(i.base), register(i.index));
        let disp = if base == Some(16) { i.disp().wrapping_sub(u64::from(i.len)) } else { i.disp() };
        Address {
            width: i.addr_width().bits(),
            base,
            index,
            scale: if index.is_some() { 1 << i.scale } else { 1 },
            disp,
            segment: if i.bits() == CodeSize::Bits64 {
                (i.seg_base != ZERO).then(|| SegReg::ALL[usize::from(i.seg_base - SEG_BASE)])
            } else {
                space_segment(i.space)
            },
        }
    })
}

const PREFIXES: [u8; 11] = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/// Random bytes, mostly of the shape of an instruction: prefixes, an opcode map, an opcode. Not longer than an instruction may be.
fn bytes(rng: &mut Rng) -> [u8; 15] {
    let mut b = Vec::with_capacity(24);
    while rng.below(3) == 0 && b.len() < 3 {
        b.push(PREFIXES[rng.below(11) as usize]);
    }
    if rng.below(3) == 0 {
        b.push(0x40 | rng.below(16) as u8);
    }
    match rng.below(6) {
        0..=2 => {}
        3 => b.push(0x0f),
        4 => b.extend([0x0f, 0x38 | (rng.below(2) as u8 * 2)]),
        _ => b.push(0xd8 | rng.below(8) as u8),
    }
    b.extend(rng.next().to_le_bytes());
    b.extend(rng.next().to_le_bytes());
    core::array::from_fn(|k| b[k])
}

/// The bytes before the opcode, and those from it on.
struct Prefixes<'a> {
    before: &'a [u8],
    opcode: &'a [u8],
}

fn prefixes(bytes: &[u8], bits: u32) -> Prefixes<'_> {
    let rex = |b: u8| bits == 64 && b & 0xf0 == 0x40;
    let n = bytes.iter().position(|&b| !PREFIXES.contains(&b) && !rex(b)).unwrap_or(bytes.len());
    let (before, opcode) = bytes.split_at(n);
    Prefixes { before, opcode }
}

/// Instructions that yaxpeax knows and this processor does not announce (`tests/complete.rs` holds what it does): extensions, by the
/// beginning of their names in yaxpeax.
fn not_announced(name: &str, opcode: &[u8]) -> bool {
    const EXTENSIONS: [(&str, &[&str]); 16] = [
        ("VMX, SVM, SMX", &["vm", "invept", "invvpid", "invlpga", "skinit", "clgi", "stgi", "getsec"]),
        ("SMM", &["rsm"]),
        ("AES", &["aes"]),
        ("SHA", &["sha1", "sha256"]),
        ("PCLMULQDQ, GFNI", &["pclmulqdq", "gf2p8"]),
        ("ADX", &["adcx", "adox"]),
        ("SSE4a", &["extrq", "insertq", "movntss", "movntsd"]),
        ("3DNow!", &["femms", "pavgusb", "pf", "pi2f", "pmulhrw", "pswapd"]),
        ("CET", &["wrss", "wruss", "rstorssp", "saveprevssp", "setssbsy", "clrssbsy", "incssp", "rdssp"]),
        ("RTM", &["xbegin", "xend", "xabort", "xtest", "xsusldtrk", "xresldtrk"]),
        ("XSAVEC, XSAVES", &["xsavec", "xsaves", "xrstors"]),
        ("MOVDIRI, MOVDIR64B, ENQCMD", &["movdir", "enqcmd"]),
        ("protection keys", &["rdpkru", "wrpkru"]),
        ("key locker", &["encodekey", "loadiwkey"]),
        ("MONITOR and its like", &["monitor", "mwait", "umonitor", "umwait", "tpause", "clzero", "rdpru", "mcommit"]),
        (
            "others",
            &[
                "cl",
                "pconfig",
                "enc",
                "hreset",
                "ptwrite",
                "uiret",
                "testui",
                "clui",
                "stui",
                "senduipi",
                "psmash",
                "pvalidate",
                "rmp",
                "invlpgb",
                "tlbsync",
                "pbndkb",
                "seam",
                "tdcall",
            ],
        ),
    ];
    // VEX, EVEX and XOP, whose first bytes are other instructions with other second bytes.
    let vector = matches!(opcode[0], 0x62 | 0x8f | 0xc4 | 0xc5) && !matches!(name, "bound" | "pop" | "les" | "lds");
    vector || EXTENSIONS.iter().flat_map(|(_, names)| *names).any(|n| name.starts_with(n))
}

/// What yaxpeax 2.2 sees differently, against the manual.
fn yaxpeax_differs(bytes: &[u8], bits: u32) -> bool {
    let p = prefixes(bytes, bits);
    let has = |b: u8| p.before.contains(&b);
    let rex = |b: &u8| bits == 64 && b & 0xf0 == 0x40;
    match p.opcode {
        // A REX prefix that is not right before the opcode is ignored (SDM 2 2.2.1).
        _ if p.before.iter().rev().skip(1).any(rex) => true,
        // REX.R is ignored where ModR/M names a segment register (SDM 2 2.2.1.2).
        [0x8c | 0x8e, ..] => p.before.last().is_some_and(|b| rex(b) && b & 4 != 0),
        // Group 1 has an alias in 32 and 16 bits (SDM 2 A, note to opcode 82).
        [0x82, ..] => bits != 64,
        [0xea, ..] => bits != 64,
        // ARPL, which real mode refuses when it is executed.
        [0x63, ..] => bits == 16,
        // Near branches have the operand size outside 64-bit mode (SDM 2 JMP, CALL, Jcc).
        [0xe8 | 0xe9, ..] | [0x0f, 0x80..=0x8f, ..] => bits != 64 && has(0x66),
        // RDRAND and RDSEED take neither F2 nor F3 (SDM 2 RDRAND: NFx).
        [0x0f, 0xc7, m, ..] if m >> 3 & 7 >= 6 => has(0xf2) || has(0xf3),
        // SERIALIZE.
        [0x0f, 0x01, 0xe8, ..] => true,
        // XLAT's operand is implicit.
        [0xd7, ..] => true,
        _ => false,
    }
}

#[test]
fn agrees_with_yaxpeax() {
    type Decode = fn(&[u8], u32) -> Option<Theirs>;
    let modes: [(u32, CodeSize, Width, Decode); 3] = [
        (64, CodeSize::Bits64, Width::W64, long),
        (32, CodeSize::Bits32, Width::W32, protected),
        (16, CodeSize::Bits16, Width::W16, real),
    ];
    let count = std::env::var("PAGEVM_DECODINGS").map_or(SHORT, |n| n.parse().expect("PAGEVM_DECODINGS is a number"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let mut differences: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for (bits, size, stack, theirs) in modes {
        let mut rng = Rng(now);
        let mut both = 0_u64;
        for _ in 0..count {
            let bytes = bytes(&mut rng);
            let mut note = |kind: &str, name: &str, text: String| {
                let d = differences.entry(format!("{kind} {name} ({bits})")).or_default();
                d.0 += 1;
                if d.0 == 1 {
                    d.1 = format!("{bytes:02x?}: {text}");
                }
            };
            if yaxpeax_differs(&bytes, bits) {
                continue;
            }
            match (decode(&bytes, size, stack, 0), theirs(&bytes, bits)) {
                (Err(DecodeError::Invalid), None) => {}
                (Err(DecodeError::Invalid), Some(t)) if not_announced(&t.name, prefixes(&bytes, bits).opcode) => {}
                (Err(e), t) => note("only theirs", &t.map_or(String::new(), |t| t.text), format!("{e:?}")),
                (Ok(i), None) => note("only ours", &format!("{:?}", i.op), format!("{} bytes", i.len)),
                (Ok(i), Some(t)) if t.len != usize::from(i.len) => {
                    note("length", &t.name, format!("{}, {} bytes, ours {:?} {}", t.text, t.len, i.op, i.len));
                }
                (Ok(i), Some(t)) => {
                    both += 1;
                    let Some(mut ours) = ours(&i) else { continue };
                    let Some(mut theirs) = t.memory else {
                        note("memory", &t.name, format!("{}; ours {ours:x?}", t.text));
                        continue;
                    };
                    // An absolute address does not tell its width; a SIB without base in 16-bit code is named with 16-bit registers.
                    if theirs.width == 0 || bits == 16 && theirs.base.is_none() {
                        theirs.width = ours.width;
                    }
                    // yaxpeax extends the sign of an absolute address of 32 bits in 64-bit code too.
                    let p = prefixes(&bytes, bits);
                    let short =
                        theirs.base.is_none() && theirs.index.is_none() && p.before.contains(&0x67) && bits == 64;
                    let mask = u64::MAX >> (64 - if short { 32 } else { theirs.width });
                    (theirs.disp, ours.disp) = (theirs.disp & mask, ours.disp & mask);
                    // yaxpeax does not tell a DS prefix from none.
                    if p.before.contains(&0x3e) {
                        (theirs.segment, ours.segment) = (None, None);
                    }
                    if theirs != ours {
                        note("memory", &t.name, format!("{}, theirs {theirs:x?}; ours {ours:x?}", t.text));
                    }
                }
            }
        }
        assert!(both > count / 4, "{bits} bits: the generator makes no instructions");
    }
    let mut text = String::new();
    for (k, (n, first)) in &differences {
        text += &format!("{k}: {n}; {first}\n");
    }
    assert!(differences.is_empty(), "seed {now:#x}\n{text}");
}

/// Sixteen bytes are too long, whatever they say (SDM 2 2.3.11); what 15 bytes suffice to tell that it is no instruction is invalid.
#[test]
fn instructions_of_more_than_15_bytes_are_too_long() {
    let modes = [(CodeSize::Bits16, Width::W16), (CodeSize::Bits32, Width::W32), (CodeSize::Bits64, Width::W64)];
    let prefixed = |prefixes: &[u8], n: usize, rest: &[u8]| {
        let mut b: Vec<u8> = prefixes.iter().copied().cycle().take(n).collect();
        b.extend(rest);
        b
    };
    for (size, stack) in modes {
        let decode = |b: &[u8]| decode(b, size, stack, 0).map(|i| i.len);
        for prefixes in [&PREFIXES[..1], &PREFIXES[1..2], &PREFIXES[5..], &[0x66, 0x67, 0x2e]] {
            let add = [0x83, 0xc0, 1]; // add eax, 1
            assert_eq!(decode(&prefixed(prefixes, 12, &add)), Ok(15), "{size:?} {prefixes:02x?}");
            for n in 13..17 {
                assert_eq!(decode(&prefixed(prefixes, n, &add)), Err(DecodeError::TooLong), "{size:?} {prefixes:02x?}");
            }
            assert_eq!(decode(&prefixed(prefixes, 12, &add)[..14]), Err(DecodeError::NeedMoreBytes));
            // Not opcodes; LOCK, which is not for a register.
            for rest in [&[0x0f, 0x04][..], &[0x0f, 0x0a], &[0xf0, 0x83, 0xc0, 1]] {
                assert_eq!(decode(&prefixed(prefixes, 15 - rest.len(), rest)), Err(DecodeError::Invalid));
            }
            assert_eq!(decode(&prefixed(prefixes, 12, &[0xf0, 0x83, 0xc0, 1])), Err(DecodeError::TooLong));
        }
        // Nor is a ModRM byte of these looked for in the next page; that of IMUL and of POPCNT is.
        assert_eq!(decode(&[0x0f, 0x04]), Err(DecodeError::Invalid));
        assert_eq!(decode(&[0x0f, 0xaf]), Err(DecodeError::NeedMoreBytes));
        assert_eq!(decode(&[0xf3, 0x0f, 0xb8]), Err(DecodeError::NeedMoreBytes));
        assert_eq!(decode(&[0x66; 15]), Err(DecodeError::TooLong));
    }
    // Longer without any prefix twice: lock add qword [gs:eax + eax * 4 + disp32], imm32.
    let mut longest = [0xf0, 0x65, 0x67, 0x66, 0x48, 0x81, 0x84, 0x80, 1, 2, 3, 4, 5, 6, 7, 8];
    let decode = |b: &[u8]| decode(b, CodeSize::Bits64, Width::W64, 0).map(|i| i.len);
    assert_eq!(decode(&longest), Err(DecodeError::TooLong));
    assert_eq!(decode(&longest[1..]), Ok(15));
    // A REX before another prefix has no effect: 14 of them and MOV of an immediate of 4 bytes, and of 8.
    assert_eq!(decode(&[[0x48; 10].as_slice(), &[0x66, 0x67, 0xb8, 1, 2]].concat()), Ok(15));
    assert_eq!(decode(&[[0x48; 6].as_slice(), &[0xb8], &[1; 8]].concat()), Ok(15));
    assert_eq!(decode(&[[0x48; 7].as_slice(), &[0xb8], &[1; 8]].concat()), Err(DecodeError::TooLong));
    longest[5] = 0x06; // no opcode in 64-bit mode
    assert_eq!(decode(&longest), Err(DecodeError::Invalid));
}
