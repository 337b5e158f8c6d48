// What goes wrong, as one message for the machine's user.

/** What kept a machine from starting or running, as one message for its user. */
export class VmError extends Error {
  /** `options`: what was asked for is wrong; `machine`: the files or this browser do not allow it; `engine`: our fault. */
  readonly kind: "options" | "machine" | "engine";
  /** Linux's name of a file's error, such as ENOENT. */
  readonly code?: string;

  constructor(kind: VmError["kind"], message: string, options?: ErrorOptions & { code?: string }) {
    super(message, options);
    this.name = "VmError";
    this.kind = kind;
    if (options?.code !== undefined) this.code = options.code;
  }
}

/** A promise with its ends (`Promise.withResolvers`, which Node 20 lacks). */
export function deferred<T>(): PromiseWithResolvers<T> {
  let resolve!: PromiseWithResolvers<T>["resolve"];
  let reject!: PromiseWithResolvers<T>["reject"];
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
