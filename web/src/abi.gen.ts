// Made by `cargo run -p host-abi` from crates/host-abi/src/lib.rs; edit that.

export const VERSION = 10;
export const IMPORT_MODULE = "pagevm";
export const CODE_IMPORT_MODULE = "e";
export const TABLE = "__indirect_function_table";

/** Whether a call did what it was asked. */
export const Outcome = {
  /** It did. */
  Done: 0,
  /** The options are wrong; `message` names the option. */
  BadOptions: 1,
  /** The machine cannot be built from these options and images; `message` names the cause. */
  BadMachine: 2,
  /** There is no memory for it; `message` says for what. */
  NoMemory: 3,
  /** Called out of order. */
  BadCall: 4,
  /** The host has to answer first. */
  Pending: 5,
} as const;

/** What packing a drive has come to. */
export const Packing = {
  /** It cannot be read; `message` says why. */
  Failed: 0,
  /** The host has to answer first. */
  Pending: 1,
  /** A chunk, `pack_name` and `pack_content`. */
  Chunk: 2,
  /** The end: `pack_content` is the manifest. */
  Manifest: 3,
} as const;

/** Files that the machine's options can name. */
export const Image = {
  /** Option `-kernel`. */
  Kernel: 0,
  /** Option `-initrd`. */
  Initrd: 1,
} as const;

/** What the guest's serial console is connected to. */
export const Console = {
  /** Nothing. */
  None: 0,
  /** The host's terminal, every byte as it comes. */
  Raw: 1,
  /** The host's terminal, whose Ctrl-A x ends the run and Ctrl-A Ctrl-A sends Ctrl-A. */
  Escape: 2,
} as const;

/** Why `run` returned. */
export const Exit = {
  /** The slice is over; there is more to run. */
  Budget: 0,
  /** The guest waits: see `idle_until`. */
  Idle: 1,
  /** The guest switched the machine off. */
  PowerOff: 2,
  /** The guest asked for a reset and option `-no-reboot` makes that an end. */
  Reset: 3,
  /** The machine cannot go on, `message` is the report: a triple fault, or an instruction that is not implemented. */
  Stopped: 4,
  /** There is no machine to run. */
  NoMachine: 5,
} as const;

/** What a host can do with code that is translated at run time. */
export const CodeSupport = {
  /** Nothing: everything is interpreted. */
  None: 0,
  /** Modules import the engine's function table, and each can enter the others' code through it. */
  Linked: 1,
  /** Modules import memory and functions only: every import of the table would be a copy of it. */
  Unlinked: 2,
} as const;

/** What a file is opened for. */
export const FileAccess = {
  Read: 0,
  /** To be written too, if that is allowed. */
  Write: 1,
  /** To be written too, and made if there is none. */
  Create: 2,
} as const;

/** Whether the host has done what a file function asks for. */
export const FileStarted = {
  /** It has. */
  Done: 0,
  /** It will say so, with the request's number. */
  Pending: 1,
} as const;

/** Bits of what an opened file is like. */
export const FileFlags = {
  /** It can be written, which it was opened for. */
  Writable: 1,
  /** Reading takes long, however little is read. */
  Remote: 2,
  /** What is said to change when the content does differs for any two contents: what was read may be kept by it. */
  Exact: 4,
} as const;

/** Bits of what a disk is like. */
export const DiskFlags = {
  /** The guest cannot write to it. */
  ReadOnly: 1,
  /** What is written is kept apart from the image, and can be exported. */
  Overlay: 2,
} as const;

/** What is at the other end of a channel. Streams are under flow control in both directions. */
export const ChannelKind = {
  /** A TCP connection to `ADDRESS:PORT`: a stream. */
  Tcp: 0,
  /** Datagrams to and from `ADDRESS:PORT`. */
  Udp: 1,
  /** The addresses of `NAME`, one a line, in one `Data`; none if there is no such name. */
  Resolve: 2,
  /** Connections that arrive at `ADDRESS:PORT`, each told by `Accepted`. */
  TcpListen: 3,
  /** A connection that has arrived: its number is the address. A stream. */
  TcpAccept: 4,
  /** Datagrams that arrive at `ADDRESS:PORT`. Each, both ways, begins with the peer's address (4 bytes) and port (2), big-endian. */
  UdpListen: 5,
  /** Binary messages to and from a WebSocket address: whole ones, as long as there is any credit. */
  WebSocket: 6,
  /**
   * An HTTP request. The address is `METHOD URL` and header fields, a line each. The body is what the engine sends. The
   * first `Data` is status and header fields, in the same form and without credit; then comes the body, a stream.
   */
  Fetch: 7,
  /** Ethernet frames, shared with all who have opened the same `GROUP:PORT`. */
  Lan: 8,
} as const;

