//! The state behind the exports.

use crate::channels::{self, HostChannels};
use crate::code::CodeHost;
use crate::drives::{self, Drives};
use crate::host;
use crate::pacer::Pacer;
use crate::pack::Packer;
use crate::shares::Shares;
use fs9p::Errno;
use host_abi::{Console, DiskFlags, Exit, Image, Outcome, Packing, Stats};
use jit::Jit;
use machine::{Files, Machine, MachineError};
use netstack::{ChannelId, Ids};
use options::{Config, SecurityModel, Serial, ShareSource};
use storage::{Ended, Pace};

/// Bytes of generated code that are kept, unless option tb-size says otherwise.
const CODE_BYTES: usize = 32 << 20;
/// Guest instructions for each region that is translated under stress.
const STRESS_PACE: u64 = 40_000;

/// Everything the engine has: one machine, and what the host is about to make of it.
pub struct Engine {
    /// What the host writes for the next call.
    scratch: Vec<u8>,
    config: Option<Config>,
    kernel: Vec<u8>,
    initrd: Option<Vec<u8>>,
    drives: Drives,
    shares: Shares,
    packing: Packer,
    /// What the host has got of a share.
    file: Vec<u8>,
    machine: Option<Machine>,
    /// Hot code of the machine's guest.
    jit: Option<Jit<CodeHost>>,
    pacer: Pacer,
    /// Typed, and not yet taken by the machine.
    input: Vec<u8>,
    idle_until: f64,
    output: Vec<u8>,
    message: String,
    /// What `helper_calls` has returned.
    text: String,
    stats: Stats,
}

impl Engine {
    pub fn new() -> Self {
        Self {
            scratch: Vec::new(),
            config: None,
            kernel: Vec::new(),
            initrd: None,
            drives: Drives::new(),
            shares: Shares::default(),
            packing: Packer::default(),
            file: Vec::new(),
            machine: None,
            jit: None,
            pacer: Pacer::new(),
            input: Vec::new(),
            idle_until: f64::INFINITY,
            output: Vec::new(),
            message: String::new(),
            text: String::new(),
            stats: Stats::default(),
        }
    }

    /// Room for `len` bytes, zeroed.
    pub fn scratch(&mut self, len: u32) -> Option<&mut [u8]> {
        self.scratch = room(len)?;
        Some(&mut self.scratch)
    }

    pub fn configure(&mut self, len: u32) -> Outcome {
        let Some(bytes) = self.scratch.get(..len as usize) else {
            return self.fail(Outcome::BadCall, "configure: more bytes than there is room for");
        };
        let args = match std::str::from_utf8(bytes) {
            Ok("") => Vec::new(),
            Ok(text) => text.strip_suffix('\0').unwrap_or(text).split('\0').collect(),
            Err(error) => return self.fail(Outcome::BadOptions, format!("the options are not UTF-8: {error}")),
        };
        match options::parse(&args) {
            Ok(config) => {
                self.packing.configure(&args);
                self.shares.configure(&config);
                self.config = Some(config);
                self.drives.close();
                Outcome::Done
            }
            Err(error) => self.fail(Outcome::BadOptions, error.to_string()),
        }
    }

    pub fn image_name(&self, image: Image) -> Option<&str> {
        let config = self.config.as_ref()?;
        match image {
            Image::Kernel => Some(&config.kernel),
            Image::Initrd => config.initrd.as_deref(),
        }
    }

    pub fn share_id(&self, share: u32) -> Option<&str> {
        Some(&self.config.as_ref()?.shares.get(share as usize)?.id)
    }

    /// The host's path of a share, empty for one in memory.
    pub fn share_path(&self, share: u32) -> Option<&str> {
        match &self.config.as_ref()?.shares.get(share as usize)?.source {
            ShareSource::Local { path, .. } => Some(path),
            ShareSource::Memory { .. } => Some(""),
        }
    }

    /// Whether owners, modes and types of a share's files are kept in files beside them.
    pub fn share_mapped(&self, share: u32) -> bool {
        let share = self.config.as_ref().and_then(|config| config.shares.get(share as usize));
        let mapped =
            |source: &_| matches!(source, ShareSource::Local { security: SecurityModel::MappedFile { .. }, .. });
        share.is_some_and(|share| mapped(&share.source))
    }

