//! The host's side of the boundary: the only imports of the whole engine.

use machine::HostTime;
use std::cell::Cell;

/// The host's clocks, now.
pub fn time() -> HostTime {
    HostTime {
        monotonic_ns: (imports::clock_monotonic() * 1e6) as u64,
        unix_ns: (imports::clock_realtime() * 1e6) as i64,
    }
}

/// Milliseconds of the host's monotonic clock.
pub fn monotonic_ms() -> f64 {
    imports::clock_monotonic()
}

/// Bytes from the host's generator.
pub fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    imports::random(bytes.as_mut_ptr() as usize as u32, bytes.len() as u32);
    bytes
}

/// Code that is translated at run time, and the function table through which it is entered.
pub mod code {
    use super::imports;
    use host_abi::CodeSupport;
    use std::num::NonZeroU32;

    /// What the host can do.
    pub fn support() -> CodeSupport {
        CodeSupport::from_u32(imports::code_support()).unwrap_or(CodeSupport::None)
    }

    /// The seed of the stress that translated code is to be put under, if any.
    pub fn stress() -> Option<u32> {
        Some(imports::code_stress()).filter(|seed| *seed != 0)
    }

    /// Compiles and instantiates a module, at once. Where it may not import the table, its export `f<i>` goes into slot
    /// `slots[i]`. Returns the module's number, nothing where the host has refused.
    pub fn compile(module: &[u8], slots: &[u32]) -> Option<NonZeroU32> {
        let [module, len] = [module.as_ptr() as usize, module.len()].map(|n| n as u32);
        let [slots, count] = [slots.as_ptr() as usize, slots.len()].map(|n| n as u32);
        NonZeroU32::new(imports::code_compile(module, len, slots, count))
    }

    /// All slots of the module hold something else by now.
    pub fn drop(module: NonZeroU32) {
        imports::code_drop(module.get());
    }

    /// `count` new slots that hold what slot `from` holds: the first, nothing where the host has refused.
    pub fn table_grow(count: u32, from: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(imports::table_grow(count, from))
    }

    /// Each of the `count` slots from `to` on becomes what slot `from` holds.
    pub fn table_copy(to: u32, from: u32, count: u32) {
        imports::table_copy(to, from, count);
    }
}

/// Files, by number.
pub mod file {
    use super::imports;
    use host_abi::{FileAccess, FileStarted};
    use storage::{Access, Host, Started};

    /// The host that the imports reach.
    pub struct FileHost;

    fn range(bytes: &[u8]) -> (u32, u32) {
        (bytes.as_ptr() as usize as u32, bytes.len() as u32)
    }

    fn started(code: u32) -> Started {
        match FileStarted::from_u32(code) {
            Some(FileStarted::Done) => Started::Done,
            _ => Started::Pending,
        }
    }

    impl Host for FileHost {
        fn open(&self, name: &str, base: &str, access: Access, request: u32) {
            let ((name, len), (base, base_len)) = (range(name.as_bytes()), range(base.as_bytes()));
            let access = match access {
                Access::Read => FileAccess::Read,
                Access::Write => FileAccess::Write,
                Access::Create => FileAccess::Create,
            };
            imports::file_open(name, len, base, base_len, access as u32, request);
        }

        fn fetch(&self, name: &str, base: &str, again: bool, request: u32) {
            let ((name, len), (base, base_len)) = (range(name.as_bytes()), range(base.as_bytes()));
            imports::file_fetch(name, len, base, base_len, again.into(), request);
        }

        fn read(&self, file: u32, offset: u64, buf: &mut [u8], request: u32) -> Started {
            let (ptr, len) = (buf.as_mut_ptr() as usize as u32, buf.len() as u32);
            started(imports::file_read(file, offset, ptr, len, request))
        }

        fn write(&self, file: u32, offset: u64, data: &[u8], request: u32) -> Started {
            let (ptr, len) = range(data);
            started(imports::file_write(file, offset, ptr, len, request))
        }

        fn flush(&self, file: u32, request: u32) -> Started {
            started(imports::file_flush(file, request))
        }

        fn close(&self, file: u32) {
            imports::file_close(file);
        }
    }
}