/** What the host says of a channel. */
export const ChannelEvent = {
  /** It is connected; data may follow. */
  Opened: 0,
  /** Bytes of a stream, or a message. */
  Data: 1,
  /** `value` bytes of what the engine sent have gone on. */
  Credit: 2,
  /** The other end will send nothing more, and still takes what comes. When both have finished, the engine closes. */
  Finished: 3,
  /** It is no more, and not because both have finished. The bytes are a sentence that says why. */
  Closed: 4,
  /** A connection has arrived, its number is `value`; it waits until that is opened as `TcpAccept`. */
  Accepted: 5,
} as const;

/** How much a `log` message matters. */
export const LogLevel = {
  /** The engine cannot go on: the call that logs this ends in a trap. */
  Panic: 0,
  Error: 1,
  Warn: 2,
  Info: 3,
  Debug: 4,
  Trace: 5,
} as const;

/** What the engine asks of its host. */
export interface EngineImports {
  /** Milliseconds from an arbitrary origin; never goes back, goes on while the tab is in the background. */
  clock_monotonic(): number;
  /** Milliseconds since 1970-01-01 00:00:00 UTC. */
  clock_realtime(): number;
  /** Fills `len` bytes at `ptr` from the host's cryptographic generator. */
  random(ptr: number, len: number): void;
  /** One message of UTF-8 text for whoever looks after the engine; `level` is a `LogLevel`. */
  log(level: number, ptr: number, len: number): void;
  /** What this host can do with code that is translated at run time, a `CodeSupport`; the same at each call. */
  code_support(): number;
  /** Puts translated code under stress, for tests: a seed for what happens to it at random, 0 for nothing. */
  code_stress(): number;
  /**
   * Compiles and instantiates the module of translated code in the `len` bytes at `ptr`, at once. It imports
   * the engine's exports, by their names, from module `e`. With `CodeSupport::Linked` its element segment puts
   * its functions into the engine's function table; with `CodeSupport::Unlinked` it may not import the table,
   * and the host puts its export `f0`, `f1`, .. into the slots that the `count` numbers of 32 bits at `slots`
   * say. Returns the module's number, or 0 where the host has refused: then the slots hold what they held.
   */
  code_compile(ptr: number, len: number, slots: number, count: number): number;
  /** The engine has put something else into all slots of this module, and never enters it again. */
  code_drop(module: number): void;
  /**
   * Makes the engine's function table longer by `count` slots that hold what slot `from` holds. Returns the
   * first of them, or 0 where the host has refused.
   */
  table_grow(count: number, from: number): number;
  /** Each of the `count` slots from `to` on becomes what slot `from` holds. */
  table_copy(to: number, from: number, count: number): void;
  /**
   * Opens the file with the UTF-8 name in the `len` bytes at `name`; a relative one is relative to the file named
   * in the `base_len` bytes at `base`, or to where the host looks for files if there are none. `access` is a
   * `FileAccess`. Always `FileStarted::Pending`: `file_opened` or `file_failed` is called with
   * `request` later, as for the functions below; never before the import has returned.
   */
  file_open(name: number, len: number, base: number, base_len: number, access: number, request: number): void;
  /** All of a file, to come by `file_done`; the names are those of `file_open`. `again` is 1 if what a cache had was wrong. */
  file_fetch(name: number, len: number, base: number, base_len: number, again: number, request: number): void;
  /**
   * Reads `len` bytes from `offset` on: to `ptr`, if that can be done at once, else to be given to `file_done`.
   * Returns a `FileStarted`.
   */
  file_read(file: number, offset: bigint, ptr: number, len: number, request: number): number;
  /** Writes the `len` bytes at `ptr`, which are not the host's any more when this returns. Returns a `FileStarted`. */
  file_write(file: number, offset: bigint, ptr: number, len: number, request: number): number;
  /** What was written is kept, come what may, when this is done. Returns a `FileStarted`. */
  file_flush(file: number, request: number): number;
  /** The engine never uses `file` again. */
  file_close(file: number): void;
  /** Which channels this host can open: bit `n` for `ChannelKind` `n`; the same at each call. */
  channel_support(): number;
  /**
   * Opens `channel`, a number of the engine's, to the address in the `len` bytes of UTF-8 at `ptr`; `kind` is a
   * `ChannelKind`. What comes of it, and of the following, is told by `channel_event`, never within the call.
   */
  channel_open(channel: number, kind: number, ptr: number, len: number): void;
  /**
   * Sends bytes: the next piece of a stream, or a message. Of what is under flow control the engine sends at most
   * 256 KiB more than `ChannelEvent::Credit` has given back.
   */
  channel_send(channel: number, ptr: number, len: number): void;
  /** The engine will send nothing more on this channel, and still takes what comes. */
  channel_finish(channel: number): void;
  /** Ends the channel at once. No event of it follows. */
  channel_close(channel: number): void;
  /** The host may send `bytes` more of this stream. */
  channel_credit(channel: number, bytes: number): void;
  /**
   * A 9P2000.L request, in the `len` bytes at `ptr`, to what serves share number `share` on the host. Returns how long
   * the reply is that `share_reply` then gives, or 0 where it comes later, by the export `share_complete`.
   */
  share_request(share: number, ptr: number, len: number): number;
  /** Writes the reply that the last `share_request` has announced to `ptr`. */
  share_reply(ptr: number): void;
  /** What `disk_read` or `disk_export` was asked for is done; what was read is in the `len` bytes at `ptr`. */
  disk_done(request: number, ptr: number, len: number): void;
  /** It cannot be done; why is in the `len` bytes of UTF-8 text at `ptr`. */
  disk_failed(request: number, ptr: number, len: number): void;
}

