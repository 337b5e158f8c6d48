// The command line's job: JSON in the argument, or in the file that it names.

import { readFileSync } from "node:fs";
import type { CodeLimits } from "../protocol.ts";
import type { CliJob } from "./terminal.ts";

const TYPES: Readonly<Record<keyof CliJob, (value: unknown) => boolean>> = {
  host: (v) => v === "node" || v === "chromium" || v === "firefox",
  engine: isString,
  base: isString,
  options: (v) => Array.isArray(v) && v.every(isString),
  until: isString,
  type: isString,
  script: (v) => Array.isArray(v) && v.every((s) => isString(s?.expect) && (s.send === undefined || isString(s.send))),
  timeout: (v) => typeof v === "number" && v > 0,
  code: isCodeLimits,
  stats: isString,
  screenshot: isString,
  page: isString,
};

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function isCodeLimits(value: unknown): value is CodeLimits {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.entries(value).every(([key, limit]) =>
      key === "support"
        ? ["none", "linked", "unlinked"].includes(limit)
        : ["modules", "slots", "stress"].includes(key) && Number.isInteger(limit) && limit >= 0,
    )
  );
}

/** Reads a job; throws one clear message. */
export function readJob(argument: string | undefined): CliJob {
  if (argument === undefined)
    throw new Error('usage: TOOL JOB, where JOB is {"options": ["-kernel", ..], ..} or a file of it');
  let value: unknown;
  try {
    value = JSON.parse(argument.trimStart().startsWith("{") ? argument : readFileSync(argument, "utf8"));
  } catch (error) {
    throw new Error(`the job cannot be read: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null) throw new Error("the job is not an object");
  for (const [key, field] of Object.entries(value)) {
    const check = Object.hasOwn(TYPES, key) ? TYPES[key as keyof CliJob] : undefined;
    if (!check) throw new Error(`the job has an unknown field "${key}"; there are ${Object.keys(TYPES).join(", ")}`);
    if (!check(field)) throw new Error(`the job's field "${key}" is wrong: ${JSON.stringify(field)}`);
  }
  if (!("options" in value) && !("page" in value)) throw new Error('the job has no "options"');
  return { options: [], ...(value as Partial<CliJob>) };
}
