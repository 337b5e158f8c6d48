// Node's channels against Node's own servers, under the engine's flow control.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { test } from "node:test";
import { ChannelEvent, ChannelKind } from "../src/abi.gen.ts";
import { type Bytes, Channels, type Kind, type Line, type Openers } from "../src/host/channels.ts";
import { nodeChannels } from "../src/node/sockets.ts";

interface Said {
  channel: number;
  event: number;
  value: number;
  data: Bytes;
}

/** The engine's side: its memory is one buffer, and what it is told is kept. */
class Peer {
  readonly memory = new Uint8Array(1 << 20);
  readonly said: Said[] = [];
  readonly channels: Channels;
  readonly #imports: ReturnType<Channels["imports"]>;
  #wake: () => void = () => {};
  #last = 0;

  constructor(openers: Openers = nodeChannels) {
    this.channels = new Channels(openers, () => this.#wake());
    this.#imports = this.channels.imports((ptr, len) => this.memory.subarray(ptr, ptr + len));
  }

  get support(): number {
    return this.#imports.channel_support();
  }

  #put(data: Uint8Array): number {
    this.memory.fill(0xee);
    this.memory.set(data, 64);
    return data.length;
  }

  open(kind: Kind, address: string): number {
    this.#last += 1;
    this.#imports.channel_open(this.#last, ChannelKind[kind], 64, this.#put(new TextEncoder().encode(address)));
    return this.#last;
  }

  send(channel: number, data: Uint8Array | string): void {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    this.#imports.channel_send(channel, 64, this.#put(bytes));
    this.memory.fill(0); // the host has its own copy
  }

  finish = (channel: number) => this.#imports.channel_finish(channel);
  close = (channel: number) => this.#imports.channel_close(channel);
  credit = (channel: number, bytes: number) => this.#imports.channel_credit(channel, bytes);

