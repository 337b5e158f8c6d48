// When output reaches the terminal.

/** While much is written it is painted so often: each time costs more than what is written, and the guest could run meanwhile. */
const PAINT_MS = 100;

/** Writes at once what comes after a pause, and what comes then together, now and then. */
export function paced(write: (data: Uint8Array) => void): (data: Uint8Array) => void {
  let next = 0;
  let waiting: Uint8Array[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    for (const data of waiting) write(data);
    waiting = [];
    next = performance.now() + PAINT_MS;
  };
  return (data) => {
    waiting.push(data);
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
