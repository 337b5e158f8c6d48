// `node dist/node-cli.mjs JOB`: a machine in Node, its serial console on standard input and output.

import { createMachine } from "./index.ts";
import { readJob } from "./job.ts";
import { Cli, type CliJob } from "./terminal.ts";

function main(): void {
  let job: CliJob;
  try {
    job = readJob(process.argv[2]);
  } catch (error) {
    process.stderr.write(`pagevm: ${(error as Error).message}\n`);
    process.exitCode = 2;
    return;
  }
  const cli = new Cli(
    job,
    "node",
    (data) => machine.type(data),
    (status) => {
      machine.close();
      process.exit(status);
    },
  );
  const { host: _host, stats: _stats, screenshot: _screenshot, ...rest } = job;
  const machine = createMachine({ ...rest, origin: performance.timeOrigin });
  machine.on("*", (event) => cli.event(event));
  machine.start().catch(() => {}); // the event of the result says so
}

main();
