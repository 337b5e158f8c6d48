// A share that a browser serves: one request after the other, exceptions as Linux's errors, and what the user can help with told.

import { HandleDirectory } from "./handles.ts";
import { FileError, type Handlers } from "./server.ts";

const HANDLED = [
  "Tversion",
  "Tattach",
  "Twalk",
  "Tclunk",
  "Tgetattr",
  "Tsetattr",
  "Tstatfs",
  "Tlopen",
  "Tlcreate",
  "Tread",
  "Twrite",
  "Tfsync",
  "Treaddir",
  "Tmkdir",
  "Tunlinkat",
  "Trenameat",
  "Tsymlink",
  "Tlink",
  "Tmknod",
] as const satisfies readonly (keyof Handlers)[];

/** Linux's name for what a browser's exception says. */
const CODES: Readonly<Record<string, string>> = {
  NotFoundError: "ENOENT",
  TypeMismatchError: "ENOTDIR",
  NotAllowedError: "EACCES",
  SecurityError: "EACCES",
  NoModificationAllowedError: "EBUSY",
  InvalidModificationError: "ENOTEMPTY",
  QuotaExceededError: "ENOSPC",
  InvalidStateError: "EIO",
  TypeError: "EINVAL", // a name that the browser does not allow
};

/** What whoever sits at the page has to know, and to do. */
const ADVICE: Readonly<Record<string, string>> = {
  EACCES:
    "the browser does not let this page read or write it any more, the guest gets EACCES; allow it in the site's settings, " +
    "or reload the page and pick it again",
  ENOSPC: "there is no space left, the guest gets ENOSPC; free some",
};

/**
 * Serves a directory. Requests one after the other: a browser's directory has no operation that would be atomic otherwise.
 * `tell` gets a message, once, for what the page's user can help with.
 */
export function shareHandle(root: FileSystemDirectoryHandle, tell: (advice: string) => void = () => {}): Handlers {
  const directory = new HandleDirectory(root);
  const told = new Set<string>();
  let last: Promise<unknown> = Promise.resolve();
  const wrapped = (name: keyof Handlers) => (fields: never) => {
    const act = async () => {
      try {
        return await (directory[name as keyof HandleDirectory] as (fields: never) => unknown)(fields);
      } catch (error) {
        const code = error instanceof FileError ? error.code : CODES[error instanceof Error ? error.name : ""];
        if (code === undefined) throw error;
        const advice = ADVICE[code];
        if (advice !== undefined && !told.has(code)) tell(advice);
        told.add(code);
        throw new FileError(code);
      }
    };
    const result = last.then(act);
    last = result.catch(() => {});
    return result;
  };
  return Object.fromEntries(HANDLED.map((name) => [name, wrapped(name)])) as Handlers;
}

/** The page's own directory of this name, made if there is none. */
export async function originDirectory(name: string): Promise<FileSystemDirectoryHandle> {
  let directory = await navigator.storage.getDirectory();
  for (const part of name.split("/").filter((part) => part !== "")) {
    directory = await directory.getDirectoryHandle(part, { create: true });
  }
  return directory;
}
