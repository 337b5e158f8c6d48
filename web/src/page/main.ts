// The page: a machine, its terminal, and what its user needs to know and do.

import { deferred } from "../error.ts";
import { createMachine, type Machine, type MachineEvent } from "../index.ts";
import { failure, type State, type Stats } from "../protocol.ts";
import { join, split } from "./commandline.ts";
import { type PageConfig, readConfig } from "./config.ts";
import { acceptDrops, saveOverlays } from "./files.ts";
import { pickDirectories } from "./pick.ts";
import type { Screen } from "./terminal.ts";

window.pagevmStarted = true;
const get = (id: string) => document.getElementById(id) as HTMLElement;
const overlay = get("overlay");
const title = get("title");
const message = get("message");
const downloads = get("downloads");
const pause = get("pause") as HTMLButtonElement;
const reset = get("reset") as HTMLButtonElement;
const save = get("save") as HTMLButtonElement;
const restart = get("restart") as HTMLButtonElement;
const edit = get("options") as HTMLTextAreaElement;

let config: PageConfig | undefined;
let machine: Machine | undefined;
let state: State = "loading";
let screen: Screen | undefined;
/** The worker runs, or something has failed. */
const begun = deferred<void>();
/** What the guest wrote before the terminal was there. */
let early: Uint8Array[] = [];

const STATES: Readonly<Record<State, string>> = {
  loading: "loading",
  running: "running",
  paused: "paused",
  off: "powered off",
  stopped: "stopped",
  failed: "failed",
};

const bytes = (n: number) =>
  n < 1 << 20 ? `${Math.ceil(n / 1024)} KB` : `${(n / (1 << 20)).toFixed(n < 10 << 20 ? 1 : 0)} MB`;

