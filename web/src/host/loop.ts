// Runs one machine, in a page's worker and in Node alike: fetches what it needs, executes slices, waits when the guest
// does, and reports. Everything that differs between hosts is in `Platform`.

import { Exit, LogLevel, NO_STATS } from "../abi.gen.ts";
import { Engine, type EngineApi, type EngineHost } from "../engine.ts";
import { deferred, VmError } from "../error.ts";
import { answer, type Share } from "../files/server.ts";
import type { Calls, Event, Job, Result, State, Stats } from "../protocol.ts";
import { after } from "../timer.ts";
import { Outside } from "./calls.ts";
import { Channels, type Openers } from "./channels.ts";
import { type Disks, diskHost } from "./disk/host.ts";
import { missingFeatures } from "./features.ts";
import { compile, type Open, type Progress } from "./files.ts";
import { Loader } from "./load.ts";
import { Script } from "./script.ts";

/** Long enough that entering the engine costs nothing, short enough that input and pause feel immediate. */
export const SLICE_MS = 2.5;
/** Waits no longer than this are spent in turns of the event loop: timers are not that fine. */
const SPIN_MS = 1;
const STATS_MS = 500;
/** A guest that waits and writes nothing for this long is taken to wait for input. */
const QUIET_MS = 1000;

export interface Platform {
  /** Milliseconds that never go back. */
  now(): number;
  /** Calls `turn` after the events that are already due, without a timer's delay. */
  soon(turn: () => void): void;
  open: Open;
  disks: Disks;
  /** What the machine's networks can reach. */
  channels: Openers;
  /** What serves a share with this path, or the directory that the job has for it; throws what is wrong with it. `tell` gets what
      the machine's user has to know. */
  share(
    path: string,
    given: FileSystemDirectoryHandle | undefined,
    tell: (text: string) => void,
  ): Share | Promise<Share>;
  /** Compiles and instantiates the engine at an address. */
  engine(url: string, host: EngineHost, progress: Progress): Promise<EngineApi>;
}

/** The parts of a platform that all JavaScript hosts share. */
export function commonPlatform(parts: Omit<Platform, "now" | "engine">): Platform {
  return {
    ...parts,
    now: () => performance.now(),
    engine: async (url, host, progress) => Engine.instantiate(await compile(parts.open, url, progress), host),
  };
}

export class Session {
  readonly #platform: Platform;
  readonly #emit: (event: Event) => void;
  #engine: EngineApi | undefined;
  #state: State = "loading";
  #script = new Script({});
  readonly #channels: Channels;
  readonly #outside: Outside;
  readonly #calls: { readonly [N in keyof Calls]: (...args: Parameters<Calls[N]>) => unknown };
  /** The engine as soon as it knows the options, and when it has a machine. */
  readonly #configured = deferred<EngineApi>();
  readonly #made = deferred<EngineApi>();
  readonly #wanted = deferred<void>();
  #failure: VmError | undefined;
  #closed = false;
  /** How many want the machine to stand still. */
  #held = 0;
  #result: Result | undefined;
  /** Typed before there was a machine. */
  readonly #early: Uint8Array[] = [];
  /** What serves each share; nothing for those in memory. */
  readonly #shares: (Share | undefined)[] = [];

  /** What is to be done when the engine was told something about a file. */
  #answered: () => void = () => {};
  #closeFiles: () => void = () => {};

  /** Set while a turn is due; the timer, while the guest waits. */
  #turnDue = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #statsTimer: ReturnType<typeof setInterval> | undefined;
  #timeoutTimer: ReturnType<typeof setTimeout> | undefined;

  readonly #created: number;
  #started = 0;
  #engineMs = 0;
  #loadMs = 0;
  #powerOn = 0;
  #firstOutputMs: number | null = null;
  #untilMs: number | null = null;
  #fetched = 0;
  /** When the guest was last busy or wrote something. */
  #activeAt = 0;
  /** Time in slices since the last report, and that report. */
  #runMs = 0;
  #allRunMs = 0;
  #reported = { at: 0, insns: 0, interpreted: 0 };
  #mips = 0;
  #translated = 0;
  #busy = 0;

