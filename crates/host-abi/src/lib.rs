//! The boundary between `engine.wasm` and the host that runs it, declared once.
//!
//! [`imports!`] and [`exports!`] hand the two tables of functions to a macro of the caller: this crate describes them
//! ([`IMPORTS`], [`EXPORTS`], from which [`typescript`] writes `web/src/abi.gen.ts`), the engine declares the first and
//! defines the second, so a signature that differs does not compile. Only numbers and byte ranges cross; addresses are
//! unsigned 32-bit offsets into the engine's memory, which can be nearly 4 GiB long.
//!
//! | type in the table | in Wasm | in JavaScript |
//! |---|---|---|
//! | `u32` | i32 | number; a result needs `>>> 0` |
//! | `u64` | i64 | bigint |
//! | `f64` | f64 | number |
#![no_std]
extern crate alloc;

mod typescript;
pub use typescript::typescript;

/// Raised when a function, a code or a layout changes its meaning; the host refuses an engine of another version.
pub const VERSION: u32 = 2;

/// The name of the module that the engine imports from.
pub const IMPORT_MODULE: &str = "pagevm";

/// The name of the module that translated code imports from: every export of the engine is there, by its own name.
pub const CODE_IMPORT_MODULE: &str = "e";

/// The engine's function table, by the name that the linker gives it. It can grow.
pub const TABLE: &str = "__indirect_function_table";

/// What the engine asks of its host. Times are in milliseconds, the unit in which every host has them; a double holds
/// them to better than a microsecond.
#[macro_export]
macro_rules! imports {
    ($with:ident) => {
        $with! {
            /// Milliseconds from an arbitrary origin; never goes back, goes on while the tab is in the background.
            fn clock_monotonic() -> f64;
            /// Milliseconds since 1970-01-01 00:00:00 UTC.
            fn clock_realtime() -> f64;
            /// Fills `len` bytes at `ptr` from the host's cryptographic generator.
            fn random(ptr: u32, len: u32);
            /// One message of UTF-8 text for whoever looks after the engine; `level` is a `LogLevel`.
            fn log(level: u32, ptr: u32, len: u32);
            /// What this host can do with code that is translated at run time, a `CodeSupport`; the same at each call.
            fn code_support() -> u32;
            /// Puts translated code under stress, for tests: a seed for what happens to it at random, 0 for nothing.
            fn code_stress() -> u32;
            /// Compiles and instantiates the module of translated code in the `len` bytes at `ptr`, at once. It imports
            /// the engine's exports, by their names, from module `e`. With `CodeSupport::Linked` its element segment puts
            /// its functions into the engine's function table; with `CodeSupport::Unlinked` it may not import the table,
            /// and the host puts its export `f0`, `f1`, .. into the slots that the `count` numbers of 32 bits at `slots`
            /// say. Returns the module's number, or 0 where the host has refused: then the slots hold what they held.
            fn code_compile(ptr: u32, len: u32, slots: u32, count: u32) -> u32;
            /// The engine has put something else into all slots of this module, and never enters it again.
            fn code_drop(module: u32);
            /// Makes the engine's function table longer by `count` slots that hold what slot `from` holds. Returns the
            /// first of them, or 0 where the host has refused.
            fn table_grow(count: u32, from: u32) -> u32;
            /// Each of the `count` slots from `to` on becomes what slot `from` holds.
            fn table_copy(to: u32, from: u32, count: u32);
        }
    };
}

