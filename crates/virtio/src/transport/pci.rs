//! virtio over PCI (virtio 1.2, 4.1), modern only: the identifiers and registers of virtio 0.9 are not there, so that its
//! drivers do not find the device.
//!
//! BAR 4 holds the four structures, a page each; BAR 1 the MSI-X table.

use bus::msix::{self, Msix};
use bus::pci::{Bar, ConfigSpace, Identity, PciFunction};
use bus::{DevCtx, Dma, IoError, IoResult, MmioAccess, Width};

use crate::core::{Core, Notices};
use crate::device::VirtioDevice;
use crate::spec::{DeviceType, VENDOR};

/// PCI device number of device type 0 (4.1.2).
const DEVICE_BASE: u16 = 0x1040;
/// Subsystem: 0x40 or above in a device that is not transitional (4.1.2.1); QEMU's.
const SUBSYSTEM: u16 = 0x1100;
/// Vendor-specific capability.
const CAPABILITY_VENDOR: u8 = 0x09;
const MSIX_BAR: u8 = 1;
const BAR: u8 = 4;
const PAGE: u32 = 0x1000;
/// Bytes between the notification addresses of two queues.
const NOTIFY_MULTIPLIER: u32 = 4;
/// "No vector" (4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;
/// ISR status (4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// The structures, by their `cfg_type` (4.1.4); each at `(cfg_type - 1) * PAGE`, where it ends.
#[derive(Clone, Copy)]
enum Structure {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
    PciAccess = 5,
}

/// Fields of the common configuration structure (4.1.4.3).
mod common {
    pub const DEVICE_FEATURE_SELECT: u64 = 0;
    pub const DEVICE_FEATURE: u64 = 4;
    pub const DRIVER_FEATURE_SELECT: u64 = 8;
    pub const DRIVER_FEATURE: u64 = 12;
    pub const CONFIG_VECTOR: u64 = 16;
    pub const NUM_QUEUES: u64 = 18;
    pub const DEVICE_STATUS: u64 = 20;
    pub const CONFIG_GENERATION: u64 = 21;
    pub const QUEUE_SELECT: u64 = 22;
    pub const QUEUE_SIZE: u64 = 24;
    pub const QUEUE_VECTOR: u64 = 26;
    pub const QUEUE_ENABLE: u64 = 28;
    pub const QUEUE_NOTIFY_OFF: u64 = 30;
    pub const QUEUE_DESC: u64 = 32;
    pub const QUEUE_DRIVER: u64 = 40;
    /// The device area's address, the last field.
    pub const QUEUE_DEVICE: u64 = 48;
    pub const END: u64 = 55;
    pub const SIZE: u32 = 56;
}

/// Class codes as QEMU's devices have them.
fn class(device: DeviceType) -> u32 {
    match device {
        DeviceType::Net => 0x02_00_00,
        DeviceType::Block => 0x01_00_00,
        DeviceType::Console => 0x07_80_00,
        DeviceType::Input => 0x09_80_00,
        DeviceType::P9 => 0x00_02_00,
        DeviceType::Entropy | DeviceType::Balloon => 0x00_ff_00,
    }
}

/// Device `D` as a function on the PCI bus.
pub struct VirtioPci<D> {
    core: Core<D>,
    config: ConfigSpace,
    msix: Msix,
    isr: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    queue_select: u16,
    config_vector: u16,
    queue_vectors: Vec<u16>,
    /// Offset of the capability for access by configuration cycles (4.1.4.9).
    window: u8,
}

