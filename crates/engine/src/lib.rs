//! `engine.wasm`: a machine behind the host interface of `host-abi`. It never blocks: `run` executes a slice and says why
//! it returned. Neither the guest nor the host can make it panic; if it does all the same, that is a bug, the message goes
//! to the host through `log` and the call ends in a trap.

mod channels;
mod code;
mod drives;
mod engine;
mod host;
mod pacer;
mod pack;
mod shares;

use engine::Engine;
use fs9p::Errno;
use host_abi::{Exit, FileFlags, Image, LogLevel, Outcome, Packing, range};
use std::cell::RefCell;
use storage::{Ended, OpenedFile, Pace};

thread_local! {
    static ENGINE: RefCell<Engine> = {
        std::panic::set_hook(Box::new(|info| host::log(LogLevel::Panic, &info.to_string())));
        if log::set_logger(&host::Logger).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
        RefCell::new(Engine::new())
    };
}

/// `otherwise`, if the host calls back into the engine from an import.
fn with<T>(otherwise: T, act: impl FnOnce(&mut Engine) -> T) -> T {
    ENGINE.with(|engine| engine.try_borrow_mut().map_or(otherwise, |mut engine| act(&mut engine)))
}

fn bytes(bytes: &[u8]) -> u64 {
    range(address(bytes.as_ptr()), bytes.len() as u32)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn address<T>(ptr: *const T) -> u32 {
    ptr as usize as u32
}

/// Bytes of a share, or the error's number.
fn found(result: Result<&[u8], Errno>) -> u64 {
    match result {
        Ok(contents) => bytes(contents),
        Err(errno) => range(0, errno.0),
    }
}

/// The bodies of the exports, by their names in the table.
mod body {
    use super::*;

    pub fn abi_version() -> u32 {
        with((), |_| ());
        host_abi::VERSION
    }

    pub fn scratch(len: u32) -> u32 {
        with(0, |engine| engine.scratch(len).map_or(0, |room| address(room.as_ptr())))
    }

    pub fn configure(len: u32) -> u32 {
        with(Outcome::BadCall, |engine| engine.configure(len)) as u32
    }

    pub fn image_name(image: u32) -> u64 {
        with(0, |engine| {
            Image::from_u32(image).and_then(|i| engine.image_name(i)).map_or(0, |name| bytes(name.as_bytes()))
        })
    }

    pub fn share_id(share: u32) -> u64 {
        with(0, |engine| engine.share_id(share).map_or(0, |id| bytes(id.as_bytes())))
    }

    pub fn share_path(share: u32) -> u64 {
        with(0, |engine| engine.share_path(share).map_or(0, |path| bytes(path.as_bytes())))
    }

    pub fn share_mapped(share: u32) -> u32 {
        with(0, |engine| engine.share_mapped(share).into())
    }

    pub fn share_complete(share: u32, len: u32) {
        with((), |engine| engine.share_complete(share, len));
    }

    pub fn share_put(share: u32, path_len: u32, len: u32, mode: u32) -> u32 {
        with(Errno::EBUSY.0, |engine| engine.share_put(share, path_len, len, mode).err().map_or(0, |errno| errno.0))
    }

    pub fn share_get(share: u32, path_len: u32) -> u64 {
        with(range(0, Errno::EBUSY.0), |engine| found(engine.share_get(share, path_len)))
    }

    pub fn share_list(share: u32, path_len: u32) -> u64 {
        with(range(0, Errno::EBUSY.0), |engine| found(engine.share_list(share, path_len)))
    }

    pub fn share_archive(share: u32) -> u64 {
        with(0, |engine| engine.share_archive(share).map_or(0, |name| bytes(name.as_bytes())))
    }

    pub fn share_unpack(share: u32, len: u32) -> u32 {
        with(Outcome::BadCall, |engine| engine.share_unpack(share, len)) as u32
    }

    pub fn drive_file(drive: u32) -> u64 {
        with(0, |engine| engine.drive_file(drive).map_or(0, |name| bytes(name.as_bytes())))
    }

    pub fn pack_open(drive: u32) -> u32 {
        with(Outcome::BadCall, |engine| engine.pack_open(drive)) as u32
    }

    pub fn pack_next() -> u32 {
        with(Packing::Failed, Engine::pack_next) as u32
    }

    pub fn pack_name() -> u64 {
        with(0, |engine| bytes(engine.packed().0.as_bytes()))
    }

    pub fn pack_content() -> u64 {
        with(0, |engine| bytes(&engine.packed().1))
    }

    pub fn pack_options(len: u32) -> u64 {
        with(0, |engine| bytes(engine.pack_options(len)))
    }

    pub fn console_mode() -> u32 {
        with(host_abi::Console::None, |engine| engine.console_mode()) as u32
    }

    pub fn image_begin(image: u32, len: u32) -> u32 {
        with(0, |engine| {
            Image::from_u32(image).and_then(|i| engine.image_begin(i, len)).map_or(0, |room| address(room.as_ptr()))
        })
    }

    pub fn create() -> u32 {
        with(Outcome::BadCall, Engine::create) as u32
    }

    pub fn file_opened(request: u32, file: u32, size: u64, flags: u32, tag: u32) {
        let has = |flag: FileFlags| flags & flag as u32 != 0;
        let (writable, remote, exact) = (has(FileFlags::Writable), has(FileFlags::Remote), has(FileFlags::Exact));
        let opened = |tag| OpenedFile { file, size, writable, remote, exact, tag: text(tag) };
        with((), |engine| engine.file_answer(request, tag, |tag| Ended::Opened(opened(tag))));
    }

    pub fn file_part(request: u32, len: u32) {
        with((), |engine| engine.file_part(request, len));
    }

    pub fn file_pace(request: u32, latency: f64, rate: f64) {
        with((), |engine| engine.file_pace(request, Pace { latency, rate }));
    }

    pub fn file_done(request: u32, len: u32) {
        with((), |engine| engine.file_answer(request, len, Ended::Done));
    }

    pub fn file_failed(request: u32, len: u32) {
        with((), |engine| engine.file_answer(request, len, |why| Ended::Failed(text(why))));
    }

    pub fn disk_id(disk: u32) -> u64 {
        with(0, |engine| engine.disk_id(disk).map_or(0, |id| bytes(id.as_bytes())))
    }

    pub fn disk_size(disk: u32) -> u64 {
        with(0, |engine| engine.disk_size(disk))
    }

    pub fn disk_flags(disk: u32) -> u32 {
        with(0, |engine| engine.disk_flags(disk))
    }

    pub fn disk_read(disk: u32, offset: u64, len: u32, request: u32) {
        with((), |engine| engine.disk_read(disk, offset, len, request));
    }

    pub fn disk_export(disk: u32, name_len: u32, request: u32) {
        with((), |engine| engine.disk_export(disk, name_len, request));
    }

    pub fn run(slice_ms: f64) -> u32 {
        with(Exit::NoMachine, |engine| engine.run(slice_ms)) as u32
    }

    pub fn idle_until() -> f64 {
        with(0.0, |engine| engine.idle_until())
    }

    pub fn console_input(len: u32) {
        with((), |engine| engine.console_input(len));
    }

    pub fn console_output() -> u64 {
        with(0, |engine| bytes(engine.console_output()))
    }

    pub fn channel_event(channel: u32, event: u32, value: u32, len: u32) {
        with((), |engine| engine.channel_event(channel, event, value, len));
    }

    pub fn reset() {
        with((), Engine::reset);
    }

    pub fn power_button() {
        with((), Engine::power_button);
    }

    pub fn stats() -> u32 {
        with(0, |engine| address(engine.stats()))
    }

    pub fn helper_calls() -> u64 {
        with(0, |engine| bytes(engine.helper_calls().as_bytes()))
    }

    pub fn message() -> u64 {
        with(0, |engine| bytes(engine.message().as_bytes()))
    }
}

macro_rules! define {
    ($($(#[doc = $doc:literal])* fn $name:ident($($param:ident: $ty:ident),*) $(-> $result:ident)?;)*) => {
        $($(#[doc = $doc])*
        // SAFETY: no other symbol of the module has a name of the table, which a Wasm link would refuse.
        #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
        pub extern "C" fn $name($($param: $ty),*) $(-> $result)? {
            body::$name($($param),*)
        })*
    };
}

pub use code::callable;

/// The table, as functions.
#[allow(unsafe_code)] // unmangled names, nothing else
pub mod exports {
    use crate::body;
    host_abi::exports!(define);
}