  /** Takes events until `done`. */
  async until(what: string, done: () => boolean): Promise<void> {
    const end = Date.now() + 10_000;
    for (;;) {
      this.channels.deliver({
        channelEvent: (channel, event, value, data) => this.said.push({ channel, event, value, data: data.slice() }),
      });
      if (done()) return;
      assert.ok(Date.now() < end, `${what} did not come: ${JSON.stringify(this.said.slice(-5))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 20);
        this.#wake = () => {
          clearTimeout(timer);
          setImmediate(resolve);
        };
      });
    }
  }

  of(channel: number, event: number): Said[] {
    return this.said.filter((said) => said.channel === channel && said.event === event);
  }

  text(channel: number): string {
    return this.of(channel, ChannelEvent.Data)
      .map(({ data }) => new TextDecoder().decode(data))
      .join("");
  }

  bytes(channel: number): number {
    return this.of(channel, ChannelEvent.Data).reduce((sum, { data }) => sum + data.length, 0);
  }
}

async function serve(handle: (socket: Socket) => void): Promise<[Server, string]> {
  const server = createServer({ allowHalfOpen: true }, handle);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return [server, `127.0.0.1:${(server.address() as AddressInfo).port}`];
}

test("a stream goes as far as its credit, and each end finishes for itself", async () => {
  const [server, address] = await serve((socket) => {
    socket.write(Buffer.alloc(1 << 20, "x"));
    let heard = "";
    socket.on("data", (data) => {
      heard += data;
    });
    socket.on("end", () => socket.end(`heard ${heard}`));
  });
  const peer = new Peer();
  const channel = peer.open("Tcp", address);
  await peer.until("the connection", () => peer.of(channel, ChannelEvent.Opened).length === 1);
  peer.credit(channel, 1000);
  await peer.until("the first bytes", () => peer.bytes(channel) === 1000);
  await new Promise((resolve) => setTimeout(resolve, 50));
  peer.credit(channel, 500);
  await peer.until("500 more", () => peer.bytes(channel) === 1500);
  peer.send(channel, "all of ");
  peer.send(channel, "it");
  peer.finish(channel);
  await peer.until("payment", () => peer.of(channel, ChannelEvent.Credit).reduce((sum, s) => sum + s.value, 0) === 9);
  assert.equal(peer.of(channel, ChannelEvent.Finished).length, 0);
  peer.credit(channel, 2 << 20);
  await peer.until("the end", () => peer.of(channel, ChannelEvent.Finished).length === 1);
  assert.equal(peer.text(channel).slice(1 << 20), "heard all of it");
  peer.close(channel);
  server.close();
});

test("messages are not split, and wait for any credit", async () => {
  let line: Line | undefined;
  let resumed = 0;
  const end = { send: () => {}, finish: () => {}, close: () => {}, resume: () => (resumed += 1) };
  const peer = new Peer({
    WebSocket: (_, opened) => {
      line = opened;
      return end;
    },
  });
  const channel = peer.open("WebSocket", "ws://relay");
  peer.credit(channel, 1);
  assert.equal(line?.message(Uint8Array.of(1, 2, 3)), true);
  assert.equal(line?.message(Uint8Array.of(4, 5)), false);
  assert.deepEqual([line?.waiting, peer.channels.size], [2, 1]);
  peer.credit(channel, 2); // the debt
  assert.equal(resumed, 0);
  peer.credit(channel, 1);
  assert.equal(resumed, 1);
  await peer.until("two messages", () => peer.of(channel, ChannelEvent.Data).length === 2);
  assert.deepEqual(
    peer.of(channel, ChannelEvent.Data).map(({ data }) => [...data]),
    [
      [1, 2, 3],
      [4, 5],
    ],
  );
  peer.close(channel);
  assert.deepEqual([line?.waiting, peer.channels.size], [0, 0]);
});

test("refusals and resets are told, with a reason", async () => {
  const [server, address] = await serve((socket) => void socket.resetAndDestroy());
  const peer = new Peer();
  const reset = peer.open("Tcp", address);
  await peer.until("the reset", () => peer.of(reset, ChannelEvent.Closed).length === 1);
  server.close();
  await once(server, "close");
  const refused = peer.open("Tcp", address);
  await peer.until("the refusal", () => peer.of(refused, ChannelEvent.Closed).length === 1);
  assert.match(new TextDecoder().decode(peer.of(refused, ChannelEvent.Closed)[0]?.data), /ECONNREFUSED/);
  const unknown = peer.open("Fetch", "GET http://x/");
  await peer.until("the refusal", () => peer.of(unknown, ChannelEvent.Closed).length === 1);
  assert.equal(peer.support & (1 << ChannelKind.Fetch), 0);
  assert.notEqual(peer.support & (1 << ChannelKind.Tcp), 0);
});

test("what was sent before the end arrives, though the channel is closed", async () => {
  let got = 0;
  let whole = false;
  const [server, address] = await serve((socket) => {
    socket.end(); // it says nothing, and takes its time
    setTimeout(() => socket.on("data", (data) => (got += data.length)), 100);
    socket.on("end", () => (whole = true));
    socket.on("error", () => {});
    socket.on("close", () => server.close());
  });
  const peer = new Peer();
  const channel = peer.open("Tcp", address);
  peer.credit(channel, 1);
  await peer.until("the server's end", () => peer.of(channel, ChannelEvent.Finished).length === 1);
  // more than the system takes at once
  const piece = new Uint8Array(900_000);
  for (let n = 0; n < 20; n++) peer.send(channel, piece);
  peer.finish(channel);
  peer.close(channel);
  await once(server, "close");
  assert.deepEqual([got, whole], [20 * piece.length, true]);
});

test("connections that arrive wait until they are opened", async () => {
  const peer = new Peer();
  const probe = await serve(() => {});
  probe[0].close();
  await once(probe[0], "close");
  const listener = peer.open("TcpListen", probe[1]);
  await peer.until("listening", () => peer.of(listener, ChannelEvent.Opened).length === 1);
  const client = connect(Number(probe[1].split(":")[1]), "127.0.0.1");
  client.end("hello");
  await peer.until("an arrival", () => peer.of(listener, ChannelEvent.Accepted).length === 1);
  const channel = peer.open("TcpAccept", String(peer.of(listener, ChannelEvent.Accepted)[0]?.value));
  peer.credit(channel, 100);
  await peer.until("its data", () => peer.of(channel, ChannelEvent.Finished).length === 1);
  assert.equal(peer.text(channel), "hello");
  peer.send(channel, "bye");
  peer.finish(channel);
  assert.equal(String((await once(client, "data"))[0]), "bye");
  // the address is taken
  const second = peer.open("TcpListen", probe[1]);
  await peer.until("a refusal", () => peer.of(second, ChannelEvent.Closed).length === 1);
  peer.channels.closeAll();
  client.destroy();
});

test("datagrams, out and in", async () => {
  const echo = createSocket("udp4");
  echo.on("message", (data, from) => echo.send(data, from.port, from.address));
  echo.bind(0, "127.0.0.1");
  await once(echo, "listening");
  const peer = new Peer();
  const channel = peer.open("Udp", `127.0.0.1:${echo.address().port}`);
  peer.send(channel, "early");
  await peer.until("the echo", () => peer.text(channel) === "early");
  const listener = peer.open("UdpListen", `127.0.0.1:${echo.address().port + 1}`);
  await peer.until("listening", () => peer.of(listener, ChannelEvent.Opened).length === 1);
  echo.removeAllListeners("message");
  echo.send("in", echo.address().port + 1, "127.0.0.1");
  await peer.until("a datagram", () => peer.of(listener, ChannelEvent.Data).length === 1);
  const message = peer.of(listener, ChannelEvent.Data)[0]?.data ?? new Uint8Array();
  assert.deepEqual([...message.subarray(0, 4)], [127, 0, 0, 1]);
  assert.equal(new DataView(message.buffer).getUint16(4), echo.address().port);
  assert.equal(new TextDecoder().decode(message.subarray(6)), "in");
  peer.send(listener, Uint8Array.of(127, 0, 0, 1, 0, 0, 1)); // to port 0
  peer.send(listener, message);
  assert.equal(String((await once(echo, "message"))[0]), "in");
  peer.channels.closeAll();
  echo.close();
});

test("datagrams to where there is no way are told, and end nothing else", async () => {
  const peer = new Peer();
  // a broadcast takes leave that nobody asks for; where there is no network every address is like that
  const nowhere = peer.open("Udp", "255.255.255.255:9");
  peer.send(nowhere, "early");
  // a computer that is on no network has no groups either
  const lan = peer.open("Lan", "192.0.2.1:47012");
  peer.send(lan, "early");
  const reason = (channel: number) =>
    new TextDecoder().decode(peer.of(channel, ChannelEvent.Closed)[0]?.data ?? new Uint8Array());
  await peer.until("both ends", () => reason(nowhere) !== "" && reason(lan) !== "");
  assert.match(reason(nowhere), /EACCES/);
  assert.match(reason(lan), /addMembership/);
  assert.equal(peer.channels.size, 0);
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name.startsWith("UDP")).length;
  await peer.until("the end of their sockets", () => sockets() === 0);
});

test("names", async () => {
  const peer = new Peer();
  const found = peer.open("Resolve", "localhost");
  const unknown = peer.open("Resolve", "no-such-name.invalid");
  const answered = (channel: number) =>
    peer.of(channel, ChannelEvent.Data).length + peer.of(channel, ChannelEvent.Closed).length === 1;
  await peer.until("answers", () => answered(found) && answered(unknown));
  assert.match(peer.text(found), /^(127\.0\.0\.1|::1)$/m);
  assert.equal(peer.text(unknown), "");
});

test("a LAN has everyone's frames but one's own", async () => {
  const [one, two] = [new Peer(), new Peer()];
  const address = "239.83.7.1:47011";
  const [a, b] = [one.open("Lan", address), two.open("Lan", address)];
  await one.until("one", () => one.of(a, ChannelEvent.Opened).length === 1);
  await two.until("two", () => two.of(b, ChannelEvent.Opened).length === 1);
  one.send(a, "frame of one");
  await two.until("the frame", () => two.text(b) === "frame of one");
  two.send(b, "frame of two");
  await one.until("the frame", () => one.text(a) === "frame of two");
  one.channels.closeAll();
  two.channels.closeAll();
});
