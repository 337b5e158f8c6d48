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

/// A host for unit tests: a clock that moves by a tenth of a millisecond each time it is read.
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
}
