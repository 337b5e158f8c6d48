//! The entropy device (virtio 1.2, 5.4): fills buffers with random bytes.

use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;

/// Bytes that one request gets at most; the driver asks again (5.4.6.2: at least one, at most the buffer).
const REQUEST_BYTES: u64 = 64 << 10;

/// Gives 64 random bits.
pub type Source = Box<dyn FnMut() -> u64>;

/// An entropy device.
pub struct Rng {
    source: Source,
}

impl Rng {
    pub fn new(source: Source) -> Self {
        Self { source }
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Entropy
    }

    fn queues(&self) -> &[u16] {
        &[8]
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        while let Some(chain) = work.take(0)? {
            let len = chain.write_len().min(REQUEST_BYTES);
            let words = std::iter::repeat_with(&mut self.source).take(len.div_ceil(8) as usize);
            let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take(len as usize).collect();
            let written = chain.write(work.ram, 0, &bytes);
            work.give(0, chain, written)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}
}
