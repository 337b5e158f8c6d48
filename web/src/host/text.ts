// What a guest writes on its console, as text.

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal control sequences begin with one
const CONTROL_SEQUENCE = /\x1b\[[0-9;?]*[@-~]|\x1b[78=>]|\r/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the beginning of one
const UNFINISHED_SEQUENCE = /\x1b(?:\[[0-9;?]*)?$/;

/** Bytes to text, in pieces: without carriage returns and terminal control sequences, wherever the pieces end. */
export class ConsoleText {
  readonly #decoder = new TextDecoder();
  #tail = "";

  add(data: Uint8Array): string {
    const raw = this.#tail + this.#decoder.decode(data, { stream: true });
    const cut = raw.search(UNFINISHED_SEQUENCE);
    this.#tail = cut < 0 ? "" : raw.slice(cut);
    return (cut < 0 ? raw : raw.slice(0, cut)).replace(CONTROL_SEQUENCE, "");
  }
}
