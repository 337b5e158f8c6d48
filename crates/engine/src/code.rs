//! Translated code: what the host does for it, and the functions that it calls.

use core::num::NonZeroU32;

use host_abi::CodeSupport;
use jit::{Host, Support};

use crate::host;

/// The host, for translated code.
pub struct CodeHost;

impl Host for CodeHost {
    fn support(&self) -> Support {
        match host::code::support() {
            CodeSupport::None => Support::None,
            CodeSupport::Linked => Support::Linked,
            CodeSupport::Unlinked => Support::Unlinked,
        }
    }
    fn compile(&mut self, module: &[u8], slots: &[u32]) -> Option<NonZeroU32> {
        host::code::compile(module, slots)
    }
    fn drop(&mut self, module: NonZeroU32) {
        host::code::drop(module);
    }
    fn grow(&mut self, count: u32, with: u32) -> Option<NonZeroU32> {
        host::code::table_grow(count, with)
    }
    fn copy(&mut self, to: u32, from: u32, count: u32) {
        host::code::table_copy(to, from, count);
    }
    fn now_ns(&self) -> u64 {
        (host::monotonic_ms() * 1e6) as u64
    }
}

macro_rules! callable {
    ($(fn $name:ident = $body:ident($($param:ident: $ty:ident),*) -> $result:ident;)*) => {
        $(
            // SAFETY: no other symbol of the module has this name, which a Wasm link would refuse.
            #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
            pub extern "C" fn $name($($param: $ty),*) -> $result {
                jit::call::$body($($param),*)
            }
        )*
    };
}

/// The functions of `wasmgen::abi::IMPORTS`, exported for generated modules.
#[allow(unsafe_code)] // unmangled names, nothing else
pub mod callable {
    callable! {
        fn code_readable = readable(va: u64, bytes: u32) -> u32;
        fn code_updatable = updatable(va: u64, bytes: u32) -> u32;
        fn code_store = store(va: u64, bytes: u32, low: u64, high: u64) -> u32;
        fn code_writable = writable(va: u64, bytes: u32) -> u32;
        fn code_helper = helper(h: u32, a: u64, b: u64, c: u64, d: u64) -> u64;
        fn code_float = float(op: u32) -> u32;
        fn code_pack_flags = pack_flags(form: u64, a: u64, b: u64, r: u64) -> u64;
    }
}
