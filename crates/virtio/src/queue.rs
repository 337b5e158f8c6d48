//! The split virtqueue (virtio 1.2, 2.7): descriptors, the ring of available chains, the ring of used ones.
//!
//! Everything here is read from the guest's memory anew each time and believed only as far as it was checked: a queue that
//! is not laid out as the specification says ends in a [`Broken`], never in a panic or an endless loop.

use bus::Dma;
use thiserror::Error;

use crate::chain::{Chain, Segment};

/// Descriptors of one chain at most, those of an indirect table included. (The specification allows the queue's size;
/// drivers with indirect tables use more.)
pub const CHAIN_MAX: usize = 1024;
/// Bytes of a chain at most (2.7.5.2).
const CHAIN_BYTES_MAX: u64 = 1 << 32;

/// Descriptor flags (2.7.5).
const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;
const DESC_INDIRECT: u16 = 4;
const DESC_BYTES: usize = 16;
/// Available ring flag (2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Both rings begin with flags and index.
const RING: u64 = 4;

/// What the driver did that the specification forbids; the device then needs a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    #[error("its rings are not in RAM, or not aligned")]
    Layout,
    #[error("more chains are available than it has descriptors, or they appear while the device writes")]
    Available,
    #[error("a descriptor's number is not below the size of its table")]
    Number,
    #[error("a chain loops, or has more than {CHAIN_MAX} descriptors")]
    Long,
    #[error("a chain has more than 4 GiB")]
    Bytes,
    #[error("a buffer is not in RAM")]
    Address,
    #[error("a buffer to read follows one to write")]
    Order,
    #[error("an indirect table where none may be, or of a wrong size")]
    Indirect,
    #[error("a request is shorter than its headers, or has no room for the answer")]
    Request,
}

/// What was negotiated that concerns queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFeatures {
    pub indirect: bool,
    pub event_index: bool,
}

/// One queue: where the driver has put it, and how far the device is.
#[derive(Debug, Default)]
pub struct Queue {
    /// Descriptors at most: what the device offers.
    max: u16,
    pub size: u16,
    pub ready: bool,
    /// Physical addresses.
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    pub features: RingFeatures,
    /// Index of the next chain to take, and of the next one to give back. They wrap.
    next_available: u16,
    next_used: u16,
    /// Chains taken in this transfer. The driver stands still meanwhile, so there are never more than descriptors.
    taken: u16,
    /// `next_used` when the driver was last told, if it ever was.
    told: Option<u16>,
    /// Chains that were given back and can be used again.
    spare: Vec<Chain>,
}

impl Queue {
    /// A queue of at most `max` descriptors, a power of two.
    pub fn new(max: u16) -> Self {
        Self { max, size: max, ..Self::default() }
    }

    pub fn max(&self) -> u16 {
        self.max
    }

    /// As after a device reset.
    pub fn reset(&mut self) {
        *self = Self { spare: std::mem::take(&mut self.spare), ..Self::new(self.max) };
    }

    /// As [`Queue::reset`], but for what was negotiated: the driver has stopped this queue alone.
    pub fn stop(&mut self) {
        let features = self.features;
        self.reset();
        self.features = features;
    }

