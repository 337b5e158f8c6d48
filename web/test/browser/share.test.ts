// Directories of a browser in a guest, over 9p: the page's own storage, and one that its user picks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium, setting, Tab } from "./tab.ts";

const site = setting();

const share = (path: string, tag: string, model = "none") => [
  "-virtfs",
  `local,path=${path},mount_tag=${tag},security_model=${model}`,
];
const mount = (tag: string) =>
  `mkdir /${tag}; mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 ${tag} /${tag}`;

/** Files of the site's storage as the page sees them: the sum of one, how many a directory has. */
const inPage = {
  sum: (tab: Tab, path: string) =>
    tab.page.evaluate(async (path) => {
      const names = path.split("/");
      let directory = await navigator.storage.getDirectory();
      for (const name of names.slice(0, -1)) directory = await directory.getDirectoryHandle(name);
      const file = await (await directory.getFileHandle(names.at(-1) ?? "")).getFile();
      const sum = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
      return Array.from(new Uint8Array(sum), (byte) => byte.toString(16).padStart(2, "0")).join("");
    }, path),
  count: (tab: Tab, name: string, inside: string) =>
    tab.page.evaluate(
      async (name, inside) => {
        const top = await (await navigator.storage.getDirectory()).getDirectoryHandle(name);
        const directory = await top.getDirectoryHandle(inside);
        let count = 0;
        for await (const _ of (directory as unknown as { keys(): AsyncIterable<string> }).keys()) count += 1;
        return count;
      },
      name,
      inside,
    ),
};

/** Makes the worker's browser refuse, as it does when its user has taken back a permission. */
async function inWorker(tab: Tab, script: string): Promise<void> {
  const [worker] = tab.page.workers();
  assert.ok(worker, "the machine has a worker");
  await worker.evaluate(script);
}

test("what a guest does to files is seen in the page, and the other way round", async () => {
  const page = await site.browser.newPage();
  await page.goto(`${site.server.url}package.json`);
  // an automated browser shows no picker: a directory of the site's storage is what it gives
  await page.evaluate(async () => {
    const top = await (await navigator.storage.getDirectory()).getDirectoryHandle("mine", { create: true });
    const file = await top.getFileHandle("in", { create: true });
    const stream = await file.createWritable();
    await stream.write(new Uint8Array(8 << 20).map((_, i) => i >> 7));
    await stream.close();
  });
  await page.close();
  const picker = () => {
    Object.assign(window, {
      showDirectoryPicker: async () => (await navigator.storage.getDirectory()).getDirectoryHandle("mine"),
    });
  };
  const tab = await Tab.open(
    site.browser,
    site.server.url,
    [...share("opfs:work", "work"), ...share("pick:notes", "mine")],
    {
      prepare: picker,
    },
  );
  await tab.page.waitForFunction(() => document.getElementById("title")?.textContent === "Which directory is notes?");
  await tab.screenshot("pick");
  await tab.page.locator("#restart").click(); // when it does not move any more
  await tab.prompt();
  assert.match(await tab.run(`${mount("work")} && ${mount("mine")}`), /^=0=/m);
  const is = async (command: string, expected: string, status = 0) =>
    assert.equal(await tab.run(command), `${expected}\n=${status}=\n`, command);

  await is(
    "echo one > /work/a; echo two >> /work/a; mkdir /work/d; mv /work/a /work/d/b; cat /work/d/b; ls /work",
    "one\ntwo\nd\n",
  );
  await is(
    "echo 3 > /work/old; echo 4 > /work/new; mv /work/new /work/old; cat /work/old; rm /work/old; ls /work",
    "4\nd\n",
  );
  await is("mv /work/d /work/e; cat /work/e/b; rm -r /work/e; ls /work", "one\ntwo\n");
  // a name that means another file now is not written through the old one
  await is(
    "echo x > /work/x; exec 3>>/work/x; echo y > /work/y; mv /work/y /work/x; echo z >&3; exec 3>&-; cat /work/x; rm /work/x",
    "sh: write error: Stale file handle\ny\n",
  );
  await is("mkdir /work/many; cd /work/many; touch $(seq 1000); ls | wc -l; cd /", "1000\n");
  assert.equal(await inPage.count(tab, "work", "many"), 1000);
  await is(
    "rm -r /work/many; ls /work; rmdir /work/none; ln -s a /work/l",
    "rmdir: '/work/none': No such file or directory\nln: /work/l: Operation not permitted\n",
    1,
  );

  const began = Date.now();
  const there = await tab.run(
    "sha256sum < /mine/in; head -c 8000000 /dev/urandom > /tmp/r; cp /tmp/r /work/out; sha256sum < /work/out",
  );
  console.log(`8 MiB from a share, 8 MB to it and back: ${Date.now() - began} ms`);
  const [first, second] = there.split("\n").map((line) => line.slice(0, 64));
  assert.equal(first, await inPage.sum(tab, "mine/in"));
  assert.equal(second, await inPage.sum(tab, "work/out"));

  if (!chromium) return tab.close();
  // storage is full, then it is not
  const cdp = await tab.page.createCDPSession();
  const origin = new URL(site.server.url).origin;
  await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 20e6 }); // more than there is, less than comes
  assert.match(await tab.run("dd if=/dev/zero of=/work/full bs=64k count=320"), /No space left on device/);
  await tab.logged(/^the shared directory opfs:work: there is no space left, the guest gets ENOSPC/);
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  assert.match(await tab.run("dd if=/dev/zero of=/work/full bs=64k count=320"), /^=0=/m);

  // a directory outside the site's storage has no access in place: what is written goes to a copy
  await inWorker(tab, "FileSystemFileHandle.prototype.createSyncAccessHandle = undefined");
  const copied = await tab.run("cp /tmp/r /mine/out; echo more >> /mine/out; sha256sum < /mine/out; rm /tmp/r");
  assert.equal(copied.slice(0, 64), await inPage.sum(tab, "mine/out"));
  assert.match(await tab.run("mv /mine/out /mine/moved; ls -l /mine; rm /mine/moved"), /8000005 .*moved/);

  // the user takes the permission back
  await inWorker(
    tab,
    `for (const [type, name] of [[FileSystemFileHandle, "getFile"], [FileSystemDirectoryHandle, "getFileHandle"]])
      type.prototype[name] = async () => { throw new DOMException("no longer allowed", "NotAllowedError"); };`,
  );
  assert.match(
    await tab.run("cat /mine/in > /dev/null; cat /mine/other"),
    /can't open '\/mine\/other': Permission denied/,
  );
  await tab.logged(/^the shared directory pick:notes: the browser does not let this page read or write it any more/);
  await tab.page.locator("#messages").click();
  await tab.screenshot("share");
  await tab.close();
});