/// Channels to what only the host can reach.
pub mod channels {
    use super::imports;

    fn at(bytes: &[u8]) -> (u32, u32) {
        (bytes.as_ptr() as usize as u32, bytes.len() as u32)
    }

    /// Bit `n`: the host can open channels of `ChannelKind` `n`.
    pub fn support() -> u32 {
        imports::channel_support()
    }

    pub fn open(channel: u32, kind: host_abi::ChannelKind, address: &str) {
        let (ptr, len) = at(address.as_bytes());
        imports::channel_open(channel, kind as u32, ptr, len);
    }

    pub fn send(channel: u32, data: &[u8]) {
        let (ptr, len) = at(data);
        imports::channel_send(channel, ptr, len);
    }

    pub fn finish(channel: u32) {
        imports::channel_finish(channel);
    }

    pub fn close(channel: u32) {
        imports::channel_close(channel);
    }

    pub fn credit(channel: u32, bytes: u32) {
        imports::channel_credit(channel, bytes);
    }
}

/// Trees of files that the host serves.
pub mod shares {
    use super::imports;

    /// Sends a request; the reply, if it is there at once.
    pub fn request(share: u32, message: &[u8]) -> Option<Vec<u8>> {
        let len = imports::share_request(share, message.as_ptr() as usize as u32, message.len() as u32);
        if len == 0 {
            return None;
        }
        let mut reply = vec![0; len as usize];
        imports::share_reply(reply.as_mut_ptr() as usize as u32);
        Some(reply)
    }
}

/// Answers to who reads disks from outside.
pub mod disks {
    use super::imports;

    pub fn done(request: u32, data: &[u8]) {
        imports::disk_done(request, data.as_ptr() as usize as u32, data.len() as u32);
    }

    pub fn failed(request: u32, why: &str) {
        imports::disk_failed(request, why.as_ptr() as usize as u32, why.len() as u32);
    }
}

/// Tells whoever looks after the engine.
pub fn log(level: host_abi::LogLevel, text: &str) {
    imports::log(level as u32, text.as_ptr() as usize as u32, text.len() as u32);
}

/// Messages of one slice that are passed on, errors not counted: a guest can bring about thousands, each of which costs the host more
/// than the guest.
const SLICE_MESSAGES: u32 = 64;

