// Timers, for any time.

/** Hosts take no more milliseconds: a longer timer ends at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** Calls `act` after so many milliseconds, or in 24 days if they are more. */
export function after(ms: number, act: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(act, Math.min(ms, LONGEST_MS));
}
