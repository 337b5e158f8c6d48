// Builds the static site and the npm package's code into DIST (../dist), with the engine from ENGINE_WASM.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = resolve(process.env.DIST ?? join(web, "../dist"));
const engine = resolve(process.env.ENGINE_WASM ?? join(web, "../target/wasm32-unknown-unknown/engine/engine.wasm"));

mkdirSync(dist, { recursive: true });
for (const name of readdirSync(dist)) if (name.startsWith("chunk-")) rmSync(join(dist, name));

/** @type {import("esbuild").BuildOptions} */
const common = {
  bundle: true,
  format: "esm",
  minify: true,
  sourcemap: true,
  logLevel: "warning",
  outdir: dist,
  absWorkingDir: web,
};
const [page] = await Promise.all([
  build({
    ...common,
    entryPoints: { page: "src/page/main.ts", index: "src/index.ts", style: "src/page/style.css" },
    target: "es2022",
    splitting: true,
    chunkNames: "chunk-[hash]",
    metafile: true,
  }),
  // in one file: what it imported would be asked for when it is there
  build({ ...common, entryPoints: { worker: "src/host/worker.ts" }, target: "es2022" }),
  build({
    ...common,
    entryPoints: { node: "src/node/index.ts", "node-cli": "src/node/cli.ts" },
    outExtension: { ".js": ".mjs" },
    platform: "node",
    target: "node20",
  }),
]);

// the package: declarations, and the manifest without what only its developers need
rmSync(join(dist, "types"), { recursive: true, force: true });
const declarations = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--rootDir", "src"];
execFileSync(
  join(web, "node_modules/.bin/tsc"),
  ["-p", "tsconfig.dist.json", ...declarations, "--outDir", join(dist, "types")],
  {
    cwd: web,
    stdio: "inherit",
  },
);
const {
  scripts: _scripts,
  devDependencies: _dev,
  ...manifest
} = JSON.parse(readFileSync(join(web, "package.json"), "utf8"));
writeFileSync(join(dist, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
copyFileSync(join(web, "README.md"), join(dist, "README.md"));

// the page asks for its modules at once, not for each when the one that imports it is there
const preload = (/** @type {string} */ name) => `<link rel="modulepreload" href="${name}" />`;
const chunks = Object.keys(page.metafile.outputs).flatMap((path) => /chunk-\w+\.js$/.exec(path) ?? []);
const html = readFileSync(join(web, "src/page/index.html"), "utf8");
writeFileSync(
  join(dist, "index.html"),
  html.replace(preload("page.js"), ["page.js", ...chunks].map(preload).join("\n    ")),
);
if (existsSync(engine)) copyFileSync(engine, join(dist, "engine.wasm"));
else if (process.env.ENGINE_WASM) throw new Error(`there is no engine at ${engine}`);
else console.warn(`no engine at ${engine}: dist/engine.wasm is left as it is`);
