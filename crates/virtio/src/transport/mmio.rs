//! virtio over memory-mapped registers (virtio 1.2, 4.2), version 2.

use bus::{DevCtx, Device, Dma, IoError, IoResult, Line, Master, Mmio, MmioAccess, Width};

use crate::core::Core;
use crate::device::VirtioDevice;
use crate::spec::VENDOR;

/// Bytes of a device's registers, its configuration included.
pub const SIZE: u64 = 0x200;
/// "virt", and the version that is not legacy (4.2.2).
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// Interrupt status (4.2.2).
const QUEUE: u32 = 1;
const CONFIG: u32 = 2;

/// Register offsets (4.2.2).
mod reg {
    pub const MAGIC: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const VENDOR_ID: u64 = 0x00c;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub const QUEUE_SEL: u64 = 0x030;
    pub const QUEUE_SIZE_MAX: u64 = 0x034;
    pub const QUEUE_SIZE: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC: u64 = 0x080;
    pub const QUEUE_DRIVER: u64 = 0x090;
    pub const QUEUE_DEVICE: u64 = 0x0a0;
    /// Shared memory: selecting a region, its length and base. There is none, which reads as all ones.
    pub const SHM_SEL: u64 = 0x0ac;
    pub const SHM_FIRST: u64 = 0x0b0;
    pub const SHM_LAST: u64 = 0x0bc;
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    pub const CONFIG: u64 = 0x100;
}

/// Device `D` with its registers in memory.
pub struct VirtioMmio<D> {
    core: Core<D>,
    line: Line,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    interrupt: u32,
}

impl<D: VirtioDevice> VirtioMmio<D> {
    /// `line` is level-triggered; others may use it too, if the board combines them.
    pub fn new(device: D, line: Line) -> Self {
        Self {
            core: Core::new(device),
            line,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            interrupt: 0,
        }
    }

    /// The device itself. What it is given reaches the driver at the next transfer.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.core.device
    }

    fn read_register(&self, offset: u64) -> Option<u32> {
        let queue = self.core.queues.get(self.queue_sel as usize);
        Some(match offset {
            reg::MAGIC => MAGIC,
            reg::VERSION => VERSION,
            reg::DEVICE_ID => self.core.device.device_type() as u32,
            reg::VENDOR_ID => VENDOR.into(),
            reg::DEVICE_FEATURES => self.core.offered_word(self.device_features_sel),
            reg::QUEUE_SIZE_MAX => queue.map_or(0, |q| q.max().into()),
            reg::QUEUE_READY => queue.is_some_and(|q| q.ready).into(),
            reg::INTERRUPT_STATUS => self.interrupt,
            reg::STATUS => self.core.status().into(),
            reg::SHM_FIRST..=reg::SHM_LAST => u32::MAX,
            reg::CONFIG_GENERATION => self.core.generation().into(),
            _ => return None,
        })
    }

    fn write_register(&mut self, offset: u64, v: u32) -> IoResult<()> {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = v,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = v,
            reg::DRIVER_FEATURES => self.core.accept_word(self.driver_features_sel, v),
            reg::QUEUE_SEL => self.queue_sel = v,
            reg::QUEUE_NOTIFY => self.core.notify(v as u16),
            reg::INTERRUPT_ACK => self.interrupt &= !v,
            reg::STATUS => {
                self.core.set_status(v as u8);
                if v as u8 == 0 {
                    self.reset_registers();
                }
            }
            reg::SHM_SEL => {}
            _ => return self.write_queue(offset, v),
        }
        IoResult::Ok(())
    }

    fn write_queue(&mut self, offset: u64, v: u32) -> IoResult<()> {
        let Some(queue) = self.core.queues.get_mut(self.queue_sel as usize) else { return IoResult::Ok(()) };
        match offset {
            // The driver stops a queue by this (4.2.2.1).
            reg::QUEUE_READY if v & 1 == 0 => {
                queue.stop();
                self.core.device.stop(self.queue_sel as usize);
            }
            reg::QUEUE_READY => queue.ready = true,
            _ if queue.ready => return IoError::Reserved.into(),
            reg::QUEUE_SIZE => queue.size = v.min(u32::from(u16::MAX)) as u16,
            _ => {
                let field = match offset & !7 {
                    reg::QUEUE_DESC => &mut queue.descriptors,
                    reg::QUEUE_DRIVER => &mut queue.driver,
                    reg::QUEUE_DEVICE => &mut queue.device,
                    _ => return IoError::Register.into(),
                };
                *field = match offset & 4 {
                    0 => *field & !0xffff_ffff | u64::from(v),
                    _ => *field & 0xffff_ffff | u64::from(v) << 32,
                };
            }
        }
        IoResult::Ok(())
    }

    fn reset_registers(&mut self) {
        (self.device_features_sel, self.driver_features_sel, self.queue_sel) = (0, 0, 0);
        self.interrupt = 0;
    }

    fn drive(&self, cx: &mut DevCtx) {
        cx.irq.set(self.line, self.interrupt != 0);
    }
}