  constructor(platform: Platform, emit: (event: Event) => void) {
    this.#platform = platform;
    this.#emit = emit;
    this.#channels = new Channels(platform.channels, () => {
      if (this.#state === "running") this.#schedule();
    });
    this.#created = platform.now();
    for (const { promise } of [this.#configured, this.#made]) promise.catch(() => {}); // told as an event
    this.#outside = new Outside({
      configured: () => this.#usable(this.#configured.promise),
      made: () => this.#usable(this.#made.promise),
      hold: () => this.#hold(1),
      release: () => this.#hold(-1),
    });
    this.#calls = {
      ...this.#outside.calls,
      start: () => this.start(),
      input: (data) => this.#alive().input(data),
      pause: () => this.#alive().pause(),
      resume: () => this.#alive().resume(),
      reset: () => this.#alive().reset(),
      powerButton: () => {
        this.#powered().#guarded((engine) => engine.powerButton());
        if (this.#state === "running") this.#schedule();
      },
      switchOff: (why) => this.#powered().switchOff(why),
      stats: () => this.stats(),
    };
  }

  /** Does what it is asked; throws what went wrong. */
  async call<N extends keyof Calls>(name: N, ...args: Parameters<Calls[N]>): Promise<Awaited<ReturnType<Calls[N]>>> {
    try {
      const act = this.#calls[name] as (...args: Parameters<Calls[N]>) => Awaited<ReturnType<Calls[N]>>;
      return await act(...args);
    } catch (error) {
      // the engine's own fault is the machine's end
      if (error instanceof VmError && error.kind === "engine" && this.#engine) this.#fail(error);
      throw error;
    }
  }

  get state(): State {
    return this.#state;
  }

  /** Loads the engine and the images, and switches the machine on after `start`. What goes wrong is reported, not thrown. */
  async load(job: Job): Promise<void> {
    if (this.#closed) return;
    this.#setState("loading");
    try {
      this.#script = new Script(job);
      const missing = missingFeatures();
      if (missing.length > 0) {
        throw new VmError("machine", `this browser is too old for pagevm: it lacks ${missing.join(", ")}`);
      }
      const host: EngineHost = {
        monotonic: () => this.#platform.now(),
        realtime: () => Date.now(),
        random,
        log: (level, text) => this.#emit({ type: "log", level, text }),
        channels: this.#channels,
        share: (share, message) => this.#share(share, message),
        ...(job.code === undefined ? {} : { code: job.code }),
        files: diskHost(this.#platform.disks, job, {
          targets: this.#outside.targets,
          answered: () => this.#answered(),
          failed: (error) => this.#fail(error),
          account: (bytes) => (this.#fetched += bytes),
        }),
      };
      const engine = await this.#platform.engine(job.engine, host, this.#progress("engine.wasm"));
      this.#closeFiles = () => engine.close();
      this.#open();
      const origin = job.origin === undefined ? this.#created : this.#platform.now() - (Date.now() - job.origin);
      this.#engineMs = this.#platform.now() - origin;
      if (job.timeout !== undefined) this.#limit(job.timeout);
      engine.configure(job.options);
      this.#emit({ type: "console", mode: engine.consoleMode });
      for (let n = 0, path = engine.sharePath(n); path !== undefined; path = engine.sharePath(++n)) {
        this.#shares.push(path === "" ? undefined : await this.#openShare(path, job));
      }
      this.#open();
      this.#configured.resolve(engine);
      const loader = new Loader(engine, this.#platform.open, job, (what) => this.#progress(what));
      await loader.load(this.#shares.length);
      await this.#wanted.promise;
      this.#open();
      this.#started = this.#platform.now();
      this.#loadMs = this.#started - origin;
      while (!engine.create()) await new Promise<void>((resolve) => (this.#answered = resolve));
      this.#open();
      this.#engine = engine;
      this.#answered = () => this.#state === "running" && this.#schedule();
      this.#made.resolve(engine);
      for (const data of this.#early.splice(0)) engine.consoleInput(data);
      if (this.#result) return; // the time was over first
      this.#powerOn = this.#platform.now();
      this.#reported = { at: this.#powerOn, insns: 0, interpreted: 0 };
      this.#activeAt = this.#powerOn;
      this.#statsTimer = setInterval(() => this.#guarded(() => this.#report()), STATS_MS);
      this.#setState("running");
      this.#schedule();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Switches the machine on as soon as everything is loaded; throws what keeps it from running. */
  async start(): Promise<void> {
    this.#wanted.resolve();
    await this.#usable(this.#made.promise);
    if (this.#state === "loading" && this.#result?.ok === false) throw new VmError("machine", this.#result.message);
  }

  /** Types on the guest's console. */
  input(data: Uint8Array): void {
    if (data.length === 0) return;
    if (!this.#engine) {
      if (this.#state === "loading") this.#early.push(data);
      return;
    }
    this.#guarded((engine) => engine.consoleInput(data));
    this.#activeAt = this.#platform.now();
    if (this.#state === "running") this.#schedule();
  }

  /** Stops giving the guest time. Its clock goes on, as a suspended computer's does. */
  pause(): void {
    if (this.#state !== "running") return;
    this.#cancelTimer();
    this.#setState("paused");
    this.#report();
  }

  resume(): void {
    if (this.#state !== "paused") return;
    this.#setState("running");
    this.#schedule();
  }

  /** The reset button; switches a machine on that is off or has stopped. */
  reset(): void {
    if (!this.#engine || this.#state === "loading" || this.#state === "failed") return;
    this.#guarded((engine) => engine.reset());
    this.#powerOn = this.#platform.now();
    if (this.#state !== "running") this.#setState("running");
    this.#schedule();
  }

  /** Takes the power away, whatever the guest does. */
  switchOff(why: string): void {
    if (this.#state === "off" || this.#state === "failed" || this.#state === "loading") return;
    this.#cancelTimer();
    this.#setState("off", why);
    this.#finish({ ok: false, reason: "quit", message: why });
  }

  /** Ends the session and its timers. */
  close(): void {
    this.#closed = true;
    this.#failure ??= new VmError("machine", "the machine was closed");
    for (const waiting of [this.#configured, this.#made]) waiting.reject(this.#failure);
    this.#cancelTimer();
    clearInterval(this.#statsTimer);
    clearTimeout(this.#timeoutTimer);
    this.#state = "off";
    this.#engine = undefined;
    this.#closeAll();
  }

  stats(): Stats {
    const now = this.#platform.now();
    const s = this.#engine?.stats() ?? NO_STATS;
    return {
      mips: this.#mips,
      translated: this.#translated,
      busy: this.#busy,
      uptime_ms: this.#powerOn ? now - this.#powerOn : 0,
      engine_ms: this.#engineMs,
      load_ms: this.#loadMs,
      run_ms: this.#allRunMs,
      wall_ms: this.#started ? now - this.#started : 0,
      first_output_ms: this.#firstOutputMs,
      until_ms: this.#untilMs,
      ...s,
      region_insns: s.guest_insns - s.interp_insns,
      memory_bytes: this.#engine?.memoryBytes ?? 0,
      fetched_bytes: this.#fetched,
      helper_calls: this.#engine?.helperCalls() ?? {},
      net_sent_bytes: this.#channels.sent,
      net_received_bytes: this.#channels.received,
      net_channels: this.#channels.size,
    };
  }

  #progress(name: string): Progress {
    let before = 0;
    let shown = 0;
    return (loaded, total) => {
      this.#open();
      this.#fetched += loaded - before;
      before = loaded;
      // the bar needs the two ends and a few steps, not every packet
      const now = this.#platform.now();
      if (loaded > 0 && loaded !== total && now - shown < 50) return;
      if (loaded > 0) shown = now;
      this.#emit({ type: "progress", name, loaded, ...(total === undefined ? {} : { total }) });
    };
  }

  async #openShare(path: string, { directories = {} }: Job): Promise<Share> {
    const given = Object.hasOwn(directories, path) ? directories[path] : undefined;
    const tell = (text: string) =>
      this.#emit({ type: "log", level: LogLevel.Warn, text: `the shared directory ${path}: ${text}` });
    try {
      return await this.#platform.share(path, given, tell);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new VmError("machine", `the directory ${path} cannot be shared: ${why}`, { cause });
    }
  }

  #share(share: number, message: Uint8Array): Uint8Array | undefined {
    const handlers = this.#shares[share];
    const reply = answer(handlers ?? {}, message);
    if (!(reply instanceof Promise)) return reply;
    void reply.then((reply) => {
      this.#guarded((engine) => engine.shareComplete(share, reply));
      if (this.#state === "running") this.#schedule();
    });
    return undefined;
  }

  #schedule(): void {
    this.#cancelTimer();
    if (this.#turnDue || this.#held > 0) return;
    this.#turnDue = true;
    this.#platform.soon(this.#turn);
  }

  #hold(more: 1 | -1): void {
    this.#held += more;
    if (this.#held === 0 && this.#state === "running") this.#schedule();
  }

  /** Throws if the session was closed meanwhile. */
  #open(): void {
    if (this.#closed) this.#alive();
  }

  /** This session, unless it has failed. */
  #alive(): this {
    if (this.#failure) throw this.#failure;
    return this;
  }

  /** This session, unless its machine was not switched on yet. */
  #powered(): this {
    if (this.#alive().#state === "loading") throw new VmError("machine", "the machine is not on yet: it can be closed");
    return this;
  }

  /** The engine, unless it is no more. */
  async #usable(engine: Promise<EngineApi>): Promise<EngineApi> {
    const there = await engine;
    this.#alive();
    return there;
  }

  #cancelTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  readonly #turn = (): void => {
    this.#turnDue = false;
    const engine = this.#engine;
    if (this.#state !== "running" || !engine || this.#held > 0) return;
    try {
      this.#channels.deliver(engine);
      const before = this.#platform.now();
      const exit = engine.run(SLICE_MS);
      const now = this.#platform.now();
      this.#runMs += now - before;
      this.#allRunMs += now - before;
      this.#output(engine.consoleOutput(), now);
      if (this.#state !== "running") return;
      switch (exit) {
        case Exit.Budget:
          this.#activeAt = now;
          this.#schedule();
          break;
        case Exit.Idle:
          this.#wait(engine.idleUntil() - now, now);
          break;
        case Exit.PowerOff: {
          this.#setState("off");
          const unfinished = this.#script.unfinished;
          this.#finish(
            unfinished === undefined
              ? { ok: true, reason: "poweroff" }
              : { ok: false, reason: "script", message: `the guest powered off, ${unfinished}` },
          );
          break;
        }
        case Exit.Reset:
          this.#setState("off", "the guest asked for a reset (-no-reboot)");
          this.#finish({ ok: false, reason: "reset", message: "the guest asked for a reset (-no-reboot)" });
          break;
        case Exit.Stopped: {
          const message = engine.message();
          this.#setState("stopped", message);
          this.#finish({ ok: false, reason: "stopped", message });
          break;
        }
        default:
          throw new VmError("engine", `the engine gave up with code ${exit}`);
      }
    } catch (error) {
      this.#fail(error);
    }
  };

  /** The guest has nothing to do for `ms`. */
  #wait(ms: number, now: number): void {
    if (ms <= SPIN_MS) {
      this.#schedule();
      return;
    }
    let wait = ms;
    if (this.#script.waitsForQuiet) {
      const left = this.#activeAt + QUIET_MS - now;
      if (left <= 0) {
        this.#activeAt = now;
        this.#concluded(this.#script.quiet(this.#send));
        if (this.#state === "running") this.#schedule();
        return;
      }
      wait = Math.min(wait, left);
    }
    // through `soon`, lest timers set by timers become slow ones (HTML, timer nesting level: 4 ms from the fifth on)
    this.#timer = after(Math.ceil(wait), () => this.#schedule());
  }

  #output(data: Uint8Array<ArrayBuffer>, now: number): void {
    if (data.length === 0) return;
    this.#activeAt = now;
    this.#firstOutputMs ??= now - this.#started;
    const came = this.#result ? undefined : this.#script.output(data, this.#send);
    if (came === "until") this.#untilMs = now - this.#started;
    this.#emit({ type: "output", data });
    this.#concluded(came);
  }

  #concluded(came: "until" | "script" | undefined): void {
    if (came) this.#finish({ ok: true, reason: came });
  }

  readonly #send = (text: string): void => {
    this.#engine?.consoleInput(new TextEncoder().encode(text));
  };

  #limit(seconds: number): void {
    const message = () => [`no end after ${seconds} s`, this.#script.unfinished].filter(Boolean).join(", ");
    this.#timeoutTimer = after(seconds * 1000, () =>
      this.#finish({ ok: false, reason: "timeout", message: message() }),
    );
  }

  #finish(result: Result): void {
    this.#report();
    if (this.#result) return;
    this.#result = result;
    clearTimeout(this.#timeoutTimer);
    this.#emit({ type: "result", result, stats: this.stats() });
  }

  #fail(error: unknown): void {
    if (this.#closed) {
      this.#closeAll();
      return;
    }
    this.#cancelTimer();
    clearInterval(this.#statsTimer);
    const failure = error instanceof VmError ? error : new VmError("engine", `pagevm failed: ${String(error)}`);
    const { kind, message } = failure;
    this.#failure = failure;
    for (const waiting of [this.#configured, this.#made]) waiting.reject(failure);
    // a trapped engine's memory can be in any state: ask it nothing more
    this.#engine = undefined;
    this.#closeAll();
    this.#setState("failed", message);
    this.#finish({ ok: false, reason: kind, message });
  }

  /** Closes what the machine has open outside. */
  #closeAll(): void {
    this.#channels.closeAll();
    for (const share of this.#shares.splice(0)) share?.close?.();
    this.#closeFiles();
  }

  #guarded(act: (engine: EngineApi) => void): void {
    try {
      if (this.#engine) act(this.#engine);
    } catch (error) {
      this.#fail(error);
    }
  }

  #setState(state: State, message?: string): void {
    this.#state = state;
    this.#emit({ type: "state", state, ...(message === undefined ? {} : { message }) });
  }

  #report(): void {
    if (!this.#engine) return;
    const now = this.#platform.now();
    const { guest_insns: insns, interp_insns: interpreted } = this.#engine.stats();
    const ran = insns - this.#reported.insns;
    if (this.#runMs > 0) this.#mips = ran / this.#runMs / 1000;
    if (ran > 0) this.#translated = 1 - (interpreted - this.#reported.interpreted) / ran;
    this.#busy = Math.min(1, this.#runMs / Math.max(now - this.#reported.at, 1));
    this.#reported = { at: now, insns, interpreted };
    this.#runMs = 0;
    this.#emit({ type: "stats", stats: this.stats() });
  }
}

/** Fills any number of bytes; `getRandomValues` takes 65,536 at a time. */
function random(bytes: Uint8Array<ArrayBuffer>): void {
  for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
}
