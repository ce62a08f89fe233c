import { fail, strictEqual } from "node:assert/strict";
import { WriteWaiter } from "../../../lib/linux/epoll.ts";
import { C, c } from "../../../lib/linux/libc.ts";
import {
  bindTo,
  closeFd,
  encodeSockaddr,
  isReady,
  localAddressOf,
  tcpSocket,
} from "../../../lib/linux/socket.ts";
import { realClock } from "#system";
import { ip } from "./support.ts";

/** A listener with room for `backlog` more; nobody accepts on it. */
function listen(backlog: number): { readonly fd: number; readonly at: Uint8Array<ArrayBuffer> } {
  const fd = tcpSocket(4);
  bindTo(fd, { ip: ip("127.61.0.9"), port: 0 });
  c.listen(fd, backlog);
  return { fd, at: encodeSockaddr(localAddressOf(fd)) };
}

function connecting(at: Uint8Array<ArrayBuffer>): number {
  const fd = tcpSocket(4);
  c.connect(fd, at, at.length);
  return fd;
}

/** False if another thread of this process took the number first, which proves nothing. */
async function tryReuse(): Promise<boolean> {
  const open = listen(8);
  const full = listen(0);
  const fillers = [connecting(full.at), connecting(full.at)];
  const waiter = new WriteWaiter();
  const first = connecting(open.at);
  const cancelled = waiter.wait(first);
  // The parked thread takes its event now, and we hear of it only when this turn is over.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  waiter.cancel(first);
  closeFd(first);
  const second = connecting(full.at);
  let woken = false;
  const waiting = waiter.wait(second).then(() => woken = true);
  await cancelled;
  await realClock.sleep(100);
  const proves = second === first && !isReady(second, C.POLLOUT);
  if (proves) strictEqual(woken, false);
  waiter.cancel(second);
  await waiting;
  for (const fd of [second, ...fillers, open.fd, full.fd]) closeFd(fd);
  return proves;
}

Deno.test("WriteWaiter does not wake a socket for what happened to one that had its number", async () => {
  for (let attempt = 0; attempt < 20; attempt++) if (await tryReuse()) return;
  fail("the kernel never gave the number again");
});