impl<D: VirtioDevice> VirtioPci<D> {
    pub fn new(device: D) -> Self {
        let kind = device.device_type();
        let id = Identity {
            vendor: VENDOR,
            device: DEVICE_BASE + kind as u16,
            revision: 1,
            class: class(kind),
            subsystem_vendor: VENDOR,
            subsystem: SUBSYSTEM,
        };
        let mut config = ConfigSpace::new(id)
            .with_bar(MSIX_BAR.into(), Bar::Memory32 { size: msix::BAR_BYTES, prefetchable: false })
            .with_bar(BAR.into(), Bar::Memory64 { size: (4 * PAGE).into(), prefetchable: true })
            .with_interrupt_pin(0);
        let core = Core::new(device);
        let queues = core.queues.len();
        // One for each queue and one for the configuration.
        let msix = Msix::new(&mut config, (queues as u16 + 1).min(msix::VECTORS_MAX), MSIX_BAR);
        let page = |s: Structure| (s as u32 - 1) * PAGE;
        add_structure(&mut config, Structure::Common, BAR, 0, common::SIZE, None);
        add_structure(&mut config, Structure::Isr, BAR, page(Structure::Isr), 1, None);
        add_structure(&mut config, Structure::Device, BAR, page(Structure::Device), PAGE, None);
        let length = NOTIFY_MULTIPLIER * queues as u32;
        let at = page(Structure::Notify);
        add_structure(&mut config, Structure::Notify, BAR, at, length, Some(NOTIFY_MULTIPLIER));
        let window = add_structure(&mut config, Structure::PciAccess, 0, 0, 0, Some(0));
        Self {
            core,
            config,
            msix,
            isr: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            queue_select: 0,
            config_vector: NO_VECTOR,
            queue_vectors: vec![NO_VECTOR; queues],
            window,
        }
    }

