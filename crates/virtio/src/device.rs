//! What a device is to its transport, and what the transport gives it to work with.

use bus::Dma;

use crate::chain::Chain;
use crate::queue::{Broken, Queue};
use crate::spec::DeviceType;

/// Bytes that a device moves in one transfer, about: then it takes no further chain.
pub(crate) const TRANSFER_BYTES: u64 = 16 << 20;
/// What a chain and each of its buffers cost, in bytes that could be moved in that time.
const CHAIN_COST: u64 = 4096;
const SEGMENT_COST: u64 = 64;

/// A device without its transport: features, queues, configuration, and what it does with requests.
pub trait VirtioDevice {
    fn device_type(&self) -> DeviceType;

    /// Descriptors of each queue at most.
    fn queues(&self) -> &[u16];

    /// The device's own feature bits on offer: 0 to 23, and 50 to 63.
    fn features(&self) -> u64;

    /// The configuration space, little-endian. Beyond its end it reads as zeros.
    fn config(&self) -> Vec<u8>;

    /// The driver writes `bytes` at `offset` of the configuration space.
    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        let _ = (offset, bytes);
    }

    /// Performs the requests that wait, and completes those whose time has come. What it leaves for another time than the next
    /// notification it tells by [`Work::leave`]. Called after notifications, and when
    /// something outside may have moved; only while the driver is there ([`crate::spec::status::DRIVER_OK`]).
    ///
    /// # Errors
    /// The driver broke the rules; the device then stands still until it is reset.
    fn process(&mut self, work: &mut Work) -> Result<(), Broken>;

    /// The driver has stopped this queue alone: a device that keeps chains of it keeps them no more.
    fn stop(&mut self, queue: usize) {
        let _ = queue;
    }

    /// The driver has reset the device, or the machine was reset. What is under way is forgotten; its results are dropped.
    fn reset(&mut self);
}

/// The queues and RAM, for one call of [`VirtioDevice::process`].
pub struct Work<'a> {
    pub ram: &'a mut dyn Dma,
    /// Feature bits that were negotiated.
    pub features: u64,
    pub(crate) queues: &'a mut [Queue],
    pub(crate) config_changed: bool,
    pub(crate) rest: bool,
    /// Bytes that this transfer may still move.
    pub(crate) left: u64,
}

impl Work<'_> {
    /// Takes the next chain of queue `queue`, if there is one and this transfer may still do something. (If not, it is for the next one;
    /// the driver is not asked for a notification.)
    ///
    /// # Errors
    /// As [`Queue::take`].
    pub fn take(&mut self, queue: usize) -> Result<Option<Chain>, Broken> {
        let Some(q) = self.queues.get_mut(queue) else { return Ok(None) };
        if self.left == 0 && q.has_chains(self.ram) {
            self.leave();
            return Ok(None);
        }
        let Some(chain) = q.take(self.ram)? else { return Ok(None) };
        let segments = (chain.to_read().len() + chain.to_write().len()) as u64;
        self.spend(CHAIN_COST + SEGMENT_COST * segments + chain.read_len());
        Ok(Some(chain))
    }

    /// Counts what the device does beside reading the chains that it takes and writing those that it gives back: `bytes`, or what costs
    /// as much.
    pub fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        self.ram.count(bytes);
    }

    /// Gives a chain back to its queue, with `written` bytes written to it.
    ///
    /// # Errors
    /// As [`Queue::give`].
    pub fn give(&mut self, queue: usize, chain: Chain, written: u32) -> Result<(), Broken> {
        self.spend(written.into());
        self.queues.get_mut(queue).map_or(Ok(()), |q| q.give(self.ram, chain, written))
    }

    /// Takes back the last [`Work::take`] of a queue, as if it had not been.
    pub fn put_back(&mut self, queue: usize, chain: Chain) {
        if let Some(q) = self.queues.get_mut(queue) {
            q.put_back(chain);
        }
    }

    /// Chains are left that wait for no notification: the device wants another transfer.
    pub fn leave(&mut self) {
        self.rest = true;
    }

    /// The configuration space has other contents than before: the driver is told.
    pub fn change_config(&mut self) {
        self.config_changed = true;
    }
}
