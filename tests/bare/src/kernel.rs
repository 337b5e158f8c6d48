//! A kernel of a few instructions, for whole machines.

/// Where the code of [`kernel`] is loaded, and begins.
const START: u32 = 0x10_0000;
/// Bytes of RAM behind the code that the kernel has too.
const ROOM: u32 = 0x1000;

/// A 32-bit ELF with a PVH note (Xen, `docs/misc/pvh.pandoc`) whose code, at 1 MiB, is `code`.
pub fn kernel(code: &[u8]) -> Vec<u8> {
    let mut f = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |f: &mut Vec<u8>, v: u16| f.extend(v.to_le_bytes());
    let word = |f: &mut Vec<u8>, v: u32| f.extend(v.to_le_bytes());
    half(&mut f, 2);
    half(&mut f, 3);
    [1, START, 52, 0, 0].into_iter().for_each(|v| word(&mut f, v));
    [52, 32, 2, 0, 0, 0].into_iter().for_each(|v| half(&mut f, v));
    let size = code.len() as u32;
    for header in [[1, 136, START, START, size, size + ROOM, 7, 4], [4, 116, 0, 0, 20, 20, 4, 4]] {
        header.into_iter().for_each(|v| word(&mut f, v));
    }
    [4, 4, 18].into_iter().for_each(|v| word(&mut f, v));
    f.extend(b"Xen\0");
    word(&mut f, START);
    f.extend(code);
    f
}
