// Shares a directory of this computer with a guest, runs a command there, and lists what the guest has written.
//
//   node share.mjs GUEST DIRECTORY COMMAND

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { createMachine } from "pagevm/node";

const [guest = "guest", directory = ".", command = "ls -l"] = process.argv.slice(2);
const machine = createMachine({
  options: [
    ...["-m", "256", "-no-reboot", "-append", "console=ttyS0 quiet"],
    ...["-kernel", join(guest, "vmlinuz"), "-initrd", join(guest, "initrd.gz")],
    // a comma in a value is written twice, as QEMU has it
    ...["-virtfs", `local,path=${directory.replaceAll(",", ",,")},mount_tag=here,security_model=none`],
  ],
});

/** Types a command; resolves with its status. */
async function run(command) {
  await machine.type(`${command}; echo; echo "=$?="\n`);
  const { groups } = await machine.waitFor(/^=(\d+)=$/m, { timeout: 300_000 });
  return Number(groups[0]);
}

try {
  const before = new Set(readdirSync(directory));
  await machine.start();
  await machine.waitFor(/[#$] $/, { timeout: 300_000 });
  if ((await run("mkdir /here && mount -t 9p -o trans=virtio,version=9p2000.L here /here")) !== 0) {
    throw new Error("the guest cannot mount the directory: has its kernel 9p and virtio drivers?");
  }
  await run(`cd /here; ${command}`);
  await run("cd /; umount /here");
  for (const name of readdirSync(directory).filter((name) => !before.has(name))) {
    console.log(`${name}: ${statSync(join(directory, name)).size} bytes`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  machine.close();
}