    /// The device itself. What it is given reaches the driver at the next transfer.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.core.device
    }

    pub fn device(&self) -> &D {
        &self.core.device
    }

    fn reset_registers(&mut self) {
        self.isr = 0;
        self.msix.drop_pending();
        (self.device_feature_select, self.driver_feature_select, self.queue_select) = (0, 0, 0);
        self.config_vector = NO_VECTOR;
        self.queue_vectors.fill(NO_VECTOR);
    }

    fn read_common(&self, a: MmioAccess) -> IoResult<u64> {
        let queue = self.core.queues.get(usize::from(self.queue_select));
        let (value, width): (u64, Width) = match a.offset {
            common::DEVICE_FEATURE_SELECT => (self.device_feature_select.into(), Width::B4),
            common::DEVICE_FEATURE => (self.core.offered_word(self.device_feature_select).into(), Width::B4),
            common::DRIVER_FEATURE_SELECT => (self.driver_feature_select.into(), Width::B4),
            common::DRIVER_FEATURE => (self.core.accepted_word(self.driver_feature_select).into(), Width::B4),
            common::CONFIG_VECTOR => (self.config_vector.into(), Width::B2),
            common::NUM_QUEUES => (self.core.queues.len() as u64, Width::B2),
            common::DEVICE_STATUS => (self.core.status().into(), Width::B1),
            common::CONFIG_GENERATION => (self.core.generation().into(), Width::B1),
            common::QUEUE_SELECT => (self.queue_select.into(), Width::B2),
            common::QUEUE_SIZE => (queue.map_or(0, |q| q.size.into()), Width::B2),
            common::QUEUE_VECTOR => (self.queue_vector().into(), Width::B2),
            common::QUEUE_ENABLE => (queue.is_some_and(|q| q.ready).into(), Width::B2),
            common::QUEUE_NOTIFY_OFF => (queue.map_or(0, |_| self.queue_select.into()), Width::B2),
            at @ common::QUEUE_DESC..=common::END => {
                let Some(queue) = queue else { return IoResult::Ok(0) };
                let field = match at & !7 {
                    common::QUEUE_DESC => queue.descriptors,
                    common::QUEUE_DRIVER => queue.driver,
                    common::QUEUE_DEVICE => queue.device,
                    _ => return IoError::Register.into(),
                };
                return match (at % 8, a.width) {
                    (0, Width::B8) => IoResult::Ok(field),
                    (0 | 4, Width::B4) => IoResult::Ok(field >> (8 * (at % 8)) & 0xffff_ffff),
                    _ => IoError::Width.into(),
                };
            }
            _ => return IoError::Register.into(),
        };
        if a.width == width { IoResult::Ok(value) } else { IoError::Width.into() }
    }

    fn queue_vector(&self) -> u16 {
        self.queue_vectors.get(usize::from(self.queue_select)).copied().unwrap_or(NO_VECTOR)
    }

    /// A vector as the driver sets it: one that does not exist is none (4.1.5.1.2.1).
    fn vector(&self, v: u64) -> u16 {
        let v = v as u16;
        if v < self.msix.vectors() { v } else { NO_VECTOR }
    }

    fn write_common(&mut self, a: MmioAccess, v: u64) -> IoResult<()> {
        let width = match a.offset {
            0..16 => Width::B4,
            common::DEVICE_STATUS | common::CONFIG_GENERATION => Width::B1,
            16..32 => Width::B2,
            _ => a.width,
        };
        if a.width != width {
            return IoError::Width.into();
        }
        match a.offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select = v as u32,
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select = v as u32,
            common::DRIVER_FEATURE => self.core.accept_word(self.driver_feature_select, v as u32),
            common::CONFIG_VECTOR => self.config_vector = self.vector(v),
            common::DEVICE_STATUS => {
                self.core.set_status(v as u8);
                if v as u8 == 0 {
                    self.reset_registers();
                }
            }
            common::QUEUE_SELECT => self.queue_select = v as u16,
            common::QUEUE_VECTOR => {
                let vector = self.vector(v);
                if let Some(q) = self.queue_vectors.get_mut(usize::from(self.queue_select)) {
                    *q = vector;
                }
            }
            common::QUEUE_SIZE | common::QUEUE_ENABLE | common::QUEUE_DESC..=common::END => {
                return self.write_queue(a, v);
            }
            _ => return IoError::Register.into(),
        }
        IoResult::Ok(())
    }

    fn write_queue(&mut self, a: MmioAccess, v: u64) -> IoResult<()> {
        let Some(queue) = self.core.queues.get_mut(usize::from(self.queue_select)) else { return IoResult::Ok(()) };
        if queue.ready {
            // A queue in use cannot be moved (4.1.4.3.2).
            return IoError::Reserved.into();
        }
        match a.offset {
            common::QUEUE_SIZE => queue.size = v as u16,
            common::QUEUE_ENABLE => queue.ready = v == 1,
            at => {
                let field = match at & !7 {
                    common::QUEUE_DESC => &mut queue.descriptors,
                    common::QUEUE_DRIVER => &mut queue.driver,
                    common::QUEUE_DEVICE => &mut queue.device,
                    _ => return IoError::Register.into(),
                };
                match (at % 8, a.width) {
                    (0, Width::B8) => *field = v,
                    (0, Width::B4) => *field = *field & !0xffff_ffff | v & 0xffff_ffff,
                    (4, Width::B4) => *field = *field & 0xffff_ffff | v << 32,
                    _ => return IoError::Width.into(),
                }
            }
        }
        IoResult::Ok(())
    }

    fn read_structures(&mut self, a: MmioAccess) -> IoResult<u64> {
        let page = u64::from(PAGE);
        let inner = MmioAccess::new(a.offset % page, a.width);
        match a.offset / page {
            0 => self.read_common(inner),
            // notifications are write-only
            1 => IoResult::Ok(0),
            2 if inner.offset == 0 => IoResult::Ok(std::mem::take(&mut self.isr).into()),
            3 => {
                let mut bytes = [0; 8];
                self.core.read_config(inner.offset, &mut bytes[..usize::from(a.width.bytes())]);
                IoResult::Ok(u64::from_le_bytes(bytes))
            }
            _ => IoError::Register.into(),
        }
    }

    fn write_structures(&mut self, a: MmioAccess, v: u64) -> IoResult<()> {
        let page = u64::from(PAGE);
        let inner = MmioAccess::new(a.offset % page, a.width);
        match a.offset / page {
            0 => return self.write_common(inner, v),
            1 => self.core.notify((inner.offset / u64::from(NOTIFY_MULTIPLIER)) as u16),
            3 => self.core.write_config(inner.offset, &v.to_le_bytes()[..usize::from(a.width.bytes())]),
            _ => return IoError::Register.into(),
        }
        IoResult::Ok(())
    }

    fn announce(&mut self, cx: &mut DevCtx, notices: Notices) {
        if self.msix.is_enabled(&self.config) {
            for (i, vector) in self.queue_vectors.iter().enumerate() {
                if notices.queues >> i & 1 != 0 {
                    self.msix.send(&self.config, *vector, cx.irq);
                }
            }
            if notices.config {
                self.msix.send(&self.config, self.config_vector, cx.irq);
            }
        } else {
            self.isr |= if notices.queues != 0 { ISR_QUEUE } else { 0 };
            self.isr |= if notices.config { ISR_CONFIG } else { 0 };
        }
    }

    /// What the driver wants to reach by configuration cycles: BAR and access (4.1.4.9).
    fn window_target(&self) -> Option<(u8, MmioAccess)> {
        let bar = self.config.read(self.window + 4, Width::B1) as u8;
        let offset = self.config.read(self.window + 8, Width::B4);
        let width = Width::of(self.config.read(self.window + 12, Width::B4) as usize).filter(|w| *w != Width::B8)?;
        (bar == BAR && offset.is_multiple_of(width.bytes().into()) && offset < 4 * PAGE)
            .then_some((bar, MmioAccess::new(offset.into(), width)))
    }

    fn is_window_data(&self, at: u8) -> bool {
        at & !3 == self.window + 16
    }
}

