//! The machine: CPU, board and RAM, and the loop that runs them.

use std::fmt;

use guest_api::{NoTier, StateLayout, Tier};
use isa_x86::cpu::{RBX, RSI, SegReg, Segment, SystemSegment, TableRegister, cr0, cr4, efer};
use isa_x86::sys::paging::PHYSICAL_BITS;
use isa_x86::{Cpu, CpuExit, Vcpu};
use mem::{GuestRam, Memory, OutOfMemory};
use netstack::{ChannelId, Event as ChannelEvent, Net};
use options::{Config, Place};
use storage::BlockBackend;
use thiserror::Error;
use virtio::input::{InputEvent, InputKind};
use virtio::p9::P9Backend;
use virtio::{AnyDevice, Balloon};

use crate::acpi;
use crate::clock::{GuestClock, HostTime};
use crate::load::layout::VGA;
use crate::load::{self, Entry, Images, LoadError, Piece};
use crate::map;
use crate::pc::{Board, DECODE_NS, Event};
use crate::plug::{Backends, plug};
use crate::random::Random;

/// Why a machine could not be made; the message names the input and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachineError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("network {id}: {reason}")]
    Net { id: String, reason: String },
    #[error("-m: {0}")]
    Memory(OutOfMemory),
}

/// Why [`Machine::run`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The budget is used up; there is more to run.
    Budget,
    /// The guest waits, for input or until host monotonic time `until_ns`.
    Idle { until_ns: Option<u64> },
    /// The guest switched the machine off.
    PowerOff,
    /// The guest asked for a reset, and `-no-reboot` makes that the end.
    Reset,
    /// The machine cannot go on.
    Stopped(StopReport),
}

/// What a machine that cannot go on leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// One line.
    pub reason: String,
    /// Registers and the last PCs, a few lines.
    pub state: String,
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.reason, self.state)
    }
}

/// Counters since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Guest instructions executed, and those of them that a second tier executed.
    pub insns: u64,
    pub translated_insns: u64,
    /// Instructions decoded, and about how many ns that takes: see [`DECODE_NS`].
    pub decoded_insns: u64,
    pub decode_estimate_ns: u64,
    /// How often all decoded code was dropped for want of room.
    pub decoded_drops: u64,
    /// Linear addresses that were translated because the TLB did not have them.
    pub tlb_misses: u64,
    /// How often the CPU's budget was used up, and how often of that by the second tier: a sample of where time goes.
    pub samples: u64,
    pub samples_translated: u64,
    /// Guest time, ns.
    pub guest_ns: u64,
    pub ram_bytes: u64,
    /// Host memory that decoded code takes.
    pub code_bytes: u64,
    /// Measured instructions a second, while the guest computes.
    pub insns_per_sec: u64,
    /// Accesses to ports and addresses that nothing answers.
    pub bad_accesses: u64,
    /// Times the machine was reset, by the guest or by the host.
    pub resets: u64,
}

/// The files that the options name. The machine keeps them for resets.
pub struct Files {
    pub kernel: Vec<u8>,
    pub initrd: Option<Vec<u8>>,
    /// A disk for each of [`Config::drives`].
    pub disks: Vec<Box<dyn BlockBackend>>,
    /// A network for each of [`Config::nets`].
    pub nets: Vec<Net>,
    /// What serves each of [`Config::shares`].
    pub shares: Vec<Box<dyn P9Backend>>,
}

impl Files {
    fn images(&self) -> Images<'_> {
        Images { kernel: &self.kernel, initrd: self.initrd.as_deref() }
    }
}

/// Limit of the memory for guest code in the form that runs.
fn code_bytes(config: &Config) -> usize {
    config.tb_size_mib.map_or(Vcpu::CODE_BYTES, |mib| (mib as usize) << 20)
}

/// A `pc` with one CPU.
pub struct Machine {
    config: Config,
    files: Files,
    vcpu: Vcpu,
    board: Board,
    output: Vec<u8>,
    /// The last slice ended with [`Exit::Idle`].
    idle: bool,
    /// Set when the machine has ended; it then says so each time it is asked to run.
    ended: Option<Exit>,
    resets: u64,
}

impl Machine {
    /// A machine ready to execute the kernel's first instruction.
    ///
    /// # Errors
    /// The host lacks the memory, or an image cannot be loaded.
    pub fn new(config: &Config, mut files: Files, time: HostTime, seed: [u8; 32]) -> Result<Machine, MachineError> {
        // Before RAM is taken: a file that is no kernel should not cost a gigabyte.
        load::load(config, files.images(), 0)?;
        let ram = GuestRam::new(config.ram_bytes).map_err(MachineError::Memory)?;
        let memory = Memory::new(ram, &[VGA]);
        let mut random = Random::new(seed);
        let (disks, nets) = (std::mem::take(&mut files.disks), std::mem::take(&mut files.nets));
        let backends = Backends::new(disks, nets, std::mem::take(&mut files.shares));
        let plugged = plug(config, backends, &mut random);
        let mut machine = Machine {
            config: config.clone(),
            files,
            vcpu: Vcpu::new(Cpu::new(memory), code_bytes(config)),
            board: Board::new(GuestClock::new(time), time.unix_ns, config.ram_bytes, plugged, random),
            output: Vec::new(),
            idle: false,
            ended: None,
            resets: 0,
        };
        machine.boot()?;
        Ok(machine)
    }

