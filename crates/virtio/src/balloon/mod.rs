//! The memory balloon (virtio 1.2, 5.5): the host asks the guest to give pages up, and to take them back.
//!
//! Pages in the balloon are zeroed, so that a snapshot does not carry them; the host's memory itself cannot shrink.

#[cfg(test)]
mod tests;

use crate::chain::Chain;
use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;

/// Feature bits (5.5.3).
mod feature {
    pub const STATS_VQ: u64 = 1 << 1;
    pub const DEFLATE_ON_OOM: u64 = 1 << 2;
}

/// Queue numbers (5.5.2).
const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATS: usize = 2;

/// Balloon pages are of 4 KiB whatever the guest's are.
const PAGE: u64 = 4096;
/// Page numbers in one request at most: what the largest of drivers send.
const REQUEST_PAGES: u64 = 1024;
/// A page number in a request, and one statistic: tag and value (5.5.6.4).
const PFN: usize = 4;
const STAT: usize = 10;
/// Tags of statistics that are known, at most.
const STATS_MAX: u64 = 64;

/// Memory that the guest has given up.
#[derive(Default)]
pub struct Balloon {
    /// Pages that the host wants in the balloon, and that the driver says are there.
    wanted: u32,
    actual: u32,
    /// The host changed `wanted`.
    changed: bool,
    /// The last statistics, by tag.
    stats: Vec<(u16, u64)>,
    /// The buffer for the next statistics, which the device keeps until it wants them.
    waiting: Option<Chain>,
    stats_wanted: bool,
}

impl Balloon {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the guest for `pages` pages of 4 KiB.
    pub fn set_wanted(&mut self, pages: u32) {
        self.changed |= std::mem::replace(&mut self.wanted, pages) != pages;
    }

    /// Pages in the balloon now, as the driver says.
    pub fn actual(&self) -> u32 {
        self.actual
    }

    /// Asks the guest for new statistics.
    pub fn ask_for_stats(&mut self) {
        self.stats_wanted = true;
    }

    /// The last statistics: tag (5.5.6.4) and value.
    pub fn stats(&self) -> &[(u16, u64)] {
        &self.stats
    }

    fn inflate(work: &mut Work) -> Result<(), Broken> {
        while let Some(chain) = work.take(INFLATE)? {
            if chain.read_len() > REQUEST_PAGES * PFN as u64 {
                return Err(Broken::Request);
            }
            let mut list = Vec::new();
            chain.read_to(work.ram, 0, chain.read_len(), &mut list);
            for pfn in list.chunks_exact(PFN) {
                let page = u64::from(u32::from_le_bytes(pfn.try_into().unwrap_or_default())) * PAGE;
                // A page that is no RAM is the driver's mistake, and costs nothing.
                if let Some(bytes) = work.ram.bytes_mut(page, PAGE as usize) {
                    bytes.fill(0);
                    work.spend(PAGE);
                }
            }
            work.give(INFLATE, chain, 0)?;
        }
        Ok(())
    }

    fn take_stats(&mut self, work: &mut Work) -> Result<(), Broken> {
        while let Some(chain) = work.take(STATS)? {
            let mut list = Vec::new();
            chain.read_to(work.ram, 0, STATS_MAX * STAT as u64, &mut list);
            self.stats.clear();
            self.stats.extend(list.chunks_exact(STAT).map(|s| {
                let tag = u16::from_le_bytes([s[0], s[1]]);
                (tag, u64::from_le_bytes(s[2..].try_into().unwrap_or_default()))
            }));
            if let Some(old) = self.waiting.replace(chain) {
                work.give(STATS, old, 0)?;
            }
        }
        if std::mem::take(&mut self.stats_wanted)
            && let Some(chain) = self.waiting.take()
        {
            work.give(STATS, chain, 0)?;
        }
        Ok(())
    }
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn queues(&self) -> &[u16] {
        &[128; 3]
    }

    fn features(&self) -> u64 {
        feature::STATS_VQ | feature::DEFLATE_ON_OOM
    }

    fn config(&self) -> Vec<u8> {
        [self.wanted.to_le_bytes(), self.actual.to_le_bytes()].concat()
    }

    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        // Only `actual` is the driver's to write.
        let mut actual = self.actual.to_le_bytes();
        for (i, byte) in bytes.iter().enumerate() {
            if let Some(place) = offset.checked_add(i as u64).and_then(|at| at.checked_sub(4))
                && let Some(old) = actual.get_mut(place as usize)
            {
                *old = *byte;
            }
        }
        self.actual = u32::from_le_bytes(actual);
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        if std::mem::take(&mut self.changed) {
            work.change_config();
        }
        Self::inflate(work)?;
        while let Some(chain) = work.take(DEFLATE)? {
            // The guest may use the pages from now on; there is nothing to fetch.
            work.give(DEFLATE, chain, 0)?;
        }
        self.take_stats(work)
    }

    fn stop(&mut self, queue: usize) {
        if queue == STATS {
            self.waiting = None;
        }
    }

    fn reset(&mut self) {
        self.actual = 0;
        self.waiting = None;
        self.stats.clear();
    }
}
