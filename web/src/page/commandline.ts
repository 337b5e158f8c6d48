// Options as one line of text, quoted as a shell would want it.

/** Splits a line into arguments; throws one clear message. */
export function split(line: string): string[] {
  const args: string[] = [];
  let arg: string | undefined;
  let quote = "";
  for (let i = 0; i < line.length; i++) {
    const char = line.charAt(i);
    if (quote !== "") {
      if (char === quote) quote = "";
      else if (char === "\\" && quote === '"' && /["\\]/.test(line.charAt(i + 1))) arg += line.charAt(++i);
      else arg += char;
    } else if (/\s/.test(char)) {
      if (arg !== undefined) args.push(arg);
      arg = undefined;
    } else {
      arg ??= "";
      if (char === "'" || char === '"') quote = char;
      else if (char === "\\" && i + 1 < line.length) arg += line.charAt(++i);
      else arg += char;
    }
  }
  if (quote !== "") throw new Error(`The options have a ${quote} that is not closed.`);
  if (arg !== undefined) args.push(arg);
  return args;
}

/** The line that `split` makes `args` of. */
export function join(args: readonly string[]): string {
  return args.map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `"${arg.replace(/["\\]/g, "\\$&")}"`)).join(" ");
}