thread_local! {
    /// Messages of this slice so far; `None` between slices, where none is the guest's.
    static MESSAGES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The `log` crate's messages, passed on.
pub struct Logger;

impl Logger {
    /// From here on messages may be the guest's doing.
    pub fn begin_slice() {
        MESSAGES.set(Some(0));
    }

    /// The end of that. Says what was left out.
    pub fn end_slice() {
        let left_out = MESSAGES.take().unwrap_or(0).saturating_sub(SLICE_MESSAGES);
        if left_out > 0 {
            log(host_abi::LogLevel::Warn, &format!("{left_out} more messages at that moment are left out"));
        }
    }

    /// Counts a message; true if it is to be passed on.
    fn admits(level: log::Level) -> bool {
        match MESSAGES.get() {
            Some(n) if level != log::Level::Error => {
                MESSAGES.set(Some(n.saturating_add(1)));
                n < SLICE_MESSAGES
            }
            _ => true,
        }
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !Self::admits(record.level()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => host_abi::LogLevel::Error,
            log::Level::Warn => host_abi::LogLevel::Warn,
            log::Level::Info => host_abi::LogLevel::Info,
            log::Level::Debug => host_abi::LogLevel::Debug,
            log::Level::Trace => host_abi::LogLevel::Trace,
        };
        log(level, &record.args().to_string());
    }

    fn flush(&self) {}
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod imports {
    macro_rules! declare {
        ($($(#[doc = $doc:literal])* fn $name:ident($($param:ident: $ty:ident),*) $(-> $result:ident)?;)*) => {
            // SAFETY: the signatures are those of the table, from which the host's side is made; an instance whose host
            // differs cannot be made. The host writes only into the ranges that the arguments name.
            #[link(wasm_import_module = "pagevm")]
            unsafe extern "C" {
                $($(#[doc = $doc])* pub safe fn $name($($param: $ty),*) $(-> $result)?;)*
            }
        };
    }
    host_abi::imports!(declare);
}

/// A host for unit tests: a clock that moves by a tenth of a millisecond each time it is read, and no translated code.
#[cfg(not(target_arch = "wasm32"))]
mod imports {
    use std::cell::Cell;

    thread_local! {
        static TICKS: Cell<u32> = const { Cell::new(0) };
        /// Calls of `log`.
        pub static LOGGED: Cell<u32> = const { Cell::new(0) };
    }

    pub fn clock_monotonic() -> f64 {
        TICKS.set(TICKS.get() + 1);
        f64::from(TICKS.get()) / 10.0
    }

    pub fn clock_realtime() -> f64 {
        1.7e12 + clock_monotonic()
    }

    pub fn random(_ptr: u32, _len: u32) {}

    pub fn log(_level: u32, _ptr: u32, _len: u32) {
        LOGGED.set(LOGGED.get() + 1);
    }

    pub fn code_support() -> u32 {
        host_abi::CodeSupport::None as u32
    }

    pub fn code_stress() -> u32 {
        0
    }

    pub fn code_compile(_ptr: u32, _len: u32, _slots: u32, _count: u32) -> u32 {
        0
    }

    pub fn code_drop(_module: u32) {}

    pub fn table_grow(_count: u32, _from: u32) -> u32 {
        0
    }

    pub fn table_copy(_to: u32, _from: u32, _count: u32) {}

    pub fn file_open(_name: u32, _len: u32, _base: u32, _base_len: u32, _access: u32, _request: u32) {}

    pub fn file_fetch(_name: u32, _len: u32, _base: u32, _base_len: u32, _again: u32, _request: u32) {}

    pub fn file_read(_file: u32, _offset: u64, _ptr: u32, _len: u32, _request: u32) -> u32 {
        host_abi::FileStarted::Pending as u32
    }

    pub fn file_write(_file: u32, _offset: u64, _ptr: u32, _len: u32, _request: u32) -> u32 {
        host_abi::FileStarted::Pending as u32
    }

    pub fn file_flush(_file: u32, _request: u32) -> u32 {
        host_abi::FileStarted::Pending as u32
    }

    pub fn file_close(_file: u32) {}

    pub fn channel_support() -> u32 {
        0
    }

    pub fn channel_open(_channel: u32, _kind: u32, _ptr: u32, _len: u32) {}

    pub fn channel_send(_channel: u32, _ptr: u32, _len: u32) {}

    pub fn channel_finish(_channel: u32) {}

    pub fn channel_close(_channel: u32) {}

    pub fn channel_credit(_channel: u32, _bytes: u32) {}

    pub fn share_request(_share: u32, _ptr: u32, _len: u32) -> u32 {
        0
    }

    pub fn share_reply(_ptr: u32) {}

    pub fn disk_done(_request: u32, _ptr: u32, _len: u32) {}

    pub fn disk_failed(_request: u32, _ptr: u32, _len: u32) {}
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Messages that the host has got since the last call.
    pub fn logged() -> u32 {
        imports::LOGGED.take()
    }

    fn say(level: log::Level, times: u32) {
        let message = log::Record::builder().level(level).args(format_args!("x")).build();
        (0..times).for_each(|_| log::Log::log(&Logger, &message));
    }

    #[test]
    fn messages_are_limited_within_a_slice_and_errors_are_not() {
        for _ in 0..2 {
            Logger::begin_slice();
            say(log::Level::Warn, 1000);
            assert_eq!(logged(), SLICE_MESSAGES);
            say(log::Level::Error, 100);
            assert_eq!(logged(), 100);
            Logger::end_slice();
            assert_eq!(logged(), 1, "how many there were");
        }
        Logger::begin_slice();
        say(log::Level::Debug, SLICE_MESSAGES);
        Logger::end_slice();
        assert_eq!(logged(), SLICE_MESSAGES, "nothing is left out");
        say(log::Level::Warn, 1000);
        assert_eq!(logged(), 1000, "between slices");
    }
}
