//! The 9P transport device (virtio 1.2, 5.15 by number 9; its queue protocol is that of Linux's `trans_virtio`): a request
//! is a chain with a T-message to read and room for the R-message.

#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;

use crate::chain::Chain;
use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;

/// Feature bit: the configuration has a mount tag.
const MOUNT_TAG: u64 = 1 << 0;
const QUEUE: u16 = 128;
/// Bytes of a message at most, whatever `msize` was agreed on.
const MESSAGE_MAX: u64 = 4 << 20;
/// Requests under way at most, and bytes of their messages: as many as Linux has, of its largest `msize`. Those beyond wait in the queue.
const IN_FLIGHT: usize = QUEUE as usize;
const IN_FLIGHT_BYTES: u64 = 64 << 20;

/// Names a request to the server that is not answered; chosen by the device, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// A 9P server. Never blocks; answers come in any order.
pub trait P9Backend {
    /// Begins a request: the bytes of one T-message. What can be answered at once is there at the next `poll`.
    fn submit(&mut self, id: RequestId, message: Vec<u8>);
    /// Takes an answer: the bytes of one R-message.
    fn poll(&mut self) -> Option<(RequestId, Vec<u8>)>;
    /// The client is gone: forget its fids.
    fn reset(&mut self);
}

/// A share of files.
pub struct P9 {
    backend: Box<dyn P9Backend>,
    mount_tag: String,
    /// By request.
    pending: FxHashMap<u64, Chain>,
    /// Bytes of their messages.
    in_flight: u64,
    next_id: u64,
}

impl P9 {
    /// `mount_tag`: what the guest mounts it by, up to 65535 bytes.
    pub fn new(backend: Box<dyn P9Backend>, mount_tag: String) -> Self {
        Self { backend, mount_tag, pending: FxHashMap::default(), in_flight: 0, next_id: 0 }
    }

    fn finish(&mut self, work: &mut Work) -> Result<(), Broken> {
        while let Some((id, message)) = self.backend.poll() {
            let Some(chain) = self.pending.remove(&id.0) else { continue };
            self.in_flight = self.in_flight.saturating_sub(chain.read_len());
            let written = chain.write(work.ram, 0, &message);
            if (written as usize) < message.len() {
                log::warn!("virtio 9p: an answer of {} bytes has {written} bytes of room", message.len());
            }
            work.give(0, chain, written)?;
        }
        Ok(())
    }
}

impl VirtioDevice for P9 {
    fn device_type(&self) -> DeviceType {
        DeviceType::P9
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE]
    }

    fn features(&self) -> u64 {
        MOUNT_TAG
    }

    fn config(&self) -> Vec<u8> {
        let tag = self.mount_tag.as_bytes();
        let mut c = Vec::from((tag.len() as u16).to_le_bytes());
        c.extend(tag);
        c
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        self.finish(work)?;
        while self.pending.len() < IN_FLIGHT
            && self.in_flight < IN_FLIGHT_BYTES
            && let Some(chain) = work.take(0)?
        {
            let len = chain.read_len();
            if len == 0 || len > MESSAGE_MAX {
                return Err(Broken::Request);
            }
            let mut message = Vec::with_capacity(len as usize);
            chain.read_to(work.ram, 0, len, &mut message);
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            self.in_flight += len;
            self.pending.insert(id, chain);
            self.backend.submit(RequestId(id), message);
            self.finish(work)?;
        }
        Ok(())
    }

    fn stop(&mut self, _: usize) {
        self.reset();
    }

    fn reset(&mut self) {
        self.pending.clear();
        self.in_flight = 0;
        self.backend.reset();
    }
}
