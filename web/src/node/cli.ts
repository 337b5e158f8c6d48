// `pagevm`: runs a machine in Node, packs one into a static site, serves a directory.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { VmError } from "../error.ts";
import { createMachine } from "./index.ts";
import { readJob } from "./job.ts";
import { pack } from "./pack/index.ts";
import { serve } from "./serve.ts";
import { Cli, type CliJob, watchOutput } from "./terminal.ts";

const USAGE = `usage: pagevm COMMAND

  run [--until TEXT] [--type TEXT] [--timeout S] [--stats FILE] OPTIONS
        boots with QEMU-style OPTIONS, the serial console on standard input and output; ends with 0 when the guest
        powers off or writes TEXT, with 2 when the options are wrong, otherwise with 1
  pack -o DIR [--about TEXT] OPTIONS
        makes DIR a static site that boots with OPTIONS when it is opened: the page, the engine, and the files that the
        options name, disks in compressed chunks; made again, it writes what has changed
  serve [DIR] [--port N]
        serves DIR (or this directory) on the loopback interface, port 8000, for development
  JOB   runs a job: JSON, or a file of it
`;

/** What was typed is wrong. */
class UsageError extends Error {}

/** Our own options, which are before the machine's: those have one value each and none of our names. */
function own(args: readonly string[], names: readonly string[]): [Record<string, string>, string[]] {
  const given: Record<string, string> = {};
  let at = 0;
  for (; at < args.length; at += 2) {
    const name = args[at] ?? "";
    if (name === "--") return [given, args.slice(at + 1)];
    if (!names.includes(name)) break;
    const value = args[at + 1];
    if (value === undefined) throw new UsageError(`${name} needs a value`);
    given[name] = value;
  }
  return [given, args.slice(at)];
}

function runJob(args: readonly string[]): CliJob {
  const [given, options] = own(args, ["--until", "--type", "--timeout", "--stats"]);
  const { "--until": until, "--type": type, "--timeout": seconds, "--stats": stats } = given;
  const timeout = seconds === undefined ? undefined : Number(seconds);
  if (timeout !== undefined && !(timeout > 0)) throw new UsageError(`--timeout ${seconds}: give seconds`);
  return {
    options,
    ...(until === undefined ? {} : { until }),
    ...(type === undefined ? {} : { type }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(stats === undefined ? {} : { stats }),
  };
}

function run(job: CliJob): void {
  const cli = new Cli(
    job,
    "node",
    (data) => machine.type(data),
    (status) => {
      machine.close();
      process.exit(status);
    },
  );
  const { host: _host, stats: _stats, screenshot: _screenshot, page: _page, ...rest } = job;
  const machine = createMachine({ ...rest, origin: performance.timeOrigin });
  machine.on("*", (event) => cli.event(event));
  machine.start().catch(() => {}); // the event of the result says so
}

async function packSite(args: readonly string[]): Promise<void> {
  const [{ "-o": to, "--about": about }, options] = own(args, ["-o", "--about"]);
  if (to === undefined) throw new UsageError("pack: say where to, with -o DIR before the machine's options");
  const from = dirname(fileURLToPath(import.meta.url));
  const log = (line: string) => process.stdout.write(`${line}\n`);
  await pack({ to, options, from, log, ...(about === undefined ? {} : { about }) });
}

async function serveDirectory(args: readonly string[]): Promise<void> {
  let parsed: { values: { port?: string }; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], options: { port: { type: "string" } }, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`serve: ${(error as Error).message}`);
  }
  const [dir = ".", ...more] = parsed.positionals;
  const port = Number(parsed.values.port ?? 8000);
  if (more.length > 0) throw new UsageError(`serve: one directory, not also ${more.join(" ")}`);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new UsageError(`serve: --port ${parsed.values.port}: give a number up to 65535`);
  }
  try {
    const { url } = await serve(dir, port);
    process.stdout.write(`pagevm is at ${url} (Ctrl-C ends)\n`);
  } catch (error) {
    throw new Error(`cannot serve on port ${port}: ${(error as Error).message}`, { cause: error });
  }
}

async function main([command, ...args]: readonly string[]): Promise<void> {
  if (command === "run") run(runJob(args));
  else if (command !== undefined && !Object.hasOwn(TOOLS, command)) run(job(command));
  else {
    watchOutput((why) => {
      process.stderr.write(`pagevm: ${why}\n`);
      process.exit(1);
    });
    await TOOLS[command ?? "help"]?.(args);
  }
}

/** What there is beside runs. */
const TOOLS: Readonly<Record<string, (args: readonly string[]) => unknown>> = {
  help: () => process.stdout.write(USAGE),
  "--help": () => process.stdout.write(USAGE),
  pack: packSite,
  serve: serveDirectory,
};

function job(argument: string): CliJob {
  try {
    return readJob(argument);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`pagevm: ${(error as Error).message}\n`);
  process.exitCode = error instanceof UsageError || (error instanceof VmError && error.kind === "options") ? 2 : 1;
}