/// What a host may call, in the order in which it does. Functions that return an `Outcome` leave the text of an error
/// in `message`. Byte ranges are returned as `address | length << 32`.
#[macro_export]
macro_rules! exports {
    ($with:ident) => {
        $with! {
            /// The `VERSION` of this table that the engine was built with.
            fn abi_version() -> u32;
            /// Room for `len` bytes that the host writes, for `configure` and `console_input` to read; 0 if there is
            /// no memory for it. Valid until the next call of `scratch`.
            fn scratch(len: u32) -> u32;
            /// Reads the machine's options from the first `len` bytes of the scratch room: UTF-8 strings, each ended
            /// by a zero byte, in QEMU's grammar. Returns an `Outcome`.
            fn configure(len: u32) -> u32;
            /// The file name that the options give for an `Image`, as a byte range; 0 if they give none.
            fn image_name(image: u32) -> u64;
            /// What the options connect the serial console to, a `Console`.
            fn console_mode() -> u32;
            /// Room for an `Image` of `len` bytes, which the host fills before `create`; 0 if there is no memory for it.
            fn image_begin(image: u32, len: u32) -> u32;
            /// Builds the machine from the options and the images, which become the machine's. Returns an `Outcome`.
            fn create() -> u32;
            /// Runs the guest for about `slice_ms` milliseconds, or until it has nothing to do. Returns an `Exit`.
            fn run(slice_ms: f64) -> u32;
            /// After `Exit::Idle`: when the guest wants to run again, by `clock_monotonic`; infinity if only input wakes it.
            fn idle_until() -> f64;
            /// Gives the first `len` bytes of the scratch room to the guest's serial console, which takes them as fast as the guest does.
            fn console_input(len: u32);
            /// What the guest's console has written since the last call, as a byte range, valid until the next `run`.
            fn console_output() -> u64;
            /// Resets the machine as its reset button does.
            fn reset();
            /// Brings the `Stats` up to date and returns their address, which stays the same.
            fn stats() -> u32;
            /// Calls of helpers by translated code, as a byte range of text, valid until the next call: a line each, the name and how many.
            fn helper_calls() -> u64;
            /// The text of the last error or report, as a byte range, valid until the next call that can fail.
            fn message() -> u64;
        }
    };
}

/// One parameter of a [`Function`].
pub struct Param {
    pub name: &'static str,
    pub ty: &'static str,
}

/// One line of a table.
pub struct Function {
    pub name: &'static str,
    pub params: &'static [Param],
    pub result: Option<&'static str>,
    pub doc: &'static [&'static str],
}

macro_rules! describe {
    ($($(#[doc = $doc:literal])* fn $name:ident($($param:ident: $ty:ident),*) $(-> $result:ident)?;)*) => {
        &[$(Function {
            name: stringify!($name),
            params: &[$(Param { name: stringify!($param), ty: stringify!($ty) }),*],
            result: describe!(@result $($result)?),
            doc: &[$($doc),*],
        }),*]
    };
    (@result) => { None };
    (@result $result:ident) => { Some(stringify!($result)) };
}

/// [`imports!`], as data.
pub const IMPORTS: &[Function] = imports!(describe);
/// [`exports!`], as data.
pub const EXPORTS: &[Function] = exports!(describe);

/// One value of a [`Codes`] table.
pub struct Code {
    pub name: &'static str,
    pub value: u32,
    pub doc: &'static [&'static str],
}

/// An enumeration that crosses the boundary as a `u32`.
pub struct Codes {
    pub name: &'static str,
    pub doc: &'static [&'static str],
    pub codes: &'static [Code],
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* enum $name:ident { $($(#[doc = $vdoc:literal])* $value:ident = $n:literal,)* })*) => {
        $($(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[doc = $vdoc])* $value = $n,)* }

        impl $name {
            /// The value with this number, if there is one.
            pub const fn from_u32(n: u32) -> Option<Self> {
                match n { $($n => Some(Self::$value),)* _ => None }
            }
        })*
        /// Every enumeration of the boundary, as data.
        pub const CODES: &[Codes] = &[$(Codes {
            name: stringify!($name),
            doc: &[$($doc),*],
            codes: &[$(Code { name: stringify!($value), value: $n, doc: &[$($vdoc),*] }),*],
        }),*];
    };
}

