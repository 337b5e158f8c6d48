// The terminal, loaded while the guest already boots.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { paced } from "./pace.ts";

const THEME = {
  background: "#0e142000",
  foreground: "#d7dfea",
  cursor: "#5eead4",
  cursorAccent: "#0e1420",
  selectionBackground: "#2b3d5f",
  black: "#1c2536",
  red: "#fb7185",
  green: "#86efac",
  yellow: "#fcd34d",
  blue: "#7dadfc",
  magenta: "#d8a5f8",
  cyan: "#5eead4",
  white: "#d7dfea",
  brightBlack: "#5d6b82",
  brightRed: "#fda4af",
  brightGreen: "#bbf7d0",
  brightYellow: "#fde68a",
  brightBlue: "#a9c9ff",
  brightMagenta: "#e9d0fb",
  brightCyan: "#a7f3e4",
  brightWhite: "#ffffff",
};

export interface Screen {
  write(data: Uint8Array): void;
  focus(): void;
}

/** Opens a terminal in `element`; `typed` gets what its user types. */
export function open(element: HTMLElement, typed: (data: string | Uint8Array) => void): Screen {
  const terminal = new Terminal({
    // no blinking cursor: it would paint, and keep the processor awake, while the guest sleeps
    allowTransparency: true,
    fontFamily: getComputedStyle(element).getPropertyValue("--mono"),
    fontSize: 13,
    lineHeight: 1.2,
    scrollback: 20_000,
    theme: THEME,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(element);
  fit.fit();
  new ResizeObserver(() => fit.fit()).observe(element);
  terminal.onData(typed);
  terminal.onBinary((data) => typed(Uint8Array.from(data, (char) => char.charCodeAt(0))));
  terminal.focus();
  return { write: paced((data, taken) => terminal.write(data, taken)), focus: () => terminal.focus() };
}