/** What a host may call. A `u32` result comes as a signed number: `>>> 0` makes it an address. */
export interface EngineExports {
  /** The `VERSION` of this table that the engine was built with. */
  abi_version(): number;
  /**
   * Room for `len` bytes that the host writes, for `configure` and `console_input` to read; 0 if there is
   * no memory for it. Valid until the next call of `scratch`.
   */
  scratch(len: number): number;
  /**
   * Reads the machine's options from the first `len` bytes of the scratch room: UTF-8 strings, each ended
   * by a zero byte, in QEMU's grammar. Returns an `Outcome`.
   */
  configure(len: number): number;
  /** The file name that the options give for an `Image`, as a byte range; 0 if they give none. */
  image_name(image: number): bigint;
  /** The name that the options give share number `share`, as a byte range; 0 if there is no such share. */
  share_id(share: number): bigint;
  /**
   * What the options give as the path of share number `share` on the host, as a byte range, 0 if there is no such share.
   * One that is in memory has the length 0. Shares are asked for until there is none.
   */
  share_path(share: number): bigint;
  /**
   * 1 if owners, modes and types of the files of share number `share` are kept in files beside them
   * (`security_model=mapped-file`), else 0.
   */
  share_mapped(share: number): number;
  /** The reply, in the first `len` bytes of the scratch room, to a request of `share_request`. */
  share_complete(share: number, len: number): void;
  /**
   * Puts a file into a share that is in memory: in the scratch room are `path_len` bytes of its path and `len` bytes of its
   * contents; `mode` are its permission bits. Returns 0, or one of Linux's error numbers.
   */
  share_put(share: number, path_len: number, len: number, mode: number): number;
  /**
   * Gets a file out of a share that is in memory, by the path in the first `path_len` bytes of the scratch room: a byte
   * range that is valid until the next call of `share_get`, with an address of 0 where there is none such; its length then is one
   * of Linux's error numbers.
   */
  share_get(share: number, path_len: number): bigint;
  /**
   * The file name that the options give for what is in a share in memory in the beginning, a cpio archive, as a byte range; 0 if
   * they give none.
   */
  share_archive(share: number): bigint;
  /**
   * Puts the files of a cpio archive, in the first `len` bytes of the scratch room, into a share that is in memory. Returns
   * an `Outcome`.
   */
  share_unpack(share: number, len: number): number;
  /** The file name that the options give for drive number `drive`, as a byte range; 0 if there is no such drive. */
  drive_file(drive: number): bigint;
  /** Begins to pack what is in drive number `drive`: to cut it into chunks, which `pack_next` gives. Returns an `Outcome`. */
  pack_open(drive: number): number;
  /**
   * Goes on to the next chunk of the drive that is not zeros and was not there before, or to the manifest at the end.
   * Returns a `Packing`.
   */
  pack_next(): number;
  /** Where the chunk of `pack_next` belongs, relative to the manifest, as a byte range. */
  pack_name(): bigint;
  /**
   * The bytes of what `pack_next` has come to, as a byte range: a chunk, for the host to compress (RFC 1951, without a
   * header) and to store, or the manifest.
   */
  pack_content(): bigint;
  /**
   * The options with other names, those in the first `len` bytes of the scratch room: for the kernel, the initrd, each drive, each
   * share, all ended by a zero byte; where one is empty, the old name stays. A byte range, in the form of `configure`.
   */
  pack_options(len: number): bigint;
  /**
   * What is in a directory of a share that is in memory, like `share_get`: for each name, in order, a line of mode (octal), size,
   * time of the last change (seconds since 1970) and the name, which ends with a zero byte.
   */
  share_list(share: number, path_len: number): bigint;
  /** What the options connect the serial console to, a `Console`. */
  console_mode(): number;
  /** Room for an `Image` of `len` bytes, which the host fills before `create`; 0 if there is no memory for it. */
  image_begin(image: number, len: number): number;
  /**
   * Builds the machine from the options and the images, which become the machine's. Returns an `Outcome`;
   * `Outcome::Pending` while it waits for files: then it is to be called again when the host has answered.
   */
  create(): number;
  /**
   * The host has opened what `request` asked for: `file`, of `size` bytes, with `FileFlags`. What changes when the
   * content does, such as an ETag, is in the first `tag` bytes of the scratch room.
   */
  file_opened(request: number, file: number, size: bigint, flags: number, tag: number): void;
  /** The next bytes that `request` reads are the first `len` of the scratch room; more follow. */
  file_part(request: number, len: number): void;
  /**
   * The bytes of `request` began to come after `latency` milliseconds, and then were `rate` a millisecond. Before `file_done`,
   * of reads that cross a network.
   */
  file_pace(request: number, latency: number, rate: number): void;
  /**
   * What `request` asked for is done; what it has read, or the rest of it after `file_part`, is in the first `len` bytes of the
   * scratch room.
   */
  file_done(request: number, len: number): void;
  /** What `request` asked for cannot be done; why, without the file's name, is in the first `len` bytes of the scratch room. */
  file_failed(request: number, len: number): void;
  /** The name that the options give drive number `disk`, as a byte range, which may be empty; 0 if there is no such drive. */
  disk_id(disk: number): bigint;
  /** Bytes of a disk; 0 before there is a machine. */
  disk_size(disk: number): bigint;
  /** What a disk is like: `DiskFlags`. */
  disk_flags(disk: number): number;
  /**
   * Reads `len` bytes from `offset` on, as the disk is now. `disk_done` or `disk_failed` says so with `request`, perhaps
   * within this call.
   */
  disk_read(disk: number, offset: bigint, len: number, request: number): void;
  /**
   * Writes what differs from the disk's image, as an overlay, to a new file: the host's, by the name in the first `name_len`
   * bytes of the scratch room. Answered like `disk_read`.
   */
  disk_export(disk: number, name_len: number, request: number): void;
  /** Runs the guest for about `slice_ms` milliseconds, or until it has nothing to do. Returns an `Exit`. */
  run(slice_ms: number): number;
  /** After `Exit::Idle`: when the guest wants to run again, by `clock_monotonic`; infinity if only input wakes it. */
  idle_until(): number;
  /** Gives the first `len` bytes of the scratch room to the guest's serial console, which takes them as fast as the guest does. */
  console_input(len: number): void;
  /** What the guest's console has written since the last call, as a byte range, valid until the next `run`. */
  console_output(): bigint;
  /** Tells the engine of a channel, a `ChannelEvent`, with the first `len` bytes of the scratch room or with `value`. */
  channel_event(channel: number, event: number, value: number, len: number): void;
  /** Resets the machine as its reset button does. */
  reset(): void;
  /** Presses the power button, to which the guest may listen. */
  power_button(): void;
  /** Brings the `Stats` up to date and returns their address, which stays the same. */
  stats(): number;
  /**
   * Calls by translated code of what it does not do itself, as a byte range of text, valid until the next call: a line each, the name and how
   * many. First the guest's helpers, then functions of the engine (`code_*`).
   */
  helper_calls(): bigint;
  /** The text of the last error or report, as a byte range, valid until the next call that can fail. */
  message(): bigint;
}