    /// Puts the kernel into RAM and the CPU at its entry.
    fn boot(&mut self) -> Result<(), LoadError> {
        let tables = acpi::tables(self.config.devices.iter().filter(|d| d.place == Place::Mmio).count());
        let boot = load::load(&self.config, self.files.images(), tables.rsdp)?;
        self.vcpu.reset();
        let ram = &mut self.vcpu.cpu.mem.ram;
        let tables = Piece { addr: tables.rsdp, bytes: tables.bytes.into(), zeros: 0 };
        for piece in boot.pieces.iter().chain([&tables]) {
            // The loaders have checked against the RAM's size.
            let fits = ram.write_bytes(piece.addr, &piece.bytes)
                && fill(ram, piece.addr + piece.bytes.len() as u64, piece.zeros);
            debug_assert!(fits, "{:x?}", piece.range());
        }
        enter(&mut self.vcpu.cpu, boot.entry);
        Ok(())
    }

    /// The reset button: the machine starts anew with the same files.
    pub fn reset(&mut self) {
        self.resets += 1;
        (self.idle, self.ended) = (false, None);
        self.board.reset(self.vcpu.cpu.insns);
        if let Err(e) = self.boot() {
            // They were loaded once with the same options.
            let report = StopReport { reason: format!("reset: {e}"), state: self.dump() };
            self.ended = Some(Exit::Stopped(report));
        }
    }

    /// The power button: a guest that listens to it (ACPI 6.5, 4.8.2.2.1) switches itself off in its own time.
    pub fn power_button(&mut self) {
        self.board.power_button(self.vcpu.cpu.insns);
        self.idle = false;
    }

    /// Runs the guest for about `max_insns` instructions or until it has nothing to do. `time` is the host's now.
    pub fn run(&mut self, time: HostTime, max_insns: u64) -> Exit {
        self.run_with(&mut NoTier, time, max_insns, &mut |_| 0)
    }

    /// The same, where hot code is executed by `tier`. After `max_insns`, `more` gets the number of instructions that this
    /// call has executed, and says how many are to follow. With them count what takes time and executes none, as exceptions do.
    pub fn run_with<T: Tier>(
        &mut self,
        tier: &mut T,
        time: HostTime,
        max_insns: u64,
        more: &mut dyn FnMut(u64) -> u64,
    ) -> Exit {
        if let Some(exit) = &self.ended {
            return exit.clone();
        }
        let insns = self.vcpu.cpu.insns;
        self.board.begin_slice(time, insns);
        if self.idle {
            // The guest slept until now: input that woke it arrives at this time, not at the time it fell asleep.
            let deadline = self.wake_time();
            self.board.clock.skip_to(deadline, insns);
        }
        let exit = self.run_slice(tier, max_insns, more);
        self.idle = matches!(exit, Exit::Idle { .. });
        if exit != Exit::Budget {
            self.board.clock.end_slice_early();
        }
        self.output.extend(self.board.take_console());
        if !matches!(exit, Exit::Budget | Exit::Idle { .. }) {
            self.ended = Some(exit.clone());
        }
        exit
    }

    /// The host does something else from `time` on: what passes until the next `run` says nothing about the guest's speed.
    pub fn slice_over(&mut self, time: HostTime) {
        self.board.clock.end_slice(time, self.vcpu.cpu.insns);
    }

