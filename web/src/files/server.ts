// What serves a share on the host: messages in, messages out. What a directory is differs between hosts; see `Handlers`.

import { decode, encode, type Name } from "./codec.ts";
import { ERRNO, type Messages } from "./wire.gen.ts";

type ReplyOf<N extends Name> = N extends `T${infer Rest}` ? Messages[`R${Rest}` & Name] : never;

/** How a directory answers requests, at once or later. It throws a `FileError`, or an error with one of Linux's names as `code`. */
export type Handlers = {
  [N in Name as N extends `T${string}` ? N : never]?: (fields: Messages[N]) => ReplyOf<N> | Promise<ReplyOf<N>>;
};

/** What serves a share, until it is closed. */
export interface Share extends Handlers {
  close?(): void;
}

/** An error that the guest sees. */
export class FileError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

export const MSIZE = 1 << 20;

/** Linux's number of an error: EIO where it has none. */
export function errno(error: unknown): number {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return ERRNO[code] ?? ERRNO.EIO ?? 5;
}

/** Answers one request. What the handlers lack is EOPNOTSUPP. */
export function answer(handlers: Handlers, message: Uint8Array): Uint8Array | Promise<Uint8Array> {
  const { name, tag, fields } = decode(message);
  const fail = (error: unknown) => encode("Rlerror", tag, { ecode: errno(error) });
  const reply = `R${name.slice(1)}` as Name;
  const done = (fields: unknown) => encode(reply, tag, fields as never);
  try {
    const handler = handlers[name as keyof Handlers] as ((fields: unknown) => unknown) | undefined;
    if (handler === undefined) throw new FileError("EOPNOTSUPP");
    const result = handler.call(handlers, fields);
    return result instanceof Promise ? result.then(done).catch(fail) : done(result);
  } catch (error) {
    return fail(error);
  }
}