impl<D: VirtioDevice> Device for VirtioMmio<D> {
    fn name(&self) -> &'static str {
        "virtio-mmio"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        self.core.reset();
        self.reset_registers();
        self.drive(cx);
    }

    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }

    fn master(&mut self) -> Option<&mut dyn Master> {
        Some(self)
    }
}

impl<D: VirtioDevice> Mmio for VirtioMmio<D> {
    fn read(&mut self, _: &mut DevCtx, a: MmioAccess) -> IoResult<u64> {
        if let Some(offset) = a.offset.checked_sub(reg::CONFIG) {
            let mut bytes = [0; 8];
            self.core.read_config(offset, &mut bytes[..usize::from(a.width.bytes())]);
            return IoResult::Ok(u64::from_le_bytes(bytes));
        }
        if a.width != Width::B4 {
            return IoError::Width.into();
        }
        self.read_register(a.offset).map_or_else(|| IoError::Register.into(), |v| IoResult::Ok(v.into()))
    }

    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, v: u64) -> IoResult<()> {
        if let Some(offset) = a.offset.checked_sub(reg::CONFIG) {
            self.core.write_config(offset, &v.to_le_bytes()[..usize::from(a.width.bytes())]);
            return IoResult::Ok(());
        }
        if a.width != Width::B4 {
            return IoError::Width.into();
        }
        let result = self.write_register(a.offset, v as u32);
        self.drive(cx);
        result
    }
}

impl<D: VirtioDevice> Master for VirtioMmio<D> {
    fn wants_transfer(&self) -> bool {
        self.core.wants_transfer()
    }

    fn transfer(&mut self, cx: &mut DevCtx, ram: &mut dyn Dma) {
        let notices = self.core.transfer(ram);
        self.interrupt |= if notices.queues != 0 { QUEUE } else { 0 };
        self.interrupt |= if notices.config { CONFIG } else { 0 };
        self.drive(cx);
    }
}

/// Devices side by side: the first one's registers at offset 0, each further one's [`SIZE`] bytes on.
pub struct MmioBus<D>(pub Vec<VirtioMmio<D>>);

impl<D: VirtioDevice> MmioBus<D> {
    fn at(&mut self, offset: u64) -> Option<&mut VirtioMmio<D>> {
        usize::try_from(offset / SIZE).ok().and_then(|n| self.0.get_mut(n))
    }
}

impl<D: VirtioDevice> Device for MmioBus<D> {
    fn name(&self) -> &'static str {
        "virtio-mmio"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        self.0.iter_mut().for_each(|d| d.reset(cx));
    }

    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }

    fn master(&mut self) -> Option<&mut dyn Master> {
        Some(self)
    }
}

impl<D: VirtioDevice> Mmio for MmioBus<D> {
    fn read(&mut self, cx: &mut DevCtx, a: MmioAccess) -> IoResult<u64> {
        let inner = MmioAccess::new(a.offset % SIZE, a.width);
        self.at(a.offset).map_or_else(|| IoError::NoDevice.into(), |d| d.read(cx, inner))
    }

    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, v: u64) -> IoResult<()> {
        let inner = MmioAccess::new(a.offset % SIZE, a.width);
        self.at(a.offset).map_or_else(|| IoError::NoDevice.into(), |d| d.write(cx, inner, v))
    }
}

impl<D: VirtioDevice> Master for MmioBus<D> {
    fn wants_transfer(&self) -> bool {
        self.0.iter().any(Master::wants_transfer)
    }

    fn transfer(&mut self, cx: &mut DevCtx, ram: &mut dyn Dma) {
        self.0.iter_mut().for_each(|d| d.transfer(cx, ram));
    }
}
