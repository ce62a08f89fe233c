import { ok as assert, strictEqual } from "node:assert/strict";
import { createKernel, FdLedger } from "#linux";
import { realClock } from "#system";
import { Ip } from "#values";
import { Opened } from "../../../lib/app/opened.ts";
import { INFO } from "./threads_world.ts";

const NO_FD = 1_000_000;

Deno.test("an order that lacks one descriptor keeps none of the others", () => {
  const at = { ip: Ip.parse("127.71.1.20")!, port: 0 };
  const listen = { at, transparent: "off", redirected: false } as const;
  const instance = new Opened(1, { kind: "dedicated", info: INFO }, NO_FD);
  instance.share(createKernel({ clock: realClock }), { inbound: listen, outbound: listen });
  const before = [...Deno.readDirSync("/proc/self/fd")].length;
  const ledger = new FdLedger();
  try {
    instance.specFor(ledger);
    assert(false, "nobody has this descriptor");
  } catch (error) {
    assert(error instanceof Error && error.name === "CallError", String(error));
  }
  strictEqual([...Deno.readDirSync("/proc/self/fd")].length, before);
  strictEqual(ledger.closeAll(), 0);
  instance.close();
});
