import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { ConnectionFacts } from "#authz";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { Ip } from "#values";
import { Connections } from "../../../lib/proxy/connections.ts";
import { SocketStates } from "../../../lib/proxy/sockets.ts";
import { workload } from "../mesh/builders.ts";
import { deny } from "./world.ts";

const shown = { src: "a", originalDst: null, actualDst: "b", protocol: "TCP" } as const;
const at = { ip: Ip.parse("10.0.0.1")!, port: 8080 };
/** A policy for another port, which allows what is here as far as it goes. */
const elsewhere = {
  ...deny,
  key: "shop/elsewhere",
  name: "elsewhere",
  rules: [[[{ ...deny.rules[0]![0]![0]!, destinationPorts: [1] }]]],
};

function table(rowsCount: number) {
  const { writer, view } = createMesh({});
  writer.upsertWorkload(workload("web"));
  writer.upsertPolicy(elsewhere);
  writer.commit();
  let judged = 0;
  const facts: ConnectionFacts = {
    source: at,
    get destination() {
      judged++;
      return at;
    },
  };
  const connections = new Connections(new SocketStates(new Metrics({ nowMs: () => 0 })));
  const rows = Array.from(
    { length: rowsCount },
    () => connections.trackInbound(shown, facts, view.workload("web")!),
  );
  const recheck = () => {
    const before = judged;
    const revokedCount = connections.recheck(view);
    return { judged: judged > before, revokedCount };
  };
  return { writer, rows, recheck };
}

Deno.test("behaviour.md 5.6: what does not concern a connection's workload does not judge it again, all else does", () => {
  const { writer, rows, recheck } = table(1);
  deepStrictEqual(recheck(), { judged: true, revokedCount: 0 }, "for the first time");
  writer.upsertWorkload(workload("other"));
  writer.commit();
  deepStrictEqual(recheck(), { judged: false, revokedCount: 0 }, "another workload");
  writer.upsertWorkload(workload("web", { canonicalRevision: "v2" }));
  writer.commit();
  deepStrictEqual(recheck(), { judged: true, revokedCount: 0 }, "its own");
  writer.upsertPolicy({ ...elsewhere, key: "far/away", namespace: "far" });
  writer.commit();
  deepStrictEqual(recheck(), { judged: true, revokedCount: 0 }, "any policy");
  writer.removeAddress("web");
  writer.upsertPolicy(deny);
  writer.commit();
  deepStrictEqual(recheck(), { judged: true, revokedCount: 1 }, "gone, and denied");
  strictEqual(rows[0]!.revoked.aborted, true);
});

Deno.test("ten thousand connections cost a commit that does not concern them next to nothing", () => {
  const { writer, recheck } = table(10_000);
  recheck();
  let leastMs = Infinity;
  for (let round = 0; round < 10; round++) {
    writer.upsertWorkload(workload(`other-${round}`));
    writer.commit();
    const start = performance.now();
    deepStrictEqual(recheck(), { judged: false, revokedCount: 0 });
    leastMs = Math.min(leastMs, performance.now() - start);
  }
  ok(leastMs < 5, `${leastMs} ms`);
});
