// Files by name, as streams that count their bytes.

import { VmError } from "../error.ts";

export interface Source {
  /** Bytes in the stream, where known. */
  total?: number;
  stream: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Opens a file by address or path; throws what went wrong, without the name. */
export type Open = (name: string, base?: string) => Promise<Source>;
export type Progress = (loaded: number, total: number | undefined) => void;

/** Opens an address. */
export async function openUrl(name: string, base?: string): Promise<Source> {
  let url: URL;
  try {
    url = new URL(name, base);
  } catch (cause) {
    throw new Error("this is not an address", { cause });
  }
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    throw new Error("the server cannot be reached, or does not allow this page to read the file", { cause });
  }
  if (!response.ok) throw new Error(`the server answers ${response.status} ${response.statusText}`.trimEnd());
  if (!response.body) throw new Error("the server answers nothing");
  // the length of a body that was compressed on the way is not the length of the stream
  const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
  return { stream: response.body, ...(length === null ? {} : { total: Number(length) }) };
}

/** The bytes of an open file, counted. */
export async function* counted(source: Source, progress: Progress): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let loaded = 0;
  const reader = source.stream.getReader();
  try {
    progress(loaded, source.total);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      loaded += value.length;
      progress(loaded, source.total);
      yield value;
    }
  } finally {
    // who stops before the end wants no more of it
    void reader.cancel().catch(() => {});
  }
  if (source.total !== undefined && loaded !== source.total) {
    throw new Error(`the transfer broke off after ${loaded} of ${source.total} bytes`);
  }
  progress(loaded, loaded);
}

/** Compiles a Wasm module while it comes in. */
export async function compile(open: Open, name: string, progress: Progress): Promise<WebAssembly.Module> {
  try {
    const bytes = counted(await open(name), progress);
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const { done, value } = await bytes.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
    });
    // a static host may not know the type; streaming compilation insists on it
    return await WebAssembly.compileStreaming(new Response(body, { headers: { "content-type": "application/wasm" } }));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new VmError("engine", `engine.wasm does not load from ${name}: ${why}`, { cause });
  }
}