codes! {
    /// Whether a call did what it was asked.
    enum Outcome {
        /// It did.
        Done = 0,
        /// The options are wrong; `message` names the option.
        BadOptions = 1,
        /// The machine cannot be built from these options and images; `message` names the cause.
        BadMachine = 2,
        /// There is no memory for it; `message` says for what.
        NoMemory = 3,
        /// Called out of order.
        BadCall = 4,
    }
    /// Files that the machine's options can name.
    enum Image {
        /// Option `-kernel`.
        Kernel = 0,
        /// Option `-initrd`.
        Initrd = 1,
    }
    /// What the guest's serial console is connected to.
    enum Console {
        /// Nothing.
        None = 0,
        /// The host's terminal, every byte as it comes.
        Raw = 1,
        /// The host's terminal, whose Ctrl-A x ends the run and Ctrl-A Ctrl-A sends Ctrl-A.
        Escape = 2,
    }
    /// Why `run` returned.
    enum Exit {
        /// The slice is over; there is more to run.
        Budget = 0,
        /// The guest waits: see `idle_until`.
        Idle = 1,
        /// The guest switched the machine off.
        PowerOff = 2,
        /// The guest asked for a reset and option `-no-reboot` makes that an end.
        Reset = 3,
        /// The machine cannot go on, `message` is the report: a triple fault, or an instruction that is not implemented.
        Stopped = 4,
        /// There is no machine to run.
        NoMachine = 5,
    }
    /// What a host can do with code that is translated at run time.
    enum CodeSupport {
        /// Nothing: everything is interpreted.
        None = 0,
        /// Modules import the engine's function table, and each can enter the others' code through it.
        Linked = 1,
        /// Modules import memory and functions only: every import of the table would be a copy of it.
        Unlinked = 2,
    }
    /// How much a `log` message matters.
    enum LogLevel {
        /// The engine cannot go on: the call that logs this ends in a trap.
        Panic = 0,
        Error = 1,
        Warn = 2,
        Info = 3,
        Debug = 4,
        Trace = 5,
    }
}

/// One field of [`Stats`].
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub doc: &'static [&'static str],
}

macro_rules! layout {
    ($(#[doc = $doc:literal])* struct $name:ident { $($(#[doc = $fdoc:literal])* $field:ident,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct $name { $($(#[doc = $fdoc])* pub $field: u64,)* }

        /// The fields of [`Stats`], as data; each is a little-endian unsigned 64-bit number.
        pub const STATS: &[Field] = &[$(Field {
            name: stringify!($field),
            offset: core::mem::offset_of!($name, $field),
            doc: &[$($fdoc),*],
        }),*];
    };
}

layout! {
    /// Counters since the machine was created.
    struct Stats {
        /// Guest instructions executed.
        guest_insns,
        /// Those of them that were interpreted.
        interp_insns,
        /// Instructions decoded.
        decoded_insns,
        /// How often the CPU's budget was used up, and how often of that in translated code: where time goes, sampled.
        samples,
        samples_translated,
        /// Regions of guest code that were translated, and those of them that can still be entered.
        regions,
        regions_live,
        /// Modules that the host has compiled of them, and those of these that were not dropped.
        modules,
        modules_live,
        /// Bytes of Wasm in all those modules.
        wasm_bytes,
        /// Nanoseconds in the host's compiler. What it puts off until code runs for the first time is not in it.
        compile_ns,
        /// Nanoseconds from guest code to the intermediate form, passes over it included.
        lift_ns,
        /// Nanoseconds from there to Wasm.
        emit_ns,
        /// TLB entries filled: accesses that missed, in every tier.
        tlb_fills,
        /// Exits of translated code to look up what comes next.
        exits_lookup,
        /// Exits to have an instruction interpreted.
        exits_bail,
        /// Exits because something that was assumed does not hold.
        exits_guard,
        /// Exits because the slice's budget is used up.
        exits_budget,
        /// Regions dropped because the guest has written to their code.
        invalidations,
        /// Regions dropped to make room.
        evictions,
        /// What the host has refused: modules and growth of the function table.
        refusals,
        /// Guest RAM, in bytes.
        ram_bytes,
    }
}

/// A byte range as the exports return it.
pub const fn range(ptr: u32, len: u32) -> u64 {
    ptr as u64 | (len as u64) << 32
}
