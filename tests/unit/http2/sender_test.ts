import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { FloodGuard } from "../../../lib/http2/flood.ts";
import { Outbox } from "../../../lib/http2/outbox.ts";
import { Sender } from "../../../lib/http2/sender.ts";
import { PeerSettings } from "../../../lib/http2/settings.ts";
import type { Tunnel } from "../../../lib/http2/tunnel.ts";
import { realClock } from "#system";

const WINDOW_BYTES = 65_535;

/** A stream that would say more. */
function waiting(wentOn: number[], id: number): Tunnel {
  const tunnel = { id, sendWindow: 1 << 20, isQueued: false, pending: undefined };
  return { ...tunnel, isAwaitingRoom: true, goOn: () => wentOn.push(id) } as unknown as Tunnel;
}

Deno.test("streams that are over leave the line, also while the peer grants no window", () => {
  const outbox = new Outbox({ write: (_, done) => done() }, () => {});
  const sender = new Sender(outbox, new PeerSettings(), new FloodGuard(realClock), () => {});
  const wentOn: number[] = [];
  assertEquals(sender.send(waiting(wentOn, 1), new Uint8Array(2 * WINDOW_BYTES)), WINDOW_BYTES);
  const over = Array.from({ length: 100 }, (_, index) => waiting(wentOn, 3 + 2 * index));
  for (const tunnel of over) sender.awaitRoom(tunnel);
  for (const tunnel of over) sender.forget(tunnel);
  sender.widen(1_000);
  assertEquals([...new Set(wentOn)], [1], "only who is there is let on");
});
