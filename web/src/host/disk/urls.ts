// Disks in a page: all files have addresses.

import type { Disks } from "./host.ts";
import { fetchHttp, openHttp } from "./http.ts";
import { openKept } from "./kept.ts";

export const urlDisks: Disks = {
  address: (name, base) => {
    try {
      return new URL(name, base).href;
    } catch (cause) {
      throw new Error("this is not an address", { cause });
    }
  },
  open: (address, access, { account, kept, unsure }) => {
    if (access === "create") throw new Error("nothing can be written there; keep what is written in opfs:NAME");
    return openHttp(address, { account, cached: () => !kept(), unsure });
  },
  fetch: (address, again, { account, kept }) => fetchHttp(address, again, { account, cached: () => !kept() }),
  keep: openKept,
};