/// Adds a vendor-specific capability that says where structure `s` is (4.1.4); `extra` is the word behind it. The driver
/// sets where [`Structure::PciAccess`] looks.
fn add_structure(config: &mut ConfigSpace, s: Structure, bar: u8, at: u32, length: u32, extra: Option<u32>) -> u8 {
    let cap_len = if extra.is_some() { 20 } else { 16 };
    let mut body = vec![cap_len, s as u8, bar, 0, 0, 0];
    body.extend(at.to_le_bytes());
    body.extend(length.to_le_bytes());
    extra.into_iter().for_each(|word| body.extend(word.to_le_bytes()));
    let writable: &[u8] = match s {
        Structure::PciAccess => &[0, 0, 0xff, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        _ => &[],
    };
    config.add_capability(CAPABILITY_VENDOR, &body, writable)
}

impl<D: VirtioDevice> PciFunction for VirtioPci<D> {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_write(&mut self, cx: &mut DevCtx, at: u8, width: Width, v: u32) {
        self.config.write(at, width, v);
        if self.is_window_data(at)
            && let Some((bar, a)) = self.window_target()
        {
            let _ = self.bar_write(cx, bar.into(), a, u64::from(v) & a.width.mask());
        }
        self.msix.deliver(&self.config, cx.irq);
    }

    fn config_read(&mut self, cx: &mut DevCtx, at: u8, width: Width) -> u32 {
        if self.is_window_data(at)
            && let Some((bar, a)) = self.window_target()
            && let IoResult::Ok(v) = self.bar_read(cx, bar.into(), a)
        {
            return v as u32;
        }
        self.config.read(at, width)
    }

    fn bar_read(&mut self, _: &mut DevCtx, bar: usize, a: MmioAccess) -> IoResult<u64> {
        if bar == usize::from(MSIX_BAR) { self.msix.read(a) } else { self.read_structures(a) }
    }

    fn bar_write(&mut self, cx: &mut DevCtx, bar: usize, a: MmioAccess, v: u64) -> IoResult<()> {
        if bar == usize::from(MSIX_BAR) {
            self.msix.write(&self.config, a, v, cx.irq)
        } else {
            self.write_structures(a, v)
        }
    }

    fn intx(&self) -> bool {
        self.isr != 0 && !self.msix.is_enabled(&self.config)
    }

    fn wants_transfer(&self) -> bool {
        self.core.wants_transfer()
    }

    fn transfer(&mut self, cx: &mut DevCtx, ram: &mut dyn Dma) {
        let notices = self.core.transfer(ram);
        self.announce(cx, notices);
    }

    fn reset(&mut self, _: &mut DevCtx) {
        self.core.reset();
        self.config.reset();
        self.msix.reset();
        self.reset_registers();
    }
}