    /// The archive that is to be in a share in memory in the beginning.
    pub fn share_archive(&self, share: u32) -> Option<&str> {
        match &self.config.as_ref()?.shares.get(share as usize)?.source {
            ShareSource::Local { .. } => None,
            ShareSource::Memory { archive } => archive.as_deref(),
        }
    }

    pub fn share_unpack(&mut self, share: u32, len: u32) -> Outcome {
        let mut archive = std::mem::take(&mut self.scratch);
        archive.truncate(len as usize);
        match self.shares.unpack(share, &archive) {
            Ok(()) => Outcome::Done,
            Err(error) => self.fail(Outcome::BadMachine, error),
        }
    }

    pub fn share_complete(&mut self, share: u32, len: u32) {
        self.shares.complete(share, self.scratch.get(..len as usize).unwrap_or_default());
    }

    pub fn share_put(&mut self, share: u32, path_len: u32, len: u32, mode: u32) -> Result<(), Errno> {
        let (path, rest) = self.scratch.split_at_checked(path_len as usize).ok_or(Errno::EINVAL)?;
        self.shares.put(share, path, rest.get(..len as usize).ok_or(Errno::EINVAL)?, mode)
    }

    pub fn share_get(&mut self, share: u32, path_len: u32) -> Result<&[u8], Errno> {
        let path = self.scratch.get(..path_len as usize).ok_or(Errno::EINVAL)?;
        self.file = self.shares.get(share, path)?;
        Ok(&self.file)
    }

    /// The file of a drive, as the options name it.
    pub fn drive_file(&self, drive: u32) -> Option<&str> {
        Some(&self.config.as_ref()?.drives.get(drive as usize)?.file)
    }

    pub fn pack_open(&mut self, drive: u32) -> Outcome {
        let Some(drive) = self.config.as_ref().and_then(|config| config.drives.get(drive as usize)) else {
            return self.fail(Outcome::BadCall, "pack_open: there is no such drive");
        };
        if let Some(overlay) = drive.overlay.as_deref().filter(|name| !name.starts_with("opfs:")) {
            let file = &drive.file;
            let why = format!("-drive file={file}: overlay={overlay} is no file of a page; give overlay=opfs:NAME");
            return self.fail(Outcome::BadOptions, why);
        }
        self.packing.open(self.drives.opener(), drives::described(drive));
        Outcome::Done
    }

    pub fn pack_next(&mut self) -> Packing {
        match self.packing.next() {
            Ok(packing) => packing,
            Err(error) => {
                self.message = error;
                Packing::Failed
            }
        }
    }

    /// Where what `pack_next` has come to belongs, and its bytes.
    pub fn packed(&self) -> &(String, Vec<u8>) {
        self.packing.piece()
    }

    pub fn pack_options(&mut self, len: u32) -> &[u8] {
        let names = self.scratch.get(..len as usize).unwrap_or_default();
        let names = String::from_utf8_lossy(names).into_owned();
        match &self.config {
            Some(config) => self.packing.options(config, &names),
            None => &[],
        }
    }

    pub fn share_list(&mut self, share: u32, path_len: u32) -> Result<&[u8], Errno> {
        let path = self.scratch.get(..path_len as usize).ok_or(Errno::EINVAL)?;
        self.file = self.shares.list(share, path)?;
        Ok(&self.file)
    }

    pub fn console_mode(&self) -> Console {
        match self.config.as_ref().map(Config::terminal) {
            None | Some(Serial::None) => Console::None,
            Some(Serial::Stdio) => Console::Raw,
            Some(Serial::MonStdio) => Console::Escape,
        }
    }

    /// Room for an image of `len` bytes, zeroed.
    pub fn image_begin(&mut self, image: Image, len: u32) -> Option<&mut [u8]> {
        let room = room(len)?;
        Some(match image {
            Image::Kernel => {
                self.kernel = room;
                &mut self.kernel
            }
            Image::Initrd => self.initrd.insert(room),
        })
    }

    /// An answer of the host about a file: what `ended` makes of the first `len` bytes of the scratch room.
    pub fn file_answer(&mut self, request: u32, len: u32, ended: impl FnOnce(Vec<u8>) -> Ended) {
        let bytes = self.take_scratch(len);
        self.drives.answer(request, ended(bytes));
    }

