import { ok as assert, strictEqual } from "node:assert/strict";
import { createKernel, FdLedger } from "#linux";
import { realClock } from "#system";
import { Ip } from "#values";
import { Opened } from "../../../lib/app/opened.ts";
import { INFO } from "./threads_world.ts";

const NO_FD = 1_000_000;

/** Descriptors of sockets that are bound to `ip`; what other tests of this process open is none of them. */
function openOf(ip: Ip): number {
  const address = new Uint8Array(ip.split(".").map(Number)).toReversed().toHex().toUpperCase();
  const inodes = Deno.readTextFileSync("/proc/thread-self/net/tcp").split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local]) => local?.startsWith(`${address}:`))
    .map((columns) => `socket:[${columns[9]}]`);
  return [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
    try {
      return inodes.includes(Deno.readLinkSync(`/proc/self/fd/${name}`));
    } catch {
      return false;
    }
  }).length;
}

Deno.test("an order that lacks one descriptor keeps none of the others", () => {
  const at = { ip: Ip.parse("127.71.1.20")!, port: 0 };
  const listen = { at, transparent: "off", redirected: false } as const;
  const instance = new Opened(1, { kind: "dedicated", info: INFO }, NO_FD);
  instance.share(createKernel({ clock: realClock }), { inbound: listen, outbound: listen });
  strictEqual(openOf(at.ip), 2, "the two listeners");
  const ledger = new FdLedger();
  try {
    instance.specFor(ledger);
    assert(false, "nobody has this descriptor");
  } catch (error) {
    assert(error instanceof Error && error.name === "CallError", String(error));
  }
  strictEqual(openOf(at.ip), 2);
  strictEqual(ledger.closeAll(), 0);
  instance.close();
});
