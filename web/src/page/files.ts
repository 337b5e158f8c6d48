// Files between the page's user and the machine: dropped ones go into its share, what was written to its disks can be saved.

import type { Machine } from "../index.ts";

/** Lets files be dropped on the page; `tell` gets what came of it. */
export function acceptDrops(machine: () => Machine | undefined, tell: (text: string) => void): void {
  const wanted = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  const drag = (over: boolean) => document.body.classList.toggle("dropping", over);
  addEventListener("dragover", (event) => {
    if (!wanted(event)) return;
    event.preventDefault(); // or the browser opens the file
    drag(true);
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drag(false);
  });
  addEventListener("drop", (event) => {
    drag(false);
    if (!wanted(event)) return;
    event.preventDefault();
    void put(machine(), [...(event.dataTransfer?.files ?? [])]).then(tell, (error: Error) => tell(error.message));
  });
}

async function put(machine: Machine | undefined, files: File[]): Promise<string> {
  if (!machine) throw new Error("there is no machine yet");
  for (const file of files) await machine.putFile(file.name, new Uint8Array(await file.arrayBuffer()));
  const names = files.map(({ name }) => name).join(", ");
  return `${names}: in the machine's share`;
}

/** Saves what was written to each disk that keeps it apart, as files for option `overlay`. */
export async function saveOverlays(machine: Machine): Promise<string> {
  const saved: string[] = [];
  for (const [number, { id, overlay }] of (await machine.disks()).entries()) {
    if (!overlay) continue;
    const blob = await new Response(await machine.exportDisk(number, { content: "overlay" })).blob();
    const name = `${id === "" ? `disk${number}` : id.replaceAll("/", "_")}.overlay`;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the download has begun by then
    saved.push(name);
  }
  return `saved ${saved.join(", ")}`;
}
