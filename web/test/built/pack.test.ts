// Packing with the real engine: what is in a site, against other tools; what is refused; a site in a browser.
// DIST is what was built (../dist); BROWSER is chromium (the default) or firefox.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync, inflateRawSync } from "node:zlib";
import { archive } from "../../src/node/pack/cpio.ts";
import { serve } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";
import { ECHO, elf, print } from "../guests.ts";

const web = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const dist = process.env.DIST ?? join(web, "../dist");
const scratch = mkdtempSync(join(tmpdir(), "pagevm-pack-"));
after(() => rmSync(scratch, { recursive: true }));

const CHUNK = 1 << 17;
const kernel = join(scratch, "echo.elf");
// enough zeros behind it that compression pays
writeFileSync(kernel, Buffer.concat([elf([...print("ready\r\n"), ...ECHO]), new Uint8Array(10_000)]));
const disk = join(scratch, "my disk,1.img");
const bytes = new Uint8Array(CHUNK * 5 + 512);
for (let i = 0; i < CHUNK * 2; i++) bytes[i] = Math.imul(i, 0x9e3779b1) >>> 24;
bytes.set(bytes.subarray(0, CHUNK), CHUNK * 3); // the first chunk once more; what is behind it is zeros
bytes[CHUNK * 5] = 1;
writeFileSync(disk, bytes);
const share = join(scratch, "share");
mkdirSync(join(share, "sub"), { recursive: true });
writeFileSync(join(share, "sub/file"), "words\n", { mode: 0o754 });
execFileSync("ln", ["-s", "../x", join(share, "sub/link")]);
execFileSync("ln", [join(share, "sub/file"), join(share, "again")]);

const quoted = disk.replaceAll(",", ",,");
const options = [
  ...["-m", "64", "-kernel", kernel, "-drive", `file=${quoted},if=virtio,format=raw`],
  ...["-virtfs", `local,path=${share},mount_tag=files,security_model=none`],
];

function pagevm(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(dist, "node-cli.mjs"), ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

function pack(to: string, ...more: string[]): { arguments: string[]; about?: string } {
  const { status, stderr } = pagevm("pack", "-o", to, ...more);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
  return JSON.parse(readFileSync(join(to, "manifest.json"), "utf8"));
}

/** All files, and when they were written. */
function listing(dir: string): Record<string, number> {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).map((name): [string, number] => {
    const stat = statSync(join(dir, name));
    return [name, stat.isFile() ? stat.mtimeMs : 0];
  });
  return Object.fromEntries(files);
}

/** The file that a drive's option has. */
const fileOf = (option: string | undefined) => /^file=([^,]*),format=chunked/.exec(option ?? "")?.[1] ?? "none";

/** An image out of a manifest and its chunks, by the format's description alone. */
function unpack(site: string, address: string): Buffer {
  const manifest = readFileSync(join(site, address));
  assert.equal(manifest.toString("latin1", 0, 8), "pvmchunk");
  assert.equal(manifest.readUInt32LE(12), 1, "deflate");
  const chunk = 2 ** manifest.readUInt32LE(16);
  const size = Number(manifest.readBigUInt64LE(24));
  const image = Buffer.alloc(size);
  for (let at = 0; at * chunk < size; at++) {
    const hash = manifest.toString("hex", 32 + at * 32, 64 + at * 32);
    if (/^0*$/.test(hash)) continue;
    const object = join(site, dirname(address), "chunks", hash.slice(0, 2), hash);
    inflateRawSync(readFileSync(object)).copy(image, at * chunk);
  }
  return image;
}