    fn run_slice<T: Tier>(&mut self, tier: &mut T, max_insns: u64, more: &mut dyn FnMut(u64) -> u64) -> Exit {
        // What this slice has done, and what it may do.
        let begin = self.vcpu.cpu.insns + self.vcpu.events;
        let (mut wakes, mut most) = (0, max_insns);
        // Since the last slice the world outside may have moved.
        self.board.transfer(&mut self.vcpu.cpu.mem, self.vcpu.cpu.insns);
        loop {
            let insns = self.vcpu.cpu.insns;
            let done = insns + self.vcpu.events + wakes - begin;
            if self.board.wants_transfer(insns) {
                self.board.transfer(&mut self.vcpu.cpu.mem, insns);
            }
            self.board.clock.leap(insns);
            self.board.tick(insns);
            self.board.feed_console(insns);
            match self.board.take_event() {
                Some(Event::PowerOff) => return Exit::PowerOff,
                Some(Event::Reset) if self.config.no_reboot => return Exit::Reset,
                Some(Event::Reset) => {
                    self.reset();
                    // A guest that resets the machine at once is not to do so again and again.
                    return self.ended.clone().unwrap_or(Exit::Budget);
                }
                None => {}
            }
            if done >= most {
                most = done.saturating_add(more(done));
                if done >= most {
                    return Exit::Budget;
                }
            }
            let deadline = self.board.plan();
            let budget = self.board.clock.insns_until(deadline, insns).min(most - done);
            match self.vcpu.run_with(&mut self.board, tier, budget) {
                CpuExit::Budget => {}
                CpuExit::Halted => {
                    let insns = self.vcpu.cpu.insns;
                    let deadline = self.wake_time();
                    if !self.board.clock.skip_to(deadline, insns) && !self.board.can_feed_console() {
                        return Exit::Idle { until_ns: deadline.map(|d| self.board.clock.host_monotonic(d)) };
                    }
                    wakes += 1;
                }
                CpuExit::TripleFault => {
                    return self.stopped(
                        "the guest ended in a triple fault: an exception while its double fault was delivered",
                    );
                }
                CpuExit::Exception(e) => return self.stopped(&format!("the debugger caught {e:?}")),
                CpuExit::Unimplemented(what) => return self.stopped(&format!("the emulator cannot go on: {what}")),
            }
        }
    }

    /// Guest time at which a timer wakes the halted CPU; with interrupts off nothing but a reset does.
    fn wake_time(&mut self) -> Option<u64> {
        self.board.plan().filter(|_| self.vcpu.cpu.interrupts_enabled())
    }

    fn stopped(&self, reason: &str) -> Exit {
        Exit::Stopped(StopReport { reason: reason.to_owned(), state: self.dump() })
    }

    /// Tells a network what the host says of a channel; the guest sees it in the next slice.
    pub fn channel_event(&mut self, id: ChannelId, event: ChannelEvent) {
        self.board.networks.event(id, event);
    }

    /// Where translated code finds the processor's state.
    pub fn state_layout(&self) -> StateLayout {
        isa_x86::tier::layout()
    }

    /// Gives bytes to the console; returns how many were taken. The rest may be offered again later.
    pub fn console_input(&mut self, bytes: &[u8]) -> usize {
        self.board.console_input(bytes)
    }

    /// What the guest has written to the console and the host has not yet removed.
    pub fn console_output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Something happened at an input device of this kind, the first if there are several: see [`virtio::Input::inject`].
    /// False where there is none, or the guest is too far behind. The guest sees it in the next slice.
    #[must_use]
    pub fn inject(&mut self, kind: InputKind, events: &[InputEvent]) -> bool {
        let input = self.board.virtio_devices().find_map(|d| match d {
            AnyDevice::Input(input) if input.kind() == kind => Some(input),
            _ => None,
        });
        input.is_some_and(|input| input.inject(events))
    }

    /// The memory balloon, if the machine has one.
    pub fn balloon(&mut self) -> Option<&mut Balloon> {
        self.board.virtio_devices().find_map(|d| match d {
            AnyDevice::Balloon(balloon) => Some(balloon),
            _ => None,
        })
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let insns = self.vcpu.cpu.insns;
        Stats {
            insns,
            translated_insns: self.vcpu.translated,
            decoded_insns: self.vcpu.decoded(),
            decode_estimate_ns: self.vcpu.decoded().saturating_mul(DECODE_NS),
            decoded_drops: self.vcpu.decoded_drops(),
            tlb_misses: self.vcpu.cpu.tlb_misses,
            samples: self.vcpu.samples,
            samples_translated: self.vcpu.samples_translated,
            guest_ns: self.board.clock.now(insns),
            ram_bytes: self.config.ram_bytes,
            code_bytes: self.vcpu.code_bytes() as u64,
            insns_per_sec: self.board.clock.insns_per_sec(),
            bad_accesses: self.board.bad_accesses(),
            resets: self.resets,
        }
    }

    /// Calls by the second tier of each of the CPU's helpers, by name.
    pub fn helper_calls(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.vcpu.helper_calls()
    }

