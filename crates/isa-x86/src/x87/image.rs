//! The state in memory: FNSTENV and FNSAVE (SDM 1 8.1.10), and the x87 part of the FXSAVE and XSAVE areas (SDM 1 10.5.1).

use super::{CONTROL_FIXED, CONTROL_WRITABLE, Fpu, OPCODE, status};
use softfloat::F80;
use softfloat::f80::Class;

/// Layout of an environment: by operand size, and by mode, in which pointers are linear addresses or selector and offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// 28 bytes instead of 14.
    pub wide: bool,
    /// Real-address or virtual-8086 mode.
    pub real: bool,
}

impl Layout {
    /// Bytes of the environment; FNSAVE's registers follow.
    pub fn env_bytes(self) -> usize {
        if self.wide { 28 } else { 14 }
    }
}

/// Bytes of the eight registers in an FNSAVE image.
pub(super) const REGISTERS: usize = 80;

/// Bytes of an FXSAVE area.
pub const FX_AREA: usize = 512;
/// Where it has the registers, 16 bytes each.
const FX_REGISTERS: core::ops::Range<usize> = 32..160;

impl Fpu {
    /// The full tag word: two bits for each physical register (SDM 1 8.1.7).
    fn tag_word(&self) -> u16 {
        (0..8).fold(0, |tags, p| {
            let tag = if self.valid >> p & 1 == 0 {
                3
            } else {
                match (F80 { m: self.significand[p], se: self.sign_exp[p] }).class() {
                    Class::Normal => 0,
                    Class::Zero => 1,
                    _ => 2,
                }
            };
            tags | tag << (2 * p)
        })
    }

    fn set_tag_word(&mut self, tags: u16) {
        self.valid = (0..8).fold(0, |valid, p| valid | u8::from(tags >> (2 * p) & 3 != 3) << p);
    }

    /// The environment's image, of [`Layout::env_bytes`].
    pub(super) fn env_image(&self, layout: Layout) -> [u8; 28] {
        let (ip, dp) = (self.ip as u32, self.dp as u32);
        let (linear_ip, linear_dp) =
            ((u32::from(self.cs) << 4).wrapping_add(ip), (u32::from(self.ds) << 4).wrapping_add(dp));
        let opcode = u32::from(self.opcode & OPCODE);
        let words = [self.control, self.status, self.tag_word()].map(u32::from);
        // reserved upper halves read as ones
        const ONES: u32 = 0xffff_0000;
        let pointers = match (layout.wide, layout.real) {
            (true, false) => [ip, opcode << 16 | u32::from(self.cs), dp, ONES | u32::from(self.ds)],
            (true, true) => [
                ONES | linear_ip & 0xffff,
                linear_ip >> 16 << 12 | opcode,
                ONES | linear_dp & 0xffff,
                linear_dp >> 16 << 12,
            ],
            (false, false) => [ip, self.cs.into(), dp, self.ds.into()],
            (false, true) => [linear_ip, linear_ip >> 16 << 12 | opcode, linear_dp, linear_dp >> 16 << 12],
        };
        let mut b = [0; 28];
        let fields = words.into_iter().map(|w| w | ONES).chain(pointers);
        if layout.wide {
            b.chunks_exact_mut(4).zip(fields).for_each(|(b, v)| b.copy_from_slice(&v.to_le_bytes()));
        } else {
            b.chunks_exact_mut(2).zip(fields).for_each(|(b, v)| b.copy_from_slice(&(v as u16).to_le_bytes()));
        }
        b
    }

