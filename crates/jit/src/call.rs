//! Into generated code and back.
//!
//! While generated code runs, the guest is lent to it: [`enter`] keeps the address of the `dyn Guest` that its caller has exclusive
//! access to, and does not touch it before generated code returns. The functions that generated code calls take it
//! from there. They cannot nest: none of them enters generated code.

use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::NonNull;

use guest_api::{Exchange, Float, Guest, LazyFlags};
use wasmgen::abi::{IMPORTS, Import, Leave};

thread_local! {
    static GUEST: Cell<Option<NonNull<dyn Guest>>> = const { Cell::new(None) };
    static EXCHANGE: Cell<u32> = const { Cell::new(0) };
    static CALLS: [Cell<u64>; IMPORTS.len()] = const { [const { Cell::new(0) }; IMPORTS.len()] };
}

/// Calls by generated code of each function that it imports, by name, since the program began.
pub fn calls() -> impl Iterator<Item = (&'static str, u64)> {
    IMPORTS.iter().enumerate().map(|(k, import)| (import.0, CALLS.with(|calls| calls[k].get())))
}

#[inline(always)]
fn count(import: Import) {
    CALLS.with(|calls| {
        let calls = &calls[import as usize];
        calls.set(calls.get() + 1);
    });
}

type Function = extern "C" fn(*mut u8, u64, i64) -> u32;

/// Runs the function in table slot `slot`.
pub(crate) fn enter(guest: &mut dyn Guest, slot: u32, exchange: u32, pc: u64, left: i64) -> Leave {
    let state = guest.state();
    let guest = NonNull::from(guest);
    // SAFETY: only the lifetime changes; the pointer is taken back below, before `guest`'s borrow ends.
    let guest = unsafe { core::mem::transmute::<NonNull<dyn Guest + '_>, NonNull<dyn Guest + 'static>>(guest) };
    GUEST.set(Some(guest));
    EXCHANGE.set(exchange);
    // SAFETY: the slots that this crate hands out hold functions of this type only: those of generated modules, and `lookup`.
    let function = unsafe { core::mem::transmute::<usize, Function>(slot as usize) };
    let code = function(state, pc, left);
    GUEST.set(None);
    Leave::of(code)
}

fn with<R>(otherwise: R, f: impl FnOnce(&mut dyn Guest) -> R) -> R {
    match GUEST.get() {
        // SAFETY: set by `enter`, whose caller has lent the guest and waits; nothing else uses it, see the module's text.
        Some(mut guest) => f(unsafe { guest.as_mut() }),
        None => otherwise,
    }
}

fn exchange(state: *mut u8) -> *mut Exchange {
    state.wrapping_add(EXCHANGE.get() as usize).cast()
}

fn leave(state: *mut u8, pc: u64, left: i64, code: Leave) -> u32 {
    let exchange = exchange(state);
    // SAFETY: generated code passes on the state pointer that `enter` was given, and the exchange lies in the state.
    unsafe {
        (*exchange).pc = pc;
        (*exchange).left = left;
    }
    code as u32
}

/// What a slot without a region holds.
pub(crate) extern "C" fn lookup(state: *mut u8, pc: u64, left: i64) -> u32 {
    leave(state, pc, left, Leave::Lookup)
}

/// Where generated code goes for the interpreter to execute the next instruction.
pub(crate) extern "C" fn interpret(state: *mut u8, pc: u64, left: i64) -> u32 {
    leave(state, pc, left, Leave::Interpret)
}

/// The exchange in the state of `guest`, after [`enter`].
/// Only its first fields are used: inlined, that is all that is read.
#[inline(always)]
pub(crate) fn read(guest: &mut dyn Guest, offset: u32) -> Exchange {
    // SAFETY: the guest's layout says that an `Exchange` is there, and the guest is ours.
    unsafe { guest.state().wrapping_add(offset as usize).cast::<Exchange>().read() }
}

/// Sets the form of the flags in the state of `guest`.
pub(crate) fn set_form(guest: &mut dyn Guest, flags: u32, form: u64) {
    let at = flags as usize + offset_of!(LazyFlags, form);
    // SAFETY: as in `read`, for the `LazyFlags`.
    unsafe { guest.state().wrapping_add(at).cast::<u64>().write(form) }
}

// The functions that generated code imports: `wasmgen::abi::IMPORTS`.

/// [`Guest::readable`]; 0 for none.
pub fn readable(va: u64, bytes: u32) -> u32 {
    count(Import::Readable);
    with(0, |g| g.readable(va, bytes).map_or(0, |a| a as u32))
}
/// [`Guest::updatable`]; 0 for none.
pub fn updatable(va: u64, bytes: u32) -> u32 {
    count(Import::Updatable);
    with(0, |g| g.updatable(va, bytes).map_or(0, |a| a as u32))
}
/// [`Guest::store`]; 0 for refused.
pub fn store(va: u64, bytes: u32, low: u64, high: u64) -> u32 {
    count(Import::Store);
    with(0, |g| g.store(va, bytes, u128::from(high) << 64 | u128::from(low)).into())
}
/// [`Guest::writable`]; 0 for not.
pub fn writable(va: u64, bytes: u32) -> u32 {
    count(Import::Writable);
    with(0, |g| g.writable(va, bytes).into())
}
/// [`Guest::helper`]; `Exchange::refused` says whether it did.
pub fn helper(h: u32, a: u64, b: u64, c: u64, d: u64) -> u64 {
    count(Import::Helper);
    with(0, |g| g.helper(h as u16, [a, b, c, d]))
}
/// [`Guest::float`] of the operation with number `op`: see [`wasmgen::abi::Import::Float`].
pub fn float(op: u32) -> u32 {
    count(Import::Float);
    with(0, |g| {
        let x = exchange(g.state());
        let Some(op) = Float::of_code(op) else { return 0 };
        // SAFETY: as in `leave`.
        let [a, b] = unsafe { (*x).vectors }.map(|[low, high]| u128::from(high) << 64 | u128::from(low));
        let Some(r) = g.float(op, a, b) else { return 0 };
        let x = exchange(g.state());
        // SAFETY: as in `leave`.
        let inexact = unsafe {
            (*x).vectors[0] = [r as u64, (r >> 64) as u64];
            (*x).inexact
        };
        1 + inexact + wasmgen::abi::suspicious(op, [a, b, r])
    })
}
/// All flags but the carry.
pub fn pack_flags(form: u64, a: u64, b: u64, r: u64) -> u64 {
    count(Import::PackFlags);
    LazyFlags { form, a, b, r, carry: 0 }.packed()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_function_counts_its_calls() {
        let calls = || super::calls().map(|(_, calls)| calls).collect::<Vec<_>>();
        assert_eq!(calls(), [0; 7]);
        super::readable(0, 1);
        (0..2).for_each(|_| _ = super::updatable(0, 1));
        (0..3).for_each(|_| _ = super::store(0, 1, 0, 0));
        (0..4).for_each(|_| _ = super::writable(0, 1));
        (0..5).for_each(|_| _ = super::helper(0, 0, 0, 0, 0));
        (0..6).for_each(|_| _ = super::float(0));
        (0..7).for_each(|_| _ = super::pack_flags(0, 0, 0, 0));
        assert_eq!(calls(), [1, 2, 3, 4, 5, 6, 7]);
    }
}
