//! The block device (virtio 1.2, 5.2) over a [`BlockBackend`]. Requests run side by side and complete in any order.

pub mod spec;
#[cfg(test)]
mod tests;

use bus::Dma;
use rustc_hash::FxHashMap;
use storage::{BlockBackend, BlockError, Completion, Request, SECTOR, Tag};

use crate::chain::Chain;
use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;
use spec::{HEADER, ID_BYTES, RANGE, RANGE_UNMAP, feature, request, status};

const QUEUE: u16 = 256;
/// Data segments of a request at most: with header and status they fill the queue, as in QEMU.
const SEGMENTS_MAX: u32 = QUEUE as u32 - 2;
/// Bytes that one request moves at most; more is refused. (Linux stays below 2 MiB.)
const REQUEST_BYTES: u64 = 16 << 20;
/// Bytes and requests that are under way at most. Requests beyond wait in the queue.
const IN_FLIGHT_BYTES: u64 = 32 << 20;
const IN_FLIGHT: usize = QUEUE as usize;
/// Ranges of a discard request at most, and sectors of each. A backend looks at each of the blocks in them: that costs about as much
/// as to move a [`DISCARD_SHARE`]th of their bytes.
const RANGES_MAX: u32 = 16;
const DISCARD_SECTORS: u32 = (REQUEST_BYTES * DISCARD_SHARE / RANGES_MAX as u64 / SECTOR) as u32;
const DISCARD_SHARE: u64 = 256;
/// Sectors of a write-zeroes request at most, in all ranges together: backends may write them.
const ZEROES_SECTORS: u32 = (REQUEST_BYTES / SECTOR) as u32;
/// Disks' optimal transfer in logical blocks: as QEMU, unknown.
const OPTIMAL_IO: u32 = 0;

/// How a disk presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes of a logical block, a power of two from 512 to 32768.
    pub logical_block: u32,
    /// Bytes of a physical block, a power-of-two multiple of the logical block.
    pub physical_block: u32,
    /// What GET_ID answers; at most 20 bytes.
    pub serial: String,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { logical_block: SECTOR as u32, physical_block: SECTOR as u32, serial: String::new() }
    }
}

/// A request that the backend has not finished.
struct Pending {
    /// `None`: the driver has reset the device and does not wait for it.
    chain: Option<Chain>,
    /// Requests to the backend that are still under way, and what has failed by now.
    parts: u32,
    failed: bool,
    /// It changes the disk.
    changes: bool,
    /// The driver takes what it changes to be kept when the request is done (5.2.6.2, without FLUSH).
    stable: bool,
    /// Bytes that it moves, or what costs the backend as much.
    bytes: u64,
}

/// A disk.
pub struct Blk {
    backend: Box<dyn BlockBackend>,
    options: DiskOptions,
    /// By tag. What is under way stays here when the driver resets the device: the backend holds its bytes all the same.
    pending: FxHashMap<u64, Pending>,
    /// Tags are never used twice.
    next_tag: u64,
    /// Bytes that pending requests move.
    in_flight: u64,
}

/// What to do with a chain.
enum Plan {
    /// Ask the backend, all of it.
    Submit(Vec<Request>),
    /// Answer at once with a status, after that many bytes of data.
    Answer(u8, u32),
}

impl Blk {
    pub fn new(backend: Box<dyn BlockBackend>, options: DiskOptions) -> Self {
        Self { backend, options, pending: FxHashMap::default(), next_tag: 0, in_flight: 0 }
    }