    /// The CPU's registers and the last blocks' PCs as text.
    fn dump(&self) -> String {
        use fmt::Write;
        const NAMES: [&str; 8] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
        let cpu = &self.vcpu.cpu;
        let mut text = String::new();
        for (i, value) in cpu.regs[..16].iter().enumerate() {
            let name = NAMES.get(i).map_or_else(|| format!("r{i}"), |n| (*n).to_owned());
            let _ = write!(text, "{name:>3} {value:016x}{}", if i % 4 == 3 { "\n" } else { "  " });
        }
        let _ =
            writeln!(text, "rip {:016x}  rflags {:08x}  cpl {}  {:?}", cpu.rip, cpu.rflags(), cpu.cpl, cpu.code_size());
        let _ = writeln!(
            text,
            "cr0 {:08x}  cr2 {:016x}  cr3 {:016x}  cr4 {:08x}  efer {:04x}",
            cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.msr.efer
        );
        for s in SegReg::ALL {
            let segment = cpu.seg[s as usize];
            let name = format!("{s:?}").to_lowercase();
            let _ = write!(text, "{name} {:04x} base {:x}  ", segment.selector, cpu.seg_base(s));
        }
        let _ = writeln!(text);
        let _ = writeln!(
            text,
            "gdt {:x}/{:x}  idt {:x}/{:x}  tr {:04x} base {:x}",
            cpu.gdtr.base, cpu.gdtr.limit, cpu.idtr.base, cpu.idtr.limit, cpu.tr.segment.selector, cpu.tr.base
        );
        let _ = write!(text, "last blocks, oldest first:");
        for (i, pc) in self.vcpu.last_pcs().enumerate() {
            let _ = write!(text, "{}{pc:x}", if i % 8 == 0 { "\n  " } else { " " });
        }
        text
    }
}

/// Zeros `len` bytes of RAM.
fn fill(ram: &mut GuestRam, mut addr: u64, mut len: u64) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    while len > 0 {
        let n = len.min(ZEROS.len() as u64);
        if !ram.write_bytes(addr, &ZEROS[..n as usize]) {
            return false;
        }
        (addr, len) = (addr + n, len - n);
    }
    true
}

/// Memory types as firmware leaves them (SDM 3A, 12.11): write-back by default, from 3 GiB to 4 GiB and for the VGA's
/// memory uncacheable, the BIOS area write-protected. Nothing is cached here; guests read them and complain of gaps.
fn set_memory_types(cpu: &mut Cpu) {
    const WRITE_BACK: u64 = 6;
    const WRITE_PROTECTED: u64 = 5;
    const ENABLE: u64 = 1 << 11;
    const ENABLE_FIXED: u64 = 1 << 10;
    let all = |memory_type: u64| memory_type * 0x0101_0101_0101_0101;
    let fixed = &mut cpu.msr.mtrr_fixed;
    // One of 64 KiB ranges, two of 16 KiB (the second is the VGA's), eight of 4 KiB.
    *fixed = [all(WRITE_PROTECTED); 11];
    (fixed[0], fixed[1], fixed[2]) = (all(WRITE_BACK), all(WRITE_BACK), 0);
    let hole = map::PCI_MEMORY.start;
    cpu.msr.mtrr_variable[0] = hole;
    cpu.msr.mtrr_variable[1] = ((1 << PHYSICAL_BITS) - (4 << 30)) | hole | ENABLE;
    cpu.msr.mtrr_def_type = WRITE_BACK | ENABLE | ENABLE_FIXED;
}

/// Brings a CPU after RESET into a kernel's entry state.
fn enter(cpu: &mut Cpu, entry: Entry) {
    const CODE: u16 = 0x9b; // present, code, readable, accessed
    const DATA: u16 = 0x93; // present, data, writable, accessed
    const LONG: u16 = 1 << 13;
    const BITS_32: u16 = 1 << 14;
    const GRANULAR: u16 = 1 << 15;
    let code = match entry {
        Entry::Long { rip, boot_params, cr3, gdt, gdt_limit } => {
            cpu.cr0 = cr0::PG | cr0::PE | cr0::ET;
            cpu.cr3 = cr3;
            cpu.cr4 = cr4::PAE;
            cpu.msr.efer = efer::LME | efer::LMA;
            cpu.gdtr = TableRegister { base: gdt, limit: gdt_limit };
            cpu.regs[RSI as usize] = boot_params;
            cpu.rip = rip;
            CODE | LONG | GRANULAR
        }
        Entry::Protected { eip, start_info } => {
            cpu.cr0 = cr0::PE | cr0::ET;
            cpu.regs[RBX as usize] = start_info.into();
            cpu.rip = eip.into();
            CODE | BITS_32 | GRANULAR
        }
    };
    for s in SegReg::ALL {
        let (selector, attr) = if s == SegReg::Cs { (0x10, code) } else { (0x18, DATA | BITS_32 | GRANULAR) };
        cpu.seg[s as usize] = Segment { selector, attr, limit: u32::MAX };
        cpu.set_seg_base(s, 0);
    }
    // A 32-bit TSS (busy), as PVH asks for.
    cpu.tr = SystemSegment { base: 0, segment: Segment { selector: 0, attr: 0x8b, limit: 0x67 } };
    cpu.idtr = TableRegister::default();
    set_memory_types(cpu);
    cpu.update_context();
    cpu.attention = true;
}