export const IMPORT_NAMES = [
  "clock_monotonic",
  "clock_realtime",
  "random",
  "log",
  "code_support",
  "code_stress",
  "code_compile",
  "code_drop",
  "table_grow",
  "table_copy",
  "file_open",
  "file_fetch",
  "file_read",
  "file_write",
  "file_flush",
  "file_close",
  "channel_support",
  "channel_open",
  "channel_send",
  "channel_finish",
  "channel_close",
  "channel_credit",
  "share_request",
  "share_reply",
  "disk_done",
  "disk_failed",
] as const satisfies readonly (keyof EngineImports)[];

export const EXPORT_NAMES = [
  "abi_version",
  "scratch",
  "configure",
  "image_name",
  "share_id",
  "share_path",
  "share_mapped",
  "share_complete",
  "share_put",
  "share_get",
  "share_archive",
  "share_unpack",
  "drive_file",
  "pack_open",
  "pack_next",
  "pack_name",
  "pack_content",
  "pack_options",
  "share_list",
  "console_mode",
  "image_begin",
  "create",
  "file_opened",
  "file_part",
  "file_pace",
  "file_done",
  "file_failed",
  "disk_id",
  "disk_size",
  "disk_flags",
  "disk_read",
  "disk_export",
  "run",
  "idle_until",
  "console_input",
  "console_output",
  "channel_event",
  "reset",
  "power_button",
  "stats",
  "helper_calls",
  "message",
] as const satisfies readonly (keyof EngineExports)[];

