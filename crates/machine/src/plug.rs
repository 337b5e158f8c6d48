//! What the options plug into the board: virtio devices on the PCI bus and on memory-mapped registers.

use bus::{Dma, Line};
use devices::pci_host::Devfn;
use mem::Memory;
use options::{Chardev, Config, DeviceOptions, Model, Place, PortOptions, Serial};
use storage::BlockBackend;
use virtio::blk::DiskOptions;
use virtio::console::{Port, PortKind};
use virtio::input::InputKind;
use virtio::{AnyDevice, Balloon, Blk, Console, Input, Net, Rng};

use crate::map;
use crate::net::Networks;
use crate::random::Random;

/// RAM, for devices.
pub struct Ram<'a>(pub &'a mut Memory);

impl Dma for Ram<'_> {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.0.dma(address, len)
    }

    fn bytes_mut(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        self.0.dma_mut(address, len)
    }
}

/// Where the host's terminal is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    Nowhere,
    Com1,
    /// A port of a console device.
    Port {
        at: Slot,
        port: usize,
    },
}

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Pci(Devfn),
    /// In the order of their registers.
    Mmio(usize),
}

/// Devices and their places, for the board to take.
pub struct Plugged {
    pub pci: Vec<(Devfn, AnyDevice)>,
    pub mmio: Vec<(Line, AnyDevice)>,
    pub terminal: Terminal,
    pub networks: Networks,
}

/// The interrupt wire of the `n`th device on memory-mapped registers.
pub fn mmio_line(n: usize) -> Line {
    Line::new(map::GSI_VIRTIO_MMIO + n as u8 % options::MMIO_MAX as u8)
}

/// Makes the devices of `config` on `disks`, one for each drive, and on `nets`, one for each network.
pub fn plug(
    config: &Config,
    disks: Vec<Box<dyn BlockBackend>>,
    nets: Vec<netstack::Net>,
    random: &mut Random,
) -> Plugged {
    let mut disks: Vec<_> = disks.into_iter().map(Some).collect();
    let terminal = if config.serial == Serial::None { Terminal::Nowhere } else { Terminal::Com1 };
    let mut networks = Networks::default();
    let mut cables: Vec<_> = nets.into_iter().map(|net| Some(networks.add(net))).collect();
    let mut plugged = Plugged { pci: Vec::new(), mmio: Vec::new(), terminal, networks };
    for options in &config.devices {
        let made = match &options.model {
            Model::Net { netdev, mac } => {
                let at = config.nets.iter().position(|net| net.id == *netdev);
                let cable = at.and_then(|at| cables.get_mut(at)?.take());
                cable.map(|cable| Net::new(Box::new(cable), *mac).into())
            }
            model => device(model, &mut disks, random),
        };
        let Some(device) = made else { continue };
        let at = match options.place {
            Place::Pci { slot } => {
                plugged.pci.push((Devfn::new(slot, 0), device));
                Slot::Pci(Devfn::new(slot, 0))
            }
            Place::Mmio => {
                let n = plugged.mmio.len();
                plugged.mmio.push((mmio_line(n), device));
                Slot::Mmio(n)
            }
        };
        if let Some(port) = terminal_port(options) {
            plugged.terminal = Terminal::Port { at, port };
        }
    }
    plugged
}

fn terminal_port(options: &DeviceOptions) -> Option<usize> {
    let Model::Serial { ports } = &options.model else { return None };
    ports.iter().position(|p| p.as_ref().is_some_and(|p| p.chardev == Chardev::Stdio))
}

fn device(model: &Model, disks: &mut [Option<Box<dyn BlockBackend>>], random: &mut Random) -> Option<AnyDevice> {
    Some(match model {
        Model::Blk { drive, serial, logical_block, physical_block } => {
            let options =
                DiskOptions { logical_block: *logical_block, physical_block: *physical_block, serial: serial.clone() };
            Blk::new(disks.get_mut(*drive)?.take()?, options).into()
        }
        Model::Net { .. } => return None,
        Model::Rng => {
            let mut own = random.fork();
            Rng::new(Box::new(move || own.next())).into()
        }
        Model::Serial { ports } => Console::new(ports.iter().map(|p| p.as_ref().map(port)).collect()).into(),
        Model::Balloon => Balloon::new().into(),
        Model::Keyboard => Input::new(InputKind::Keyboard).into(),
        Model::Tablet => Input::new(InputKind::Tablet).into(),
        Model::Mouse => Input::new(InputKind::Mouse).into(),
    })
}

fn port(options: &PortOptions) -> Port {
    Port::new(match options.console {
        true => PortKind::Console,
        false => PortKind::Stream { name: options.name.clone() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::layout::VGA;
    use mem::GuestRam;

    fn memory() -> Memory {
        Memory::new(GuestRam::new(1 << 20).unwrap(), &[VGA])
    }

    #[test]
    fn what_a_device_writes_drops_code() {
        let mut m = memory();
        m.mark_code(0x3ffc, 4);
        m.mark_code(0x5000, 4);
        assert!(Ram(&mut m).bytes_mut(0x3000, 64).is_some());
        assert!(!m.code_written(), "beside the code");
        Ram(&mut m).bytes_mut(0x3fe0, 0x1100).unwrap().fill(1);
        assert_eq!(m.take_code_writes(), [(0x3fe0, 0x20), (0x5000, 0xe0)]);
        assert_eq!(Ram(&mut m).bytes(0x4000, 2), Some(&[1, 1][..]));
    }

    #[test]
    fn devices_reach_ram_only() {
        let mut m = memory();
        let mut ram = Ram(&mut m);
        for (at, len) in [(VGA.start, 1), (VGA.start - 1, 2), (VGA.end - 1, 1), (1 << 20, 1), ((1 << 20) - 1, 2)] {
            assert!(ram.bytes(at, len).is_none() && ram.bytes_mut(at, len).is_none(), "{at:#x}");
        }
        assert!(ram.bytes(u64::MAX, 2).is_none() && ram.bytes(0, usize::MAX).is_none());
        assert!(ram.bytes(VGA.start - 1, 1).is_some() && ram.bytes(VGA.end, 1).is_some());
        assert!(ram.bytes(0x9_0000, 0x4_0000).is_none(), "across the hole");
    }
}
