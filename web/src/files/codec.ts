// Messages of 9P2000.L as objects, by the table that the engine's crate has made.

import { MESSAGES, type Messages, STRUCTS } from "./wire.gen.ts";

export type Name = keyof Messages;
export type Message = { [N in Name]: { name: N; tag: number; fields: Messages[N] } }[Name];

type Fields = readonly (readonly [string, string])[];

const BY_KIND = new Map(Object.entries(MESSAGES).map(([name, { kind }]) => [kind as number, name as Name]));

/** Bytes before a message's fields: size, type, tag. */
const HEADER = 7;

function structure(type: string): Fields | undefined {
  return Object.hasOwn(STRUCTS, type) ? STRUCTS[type as keyof typeof STRUCTS] : undefined;
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = HEADER;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fields(fields: Fields): Record<string, unknown> {
    return Object.fromEntries(fields.map(([name, type]) => [name, this.#value(type)]));
  }

  #value(type: string): unknown {
    if (type.endsWith("[]")) return Array.from({ length: this.#number(2) }, () => this.#value(type.slice(0, -2)));
    switch (type) {
      case "u8":
        return this.#number(1);
      case "u16":
        return this.#number(2);
      case "u32":
        return this.#number(4);
      case "u64":
        return this.#view.getBigUint64(this.#take(8), true);
      case "bytes":
        return this.#slice(this.#number(2));
      case "data":
        return this.#slice(this.#number(4));
      default:
        return this.fields(structure(type) ?? []);
    }
  }

  #number(bytes: 1 | 2 | 4): number {
    const at = this.#take(bytes);
    if (bytes === 1) return this.#view.getUint8(at);
    return bytes === 2 ? this.#view.getUint16(at, true) : this.#view.getUint32(at, true);
  }

  #slice(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new RangeError("the message is cut off");
    this.#at = at + length;
    return at;
  }
}

/** Takes a message apart. Its bytes fields are views of it. */
export function decode(bytes: Uint8Array): Message {
  const [kind, low, high] = [bytes[4], bytes[5], bytes[6]];
  const name = BY_KIND.get(kind ?? -1);
  if (name === undefined || low === undefined || high === undefined) throw new RangeError(`no message of type ${kind}`);
  return {
    name,
    tag: low | (high << 8),
    fields: new Reader(bytes).fields(MESSAGES[name].fields),
  } as unknown as Message;
}

function size(type: string, value: unknown): number {
  if (type.endsWith("[]")) {
    return (value as unknown[]).reduce((sum: number, item) => sum + size(type.slice(0, -2), item), 2);
  }
  const fixed = { u8: 1, u16: 2, u32: 4, u64: 8 }[type];
  if (fixed !== undefined) return fixed;
  if (type === "bytes" || type === "data") return (value as Uint8Array).length + (type === "bytes" ? 2 : 4);
  const fields = structure(type) ?? [];
  return fields.reduce((sum, [name, type]) => sum + size(type, (value as Record<string, unknown>)[name]), 0);
}

class Writer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
  }

  number(bytes: 1 | 2 | 4, value: number): void {
    if (bytes === 1) this.#view.setUint8(this.#at, value);
    else if (bytes === 2) this.#view.setUint16(this.#at, value, true);
    else this.#view.setUint32(this.#at, value, true);
    this.#at += bytes;
  }

  value(type: string, value: unknown): void {
    if (type.endsWith("[]")) {
      this.number(2, (value as unknown[]).length);
      for (const item of value as unknown[]) this.value(type.slice(0, -2), item);
      return;
    }
    switch (type) {
      case "u8":
        this.number(1, value as number);
        break;
      case "u16":
        this.number(2, value as number);
        break;
      case "u32":
        this.number(4, value as number);
        break;
      case "u64":
        this.#view.setBigUint64(this.#at, BigInt.asUintN(64, value as bigint), true);
        this.#at += 8;
        break;
      case "bytes":
      case "data": {
        const data = value as Uint8Array;
        this.number(type === "bytes" ? 2 : 4, data.length);
        this.bytes.set(data, this.#at);
        this.#at += data.length;
        break;
      }
      default:
        for (const [name, part] of structure(type) ?? []) this.value(part, (value as Record<string, unknown>)[name]);
    }
  }
}

/** Puts a message together. */
export function encode<N extends Name>(name: N, tag: number, fields: Messages[N]): Uint8Array<ArrayBuffer> {
  const { kind, fields: table } = MESSAGES[name];
  const values = fields as unknown as Record<string, unknown>;
  const length = (table as Fields).reduce((sum, [name, type]) => sum + size(type, values[name]), HEADER);
  const writer = new Writer(length);
  writer.number(4, length);
  writer.number(1, kind);
  writer.number(2, tag);
  for (const [name, type] of table as Fields) writer.value(type, values[name]);
  return writer.bytes;
}

/** One entry of an Rreaddir. */
export function encodeEntry(
  qid: { kind: number; version: number; path: bigint },
  offset: bigint,
  type: number,
  name: Uint8Array,
): Uint8Array {
  const writer = new Writer(13 + 8 + 1 + 2 + name.length);
  writer.value("Qid", qid);
  writer.value("u64", offset);
  writer.number(1, type);
  writer.value("bytes", name);
  return writer.bytes;
}