/** Counters since the machine was created. */
export interface EngineStats {
  /** Guest instructions executed. */
  guest_insns: number;
  /** Those of them that were interpreted. */
  interp_insns: number;
  /**
   * Instructions decoded, and the nanoseconds that this and making blocks of them has taken, by estimate: so many an instruction, as the guest's
   * clock takes it. It is not measured.
   */
  decoded_insns: number;
  decode_estimate_ns: number;
  /** How often all decoded code was dropped, as there was no more room for it or the host had no more memory. */
  decoded_drops: number;
  /** How often the CPU's budget was used up, and how often of that in translated code: where time goes, sampled. */
  samples: number;
  samples_translated: number;
  /** Regions of guest code that were translated, and those of them that can still be entered. */
  regions: number;
  regions_live: number;
  /** Regions of `regions` that took the place of another, with all that it went over to: because time is spent there, or its accesses are often apart. */
  regions_widened: number;
  /** Regions dropped because nearly all entries of them by the interpreter executed nothing. */
  regions_useless: number;
  /** Modules that the host has compiled of them, and those of these that were not dropped. */
  modules: number;
  modules_live: number;
  /** Bytes of Wasm in all those modules. */
  wasm_bytes: number;
  /** Nanoseconds in the host's compiler. What it puts off until code runs for the first time is not in it. */
  compile_ns: number;
  /** Nanoseconds from guest code to the intermediate form, passes over it included. */
  lift_ns: number;
  /** Nanoseconds from there to Wasm. */
  emit_ns: number;
  /**
   * Linear addresses that were translated because the TLB did not have them: in every tier, of data and of code. An access to a page that has no
   * entry (a device's) counts each time, one across two pages twice, one that translated code leaves to the interpreter in both.
   */
  tlb_misses: number;
  /** Exits of translated code to look up what comes next. */
  exits_lookup: number;
  /** Exits at an instruction that is not translated, to have it interpreted. */
  exits_interpret: number;
  /**
   * Exits at an instruction that is, to have it interpreted: it meets a device, a fault, a watchpoint or code, a helper refuses it, or an access
   * is in another page than the one that it shares a look into the TLB with.
   */
  exits_side: number;
  /** Exits because a region of several pages is not known to be mapped as it was. */
  exits_guard: number;
  /** Exits because the slice's budget is used up. */
  exits_budget: number;
  /** Regions dropped because the guest has written to their code. */
  invalidations: number;
  /** Modules dropped, the oldest first, as there was more translated code than is kept. */
  evictions: number;
  /** What the host has refused: modules and growth of the function table. */
  refusals: number;
  /** Guest RAM, in bytes. */
  ram_bytes: number;
  /** Bytes that the guest has asked its disks for, and given them. */
  disk_read_bytes: number;
  disk_written_bytes: number;
}