    /// Loads an environment.
    pub(super) fn set_env_image(&mut self, layout: Layout, b: &[u8; 28]) {
        let field = |k: usize| {
            if layout.wide {
                u32::from_le_bytes([b[4 * k], b[4 * k + 1], b[4 * k + 2], b[4 * k + 3]])
            } else {
                u32::from(u16::from_le_bytes([b[2 * k], b[2 * k + 1]]))
            }
        };
        self.status = field(1) as u16;
        self.set_tag_word(field(2) as u16);
        if layout.real {
            let linear = |low: u32, high: u32| u64::from(low & 0xffff | high >> 12 << 16);
            (self.ip, self.cs) = (linear(field(3), field(4)), 0);
            (self.dp, self.ds) = (linear(field(5), field(6)), 0);
            self.opcode = field(4) as u16 & OPCODE;
        } else {
            (self.ip, self.cs) = (field(3).into(), field(4) as u16);
            (self.dp, self.ds) = (field(5).into(), field(6) as u16);
            if layout.wide {
                self.opcode = (field(4) >> 16) as u16 & OPCODE;
            }
        }
        self.set_control(field(0) as u16);
    }

    /// ST(0) to ST(7), ten bytes each.
    pub(super) fn registers_image(&self) -> [u8; REGISTERS] {
        let mut b = [0; REGISTERS];
        b.chunks_exact_mut(10).zip(0..).for_each(|(b, i)| b.copy_from_slice(&self.st(i).to_bytes()));
        b
    }

    /// Loads ST(0) to ST(7), by the TOP loaded before; tags are not touched.
    pub(super) fn set_registers_image(&mut self, b: &[u8; REGISTERS]) {
        for (i, b) in b.chunks_exact(10).enumerate() {
            let v = F80::from_bytes(core::array::from_fn(|k| b[k]));
            self.set_contents(i as u8, v);
        }
    }

    fn set_contents(&mut self, i: u8, v: F80) {
        let p = self.physical(i);
        (self.significand[p], self.sign_exp[p]) = (v.m, v.se);
    }

    /// Writes the x87 part of an FXSAVE area: the first 160 bytes but MXCSR and its mask (24..32). `wide` (REX.W): pointers are
    /// 64-bit offsets, else selector and 32-bit offset.
    pub fn save_fx(&self, area: &mut [u8; FX_AREA], wide: bool) {
        let (ip, dp) = if wide {
            (self.ip, self.dp)
        } else {
            let far = |offset: u64, selector: u16| offset & 0xffff_ffff | u64::from(selector) << 32;
            (far(self.ip, self.cs), far(self.dp, self.ds))
        };
        area[0..2].copy_from_slice(&self.control.to_le_bytes());
        area[2..4].copy_from_slice(&self.status.to_le_bytes());
        area[4..6].copy_from_slice(&[self.valid, 0]);
        area[6..8].copy_from_slice(&(self.opcode & OPCODE).to_le_bytes());
        area[8..16].copy_from_slice(&ip.to_le_bytes());
        area[16..24].copy_from_slice(&dp.to_le_bytes());
        for (b, i) in area[FX_REGISTERS].chunks_exact_mut(16).zip(0..) {
            b.fill(0);
            b[..10].copy_from_slice(&self.st(i).to_bytes());
        }
    }

    /// Loads the x87 part of an FXSAVE area, as [`Fpu::save_fx`] writes it.
    pub fn load_fx(&mut self, area: &[u8; FX_AREA], wide: bool) {
        let word = |at: usize| u16::from_le_bytes([area[at], area[at + 1]]);
        let quad = |at: usize| u64::from_le_bytes(core::array::from_fn(|k| area[at + k]));
        self.control = word(0) & CONTROL_WRITABLE | CONTROL_FIXED;
        self.status = word(2);
        self.valid = area[4];
        self.opcode = word(6) & OPCODE;
        let pointer = |v: u64| if wide { (v, 0) } else { (v & 0xffff_ffff, (v >> 32) as u16) };
        (self.ip, self.cs) = pointer(quad(8));
        (self.dp, self.ds) = pointer(quad(16));
        for (b, i) in area[FX_REGISTERS].chunks_exact(16).zip(0..) {
            self.set_contents(i, F80::from_bytes(core::array::from_fn(|k| b[k])));
        }
        self.summarize();
    }

    /// FNSTENV and FNSAVE leave all exceptions masked.
    pub(super) fn mask_all(&mut self) {
        self.control |= 0x3f;
        self.summarize();
    }

    /// FNCLEX.
    pub(super) fn clear_exceptions(&mut self) {
        self.status &= !status::CLEARED;
    }
}
