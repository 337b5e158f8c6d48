//! The device as the driver initialises it (virtio 1.2, 2.1, 2.2, 3.1), whatever the transport.

use bus::Dma;

use crate::device::{TRANSFER_BYTES, VirtioDevice, Work};
use crate::queue::{Broken, Queue, RingFeatures};
use crate::spec::{feature, status};

/// What the driver is to be told after a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// A bit for each queue that has chains to look at.
    pub queues: u64,
    /// The configuration has changed, or the device needs a reset.
    pub config: bool,
}

/// Status, features and queues of device `D`.
pub struct Core<D> {
    pub device: D,
    status: u8,
    driver_features: u64,
    pub queues: Vec<Queue>,
    /// Changes with the configuration (2.5.2).
    generation: u8,
    /// Whether the driver has notified or has become ready, or the last transfer has left something.
    notified: bool,
    config_pending: bool,
}

impl<D: VirtioDevice> Core<D> {
    pub fn new(device: D) -> Self {
        let queues = device.queues().iter().map(|max| Queue::new(*max)).collect();
        Self { device, status: 0, driver_features: 0, queues, generation: 0, notified: false, config_pending: false }
    }

    pub fn reset(&mut self) {
        self.device.reset();
        self.queues.iter_mut().for_each(Queue::reset);
        (self.status, self.driver_features) = (0, 0);
        (self.notified, self.config_pending) = (false, false);
    }

    fn name(&self) -> String {
        format!("virtio {:?}", self.device.device_type()).to_lowercase()
    }

    /// All bits on offer.
    fn offered(&self) -> u64 {
        self.device.features() | feature::ALL
    }

    /// 32 of the bits on offer; zeros beyond the second word.
    pub fn offered_word(&self, word: u32) -> u32 {
        if word < 2 { (self.offered() >> (32 * word)) as u32 } else { 0 }
    }

    pub fn accepted_word(&self, word: u32) -> u32 {
        if word < 2 { (self.driver_features >> (32 * word)) as u32 } else { 0 }
    }

    /// The driver accepts features; ignored once they are settled.
    pub fn accept_word(&mut self, word: u32, bits: u32) {
        if word < 2 && self.status & status::FEATURES_OK == 0 {
            let shift = 32 * word;
            self.driver_features = self.driver_features & !(0xffff_ffff << shift) | u64::from(bits) << shift;
        }
    }

    pub fn status(&self) -> u8 {
        self.status
    }

    /// The driver sets status bits; 0 resets the device.
    pub fn set_status(&mut self, new: u8) {
        if new == 0 {
            return self.reset();
        }
        let mut set = new & !self.status & !status::NEEDS_RESET;
        if set & status::FEATURES_OK != 0 && !self.agree() {
            set &= !status::FEATURES_OK;
        }
        if set & status::DRIVER_OK != 0 && (self.status | set) & status::FEATURES_OK == 0 {
            log::warn!(
                "{}: a driver that does not negotiate features; only virtio 1.0 and later is served",
                self.name()
            );
            set &= !status::DRIVER_OK;
        }
        self.status |= set;
        if set & status::FAILED != 0 {
            log::warn!("{}: the guest's driver gave up on the device", self.name());
        }
        if set & status::DRIVER_OK != 0 {
            // What the driver has made available by now needs no notification.
            self.notified = true;
        }
    }

    /// Settles the features, if the driver's choice is one.
    fn agree(&mut self) -> bool {
        let extra = self.driver_features & !self.offered();
        if extra != 0 {
            log::warn!("{}: the driver accepts features that are not on offer: {extra:#x}", self.name());
            return false;
        }
        if self.driver_features & feature::VERSION_1 == 0 {
            log::warn!("{}: a legacy driver; only virtio 1.0 and later drivers are served", self.name());
            return false;
        }
        let features = RingFeatures {
            indirect: self.driver_features & feature::INDIRECT_DESC != 0,
            event_index: self.driver_features & feature::EVENT_IDX != 0,
        };
        self.queues.iter_mut().for_each(|q| q.features = features);
        true
    }

    /// The driver has written the configuration space.
    pub fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        self.device.write_config(offset, bytes);
        self.notified = true;
    }

    /// Reads the device's configuration.
    pub fn read_config(&self, offset: u64, out: &mut [u8]) {
        out.fill(0);
        let config = self.device.config();
        if let Some(from) = usize::try_from(offset).ok().and_then(|at| config.get(at..)) {
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
        }
    }

    pub fn generation(&self) -> u8 {
        self.generation
    }

    /// The driver rings for a queue.
    pub fn notify(&mut self, queue: u16) {
        if usize::from(queue) < self.queues.len() {
            self.notified = true;
        }
    }

    fn is_live(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    /// Whether there is work to do.
    pub fn wants_transfer(&self) -> bool {
        self.notified && self.is_live()
    }

    /// Does the device's work.
    pub fn transfer(&mut self, ram: &mut dyn Dma) -> Notices {
        if !self.is_live() {
            return Notices::default();
        }
        let first = std::mem::take(&mut self.notified);
        let mut notices = Notices::default();
        match self.work(first, ram, &mut notices) {
            Ok(()) => {}
            Err(broken) => {
                log::warn!("{}: the guest's driver broke a queue, the device needs a reset: {broken}", self.name());
                self.status |= status::NEEDS_RESET;
                notices.config = true;
            }
        }
        notices
    }

    fn work(&mut self, check: bool, ram: &mut dyn Dma, notices: &mut Notices) -> Result<(), Broken> {
        if check {
            self.queues.iter().filter(|q| q.ready).try_for_each(|q| q.check(ram))?;
        }
        self.queues.iter_mut().for_each(Queue::begin_transfer);
        let mut work = Work {
            ram,
            features: self.driver_features,
            queues: &mut self.queues,
            config_changed: false,
            rest: false,
            left: TRANSFER_BYTES,
        };
        self.device.process(&mut work)?;
        self.notified |= work.rest;
        if work.config_changed {
            self.generation = self.generation.wrapping_add(1);
            notices.config = true;
        }
        for (i, queue) in self.queues.iter_mut().enumerate() {
            notices.queues |= u64::from(queue.take_interrupt(ram)?) << i;
        }
        Ok(())
    }
}