/** Of a machine that has done nothing. */
export const NO_STATS: EngineStats = {
  guest_insns: 0,
  interp_insns: 0,
  decoded_insns: 0,
  decode_estimate_ns: 0,
  decoded_drops: 0,
  samples: 0,
  samples_translated: 0,
  regions: 0,
  regions_live: 0,
  regions_widened: 0,
  regions_useless: 0,
  modules: 0,
  modules_live: 0,
  wasm_bytes: 0,
  compile_ns: 0,
  lift_ns: 0,
  emit_ns: 0,
  tlb_misses: 0,
  exits_lookup: 0,
  exits_interpret: 0,
  exits_side: 0,
  exits_guard: 0,
  exits_budget: 0,
  invalidations: 0,
  evictions: 0,
  refusals: 0,
  ram_bytes: 0,
  disk_read_bytes: 0,
  disk_written_bytes: 0,
};

/** Reads the `Stats` at `ptr`. */
export function readStats(memory: ArrayBufferLike, ptr: number): EngineStats {
  const view = new DataView(memory, ptr);
  return {
    guest_insns: Number(view.getBigUint64(0, true)),
    interp_insns: Number(view.getBigUint64(8, true)),
    decoded_insns: Number(view.getBigUint64(16, true)),
    decode_estimate_ns: Number(view.getBigUint64(24, true)),
    decoded_drops: Number(view.getBigUint64(32, true)),
    samples: Number(view.getBigUint64(40, true)),
    samples_translated: Number(view.getBigUint64(48, true)),
    regions: Number(view.getBigUint64(56, true)),
    regions_live: Number(view.getBigUint64(64, true)),
    regions_widened: Number(view.getBigUint64(72, true)),
    regions_useless: Number(view.getBigUint64(80, true)),
    modules: Number(view.getBigUint64(88, true)),
    modules_live: Number(view.getBigUint64(96, true)),
    wasm_bytes: Number(view.getBigUint64(104, true)),
    compile_ns: Number(view.getBigUint64(112, true)),
    lift_ns: Number(view.getBigUint64(120, true)),
    emit_ns: Number(view.getBigUint64(128, true)),
    tlb_misses: Number(view.getBigUint64(136, true)),
    exits_lookup: Number(view.getBigUint64(144, true)),
    exits_interpret: Number(view.getBigUint64(152, true)),
    exits_side: Number(view.getBigUint64(160, true)),
    exits_guard: Number(view.getBigUint64(168, true)),
    exits_budget: Number(view.getBigUint64(176, true)),
    invalidations: Number(view.getBigUint64(184, true)),
    evictions: Number(view.getBigUint64(192, true)),
    refusals: Number(view.getBigUint64(200, true)),
    ram_bytes: Number(view.getBigUint64(208, true)),
    disk_read_bytes: Number(view.getBigUint64(216, true)),
    disk_written_bytes: Number(view.getBigUint64(224, true)),
  };
}