    pub fn file_part(&mut self, request: u32, len: u32) {
        let bytes = self.take_scratch(len);
        self.drives.part(request, bytes);
    }

    pub fn file_pace(&mut self, request: u32, pace: Pace) {
        self.drives.pace(request, pace);
    }

    /// The first `len` bytes of the scratch room.
    fn take_scratch(&mut self, len: u32) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.truncate(len as usize);
        bytes
    }

    pub fn disk_id(&self, disk: u32) -> Option<&str> {
        let drive = self.config.as_ref()?.drives.get(disk as usize)?;
        Some(drive.id.as_deref().unwrap_or_default())
    }

    pub fn disk_size(&self, disk: u32) -> u64 {
        self.drives.contents(disk).map_or(0, |disk| disk.capacity())
    }

    pub fn disk_flags(&self, disk: u32) -> u32 {
        let flag = |is: bool, flag: DiskFlags| if is { flag as u32 } else { 0 };
        self.drives.contents(disk).map_or(0, |disk| {
            flag(disk.read_only(), DiskFlags::ReadOnly) | flag(disk.has_overlay(), DiskFlags::Overlay)
        })
    }

    pub fn disk_read(&self, disk: u32, offset: u64, len: u32, request: u32) {
        self.drives.read(disk, offset, len, request);
    }

    pub fn disk_export(&self, disk: u32, name_len: u32, request: u32) {
        let name = self.scratch.get(..name_len as usize).unwrap_or_default();
        self.drives.export(disk, &String::from_utf8_lossy(name), request);
    }

    /// A network for each that the options name.
    fn nets(config: &Config) -> Result<Vec<netstack::Net>, MachineError> {
        let seed = host::random();
        let nets = config.nets.iter().enumerate().map(|(number, named)| {
            // A seed of its own for each: another eight bytes.
            let seed = seed.chunks_exact(8).cycle().nth(number).and_then(|bytes| bytes.try_into().ok());
            let seed = u64::from_le_bytes(seed.unwrap_or_default()).wrapping_add(number as u64);
            netstack::Net::new(&named.net, Box::new(HostChannels), &Ids::new(number), seed)
                .map_err(|error| MachineError::Net { id: named.id.clone(), reason: error.to_string() })
        });
        nets.collect()
    }

    pub fn create(&mut self) -> Outcome {
        let Some(config) = self.config.clone() else {
            return self.fail(Outcome::BadCall, "create: there are no options yet");
        };
        // the old machine's files are to be closed before the same are opened
        (self.machine, self.jit, self.pacer) = (None, None, Pacer::new());
        let disks = match self.drives.open(&config.drives) {
            None => return Outcome::Pending,
            Some(Ok(disks)) => disks,
            Some(Err(error)) => return self.fail(Outcome::BadMachine, error),
        };
        self.stats = Stats::default();
        self.input.clear();
        let nets = match Self::nets(&config) {
            Ok(nets) => nets,
            Err(error) => return self.fail(Outcome::BadMachine, error.to_string()),
        };
        let files = Files {
            kernel: std::mem::take(&mut self.kernel),
            initrd: self.initrd.take(),
            disks,
            nets,
            shares: self.shares.serve(&config),
        };
        match Machine::new(&config, files, host::time(), host::random()) {
            Ok(machine) => {
                let limit = config.tb_size_mib.map_or(CODE_BYTES, |mib| (mib as usize) << 20);
                let mut jit = Jit::new(CodeHost, machine.state_layout(), limit);
                if let Some(seed) = host::code::stress() {
                    log::warn!("translated code is under stress, seed {seed}");
                    jit.stress(seed.into(), STRESS_PACE);
                }
                self.jit = Some(jit);
                self.machine = Some(machine);
                Outcome::Done
            }
            Err(error) => self.fail(Outcome::BadMachine, error.to_string()),
        }
    }

    pub fn run(&mut self, slice_ms: f64) -> Exit {
        let (Some(machine), Some(jit)) = (&mut self.machine, &mut self.jit) else {
            return Exit::NoMachine;
        };
        host::Logger::begin_slice();
        let taken = machine.console_input(&self.input);
        self.input.drain(..taken);
        let (before, start) = (machine.stats().insns, host::time());
        let first = self.pacer.begin(slice_ms, start.monotonic_ns as f64 / 1e6);
        let exit = machine.run_with(jit, start, first, &mut |insns| self.pacer.ran(insns, host::monotonic_ms()));
        let now = host::time();
        self.pacer.ran(machine.stats().insns.saturating_sub(before), now.monotonic_ns as f64 / 1e6);
        // compiling is no part of the guest's speed
        machine.slice_over(now);
        jit.slice_over();
        host::Logger::end_slice();
        match exit {
            machine::Exit::Budget => Exit::Budget,
            machine::Exit::Idle { .. } if taken > 0 && !self.input.is_empty() => Exit::Budget,
            machine::Exit::Idle { until_ns } => {
                self.idle_until = until_ns.map_or(f64::INFINITY, |ns| ns as f64 / 1e6);
                Exit::Idle
            }
            machine::Exit::PowerOff => Exit::PowerOff,
            machine::Exit::Reset => Exit::Reset,
            machine::Exit::Stopped(report) => {
                self.message = report.to_string();
                Exit::Stopped
            }
        }
    }

    pub fn idle_until(&self) -> f64 {
        self.idle_until
    }

    pub fn console_input(&mut self, len: u32) {
        if self.machine.is_some() {
            self.input.extend(self.scratch.get(..len as usize).unwrap_or_default());
        }
    }

    pub fn console_output(&mut self) -> &[u8] {
        self.output.clear();
        if let Some(machine) = &mut self.machine {
            std::mem::swap(machine.console_output(), &mut self.output);
        }
        &self.output
    }

    pub fn channel_event(&mut self, channel: u32, event: u32, value: u32, len: u32) {
        let data = self.scratch.get(..len as usize).unwrap_or_default();
        if let (Some(machine), Some(event)) = (&mut self.machine, channels::event(event, value, data)) {
            machine.channel_event(ChannelId(channel), event);
        }
    }

    pub fn reset(&mut self) {
        self.input.clear();
        if let Some(machine) = &mut self.machine {
            machine.reset();
        }
    }

    pub fn power_button(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.power_button();
        }
    }

    pub fn stats(&mut self) -> &Stats {
        (self.stats.disk_read_bytes, self.stats.disk_written_bytes) = self.drives.traffic();
        if let Some(machine) = &self.machine {
            let stats = machine.stats();
            self.stats.guest_insns = stats.insns;
            self.stats.interp_insns = stats.insns.saturating_sub(stats.translated_insns);
            self.stats.decoded_insns = stats.decoded_insns;
            self.stats.decode_estimate_ns = stats.decode_estimate_ns;
            self.stats.decoded_drops = stats.decoded_drops;
            self.stats.tlb_misses = stats.tlb_misses;
            self.stats.samples = stats.samples;
            self.stats.samples_translated = stats.samples_translated;
            self.stats.ram_bytes = stats.ram_bytes;
        }
        if let Some(jit) = &self.jit {
            let (s, stats) = (&mut self.stats, &jit.stats);
            s.regions = stats.regions;
            s.regions_live = jit.live_regions() as u64;
            s.regions_widened = stats.widened;
            s.regions_useless = stats.useless;
            s.modules = stats.modules;
            s.modules_live = jit.live_modules() as u64;
            s.wasm_bytes = stats.wasm_bytes;
            s.compile_ns = stats.compile_ns;
            s.lift_ns = stats.lift_ns;
            s.emit_ns = stats.emit_ns;
            s.exits_lookup = stats.exits_lookup;
            s.exits_interpret = stats.exits_interpret;
            s.exits_side = stats.exits_side;
            s.exits_guard = stats.exits_guard;
            s.exits_budget = stats.exits_budget;
            s.invalidations = stats.invalidations;
            s.evictions = stats.evictions;
            s.refusals = stats.refusals;
        }
        &self.stats
    }

    /// Calls by translated code of helpers, and of the engine's functions but the one by which those are called: a line each.
    pub fn helper_calls(&mut self) -> &str {
        use core::fmt::Write;
        self.text.clear();
        let helpers = self.machine.iter().flat_map(Machine::helper_calls);
        let functions = jit::call::calls().filter(|c| c.0 != "code_helper");
        for (name, calls) in helpers.chain(functions).filter(|c| c.1 > 0) {
            let _ = writeln!(self.text, "{name} {calls}");
        }
        &self.text
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    fn fail(&mut self, outcome: Outcome, message: impl Into<String>) -> Outcome {
        self.message = message.into();
        outcome
    }
}

