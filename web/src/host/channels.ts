// Channels between the engine and what only a host can reach: numbers, queues and flow control here, the kinds elsewhere.

import { ChannelEvent, ChannelKind, type EngineImports } from "../abi.gen.ts";

export type Bytes = Uint8Array<ArrayBuffer>;
export type Kind = keyof typeof ChannelKind;

/** What the engine does to an open channel. */
export interface Channel {
  send(data: Bytes): void;
  /** The engine will send nothing more. */
  finish(): void;
  close(): void;
  /** All that was given to {@link Line.stream} has gone on. */
  resume?(): void;
}

/** Opens channels of one kind. */
export type Opener = (address: string, line: Line) => Channel;
export type Openers = Partial<Record<Kind, Opener>>;

/** What a channel says to the engine. */
export interface Sink {
  channelEvent(channel: number, event: number, value: number, data: Bytes): void;
}

type Imports = Pick<
  EngineImports,
  "channel_support" | "channel_open" | "channel_send" | "channel_finish" | "channel_close" | "channel_credit"
>;

const NOTHING: Bytes = new Uint8Array(0);
/** Datagrams that wait for the engine; more are lost, as on any network. */
const MESSAGES = 1024;

/** The engine's end of a channel, for whoever is the other one. After `close` it is silent. */
export class Line {
  readonly #say: (event: number, value: number, data: Bytes) => void;
  readonly #crowded: () => boolean;
  /** Bytes of the stream that the engine allows. */
  #credit = 0;
  #waiting: Bytes[] = [];
  #ending = false;
  channel: Channel | undefined;

  constructor(say: (event: number, value: number, data: Bytes) => void, crowded: () => boolean) {
    this.#say = say;
    this.#crowded = crowded;
  }

  opened(): void {
    this.#say(ChannelEvent.Opened, 0, NOTHING);
  }

  /** Bytes without flow control. */
  data(data: Bytes): void {
    this.#say(ChannelEvent.Data, 0, data);
  }

  /** A datagram, which is lost if nobody takes it. */
  datagram(data: Bytes): void {
    if (!this.#crowded()) this.data(data);
  }

  /** The next piece of a stream. Returns whether it has gone on; if not, `resume` follows when it has. */
  stream(data: Bytes): boolean {
    if (data.length > 0) this.#waiting.push(data);
    this.#flush();
    return this.#waiting.length === 0;
  }

  /** The end of the stream, after what waits. */
  end(): void {
    this.#ending = true;
    this.#flush();
  }

  /** So many bytes of what the engine sent have gone on. */
  paid(bytes: number): void {
    if (bytes > 0) this.#say(ChannelEvent.Credit, bytes, NOTHING);
  }

  closed(reason: string): void {
    this.#waiting = [];
    this.#say(ChannelEvent.Closed, 0, new TextEncoder().encode(reason));
  }

  accepted(connection: number): void {
    this.#say(ChannelEvent.Accepted, connection, NOTHING);
  }

  /** The engine allows more. */
  allow(bytes: number): void {
    this.#credit += bytes;
    if (this.#waiting.length === 0) return;
    this.#flush();
    if (this.#waiting.length === 0) this.channel?.resume?.();
  }

  #flush(): void {
    for (let first = this.#waiting[0]; first && this.#credit > 0; first = this.#waiting[0]) {
      const piece = first.subarray(0, this.#credit);
      this.#credit -= piece.length;
      this.data(piece);
      if (piece.length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(piece.length);
    }
    if (this.#ending && this.#waiting.length === 0) {
      this.#ending = false;
      this.#say(ChannelEvent.Finished, 0, NOTHING);
    }
  }
}

/** All channels of one engine. What happens on them waits until the engine is not running. */
export class Channels {
  readonly #openers: Openers;
  readonly #wake: () => void;
  readonly #open = new Map<number, Line>();
  #events: [channel: number, event: number, value: number, data: Bytes][] = [];
  /** Bytes in all channels. */
  sent = 0;
  received = 0;

  /** `wake` is called when something waits for `deliver`. */
  constructor(openers: Openers, wake: () => void) {
    this.#openers = openers;
    this.#wake = wake;
  }

  /** The engine's imports; `bytes` shows its memory. */
  imports(bytes: (ptr: number, len: number) => Uint8Array): Imports {
    const act = (channel: number, what: (line: Line) => void) => {
      const line = this.#open.get(channel >>> 0);
      if (line) what(line);
    };
    return {
      channel_support: () =>
        (Object.keys(this.#openers) as Kind[]).reduce((bits, kind) => bits | (1 << ChannelKind[kind]), 0),
      channel_open: (channel, kind, ptr, len) =>
        this.#begin(channel >>> 0, kind, new TextDecoder().decode(bytes(ptr, len))),
      channel_send: (channel, ptr, len) =>
        act(channel, (line) => {
          this.sent += len >>> 0;
          line.channel?.send(new Uint8Array(bytes(ptr, len)) as Bytes);
        }),
      channel_finish: (channel) => act(channel, (line) => line.channel?.finish()),
      channel_close: (channel) => this.#end(channel >>> 0),
      channel_credit: (channel, count) => act(channel, (line) => line.allow(count >>> 0)),
    };
  }

  /** Tells the engine what has happened. */
  deliver(sink: Sink): void {
    const events = this.#events;
    this.#events = [];
    for (const [channel, event, value, data] of events) {
      if (event === ChannelEvent.Data) this.received += data.length;
      if (this.#open.has(channel)) sink.channelEvent(channel, event, value, data);
      if (event === ChannelEvent.Closed) this.#open.delete(channel);
    }
  }

  closeAll(): void {
    for (const channel of [...this.#open.keys()]) this.#end(channel);
    this.#events = [];
  }

  #begin(channel: number, kind: number, address: string): void {
    const name = (Object.keys(ChannelKind) as Kind[]).find((name) => ChannelKind[name] === kind);
    const opener = name && this.#openers[name];
    let over = false;
    const say = (event: number, value: number, data: Bytes) => {
      if (over || this.#open.get(channel) !== line) return;
      over = event === ChannelEvent.Closed;
      this.#events.push([channel, event, value, data]);
      this.#wake();
    };
    const line = new Line(say, () => this.#events.length >= MESSAGES);
    this.#open.set(channel, line);
    try {
      if (!opener) throw new Error("this host has no such channels");
      line.channel = opener(address, line);
    } catch (error) {
      line.closed(`${address}: ${error instanceof Error ? error.message : error}`);
    }
  }

  #end(channel: number): void {
    const line = this.#open.get(channel);
    this.#open.delete(channel);
    line?.channel?.close();
  }
}