    /// Reads the request's header and decides.
    fn plan(&self, chain: &Chain, ram: &mut dyn Dma) -> Result<Plan, Broken> {
        let header: [u8; 16] = chain.read(ram, 0).ok_or(Broken::Request)?;
        let data_len = chain.write_len().checked_sub(1).ok_or(Broken::Request)?;
        let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let sector = u64::from_le_bytes(header[8..].try_into().unwrap_or_default());
        let out_len = chain.read_len() - HEADER;
        Ok(match kind {
            request::IN => match self.range(sector, data_len) {
                Some(offset) => Plan::Submit(vec![Request::Read { offset, len: data_len as usize }]),
                None => Plan::Answer(status::IOERR, 0),
            },
            request::OUT => match self.range(sector, out_len).filter(|_| !self.backend.read_only()) {
                Some(offset) => {
                    let mut data = Vec::with_capacity(out_len as usize);
                    chain.read_to(ram, HEADER, out_len, &mut data);
                    Plan::Submit(vec![Request::Write { offset, data }])
                }
                None => Plan::Answer(status::IOERR, 0),
            },
            request::FLUSH => Plan::Submit(vec![Request::Flush]),
            request::GET_ID => {
                let mut id = [0; ID_BYTES];
                let serial = self.options.serial.as_bytes();
                let n = serial.len().min(ID_BYTES);
                id[..n].copy_from_slice(&serial[..n]);
                let room = data_len.min(ID_BYTES as u64) as usize;
                Plan::Answer(status::OK, chain.write(ram, 0, &id[..room]))
            }
            request::DISCARD | request::WRITE_ZEROES => self.plan_ranges(chain, ram, kind, out_len),
            _ => Plan::Answer(status::UNSUPP, 0),
        })
    }

    fn plan_ranges(&self, chain: &Chain, ram: &dyn Dma, kind: u32, out_len: u64) -> Plan {
        if self.backend.read_only() {
            return Plan::Answer(status::IOERR, 0);
        }
        let count = out_len / RANGE as u64;
        if count == 0 || !out_len.is_multiple_of(RANGE as u64) || count > u64::from(RANGES_MAX) {
            return Plan::Answer(status::IOERR, 0);
        }
        let mut requests = Vec::new();
        let mut zeroes = 0_u64;
        for i in 0..count {
            let Some(range) = chain.read::<RANGE>(ram, HEADER + i * RANGE as u64) else {
                return Plan::Answer(status::IOERR, 0);
            };
            let sector = u64::from_le_bytes(range[..8].try_into().unwrap_or_default());
            let sectors = u32::from_le_bytes([range[8], range[9], range[10], range[11]]);
            let flags = u32::from_le_bytes([range[12], range[13], range[14], range[15]]);
            let discard = kind == request::DISCARD;
            // Flags that are not known: 5.2.6.2.
            if flags & !RANGE_UNMAP != 0 || discard && flags != 0 {
                return Plan::Answer(status::UNSUPP, 0);
            }
            let len = u64::from(sectors) * SECTOR;
            zeroes += if discard { 0 } else { u64::from(sectors) };
            let few = sectors <= DISCARD_SECTORS && zeroes <= u64::from(ZEROES_SECTORS);
            let Some(offset) = self.within(sector, len).filter(|_| few) else {
                return Plan::Answer(status::IOERR, 0);
            };
            requests.push(if discard {
                Request::Discard { offset, len }
            } else {
                Request::WriteZeroes { offset, len }
            });
        }
        Plan::Submit(requests)
    }

    /// Byte offset of a transfer of `len` bytes from `sector` on; `None` where the disk has no such range.
    fn range(&self, sector: u64, len: u64) -> Option<u64> {
        self.within(sector, len).filter(|_| len.is_multiple_of(SECTOR) && len <= REQUEST_BYTES)
    }