test("owners, modes, devices and links are kept beside the files of a browser's directory", async () => {
  const options = share("opfs:kept", "kept", "mapped-file");
  let tab = await Tab.boot(site.browser, site.server.url, options);
  const is = async (command: string, expected: string, status = 0) =>
    assert.equal(await tab.run(command), `${expected}\n=${status}=\n`, command);
  await tab.run(`${mount("kept")}; cd /kept; chown 3:4 .; mkdir -m 2750 d; cd d`);
  await tab.run(
    "cp /bin/busybox busybox; chown 1000:2000 busybox; chmod 4711 busybox; mknod null c 1 3; mkfifo fifo; ln -s ../d/busybox link",
  );
  await tab.run("echo words > a; chmod 600 a; mv a b; ln b hard; sync; cd /; tar cf /tmp/all.tar -C / kept");
  const list = "cd /kept; for f in . d d/*; do stat -c '%n %A %u %g %h %t,%T' $f; done; readlink d/link; cd /";
  const files = [
    ". drwxr-xr-x 3 4 2 0,0",
    "d drwxr-s--- 0 0 2 0,0",
    "d/b -rw------- 0 0 1 0,0",
    "d/busybox -rws--x--x 1000 2000 1 0,0",
    "d/fifo prw-r--r-- 0 0 1 0,0",
    "d/link lrwxrwxrwx 0 0 1 0,0",
    "d/null crw-r--r-- 0 0 1 1,3",
    "../d/busybox",
  ];
  await is(list, `${files.join("\n")}\n`);
  await is("cat /kept/d/null | wc -c; ls -A /kept; /kept/d/busybox echo runs", "0\nd\nruns\n");
  // they are there when the page is loaded again, and in the page they are files
  await tab.page.reload();
  await tab.prompt();
  assert.match(await tab.run(mount("kept")), /^=0=/m);
  await is(list, `${files.join("\n")}\n`);
  assert.equal(await inPage.count(tab, "kept", "d"), 6, "five files and what is kept of them");
  await is("rm -r /kept/d; ls -A /kept", "");
  await tab.close();
  tab = await Tab.boot(site.browser, site.server.url, share("opfs:kept", "kept"));
  await tab.run(mount("kept"));
  await is(
    "ls -A1 /kept; cat /kept/.virtfs_metadata_root | head -n 2; ls /kept/.virtfs_metadata",
    ".virtfs_metadata\n.virtfs_metadata_root\nvirtfs.uid=3\nvirtfs.gid=4\n",
  );
  await tab.close();
});