test("a site has what the options name, under names of its content", () => {
  const site = join(scratch, "site");
  const manifest = pack(site, "--about", "An echo", ...options);
  assert.equal(manifest.about, "An echo");
  const [, , , packed = "", , drive, , shared = ""] = manifest.arguments;
  assert.match(packed, /^guest\/echo\.elf-[0-9a-f]{16}\.gzip$/);
  assert.deepEqual(gunzipSync(readFileSync(join(site, packed))), readFileSync(kernel));
  assert.match(fileOf(drive), /^guest\/my_disk_1\.img-[0-9a-f]{16}\.chunks$/);
  assert.ok(unpack(site, fileOf(drive)).equals(bytes), "the image is what it was");
  assert.match(shared, /^memory,mount_tag=files,archive=guest\/share\.cpio-[0-9a-f]{16}(\.gzip)?$/);
  const chunks = Object.keys(listing(site)).filter((name) => /chunks\/..\/./.test(name));
  assert.equal(chunks.length, 3, "of six chunks two are zeros and one is there twice");
  assert.ok(!manifest.arguments.join().includes(scratch), "no path of this computer is told");
});

test("packed again it is the same; what has changed is new, and what it was is gone", () => {
  const site = join(scratch, "again");
  pack(site, ...options);
  const chunksAndFiles = (names: Record<string, number>) =>
    Object.fromEntries(Object.entries(names).filter(([name]) => name.startsWith("guest/")));
  const first = chunksAndFiles(listing(site));
  pack(site, ...options);
  assert.deepEqual(chunksAndFiles(listing(site)), first, "nothing is written again");
  const other = join(scratch, "other.img");
  writeFileSync(other, Buffer.from(bytes).fill(7, 0, 9));
  writeFileSync(join(site, "mine.css"), "");
  const changed = pack(site, ...options.map((option) => option.replace(quoted, other)));
  assert.ok(unpack(site, fileOf(changed.arguments[5])).equals(readFileSync(other)));
  const now = listing(site);
  const images = Object.keys(now).filter((name) => name.endsWith(".chunks"));
  assert.deepEqual(images, [fileOf(changed.arguments[5])], "the other image's manifest is gone");
  assert.ok("mine.css" in now, "what is not the guest's stays");
});

test("qcow2 is packed by what it holds: as the same raw image", () => {
  const [raw, qcow2, backed] = ["r.img", "q.qcow2", "b.qcow2"].map((name) => join(scratch, name));
  assert.ok(raw && qcow2 && backed);
  writeFileSync(raw, bytes);
  execFileSync("qemu-img", ["convert", "-q", "-c", "-O", "qcow2", raw, qcow2]);
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", qcow2, backed]);
  const hashes = [raw, qcow2, backed].map((file, n) => {
    const site = join(scratch, `format${n}`);
    const manifest = pack(site, "-kernel", kernel, "-drive", `file=${file},if=virtio,format=${n ? "qcow2" : "raw"}`);
    return readFileSync(join(site, fileOf(manifest.arguments[3]))).toString("hex");
  });
  assert.equal(hashes[1], hashes[0]);
  assert.equal(hashes[2], hashes[0]);
});

test("an archive is what cpio unpacks", () => {
  const [file, to] = [join(scratch, "share.cpio"), join(scratch, "unpacked")];
  writeFileSync(file, Buffer.concat([...archive(share, 1 << 20)]));
  mkdirSync(to);
  execFileSync("busybox", ["cpio", "-i", "-d", "-F", file], { cwd: to, stdio: "ignore" });
  const seen = (dir: string) =>
    execFileSync("sh", ["-c", "find . | sort | xargs stat -c '%n %A %u %g %h %N' && cat sub/file again"], { cwd: dir });
  assert.equal(seen(to).toString(), seen(share).toString());
  assert.throws(() => [...archive(share, 3)], /has more than 3 bytes of files/);
  const huge = join(scratch, "huge");
  mkdirSync(huge);
  writeFileSync(join(huge, "file"), "");
  truncateSync(join(huge, "file"), 2 ** 40);
  assert.throws(() => [...archive(huge, 1 << 30)], /huge has more than 1073741824 bytes of files/);
});