    fn within(&self, sector: u64, len: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR)?;
        offset.checked_add(len).filter(|end| *end <= self.backend.capacity()).map(|_| offset)
    }

    fn start(&mut self, chain: Chain, work: &mut Work) -> Result<(), Broken> {
        match self.plan(&chain, work.ram)? {
            Plan::Answer(code, written) => answer(chain, work, code, written),
            Plan::Submit(requests) => {
                let tag = self.next_tag;
                self.next_tag = tag.wrapping_add(1);
                let more = requests.iter().map(weight).sum::<u64>();
                work.spend(more);
                let bytes = chain.read_len() + chain.write_len() + more;
                self.in_flight += bytes;
                let parts = requests.len() as u32;
                let changes = requests.iter().any(changes);
                let stable = changes && work.features & feature::FLUSH == 0;
                let pending = Pending { chain: Some(chain), parts, failed: false, changes, stable, bytes };
                self.pending.insert(tag, pending);
                requests.into_iter().for_each(|r| self.backend.submit(Tag(tag), r));
                Ok(())
            }
        }
    }

    /// Gives the driver what has completed.
    fn finish(&mut self, work: &mut Work) -> Result<(), Broken> {
        while let Some(Completion { tag, result }) = self.backend.poll() {
            let Some(pending) = self.pending.get_mut(&tag.0) else { continue };
            let mut written = 0;
            match result {
                Ok(data) => written = pending.chain.as_ref().map_or(0, |chain| chain.write(work.ram, 0, &data)),
                Err(e) => {
                    log_failure(&e);
                    pending.failed = true;
                }
            }
            pending.parts = pending.parts.saturating_sub(1);
            if pending.parts == 0 && !pending.failed && std::mem::take(&mut pending.stable) {
                pending.parts = 1;
                self.backend.submit(tag, Request::Flush);
            }
            if pending.parts == 0
                && let Some(Pending { chain, failed, bytes, .. }) = self.pending.remove(&tag.0)
            {
                self.in_flight = self.in_flight.saturating_sub(bytes);
                if let Some(chain) = chain {
                    answer(chain, work, if failed { status::IOERR } else { status::OK }, written)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the disk may be another after a request.
fn changes(request: &Request) -> bool {
    !matches!(request, Request::Read { .. } | Request::Flush)
}

/// What a request costs a backend beside the bytes that the driver's buffers have.
fn weight(request: &Request) -> u64 {
    match request {
        Request::Read { .. } | Request::Write { .. } | Request::Flush => 0,
        Request::WriteZeroes { len, .. } => *len,
        Request::Discard { len, .. } => len / DISCARD_SHARE,
    }
}

fn log_failure(e: &BlockError) {
    log::warn!("virtio block: {e}");
}

/// Writes the status into the last byte and gives the chain back.
fn answer(chain: Chain, work: &mut Work, code: u8, data: u32) -> Result<(), Broken> {
    let at = chain.write_len().saturating_sub(1);
    chain.write(work.ram, at, &[code]);
    // What the device has written: everything up to the status, or the status alone (2.7.8.2).
    let written = if u64::from(data) == at {
        data.wrapping_add(1)
    } else if at == 0 {
        1
    } else {
        data
    };
    work.give(0, chain, written)
}

impl VirtioDevice for Blk {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE]
    }

    fn features(&self) -> u64 {
        use feature::{BLK_SIZE, DISCARD, FLUSH, RO, SEG_MAX, TOPOLOGY, WRITE_ZEROES};
        SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | if self.backend.read_only() { RO } else { DISCARD | WRITE_ZEROES }
    }

    /// 5.2.4.
    fn config(&self) -> Vec<u8> {
        let sectors_per_block = self.options.logical_block / SECTOR as u32;
        let mut c = Vec::with_capacity(64);
        c.extend((self.backend.capacity() / SECTOR).to_le_bytes());
        c.extend(0_u32.to_le_bytes()); // size_max: not offered
        c.extend(SEGMENTS_MAX.to_le_bytes());
        c.extend([0; 4]); // geometry: not offered
        c.extend(self.options.logical_block.to_le_bytes());
        let ratio = (self.options.physical_block / self.options.logical_block.max(1)).max(1);
        c.extend([ratio.ilog2() as u8, 0]); // physical blocks; alignment offset
        c.extend(1_u16.to_le_bytes()); // min_io_size
        c.extend(OPTIMAL_IO.to_le_bytes());
        c.extend([1, 0]); // writeback: a flush is needed
        c.extend(1_u16.to_le_bytes()); // num_queues
        for limit in [DISCARD_SECTORS, RANGES_MAX, sectors_per_block] {
            c.extend(limit.to_le_bytes()); // discard: sectors, segments, alignment
        }
        for limit in [ZEROES_SECTORS, 1] {
            c.extend(limit.to_le_bytes()); // write zeroes
        }
        c.extend([1, 0, 0, 0]); // write zeroes may unmap
        c
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        self.finish(work)?;
        // The backend does requests in any order, and nobody expects one of before a reset to change the disk any more.
        if self.pending.values().any(|p| p.chain.is_none() && p.changes) {
            return Ok(());
        }
        while self.in_flight < IN_FLIGHT_BYTES
            && self.pending.len() < IN_FLIGHT
            && let Some(chain) = work.take(0)?
        {
            self.start(chain, work)?;
            // What is at hand completes here, so that its chain is used again.
            self.finish(work)?;
        }
        Ok(())
    }

    fn stop(&mut self, _: usize) {
        self.reset();
    }

    fn reset(&mut self) {
        // What is under way in the backend goes on; nobody waits for it.
        self.pending.values_mut().for_each(|p| p.chain = None);
    }
}
