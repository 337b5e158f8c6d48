//! The 128-bit half of the vocabulary.

use crate::{Emit, Space};

/// A 128-bit vector register of the guest. Numbered by the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XSlot(pub u8);

/// Operations on 128-bit vectors, for guests that have them.
pub trait EmitVector: Emit {
    /// A 128-bit value.
    type X: Copy;

    fn getx(&mut self, s: XSlot) -> Self::X;
    fn putx(&mut self, s: XSlot, v: Self::X);
    fn loadx(&mut self, addr: Self::V, s: Space) -> Result<Self::X, Self::Exit>;
    fn storex(&mut self, addr: Self::V, v: Self::X, s: Space) -> Result<(), Self::Exit>;
}
