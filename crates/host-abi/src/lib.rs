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
pub const VERSION: u32 = 10;

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
            /// Opens the file with the UTF-8 name in the `len` bytes at `name`; a relative one is relative to the file named
            /// in the `base_len` bytes at `base`, or to where the host looks for files if there are none. `access` is a
            /// `FileAccess`. Always `FileStarted::Pending`: `file_opened` or `file_failed` is called with
            /// `request` later, as for the functions below; never before the import has returned.
            fn file_open(name: u32, len: u32, base: u32, base_len: u32, access: u32, request: u32);
            /// All of a file, to come by `file_done`; the names are those of `file_open`. `again` is 1 if what a cache had was wrong.
            fn file_fetch(name: u32, len: u32, base: u32, base_len: u32, again: u32, request: u32);
            /// Reads `len` bytes from `offset` on: to `ptr`, if that can be done at once, else to be given to `file_done`.
            /// Returns a `FileStarted`.
            fn file_read(file: u32, offset: u64, ptr: u32, len: u32, request: u32) -> u32;
            /// Writes the `len` bytes at `ptr`, which are not the host's any more when this returns. Returns a `FileStarted`.
            fn file_write(file: u32, offset: u64, ptr: u32, len: u32, request: u32) -> u32;
            /// What was written is kept, come what may, when this is done. Returns a `FileStarted`.
            fn file_flush(file: u32, request: u32) -> u32;
            /// The engine never uses `file` again.
            fn file_close(file: u32);
            /// Which channels this host can open: bit `n` for `ChannelKind` `n`; the same at each call.
            fn channel_support() -> u32;
            /// Opens `channel`, a number of the engine's, to the address in the `len` bytes of UTF-8 at `ptr`; `kind` is a
            /// `ChannelKind`. What comes of it, and of the following, is told by `channel_event`, never within the call.
            fn channel_open(channel: u32, kind: u32, ptr: u32, len: u32);
            /// Sends bytes: the next piece of a stream, or a message. Of what is under flow control the engine sends at most
            /// 256 KiB more than `ChannelEvent::Credit` has given back.
            fn channel_send(channel: u32, ptr: u32, len: u32);
            /// The engine will send nothing more on this channel, and still takes what comes.
            fn channel_finish(channel: u32);
            /// Ends the channel at once. No event of it follows.
            fn channel_close(channel: u32);
            /// The host may send `bytes` more of this stream.
            fn channel_credit(channel: u32, bytes: u32);
            /// A 9P2000.L request, in the `len` bytes at `ptr`, to what serves share number `share` on the host. Returns how long
            /// the reply is that `share_reply` then gives, or 0 where it comes later, by the export `share_complete`.
            fn share_request(share: u32, ptr: u32, len: u32) -> u32;
            /// Writes the reply that the last `share_request` has announced to `ptr`.
            fn share_reply(ptr: u32);
            /// What `disk_read` or `disk_export` was asked for is done; what was read is in the `len` bytes at `ptr`.
            fn disk_done(request: u32, ptr: u32, len: u32);
            /// It cannot be done; why is in the `len` bytes of UTF-8 text at `ptr`.
            fn disk_failed(request: u32, ptr: u32, len: u32);
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
            /// The name that the options give share number `share`, as a byte range; 0 if there is no such share.
            fn share_id(share: u32) -> u64;
            /// What the options give as the path of share number `share` on the host, as a byte range, 0 if there is no such share.
            /// One that is in memory has the length 0. Shares are asked for until there is none.
            fn share_path(share: u32) -> u64;
            /// 1 if owners, modes and types of the files of share number `share` are kept in files beside them
            /// (`security_model=mapped-file`), else 0.
            fn share_mapped(share: u32) -> u32;
            /// The reply, in the first `len` bytes of the scratch room, to a request of `share_request`.
            fn share_complete(share: u32, len: u32);
            /// Puts a file into a share that is in memory: in the scratch room are `path_len` bytes of its path and `len` bytes of its
            /// contents; `mode` are its permission bits. Returns 0, or one of Linux's error numbers.
            fn share_put(share: u32, path_len: u32, len: u32, mode: u32) -> u32;
            /// Gets a file out of a share that is in memory, by the path in the first `path_len` bytes of the scratch room: a byte
            /// range that is valid until the next call of `share_get`, with an address of 0 where there is none such; its length then is one
            /// of Linux's error numbers.
            fn share_get(share: u32, path_len: u32) -> u64;
            /// The file name that the options give for what is in a share in memory in the beginning, a cpio archive, as a byte range; 0 if
            /// they give none.
            fn share_archive(share: u32) -> u64;
            /// Puts the files of a cpio archive, in the first `len` bytes of the scratch room, into a share that is in memory. Returns
            /// an `Outcome`.
            fn share_unpack(share: u32, len: u32) -> u32;
            /// The file name that the options give for drive number `drive`, as a byte range; 0 if there is no such drive.
            fn drive_file(drive: u32) -> u64;
            /// Begins to pack what is in drive number `drive`: to cut it into chunks, which `pack_next` gives. Returns an `Outcome`.
            fn pack_open(drive: u32) -> u32;
            /// Goes on to the next chunk of the drive that is not zeros and was not there before, or to the manifest at the end.
            /// Returns a `Packing`.
            fn pack_next() -> u32;
            /// Where the chunk of `pack_next` belongs, relative to the manifest, as a byte range.
            fn pack_name() -> u64;
            /// The bytes of what `pack_next` has come to, as a byte range: a chunk, for the host to compress (RFC 1951, without a
            /// header) and to store, or the manifest.
            fn pack_content() -> u64;
            /// The options with other names, those in the first `len` bytes of the scratch room: for the kernel, the initrd, each drive, each
            /// share, all ended by a zero byte; where one is empty, the old name stays. A byte range, in the form of `configure`.
            fn pack_options(len: u32) -> u64;
            /// What is in a directory of a share that is in memory, like `share_get`: for each name, in order, a line of mode (octal), size,
            /// time of the last change (seconds since 1970) and the name, which ends with a zero byte.
            fn share_list(share: u32, path_len: u32) -> u64;
            /// What the options connect the serial console to, a `Console`.
            fn console_mode() -> u32;
            /// Room for an `Image` of `len` bytes, which the host fills before `create`; 0 if there is no memory for it.
            fn image_begin(image: u32, len: u32) -> u32;
            /// Builds the machine from the options and the images, which become the machine's. Returns an `Outcome`;
            /// `Outcome::Pending` while it waits for files: then it is to be called again when the host has answered.
            fn create() -> u32;
            /// The host has opened what `request` asked for: `file`, of `size` bytes, with `FileFlags`. What changes when the
            /// content does, such as an ETag, is in the first `tag` bytes of the scratch room.
            fn file_opened(request: u32, file: u32, size: u64, flags: u32, tag: u32);
            /// The next bytes that `request` reads are the first `len` of the scratch room; more follow.
            fn file_part(request: u32, len: u32);
            /// The bytes of `request` began to come after `latency` milliseconds, and then were `rate` a millisecond. Before `file_done`,
            /// of reads that cross a network.
            fn file_pace(request: u32, latency: f64, rate: f64);
            /// What `request` asked for is done; what it has read, or the rest of it after `file_part`, is in the first `len` bytes of the
            /// scratch room.
            fn file_done(request: u32, len: u32);
            /// What `request` asked for cannot be done; why, without the file's name, is in the first `len` bytes of the scratch room.
            fn file_failed(request: u32, len: u32);
            /// The name that the options give drive number `disk`, as a byte range, which may be empty; 0 if there is no such drive.
            fn disk_id(disk: u32) -> u64;
            /// Bytes of a disk; 0 before there is a machine.
            fn disk_size(disk: u32) -> u64;
            /// What a disk is like: `DiskFlags`.
            fn disk_flags(disk: u32) -> u32;
            /// Reads `len` bytes from `offset` on, as the disk is now. `disk_done` or `disk_failed` says so with `request`, perhaps
            /// within this call.
            fn disk_read(disk: u32, offset: u64, len: u32, request: u32);
            /// Writes what differs from the disk's image, as an overlay, to a new file: the host's, by the name in the first `name_len`
            /// bytes of the scratch room. Answered like `disk_read`.
            fn disk_export(disk: u32, name_len: u32, request: u32);
            /// Runs the guest for about `slice_ms` milliseconds, or until it has nothing to do. Returns an `Exit`.
            fn run(slice_ms: f64) -> u32;
            /// After `Exit::Idle`: when the guest wants to run again, by `clock_monotonic`; infinity if only input wakes it.
            fn idle_until() -> f64;
            /// Gives the first `len` bytes of the scratch room to the guest's serial console, which takes them as fast as the guest does.
            fn console_input(len: u32);
            /// What the guest's console has written since the last call, as a byte range, valid until the next `run`.
            fn console_output() -> u64;
            /// Tells the engine of a channel, a `ChannelEvent`, with the first `len` bytes of the scratch room or with `value`.
            fn channel_event(channel: u32, event: u32, value: u32, len: u32);
            /// Resets the machine as its reset button does.
            fn reset();
            /// Presses the power button, to which the guest may listen.
            fn power_button();
            /// Brings the `Stats` up to date and returns their address, which stays the same.
            fn stats() -> u32;
            /// Calls by translated code of what it does not do itself, as a byte range of text, valid until the next call: a line each, the name and how
            /// many. First the guest's helpers, then functions of the engine (`code_*`).
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
        /// The host has to answer first.
        Pending = 5,
    }
    /// What packing a drive has come to.
    enum Packing {
        /// It cannot be read; `message` says why.
        Failed = 0,
        /// The host has to answer first.
        Pending = 1,
        /// A chunk, `pack_name` and `pack_content`.
        Chunk = 2,
        /// The end: `pack_content` is the manifest.
        Manifest = 3,
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
    /// What a file is opened for.
    enum FileAccess {
        Read = 0,
        /// To be written too, if that is allowed.
        Write = 1,
        /// To be written too, and made if there is none.
        Create = 2,
    }
    /// Whether the host has done what a file function asks for.
    enum FileStarted {
        /// It has.
        Done = 0,
        /// It will say so, with the request's number.
        Pending = 1,
    }
    /// Bits of what an opened file is like.
    enum FileFlags {
        /// It can be written, which it was opened for.
        Writable = 1,
        /// Reading takes long, however little is read.
        Remote = 2,
        /// What is said to change when the content does differs for any two contents: what was read may be kept by it.
        Exact = 4,
    }
    /// Bits of what a disk is like.
    enum DiskFlags {
        /// The guest cannot write to it.
        ReadOnly = 1,
        /// What is written is kept apart from the image, and can be exported.
        Overlay = 2,
    }
    /// What is at the other end of a channel. Streams are under flow control in both directions.
    enum ChannelKind {
        /// A TCP connection to `ADDRESS:PORT`: a stream.
        Tcp = 0,
        /// Datagrams to and from `ADDRESS:PORT`.
        Udp = 1,
        /// The addresses of `NAME`, one a line, in one `Data`; none if there is no such name.
        Resolve = 2,
        /// Connections that arrive at `ADDRESS:PORT`, each told by `Accepted`.
        TcpListen = 3,
        /// A connection that has arrived: its number is the address. A stream.
        TcpAccept = 4,
        /// Datagrams that arrive at `ADDRESS:PORT`. Each, both ways, begins with the peer's address (4 bytes) and port (2), big-endian.
        UdpListen = 5,
        /// Binary messages to and from a WebSocket address: whole ones, as long as there is any credit.
        WebSocket = 6,
        /// An HTTP request. The address is `METHOD URL` and header fields, a line each. The body is what the engine sends. The
        /// first `Data` is status and header fields, in the same form and without credit; then comes the body, a stream.
        Fetch = 7,
        /// Ethernet frames, shared with all who have opened the same `GROUP:PORT`.
        Lan = 8,
    }
    /// What the host says of a channel.
    enum ChannelEvent {
        /// It is connected; data may follow.
        Opened = 0,
        /// Bytes of a stream, or a message.
        Data = 1,
        /// `value` bytes of what the engine sent have gone on.
        Credit = 2,
        /// The other end will send nothing more, and still takes what comes. When both have finished, the engine closes.
        Finished = 3,
        /// It is no more, and not because both have finished. The bytes are a sentence that says why.
        Closed = 4,
        /// A connection has arrived, its number is `value`; it waits until that is opened as `TcpAccept`.
        Accepted = 5,
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
        /// Instructions decoded, and the nanoseconds that this and making blocks of them has taken, by estimate: so many an instruction, as the guest's
        /// clock takes it. It is not measured.
        decoded_insns,
        decode_estimate_ns,
        /// How often all decoded code was dropped, as there was no more room for it or the host had no more memory.
        decoded_drops,
        /// How often the CPU's budget was used up, and how often of that in translated code: where time goes, sampled.
        samples,
        samples_translated,
        /// Regions of guest code that were translated, and those of them that can still be entered.
        regions,
        regions_live,
        /// Regions of `regions` that took the place of another, with all that it went over to: because time is spent there, or its accesses are often apart.
        regions_widened,
        /// Regions dropped because nearly all entries of them by the interpreter executed nothing.
        regions_useless,
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
        /// Linear addresses that were translated because the TLB did not have them: in every tier, of data and of code. An access to a page that has no
        /// entry (a device's) counts each time, one across two pages twice, one that translated code leaves to the interpreter in both.
        tlb_misses,
        /// Exits of translated code to look up what comes next.
        exits_lookup,
        /// Exits at an instruction that is not translated, to have it interpreted.
        exits_interpret,
        /// Exits at an instruction that is, to have it interpreted: it meets a device, a fault, a watchpoint or code, a helper refuses it, or an access
        /// is in another page than the one that it shares a look into the TLB with.
        exits_side,
        /// Exits because a region of several pages is not known to be mapped as it was.
        exits_guard,
        /// Exits because the slice's budget is used up.
        exits_budget,
        /// Regions dropped because the guest has written to their code.
        invalidations,
        /// Modules dropped, the oldest first, as there was more translated code than is kept.
        evictions,
        /// What the host has refused: modules and growth of the function table.
        refusals,
        /// Guest RAM, in bytes.
        ram_bytes,
        /// Bytes that the guest has asked its disks for, and given them.
        disk_read_bytes,
        disk_written_bytes,
    }
}

/// A byte range as the exports return it.
pub const fn range(ptr: u32, len: u32) -> u64 {
    ptr as u64 | (len as u64) << 32
}