    /// The driver has set the queue up.
    ///
    /// # Errors
    /// Its size is no power of two up to [`Queue::max`], or a part is not in RAM or not aligned (2.7).
    pub fn check(&self, ram: &dyn Dma) -> Result<(), Broken> {
        let n = u64::from(self.size);
        let parts = [
            (self.descriptors, DESC_BYTES as u64 * n, 16),
            (self.driver, RING + 2 * n + 2, 2),
            (self.device, RING + 8 * n + 2, 4),
        ];
        let fits = |(at, len, align): (u64, u64, u64)| at % align == 0 && ram.bytes(at, len as usize).is_some();
        if self.size.is_power_of_two() && self.size <= self.max && parts.into_iter().all(fits) {
            Ok(())
        } else {
            Err(Broken::Layout)
        }
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index & self.size.wrapping_sub(1))
    }

    /// A transfer begins: the driver may have made chains available.
    pub fn begin_transfer(&mut self) {
        self.taken = 0;
    }

    /// Whether the driver has made chains available that were not taken.
    pub fn has_chains(&self, ram: &dyn Dma) -> bool {
        self.ready && ram.read_u16(self.driver.wrapping_add(2)).is_some_and(|index| index != self.next_available)
    }

    /// Takes the next available chain. `None`: there is none, and the driver will notify when it adds one.
    ///
    /// # Errors
    /// The chain is not one; see [`Broken`].
    pub fn take(&mut self, ram: &mut dyn Dma) -> Result<Option<Chain>, Broken> {
        if !self.ready {
            return Ok(None);
        }
        let available = ram.read_u16(self.driver.wrapping_add(2)).ok_or(Broken::Layout)?;
        let waiting = available.wrapping_sub(self.next_available);
        if waiting > self.size || waiting != 0 && self.taken >= self.size {
            return Err(Broken::Available);
        }
        if waiting == 0 {
            self.ask_for_notification(ram)?;
            return Ok(None);
        }
        let entry = self.driver.wrapping_add(RING + 2 * self.slot(self.next_available));
        let head = ram.read_u16(entry).ok_or(Broken::Layout)?;
        let mut chain = self.spare.pop().unwrap_or_default();
        chain.begin(head);
        self.collect(ram, head, &mut chain)?;
        self.next_available = self.next_available.wrapping_add(1);
        self.taken = self.taken.saturating_add(1);
        Ok(Some(chain))
    }

    /// The driver is to notify when it makes the next chain available (2.7.10).
    fn ask_for_notification(&self, ram: &mut dyn Dma) -> Result<(), Broken> {
        let event = self.device.wrapping_add(RING + 8 * u64::from(self.size));
        if self.features.event_index && ram.read_u16(event) != Some(self.next_available) {
            return ram.write(event, &self.next_available.to_le_bytes()).then_some(()).ok_or(Broken::Layout);
        }
        Ok(())
    }

    /// The segments of the chain that begins at descriptor `head`.
    fn collect(&self, ram: &dyn Dma, head: u16, chain: &mut Chain) -> Result<(), Broken> {
        let direct = ram.bytes(self.descriptors, DESC_BYTES * usize::from(self.size)).ok_or(Broken::Layout)?;
        let (mut table, mut index) = (direct, head);
        let mut indirect = false;
        let mut bytes = 0;
        for _ in 0..CHAIN_MAX {
            let at = usize::from(index) * DESC_BYTES;
            let d = table.get(at..at + DESC_BYTES).and_then(Descriptor::read).ok_or(Broken::Number)?;
            if d.flags & DESC_INDIRECT != 0 {
                // one level, at the end of a chain (2.7.5.3.1)
                let whole = d.len != 0
                    && (d.len as usize).is_multiple_of(DESC_BYTES)
                    && d.len as usize <= CHAIN_MAX * DESC_BYTES;
                if indirect || !self.features.indirect || d.flags & DESC_NEXT != 0 || !whole {
                    return Err(Broken::Indirect);
                }
                table = ram.bytes(d.address, d.len as usize).ok_or(Broken::Address)?;
                (index, indirect) = (0, true);
                continue;
            }
            bytes += u64::from(d.len);
            if bytes > CHAIN_BYTES_MAX {
                return Err(Broken::Bytes);
            }
            if d.len != 0 {
                ram.bytes(d.address, d.len as usize).ok_or(Broken::Address)?;
                let segment = Segment { address: d.address, len: d.len };
                if !chain.push(segment, d.flags & DESC_WRITE != 0) {
                    return Err(Broken::Order);
                }
            }
            if d.flags & DESC_NEXT == 0 {
                return Ok(());
            }
            index = d.next;
        }
        Err(Broken::Long)
    }

    /// Undoes the last [`Queue::take`].
    pub fn put_back(&mut self, chain: Chain) {
        self.spare.push(chain);
        self.next_available = self.next_available.wrapping_sub(1);
        self.taken = self.taken.saturating_sub(1);
    }

    /// Gives a chain back, with the number of bytes written to it.
    ///
    /// # Errors
    /// The used ring is not in RAM (any more).
    pub fn give(&mut self, ram: &mut dyn Dma, chain: Chain, written: u32) -> Result<(), Broken> {
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(chain.head()).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        self.spare.push(chain);
        let at = self.device.wrapping_add(RING + 8 * self.slot(self.next_used));
        self.next_used = self.next_used.wrapping_add(1);
        let index = self.next_used.to_le_bytes();
        let done = ram.write(at, &element) && ram.write(self.device.wrapping_add(2), &index);
        done.then_some(()).ok_or(Broken::Layout)
    }

    /// Whether the driver is to be interrupted for what was given back since the last call (2.7.7, 2.7.8).
    ///
    /// # Errors
    /// The available ring is not in RAM (any more).
    pub fn take_interrupt(&mut self, ram: &dyn Dma) -> Result<bool, Broken> {
        let new = self.next_used;
        if !self.ready || self.told.unwrap_or(0) == new {
            return Ok(false);
        }
        let old = self.told.replace(new);
        let field = |at: u64| ram.read_u16(self.driver.wrapping_add(at)).ok_or(Broken::Layout);
        if !self.features.event_index {
            return Ok(field(0)? & AVAIL_NO_INTERRUPT == 0);
        }
        let event = field(RING + 2 * u64::from(self.size))?;
        // The index passed `event` since `old`.
        Ok(old.is_none_or(|old| new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)))
    }
}

/// One descriptor (2.7.5).
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            address: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            len: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            flags: u16::from_le_bytes(bytes.get(12..14)?.try_into().ok()?),
            next: u16::from_le_bytes(bytes.get(14..16)?.try_into().ok()?),
        })
    }
}
