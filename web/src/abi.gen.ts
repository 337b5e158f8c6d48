// Made by `cargo run -p host-abi` from crates/host-abi/src/lib.rs; edit that.

export const VERSION = 2;
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
  /** What the options connect the serial console to, a `Console`. */
  console_mode(): number;
  /** Room for an `Image` of `len` bytes, which the host fills before `create`; 0 if there is no memory for it. */
  image_begin(image: number, len: number): number;
  /** Builds the machine from the options and the images, which become the machine's. Returns an `Outcome`. */
  create(): number;
  /** Runs the guest for about `slice_ms` milliseconds, or until it has nothing to do. Returns an `Exit`. */
  run(slice_ms: number): number;
  /** After `Exit::Idle`: when the guest wants to run again, by `clock_monotonic`; infinity if only input wakes it. */
  idle_until(): number;
  /** Gives the first `len` bytes of the scratch room to the guest's serial console, which takes them as fast as the guest does. */
  console_input(len: number): void;
  /** What the guest's console has written since the last call, as a byte range, valid until the next `run`. */
  console_output(): bigint;
  /** Resets the machine as its reset button does. */
  reset(): void;
  /** Brings the `Stats` up to date and returns their address, which stays the same. */
  stats(): number;
  /** Calls of helpers by translated code, as a byte range of text, valid until the next call: a line each, the name and how many. */
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
] as const satisfies readonly (keyof EngineImports)[];

export const EXPORT_NAMES = [
  "abi_version",
  "scratch",
  "configure",
  "image_name",
  "console_mode",
  "image_begin",
  "create",
  "run",
  "idle_until",
  "console_input",
  "console_output",
  "reset",
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
  /** Instructions decoded. */
  decoded_insns: number;
  /** How often the CPU's budget was used up, and how often of that in translated code: where time goes, sampled. */
  samples: number;
  samples_translated: number;
  /** Regions of guest code that were translated, and those of them that can still be entered. */
  regions: number;
  regions_live: number;
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
  /** TLB entries filled: accesses that missed, in every tier. */
  tlb_fills: number;
  /** Exits of translated code to look up what comes next. */
  exits_lookup: number;
  /** Exits to have an instruction interpreted. */
  exits_bail: number;
  /** Exits because something that was assumed does not hold. */
  exits_guard: number;
  /** Exits because the slice's budget is used up. */
  exits_budget: number;
  /** Regions dropped because the guest has written to their code. */
  invalidations: number;
  /** Regions dropped to make room. */
  evictions: number;
  /** What the host has refused: modules and growth of the function table. */
  refusals: number;
  /** Guest RAM, in bytes. */
  ram_bytes: number;
}

/** Of a machine that has done nothing. */
export const NO_STATS: EngineStats = {
  guest_insns: 0,
  interp_insns: 0,
  decoded_insns: 0,
  samples: 0,
  samples_translated: 0,
  regions: 0,
  regions_live: 0,
  modules: 0,
  modules_live: 0,
  wasm_bytes: 0,
  compile_ns: 0,
  lift_ns: 0,
  emit_ns: 0,
  tlb_fills: 0,
  exits_lookup: 0,
  exits_bail: 0,
  exits_guard: 0,
  exits_budget: 0,
  invalidations: 0,
  evictions: 0,
  refusals: 0,
  ram_bytes: 0,
};

/** Reads the `Stats` at `ptr`. */
export function readStats(memory: ArrayBufferLike, ptr: number): EngineStats {
  const view = new DataView(memory, ptr);
  return {
    guest_insns: Number(view.getBigUint64(0, true)),
    interp_insns: Number(view.getBigUint64(8, true)),
    decoded_insns: Number(view.getBigUint64(16, true)),
    samples: Number(view.getBigUint64(24, true)),
    samples_translated: Number(view.getBigUint64(32, true)),
    regions: Number(view.getBigUint64(40, true)),
    regions_live: Number(view.getBigUint64(48, true)),
    modules: Number(view.getBigUint64(56, true)),
    modules_live: Number(view.getBigUint64(64, true)),
    wasm_bytes: Number(view.getBigUint64(72, true)),
    compile_ns: Number(view.getBigUint64(80, true)),
    lift_ns: Number(view.getBigUint64(88, true)),
    emit_ns: Number(view.getBigUint64(96, true)),
    tlb_fills: Number(view.getBigUint64(104, true)),
    exits_lookup: Number(view.getBigUint64(112, true)),
    exits_bail: Number(view.getBigUint64(120, true)),
    exits_guard: Number(view.getBigUint64(128, true)),
    exits_budget: Number(view.getBigUint64(136, true)),
    invalidations: Number(view.getBigUint64(144, true)),
    evictions: Number(view.getBigUint64(152, true)),
    refusals: Number(view.getBigUint64(160, true)),
    ram_bytes: Number(view.getBigUint64(168, true)),
  };
}
