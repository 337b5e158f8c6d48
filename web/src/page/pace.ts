// When output reaches the terminal.

/** While much is written it is painted so often: each time costs more than what is written, and the guest could run meanwhile. */
const PAINT_MS = 100;
/** The terminal has no more bytes that it has not taken yet, or one piece: it throws away what is too much for it, as in a tab that is not seen. */
const AHEAD = 1 << 20;
/** Bytes that wait for it, at most: more than its lines have room for. */
const KEPT = 16 << 20;
const LOST = new TextEncoder().encode("\x18\r\n[pagevm: output that came too fast for this page is left out here]\r\n");

/** Writes at once what comes after a pause, and what comes then together, now and then; `write` calls `taken` when it wants more. */
export function paced(write: (data: Uint8Array, taken: () => void) => void): (data: Uint8Array) => void {
  let next = 0;
  const waiting: Uint8Array[] = [];
  /** Bytes that wait, and those that the terminal has not taken. */
  let [kept, ahead] = [0, 0];
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** The first pieces, of at least so many bytes if there are. */
  const take = (bytes: number): Uint8Array[] => {
    let [pieces, length] = [0, 0];
    while (length < bytes && pieces < waiting.length) length += waiting[pieces++]?.length ?? 0;
    kept -= length;
    return waiting.splice(0, pieces);
  };
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    for (const data of take(AHEAD - ahead)) {
      ahead += data.length;
      write(data, () => {
        ahead -= data.length;
        if (timer === undefined && waiting.length > 0) flush();
      });
    }
    next = performance.now() + PAINT_MS;
  };
  return (data) => {
    waiting.push(data);
    kept += data.length;
    if (kept > KEPT) {
      take(KEPT / 2);
      waiting.unshift(LOST);
      kept += LOST.length;
    }
    const wait = next - performance.now();
    if (wait <= 0 || asks(data)) flush();
    else timer ??= setTimeout(flush, wait);
  };
}

/** Whether the guest asks the terminal something (ECMA-48 8.3.24 DA and 8.3.35 DSR): it may be waiting for the answer. */
function asks(data: Uint8Array): boolean {
  for (let at = data.indexOf(0x1b); at >= 0; at = data.indexOf(0x1b, at + 1)) {
    if (data[at + 1] !== 0x5b) continue;
    let end = at + 2;
    while (end < data.length && (data[end] ?? 0) < 0x40) end += 1;
    if (data[end] === 0x6e || data[end] === 0x63) return true;
  }
  return false;
}
