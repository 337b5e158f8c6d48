// The channels that Node has: sockets, names, and a LAN that QEMU can be on too.

import { createSocket, type Socket as Datagrams } from "node:dgram";
import { lookup } from "node:dns";
import { connect, createServer, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { Bytes, Channel, Line, Openers } from "../host/channels.ts";
import { webSocket } from "../host/webchannels.ts";

/** Connections that have arrived and wait for the engine. */
const arrived = new Map<number, Socket>();
const ARRIVED_MAX = 64;
let arrivals = 0;
/** How long what was sent may wait for the other end when nobody else does. */
const LINGER_MS = 60_000;

function split(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** A buffer of Node's own pool, as bytes that nobody else writes. */
function own(data: Buffer): Bytes {
  return new Uint8Array(data);
}

function stream(socket: Socket, line: Line): Channel {
  socket.setNoDelay(true);
  socket.on("data", (data) => {
    if (!line.stream(own(data as Buffer))) socket.pause();
  });
  socket.on("end", () => line.end());
  socket.on("error", (error) => line.closed(error.message));
  return {
    send: (data) => void socket.write(data, () => line.paid(data.length)),
    finish: () => void socket.end(),
    close: () => {
      if (!socket.writableEnded) return void socket.destroy();
      // What was sent before the end goes on, as long as the other end takes it.
      socket.setTimeout(LINGER_MS, () => socket.destroy());
      socket.destroySoon();
    },
    resume: () => void socket.resume(),
  };
}

function tcp(address: string, line: Line): Channel {
  const socket = connect({ ...split(address), allowHalfOpen: true });
  socket.on("connect", () => line.opened());
  return stream(socket, line);
}

function tcpAccept(address: string, line: Line): Channel {
  const socket = arrived.get(Number(address));
  arrived.delete(Number(address));
  if (!socket) throw new Error("there is no such connection");
  const channel = stream(socket, line);
  line.opened();
  socket.resume();
  return channel;
}

function tcpListen(address: string, line: Line): Channel {
  const mine = new Set<number>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    if (arrived.size >= ARRIVED_MAX) {
      socket.destroy();
      return;
    }
    arrivals = (arrivals + 1) >>> 0;
    const number = arrivals;
    arrived.set(number, socket);
    mine.add(number);
    socket.on("close", () => {
      arrived.delete(number);
      mine.delete(number);
    });
    line.accepted(number);
  });
  server.on("error", (error) => line.closed(error.message));
  server.listen(split(address), () => line.opened());
  return {
    send: () => {},
    finish: () => {},
    close: () => {
      server.close();
      for (const number of mine) arrived.get(number)?.destroy();
    },
  };
}

/** A socket for datagrams, which loses those that it cannot send. */
function datagrams(line: Line): Datagrams {
  const socket = createSocket({ type: "udp4", reuseAddr: false });
  socket.on("error", (error) => {
    line.closed(error.message);
    socket.close();
  });
  return socket;
}

function closing(socket: Datagrams): () => void {
  return () => {
    socket.removeAllListeners("error");
    socket.on("error", () => {});
    try {
      socket.close();
    } catch {
      // it was closed by its error
    }
  };
}

function udp(address: string, line: Line): Channel {
  const socket = datagrams(line);
  const { host, port } = split(address);
  let early: Bytes[] | undefined = [];
  socket.on("message", (data) => line.datagram(own(data)));
  socket.on("connect", () => {
    line.opened();
    for (const data of early ?? []) socket.send(data, () => {});
    early = undefined;
  });
  socket.connect(port, host); // a callback would be called for its errors, too
  return {
    send: (data) => void (early ? early.length < 64 && early.push(data) : socket.send(data, () => {})),
    finish: () => {},
    close: closing(socket),
  };
}

const PEER = 6;

function udpListen(address: string, line: Line): Channel {
  const socket = datagrams(line);
  const { host, port } = split(address);
  socket.on("message", (data, peer) => {
    const message = new Uint8Array(PEER + data.length);
    message.set(peer.address.split(".").map(Number));
    new DataView(message.buffer).setUint16(4, peer.port);
    message.set(data, PEER);
    line.datagram(message);
  });
  socket.bind(port, host, () => line.opened());
  return {
    send(message) {
      const peer = new DataView(message.buffer, message.byteOffset).getUint16(4);
      if (peer === 0) return; // who sends from there hears nothing, and Node throws
      socket.send(message.subarray(PEER), peer, message.subarray(0, 4).join("."), () => {});
    },
    finish: () => {},
    close: closing(socket),
  };
}

function resolve(name: string, line: Line): Channel {
  lookup(name, { all: true, order: "verbatim" }, (error, found) => {
    if (error && error.code !== "ENOTFOUND" && error.code !== "ENODATA") line.closed(`${name}: ${error.message}`);
    else line.data(new TextEncoder().encode((found ?? []).map((entry) => entry.address).join("\n")));
  });
  return { send: () => {}, finish: () => {}, close: () => {} };
}

/** Frames as datagrams to a multicast group, as QEMU's `-netdev socket,mcast=` sends them. */
function multicast(address: string, line: Line): Channel {
  const { host, port } = split(address);
  const receiver = createSocket({ type: "udp4", reuseAddr: true });
  // From a port of its own: that tells what comes back from what others on this machine send.
  const sender = createSocket({ type: "udp4" });
  const close = () => {
    for (const socket of [receiver, sender]) closing(socket)();
  };
  const failed = (error: unknown) => {
    close();
    line.closed(error instanceof Error ? error.message : String(error));
  };
  for (const socket of [receiver, sender]) socket.on("error", failed);
  const here = new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((one) => one.address)));
  let own_port = 0;
  const early: Bytes[] = [];
  const send = (data: Bytes) => sender.send(data, port, host, () => {});
  sender.bind(0, () => {
    own_port = sender.address().port;
    for (const data of early.splice(0)) send(data);
  });
  receiver.on("message", (data, from) => {
    if (from.port !== own_port || !here.has(from.address)) line.datagram(own(data));
  });
  receiver.bind(port, () => {
    try {
      receiver.addMembership(host);
    } catch (error) {
      failed(error); // a computer that is on no network
      return;
    }
    line.opened();
  });
  return {
    send: (data) => void (own_port ? send(data) : early.length < 64 && early.push(data)),
    finish: () => {},
    close,
  };
}

export const nodeChannels: Openers = {
  Tcp: tcp,
  Udp: udp,
  Resolve: resolve,
  TcpListen: tcpListen,
  TcpAccept: tcpAccept,
  UdpListen: udpListen,
  Lan: multicast,
  ...(typeof WebSocket === "undefined" ? {} : { WebSocket: webSocket }),
};