fn room(len: u32) -> Option<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(len as usize).ok()?;
    room.resize(len as usize, 0);
    Some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(engine: &mut Engine, bytes: &[u8]) -> u32 {
        engine.scratch(bytes.len() as u32).unwrap().copy_from_slice(bytes);
        bytes.len() as u32
    }

    fn configured(args: &[&str]) -> Engine {
        let mut engine = Engine::new();
        let text: String = args.iter().flat_map(|arg| [arg, "\0"]).collect();
        let len = give(&mut engine, text.as_bytes());
        assert_eq!(engine.configure(len), Outcome::Done, "{}", engine.message());
        engine
    }

    #[test]
    fn options_name_the_files_and_the_console() {
        let engine = configured(&["-kernel", "a b", "-append", "", "-initrd", "c"]);
        assert_eq!(engine.image_name(Image::Kernel), Some("a b"));
        assert_eq!(engine.image_name(Image::Initrd), Some("c"));
        assert_eq!(engine.console_mode(), Console::Escape);
        let engine = configured(&["-kernel", "k", "-serial", "none"]);
        assert_eq!(engine.image_name(Image::Initrd), None);
        assert_eq!(engine.console_mode(), Console::None);
    }

    #[test]
    fn wrong_options_are_named() {
        for (bytes, message) in
            [(&b"-kernal\0x\0"[..], "`-kernal`"), (b"", "nothing to boot"), (b"-kernel\0\xff\0", "not UTF-8")]
        {
            let mut engine = Engine::new();
            let len = give(&mut engine, bytes);
            assert_eq!(engine.configure(len), Outcome::BadOptions);
            assert!(engine.message().contains(message), "{}", engine.message());
        }
        let mut engine = Engine::new();
        assert_eq!(engine.configure(1), Outcome::BadCall);
    }

    #[test]
    fn a_machine_needs_options_and_a_kernel() {
        let mut engine = Engine::new();
        assert_eq!(engine.create(), Outcome::BadCall);
        assert_eq!(engine.run(2.5), Exit::NoMachine);

        let mut engine = configured(&["-m", "64", "-kernel", "k.bin"]);
        engine.image_begin(Image::Kernel, 5).unwrap().copy_from_slice(b"hello");
        assert_eq!(engine.create(), Outcome::BadMachine);
        assert!(engine.message().contains("-kernel k.bin: not a kernel"), "{}", engine.message());
        assert_eq!(engine.run(2.5), Exit::NoMachine);
        assert_eq!(engine.stats(), &Stats::default());
    }

    #[test]
    fn a_guest_that_is_warned_of_all_the_time_does_not_keep_the_host_with_messages() {
        // mov al, 0; l: out 0x92, al; xor al, 2; jmp l
        let kernel = bare::kernel(&[0xb0, 0, 0xe6, 0x92, 0x34, 2, 0xeb, 0xfa]);
        let _ = log::set_logger(&host::Logger);
        log::set_max_level(log::LevelFilter::Warn);
        let mut engine = configured(&["-m", "64", "-kernel", "k"]);
        engine.image_begin(Image::Kernel, kernel.len() as u32).unwrap().copy_from_slice(&kernel);
        assert_eq!(engine.create(), Outcome::Done, "{}", engine.message());
        host::tests::logged();
        for _ in 0..2 {
            assert_eq!(engine.run(0.1), Exit::Budget);
            assert_eq!(host::tests::logged(), 65);
        }
    }

    #[test]
    fn an_empty_image_is_an_image() {
        let mut engine = configured(&["-m", "64", "-kernel", "k"]);
        assert_eq!(engine.image_begin(Image::Kernel, 0).map(|room| room.len()), Some(0));
        assert_eq!(engine.create(), Outcome::BadMachine);
        assert!(engine.message().contains("-kernel k"), "{}", engine.message());
    }
}
