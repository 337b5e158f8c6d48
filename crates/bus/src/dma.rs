//! Guest RAM as a bus master sees it.

/// Guest RAM, by physical address. All of it is plain bytes; what a device writes is also noted where the processor has
/// decoded code there.
pub trait Dma {
    /// The `len` bytes at `address`; `None` where one of them is not RAM.
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]>;
    /// The same, all of which the device is about to write.
    fn bytes_mut(&mut self, address: u64, len: usize) -> Option<&mut [u8]>;
    /// The device has moved so many bytes, or has done what costs as much. Boards limit that; tests of devices need not.
    fn count(&mut self, bytes: u64) {
        let _ = bytes;
    }
}

impl dyn Dma + '_ {
    /// `N` bytes at `address`; `None` where one of them is not RAM.
    pub fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.bytes(address, N)?.try_into().ok()
    }

    /// The little-endian number at `address`.
    pub fn read_u16(&self, address: u64) -> Option<u16> {
        self.array(address).map(u16::from_le_bytes)
    }

    /// Writes `bytes` at `address`; false, with nothing written, where one of them would not be in RAM.
    #[must_use]
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.bytes_mut(address, bytes.len()).map(|room| room.copy_from_slice(bytes)).is_some()
    }
}

/// Plain bytes from physical address 0 on: RAM for tests of devices.
impl Dma for Vec<u8> {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(address).ok()?;
        self.get(start..start.checked_add(len)?)
    }

    fn bytes_mut(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(address).ok()?;
        self.get_mut(start..start.checked_add(len)?)
    }
}
