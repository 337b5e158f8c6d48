// Runs a command in a guest: what it prints is printed, and its exit status is ours.
//
//   node automate.mjs GUEST COMMAND

import { join } from "node:path";
import { createMachine } from "pagevm/node";

const [guest = "guest", command = "uname -a"] = process.argv.slice(2);
const machine = createMachine({
  options: [
    ...["-m", "256", "-no-reboot", "-append", "console=ttyS0 quiet"],
    ...["-kernel", join(guest, "vmlinuz"), "-initrd", join(guest, "initrd.gz")],
    ...["-fsdev", "memory,id=files", "-device", "virtio-9p-pci,fsdev=files,mount_tag=files"],
  ],
});

try {
  // a script is a file: nothing has to be quoted for the terminal, and what it prints is not mixed with the prompt
  await machine.putFile("script", command, { mode: 0o755 });
  await machine.start();
  await machine.waitFor(/[#$] $/, { timeout: 300_000 });
  await machine.type("mkdir /files; mount -t 9p -o trans=virtio,version=9p2000.L files /files\n");
  await machine.type("sh /files/script > /files/output 2>&1; echo status $?\n");
  const { groups } = await machine.waitFor(/^status (\d+)$/m, { timeout: 600_000 });
  process.stdout.write(await machine.getFile("output"));
  process.exitCode = Number(groups[0]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 125;
} finally {
  machine.close();
}
