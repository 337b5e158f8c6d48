//! The table against iced-x86: whatever it decodes must be the same instruction, in every field.

use guest_api::Width;
use random::Rng;

use super::{DecodeError, decode, decode_complete, decode_frequent, form};
use crate::cpu::CodeSize;
use crate::interp::Packed;

/// Compares one; whether the table has it.
fn compare(bytes: &[u8], off: u16) -> bool {
    let mut packed = Packed::default();
    let found = decode_frequent(&mut packed, bytes, off);
    if let Some(found) = found {
        let ours = packed.unpack(form(packed.form()), off);
        assert_eq!(Ok(ours), decode_complete(bytes, CodeSize::Bits64, Width::W64, off), "{bytes:02x?} at {off}");
        let told = (found.len(), found.ends_block(), found.computed());
        assert_eq!(told, (ours.len.into(), ours.ends_block(), ours.jumps_computed()), "{bytes:02x?}");
    }
    found.is_some()
}

#[test]
fn every_opcode_and_modrm_with_the_usual_prefixes() {
    const PREFIXES: [&[u8]; 26] = [
        &[],
        &[0x40],
        &[0x41],
        &[0x42],
        &[0x44],
        &[0x48],
        &[0x4f],
        &[0x66],
        &[0x66, 0x48],
        &[0x66, 0x45],
        &[0xf3],
        &[0xf3, 0x48],
        &[0xf2],
        &[0xf2, 0x4c],
        &[0x65],
        &[0x64, 0x49],
        &[0x2e],
        &[0x3e, 0x66],
        &[0x66, 0x64],
        &[0x64, 0x2e],
        &[0xf0],
        &[0x67],
        &[0x66, 0xf3],
        &[0x48, 0x66],
        &[0x66, 0x66],
        &[0xf3, 0x65],
    ];
    let mut rng = Rng(1);
    let mut known = 0;
    for prefix in PREFIXES {
        for two in [false, true] {
            for opcode in 0..=255 {
                for modrm in 0..=255 {
                    let mut b = prefix.to_vec();
                    if two {
                        b.push(0x0f);
                    }
                    b.extend([opcode, modrm]);
                    b.extend(rng.next().to_le_bytes());
                    b.extend(rng.next().to_le_bytes());
                    known += u32::from(compare(&b, rng.next() as u16 & 0xfff));
                }
            }
        }
    }
    assert!(known > 500_000, "{known}");
}

#[test]
fn random_bytes() {
    let count = std::env::var("PAGEVM_DECODINGS").map_or(300_000, |n| n.parse().expect("PAGEVM_DECODINGS is a number"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let mut rng = Rng(now);
    let mut known = 0_u64;
    for _ in 0..count {
        let mut b: [u8; 16] = (u128::from(rng.next()) << 64 | u128::from(rng.next())).to_le_bytes();
        match rng.next() % 8 {
            0..=2 => b[0] = 0x40 | b[0] & 15,
            3 => b[0] = 0x0f,
            4 => (b[0], b[1]) = (0x48, 0x0f),
            5 => b[0] = [0x66, 0xf3, 0xf2, 0x64, 0x65, 0x2e, 0x3e, 0xf0][usize::from(b[0] & 7)],
            _ => {}
        }
        known += u64::from(compare(&b, rng.next() as u16 & 0xfff));
    }
    assert!(known > count / 3, "{known} of {count}");
}

#[test]
fn instructions_at_the_end_of_the_bytes() {
    let mov = [0x48, 0xc7, 0x84, 0xc8, 1, 2, 3, 4, 5, 6, 7, 8];
    assert!(compare(&mov, 0));
    for n in 0..mov.len() {
        assert!(!compare(&mov[..n], 0));
        assert_eq!(decode(&mov[..n], CodeSize::Bits64, Width::W64, 0), Err(DecodeError::NeedMoreBytes));
    }
    // Fifteen bytes, and one more.
    let long = [[0x66].as_slice(), &[0x2e; 0], &[0x48, 0x81, 0x84, 0xc8], &[1; 8]].concat();
    assert!(compare(&long, 0));
    let longest = [[0x65].as_slice(), &[0x48, 0xb8], &[9; 8]].concat();
    assert!(compare(&longest, 0));
}