test("names are bytes, whatever they are called in", () => {
  const tree = join(scratch, "n\u00e4mes");
  mkdirSync(join(tree, ".virtfs_metadata"), { recursive: true });
  const at = (name: Buffer, under = "") => Buffer.concat([Buffer.from(`${tree}/${under}`), name]);
  const names = [Buffer.from([0x63, 0xe9]), Buffer.from("\u4e2d\u{1f600}")]; // not UTF-8, and what is
  for (const name of names) {
    writeFileSync(at(name), "x");
    writeFileSync(at(name, ".virtfs_metadata/"), "virtfs.uid=77\n");
  }
  const packed = Buffer.concat([...archive(tree, 1 << 20, true)]);
  for (const name of names) {
    const end = packed.indexOf(Buffer.concat([name, Buffer.of(0)]));
    assert.equal(packed.toString("latin1", end - 110 + 22, end - 110 + 30), "0000004d", `the owner of ${name}`);
  }
});

test("directories that a page has stay as they are", () => {
  const virtfs = ["opfs:a", "pick:b"].flatMap((path, n) => [
    "-virtfs",
    `local,path=${path},mount_tag=t${n},security_model=none`,
  ]);
  const { arguments: packed } = pack(join(scratch, "directories"), "-kernel", kernel, ...virtfs);
  assert.deepEqual(packed.slice(2), virtfs);
});

