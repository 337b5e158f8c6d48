//! What the runner does, and the functions that generated modules import.

use core::num::NonZeroU32;

use jit::Support;

#[link(wasm_import_module = "pagevm")]
// SAFETY: these are the signatures of `web/src/host/code.ts`, which the runner uses.
unsafe extern "C" {
    safe fn code_support() -> u32;
    safe fn code_compile(ptr: u32, len: u32, slots: u32, count: u32) -> u32;
    safe fn code_drop(module: u32);
    safe fn table_grow(count: u32, from: u32) -> u32;
    safe fn table_copy(to: u32, from: u32, count: u32);
}
#[link(wasm_import_module = "tiers")]
// SAFETY: the runner reads the range and no more.
unsafe extern "C" {
    #[link_name = "say"]
    safe fn say_bytes(ptr: u32, len: u32);
    safe fn now() -> f64;
}

pub fn say(text: &str) {
    say_bytes(text.as_ptr() as usize as u32, text.len() as u32);
}

/// Milliseconds.
pub fn time() -> f64 {
    now()
}

/// The runner, as the translator sees it.
pub struct Runner;

impl jit::Host for Runner {
    fn support(&self) -> Support {
        match code_support() {
            0 => Support::None,
            1 => Support::Linked,
            _ => Support::Unlinked,
        }
    }
    fn compile(&mut self, module: &[u8], slots: &[u32]) -> Option<NonZeroU32> {
        let [module, len] = [module.as_ptr() as usize, module.len()].map(|n| n as u32);
        let [slots, count] = [slots.as_ptr() as usize, slots.len()].map(|n| n as u32);
        NonZeroU32::new(code_compile(module, len, slots, count))
    }
    fn drop(&mut self, module: NonZeroU32) {
        code_drop(module.get());
    }
    fn grow(&mut self, count: u32, with: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(table_grow(count, with))
    }
    fn copy(&mut self, to: u32, from: u32, count: u32) {
        table_copy(to, from, count);
    }
    fn now_ns(&self) -> u64 {
        (time() * 1e6) as u64
    }
}

macro_rules! callable {
    ($(fn $name:ident = $body:ident($($param:ident: $ty:ident),*) -> $result:ident;)*) => {
        $(
            // SAFETY: no other symbol has this name, which the link would refuse.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($param: $ty),*) -> $result {
                jit::call::$body($($param),*)
            }
        )*
    };
}
callable! {
    fn code_readable = readable(va: u64, bytes: u32) -> u32;
    fn code_updatable = updatable(va: u64, bytes: u32) -> u32;
    fn code_store = store(va: u64, bytes: u32, low: u64, high: u64) -> u32;
    fn code_writable = writable(va: u64, bytes: u32) -> u32;
    fn code_helper = helper(h: u32, a: u64, b: u64, c: u64, d: u64) -> u64;
    fn code_pack_flags = pack_flags(form: u64, a: u64, b: u64, r: u64) -> u64;
}

type FloatFunction = fn(u32) -> u32;

thread_local! {
    /// What does floating-point operations instead of the guest that is being run.
    pub static FLOAT: core::cell::Cell<Option<FloatFunction>> = const { core::cell::Cell::new(None) };
}

// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn code_float(op: u32) -> u32 {
    FLOAT.get().unwrap_or(jit::call::float)(op)
}
