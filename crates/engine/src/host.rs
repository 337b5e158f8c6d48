//! The host's side of the boundary: the only imports of the whole engine.

use machine::HostTime;

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

/// Tells whoever looks after the engine.
pub fn log(level: host_abi::LogLevel, text: &str) {
    imports::log(level as u32, text.as_ptr() as usize as u32, text.len() as u32);
}

/// The `log` crate's messages, passed on.
pub struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
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

    thread_local!(static TICKS: Cell<u32> = const { Cell::new(0) });

    pub fn clock_monotonic() -> f64 {
        TICKS.set(TICKS.get() + 1);
        f64::from(TICKS.get()) / 10.0
    }

    pub fn clock_realtime() -> f64 {
        1.7e12 + clock_monotonic()
    }

    pub fn random(_ptr: u32, _len: u32) {}

    pub fn log(_level: u32, _ptr: u32, _len: u32) {}

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

    pub fn share_request(_share: u32, _ptr: u32, _len: u32) -> u32 {
        0
    }

    pub fn share_reply(_ptr: u32) {}
}
