//! What the options plug into the board: virtio devices on the PCI bus and on memory-mapped registers.

use bus::{Dma, Line};
use devices::pci_host::Devfn;
use fs9p::{FileTree, Server};
use mem::Memory;
use netstack::Net as Network;
use options::{Chardev, Config, DeviceOptions, Model, Place, PortOptions, Serial, Share};
use storage::BlockBackend;
use virtio::blk::DiskOptions;
use virtio::console::{Port, PortKind};
use virtio::input::InputKind;
use virtio::p9::{P9Backend, RequestId};
use virtio::{AnyDevice, Balloon, Blk, Console, Input, Net, P9, Rng};

use crate::map;
use crate::net::Networks;
use crate::random::Random;

/// RAM, for devices.
pub struct Ram<'a> {
    memory: &'a mut Memory,
    /// Bytes that they have moved.
    pub moved: u64,
}

impl<'a> Ram<'a> {
    pub fn new(memory: &'a mut Memory) -> Self {
        Self { memory, moved: 0 }
    }
}

impl Dma for Ram<'_> {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.memory.dma(address, len)
    }

    fn bytes_mut(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        self.memory.dma_mut(address, len)
    }

    fn count(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
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

/// What the devices of a machine are on.
#[derive(Default)]
pub struct Backends {
    disks: Vec<Option<Box<dyn BlockBackend>>>,
    nets: Vec<Network>,
    shares: Vec<Option<Box<dyn P9Backend>>>,
}

impl Backends {
    /// One disk for each drive of the configuration, one network for each that it names, one server for each share.
    pub fn new(disks: Vec<Box<dyn BlockBackend>>, nets: Vec<Network>, shares: Vec<Box<dyn P9Backend>>) -> Self {
        Self { disks: disks.into_iter().map(Some).collect(), nets, shares: shares.into_iter().map(Some).collect() }
    }
}

/// Makes the devices of `config`.
pub fn plug(config: &Config, mut backends: Backends, random: &mut Random) -> Plugged {
    let terminal = if config.serial == Serial::None { Terminal::Nowhere } else { Terminal::Com1 };
    let mut networks = Networks::default();
    let mut cables: Vec<_> =
        std::mem::take(&mut backends.nets).into_iter().map(|net| Some(networks.add(net))).collect();
    let mut plugged = Plugged { pci: Vec::new(), mmio: Vec::new(), terminal, networks };
    for options in &config.devices {
        let made = match &options.model {
            Model::Net { netdev, mac } => {
                let at = config.nets.iter().position(|net| net.id == *netdev);
                let cable = at.and_then(|at| cables.get_mut(at)?.take());
                cable.map(|cable| Net::new(Box::new(cable), *mac).into())
            }
            model => device(model, &mut backends, random),
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
    let Model::Serial { ports, .. } = &options.model else { return None };
    ports.iter().position(|p| p.as_ref().is_some_and(|p| p.chardev == Chardev::Stdio))
}

fn device(model: &Model, backends: &mut Backends, random: &mut Random) -> Option<AnyDevice> {
    Some(match model {
        Model::Blk { drive, serial, logical_block, physical_block } => {
            let options =
                DiskOptions { logical_block: *logical_block, physical_block: *physical_block, serial: serial.clone() };
            Blk::new(backends.disks.get_mut(*drive)?.take()?, options).into()
        }
        Model::Net { .. } => return None,
        Model::Rng => {
            let mut own = random.fork();
            Rng::new(Box::new(move || own.next())).into()
        }
        Model::Serial { ports, .. } => Console::new(ports.iter().map(|p| p.as_ref().map(port)).collect()).into(),
        Model::Balloon => Balloon::new().into(),
        Model::Keyboard => Input::new(InputKind::Keyboard).into(),
        Model::Tablet => Input::new(InputKind::Tablet).into(),
        Model::Mouse => Input::new(InputKind::Mouse).into(),
        Model::P9 { share, mount_tag } => P9::new(backends.shares.get_mut(*share)?.take()?, mount_tag.clone()).into(),
    })
}

fn port(options: &PortOptions) -> Port {
    let kind = match options.console {
        true => PortKind::Console,
        false => PortKind::Stream { name: options.name.clone() },
    };
    match options.chardev {
        Chardev::Stdio => Port::new(kind),
        Chardev::Null => Port::unread(kind),
    }
}

/// A server of files, for the device that brings its messages.
struct Served<T: FileTree>(Server<T>);

impl<T: FileTree> P9Backend for Served<T> {
    fn submit(&mut self, id: RequestId, message: Vec<u8>) {
        self.0.submit(fs9p::RequestId(id.0), message);
    }

    fn poll(&mut self) -> Option<(RequestId, Vec<u8>)> {
        self.0.poll().map(|(id, reply)| (RequestId(id.0), reply))
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// What serves a share on `tree`.
pub fn serve(share: &Share, tree: impl FileTree) -> Box<dyn P9Backend> {
    Box::new(Served(Server::new(tree).read_only(share.read_only)))
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
        assert!(Ram::new(&mut m).bytes_mut(0x3000, 64).is_some());
        assert!(!m.code_written(), "beside the code");
        Ram::new(&mut m).bytes_mut(0x3fe0, 0x1100).unwrap().fill(1);
        assert_eq!(m.take_code_writes(), [(0x3fe0, 0x20), (0x5000, 0xe0)]);
        assert_eq!(Ram::new(&mut m).bytes(0x4000, 2), Some(&[1, 1][..]));
    }

    #[test]
    fn devices_reach_ram_only() {
        let mut m = memory();
        let mut ram = Ram::new(&mut m);
        for (at, len) in [(VGA.start, 1), (VGA.start - 1, 2), (VGA.end - 1, 1), (1 << 20, 1), ((1 << 20) - 1, 2)] {
            assert!(ram.bytes(at, len).is_none() && ram.bytes_mut(at, len).is_none(), "{at:#x}");
        }
        assert!(ram.bytes(u64::MAX, 2).is_none() && ram.bytes(0, usize::MAX).is_none());
        assert!(ram.bytes(VGA.start - 1, 1).is_some() && ram.bytes(VGA.end, 1).is_some());
        assert!(ram.bytes(0x9_0000, 0x4_0000).is_none(), "across the hole");
    }
}