test("of a directory that keeps owners and types beside its files, what the guest sees is packed", () => {
  const [tree, file, to] = ["mapped", "mapped.cpio", "seen"].map((name) => join(scratch, name));
  assert.ok(tree && file && to);
  const keep = (directory: string, name: string, content: string, uid: number, mode: number, rdev?: number) => {
    const store = join(tree, directory, ".virtfs_metadata");
    mkdirSync(store, { recursive: true });
    writeFileSync(join(tree, directory, name), content);
    const lines = [`uid=${uid}`, "gid=7", `mode=${mode}`, ...(rdev === undefined ? [] : [`rdev=${rdev}`])];
    writeFileSync(join(store, name), lines.map((line) => `virtfs.${line}\n`).join(""));
  };
  mkdirSync(join(tree, "d"), { recursive: true });
  keep("", "su", "program", 0, 0o104755);
  keep("d", "link", "../su", 1000, 0o120777);
  keep("d", "zero", "", 0, 0o020666, 0x105);
  writeFileSync(join(tree, "plain"), "text", { mode: 0o640 });
  writeFileSync(join(tree, ".virtfs_metadata_root"), "virtfs.uid=5\nvirtfs.gid=6\nvirtfs.mode=17407\n");
  writeFileSync(file, Buffer.concat([...archive(tree, 1 << 20, true)]));
  const listed = execFileSync("busybox", ["cpio", "-t", "-v", "-F", file], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const lines = listed
    .trim()
    .split("\n")
    .map((line) => line.replace(/ +/g, " ").replace(/ [-0-9]+ [:0-9]+ /, " "));
  const uid = `${process.getuid?.()}/${process.getgid?.()}`;
  assert.deepEqual(lines, [
    "drwxrwxrwt 5/6 0 .",
    `drwxr-xr-x ${uid} 0 d`,
    "lrwxrwxrwx 1000/7 0 d/link -> ../su",
    "crw-rw-rw- 0/7 0 d/zero",
    `-rw-r----- ${uid} 4 plain`,
    "-rwsr-xr-x 0/7 7 su",
  ]);
  // which busybox does not list: the device's number, before the length of the name and a checksum that is not used
  assert.match(readFileSync(file, "latin1"), /0000000100000005[0-9a-f]{16}d\/zero/);
  const site = pack(to, "-kernel", kernel, "-virtfs", `local,path=${tree},mount_tag=t,security_model=mapped-file`);
  const archived = /archive=([^,]*)$/.exec(site.arguments[3] ?? "")?.[1] ?? "";
  const packed = readFileSync(join(to, archived));
  assert.deepEqual(archived.endsWith(".gzip") ? gunzipSync(packed) : packed, readFileSync(file));
});

test("what cannot be packed is one message with the name, and nothing is written", () => {
  const to = join(scratch, "never");
  const foreign = join(scratch, "foreign");
  mkdirSync(foreign);
  writeFileSync(join(foreign, "thesis.txt"), "");
  for (const [args, status, message] of [
    [["-kernel", "/none"], 1, /^pagevm: kernel \/none: there is no such file\n$/],
    [["-kernel", kernel, "-initrd", scratch], 1, /^pagevm: initrd \S+: not a file\n$/],
    [["-kernel", kernel, "-drive", "file=/none,if=virtio"], 1, /^pagevm: -drive: \/none: there is no such file\n$/],
    [
      ["-kernel", kernel, "-virtfs", "local,path=/none,mount_tag=t,security_model=none"],
      1,
      /^pagevm: the directory \/none cannot be packed: there is no such file\n$/,
    ],
    [["-kernal", "x"], 2, /^pagevm: `-kernal` is not supported; the nearest .*\n$/],
  ] as const) {
    const got = pagevm("pack", "-o", to, ...args);
    assert.match(got.stderr, message);
    assert.equal(got.status, status);
    assert.throws(() => statSync(to), /ENOENT/);
  }
  const refused = pagevm("pack", "-o", foreign, "-kernel", kernel);
  assert.match(refused.stderr, /^pagevm: -o \S+foreign: this directory has files that pagevm pack has not made/);
  assert.deepEqual(readdirSync(foreign), ["thesis.txt"]);
  const overlay = `file=${quoted},if=virtio,format=raw,overlay=/tmp/o`;
  const kept = pagevm("pack", "-o", join(scratch, "kept"), "-kernel", kernel, "-drive", overlay);
  assert.match(kept.stderr, /overlay=\/tmp\/o is no file of a page; give overlay=opfs:NAME\n$/);
  assert.equal(kept.status, 2);
  assert.match(pagevm("pack", "-kernel", kernel).stderr, /^pagevm: pack: say where to, with -o DIR/);
});

test("a site boots from below a server's root; so does a page with the options in it", async () => {
  const root = join(scratch, "root");
  const site = join(root, "a/b");
  mkdirSync(dirname(site), { recursive: true });
  const manifest = pack(site, ...options);
  const embedding = join(root, "c");
  cpSync(site, embedding, { recursive: true });
  rmSync(join(embedding, "manifest.json"));
  const html = readFileSync(join(site, "index.html"), "utf8");
  const json = JSON.stringify(manifest.arguments);
  const script = `<script type="application/json" id="pagevm">${json}</script>`;
  writeFileSync(join(embedding, "index.html"), html.replace("</body>", `${script}</body>`));
  writeFileSync(join(embedding, "bad.html"), html.replace("</body>", `${script.replace(json, "{}")}</body>`));
  const server = await serve(root, 0);
  const browser = await launch(process.env.BROWSER === "firefox" ? "firefox" : "chromium");
  try {
    const page = await browser.newPage();
    const opened = async (path: string) => {
      await page.goto(server.url + path);
      await page.waitForFunction(() => /running|failed/.test(document.body.dataset.state ?? ""), { timeout: 120_000 });
      return page.evaluate(() => [document.body.dataset.state, document.getElementById("message")?.textContent]);
    };
    // without the slash at the end the server tells where the page is
    assert.deepEqual(await opened("a/b"), ["running", ""]);
    assert.deepEqual(await opened("c/"), ["running", ""]);
    assert.match((await opened("c/bad.html")).join(), /failed,The script with id="pagevm" has no list of options/);
    const chunk = Object.keys(listing(site)).find((name) => /chunks\/..\/./.test(name));
    const [stored, index] = await Promise.all([fetch(`${server.url}a/b/${chunk}`), fetch(`${server.url}a/b/`)]);
    assert.match(stored.headers.get("cache-control") ?? "", /immutable/);
    assert.equal(index.headers.get("cache-control"), "no-cache");
    const same = await fetch(`${server.url}a/b/`, { headers: { "if-none-match": index.headers.get("etag") ?? "" } });
    assert.equal(same.status, 304);
  } finally {
    await browser.close();
    server.close();
  }
});