function duration(ms: number): string {
  const s = Math.floor(ms / 1000);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

function showMessage(heading: string, text: string, button: string): void {
  title.textContent = heading;
  message.textContent = text;
  message.classList.toggle("report", text.includes("\n"));
  restart.textContent = button;
  overlay.dataset.view = "message";
}

function showProgress({ name, loaded, total }: MachineEvent & { type: "progress" }): void {
  let row = downloads.querySelector<HTMLElement>(`[data-name="${CSS.escape(name)}"]`);
  if (!row) {
    row = document.createElement("label");
    row.className = "download";
    row.dataset.name = name;
    row.append(document.createElement("span"), document.createElement("span"), document.createElement("progress"));
    row.firstElementChild?.append(name);
    downloads.append(row);
  }
  const [, size, bar] = row.children;
  if (size)
    size.textContent = total === undefined || loaded === total ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`;
  if (bar instanceof HTMLProgressElement && total !== undefined) {
    bar.max = Math.max(total, 1);
    bar.value = total === 0 ? 1 : loaded;
  }
}

function showStats(stats: Stats): void {
  show("mips", `${stats.mips.toFixed(0)} MIPS`);
  get("mips").title = `${(stats.translated * 100).toFixed(1)} % as translated code`;
  show("busy", `${(stats.busy * 100).toFixed(0)} %`);
  show("memory", `${bytes(stats.ram_bytes)} + ${bytes(stats.memory_bytes - stats.ram_bytes)}`);
  show("uptime", duration(stats.uptime_ms));
  show("disk", `${bytes(stats.disk_read_bytes)} / ${bytes(stats.disk_written_bytes)}`);
  show("net", `${bytes(stats.net_received_bytes)} / ${bytes(stats.net_sent_bytes)}`);
}

/** Lights up what was used since the last time. */
function showActivity({ diskRead, diskWritten, netSent, netReceived }: MachineEvent & { type: "activity" }): void {
  for (const [id, used] of [
    ["disk", diskRead + diskWritten],
    ["net", netSent + netReceived],
  ] as const) {
    const item = get(id).parentElement as HTMLElement;
    item.hidden = used === 0;
    if (item.dataset.used === String(used)) continue;
    item.dataset.used = String(used);
    for (const flash of item.getAnimations()) flash.cancel();
    item.animate({ opacity: [0.35, 1] }, 400);
  }
}

/** Shows a message with a button, which then does this. */
let onButton: (() => void) | undefined;

function asked(heading: string, text: string, button: string): Promise<void> {
  showMessage(heading, text, button);
  overlay.dataset.view = "question";
  return new Promise((resolve) => {
    onButton = () => {
      overlay.dataset.view = "progress";
      message.textContent = "";
      resolve();
    };
  });
}

/** Messages of the machine's log that are kept. */
const MESSAGES = 100;

function showLogged(text: string): void {
  console.warn(`pagevm: ${text}`);
  note(text);
  const list = get("log");
  const last = list.lastElementChild;
  if (last instanceof HTMLElement && last.dataset.text === text) {
    last.dataset.times = String(Number(last.dataset.times ?? 1) + 1); // shown by the style sheet
    return;
  }
  const item = document.createElement("li");
  item.dataset.text = text;
  item.textContent = `${new Date().toLocaleTimeString()} ${text}`;
  list.append(item);
  if (list.childElementCount > MESSAGES) list.firstElementChild?.remove();
  get("messages").hidden = false;
}

/** Says something beside the state, for a while. */
function note(text: string): void {
  get("note").textContent = text;
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => (get("note").textContent = ""), 10_000);
}
let noteTimer: ReturnType<typeof setTimeout> | undefined;

/** There is something to save once a disk has an overlay. */
async function showSave(): Promise<void> {
  const disks = await machine?.disks();
  save.hidden = !disks?.some(({ overlay }) => overlay);
}

/** What stays the same is not laid out and painted again. */
function show(id: string, text: string): void {
  const element = get(id);
  if (element.textContent !== text) element.textContent = text;
}

function showState(next: State, text = ""): void {
  state = next;
  document.body.dataset.state = next;
  get("state").textContent = STATES[next];
  pause.textContent = next === "paused" ? "Resume" : "Pause";
  pause.disabled = next !== "running" && next !== "paused";
  reset.disabled = next === "loading" || next === "failed";
  switch (next) {
    case "loading":
      title.textContent = "Starting";
      overlay.dataset.view = "progress";
      break;
    case "running":
      title.textContent = "Booting";
      if (message.textContent !== "" || overlay.dataset.view !== "progress") overlay.dataset.view = "none";
      screen?.focus();
      showSave().catch(() => {}); // a machine that has failed meanwhile says so
      break;
    case "off":
      showMessage("Powered off", text, "Switch on");
      break;
    case "stopped":
      showMessage("The machine stopped", text, "Reset");
      break;
    case "failed":
      showMessage("The machine cannot run", text, "Try again");
      overlay.dataset.view = "failure";
      break;
    default:
  }
}

function onEvent(event: MachineEvent): void {
  begun.resolve();
  switch (event.type) {
    case "progress":
      showProgress(event);
      break;
    case "output":
      if (state === "running") overlay.dataset.view = "none";
      if (screen) screen.write(event.data);
      else early.push(event.data);
      break;
    case "stats":
      showStats(event.stats);
      break;
    case "activity":
      showActivity(event);
      break;
    case "state":
      showState(event.state, event.message);
      break;
    case "log":
      showLogged(event.text);
      break;
    default:
  }
  config?.onEvent?.(event);
}

/** Starts a machine in a worker of its own; `line`: with these options instead of the page's. */
async function boot(line?: string): Promise<void> {
  machine?.close();
  machine = undefined;
  message.textContent = "";
  save.hidden = true;
  onButton = undefined;
  get("log").replaceChildren();
  get("messages").hidden = true;
  downloads.replaceChildren();
  showState("loading");
  try {
    config = line === undefined ? await readConfig() : { ...window.pagevm, arguments: split(line) };
    const { arguments: options = [], about, readOnly: _, onEvent: __, machine: ___, ...job } = config;
    edit.value = join(options);
    get("about").textContent = about ?? edit.value;
    // or the browser may throw away what is kept when its disk gets full
    if (options.some((option) => option.includes("opfs:"))) void navigator.storage?.persist?.().catch(() => {});
    const directories = await pickDirectories(options, job.directories ?? {}, asked);
    machine = createMachine({ ...job, options, directories, origin: performance.timeOrigin });
    machine.on("*", onEvent);
    window.pagevm = { ...config, machine };
    machine.start().catch(() => {}); // the event of the state says so
  } catch (error) {
    failure(error instanceof Error ? error.message : String(error)).forEach(onEvent);
  }
}

get("look").onclick = () => {
  overlay.dataset.view = "none";
  screen?.focus();
};
pause.onclick = () => (state === "paused" ? machine?.resume() : machine?.pause());
reset.onclick = () => machine?.reset();
save.onclick = () => machine && saveOverlays(machine).then(note, (error: Error) => note(error.message));
acceptDrops(() => machine, note);
restart.onclick = () => {
  const act = onButton;
  onButton = undefined;
  if (act) act();
  else if (state !== "failed") void machine?.reset();
  else void boot(edit.value.trim() === "" ? undefined : edit.value);
};

void boot();
// The terminal takes a while of the thread that the worker needs for its start.
await begun.promise;
try {
  const { open } = await import("./terminal.ts");
  screen = open(get("terminal"), (data) => {
    if (!config?.readOnly) machine?.type(data).catch(() => {}); // a machine that has failed says so itself
  });
  for (const data of early) screen.write(data);
} catch (error) {
  machine?.close();
  failure(`the page's terminal does not load: ${error instanceof Error ? error.message : error}`).forEach(onEvent);
  onButton = () => location.reload(); // what has not loaded is asked for anew only then
}
early = [];
