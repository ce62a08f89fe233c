import { deepStrictEqual } from "node:assert/strict";
import { type LocalRecord, Prefetch } from "#certs";
import { createMesh } from "#mesh";
import { SpiffeId } from "#values";
import { workload } from "../route/world.ts";

const id = (account: string, trustDomain = "cluster.local") =>
  SpiffeId.of(trustDomain, "shop", account);

const record = (account: string, fields: Partial<LocalRecord> = {}): LocalRecord => ({
  trustDomain: "cluster.local",
  namespace: "shop",
  serviceAccount: account,
  node: "n1",
  protocol: "HBONE",
  nativeTunnel: false,
  ...fields,
});

class Node {
  readonly steps: string[] = [];
  readonly mesh = new Map<string, LocalRecord>();
  readonly prefetch: Prefetch;

  constructor(localNode: string | undefined, own?: SpiffeId) {
    this.prefetch = new Prefetch({
      localNode,
      own,
      want: (identity) => this.steps.push(`want ${SpiffeId.parts(identity).serviceAccount}`),
      forget: (identity) => this.steps.push(`forget ${SpiffeId.parts(identity).serviceAccount}`),
    });
  }

  /** Those that came or changed; undefined is gone. */
  commit(changes: Readonly<Record<string, LocalRecord | undefined>>): string[] {
    for (const [uid, each] of Object.entries(changes)) {
      if (each === undefined) this.mesh.delete(uid);
      else this.mesh.set(uid, each);
    }
    this.prefetch.changed(Object.keys(changes), (uid) => this.mesh.get(uid));
    return this.steps.splice(0);
  }

  pod(how: "opened" | "closed", serviceAccount: string): string[] {
    this.prefetch[how]({ namespace: "shop", serviceAccount });
    return this.steps.splice(0);
  }
}

Deno.test("9.6: workloads of this node that speak HBONE or tunnel themselves are fetched ahead, others are not", () => {
  const node = new Node("n1");
  deepStrictEqual(
    node.commit({
      a: record("a"),
      b: record("b", { protocol: "TCP" }),
      c: record("c", { protocol: "TCP", nativeTunnel: true }),
      d: record("d", { node: "n2" }),
      e: record("e", { node: "" }),
    }),
    ["want a", "want c"],
  );
  deepStrictEqual(new Node(undefined).commit({ a: record("a") }), [], "no NODE_NAME");
});

Deno.test("9.6: an identity is forgotten with the last workload of the node that has its account", () => {
  const node = new Node("n1");
  node.commit({ a1: record("a"), a2: record("a"), b: record("b") });
  deepStrictEqual(node.commit({ a1: undefined }), []);
  deepStrictEqual(node.commit({ a2: undefined }), ["forget a"]);
  deepStrictEqual(node.commit({ b: record("b", { node: "n2" }) }), ["forget b"], "it moved");
  deepStrictEqual(node.commit({ b: undefined, unknown: undefined }), []);
});

Deno.test("9.6: a running pod keeps its identity when the control plane has forgotten it, until it ends", () => {
  const node = new Node("n1");
  node.commit({ a: record("a") });
  node.pod("opened", "a");
  deepStrictEqual(node.commit({ a: undefined }), []);
  deepStrictEqual(node.pod("closed", "a"), ["forget a"]);
  // The other way round, and two instances that overlap.
  node.pod("opened", "b");
  node.pod("opened", "b");
  deepStrictEqual(node.commit({ b: record("b") }), ["want b"]);
  deepStrictEqual(node.pod("closed", "b"), []);
  deepStrictEqual(node.commit({ b: undefined }), []);
  deepStrictEqual(node.pod("closed", "b"), ["forget b"]);
});

Deno.test("9.6: a change of account wants the new one and forgets the old one, a mere change neither forgets", () => {
  const node = new Node("n1");
  node.commit({ a: record("a") });
  deepStrictEqual(node.commit({ a: record("a", { nativeTunnel: true }) }), ["want a"]);
  deepStrictEqual(node.commit({ a: record("b") }), ["want b", "forget a"]);
});

Deno.test("9.6, 18.25: every identity of an account goes with it, whatever its trust domain; our own never does", () => {
  const node = new Node("n1", id("ztunnel"));
  node.commit({ a: record("a"), z: record("ztunnel") });
  node.prefetch.wanted(id("a", "old.domain"));
  deepStrictEqual(node.commit({ a: undefined, z: undefined }), ["forget a", "forget a"]);
});

Deno.test("9.6: the mesh says which workloads of this node a commit touched", () => {
  const mesh = createMesh({ localNode: "n1" });
  const { writer, view } = mesh;
  const steps: string[] = [];
  const prefetch = new Prefetch({
    localNode: "n1",
    want: (identity) => steps.push(`want ${identity}`),
    forget: (identity) => steps.push(`forget ${identity}`),
  });
  const commit = () => {
    writer.commit();
    const touchedLocal = mesh.takeTouchedLocal();
    prefetch.changed(touchedLocal, (uid) => view.workload(uid));
    return [[...touchedLocal], steps.splice(0)];
  };
  const here = workload("here", { node: "n1" });
  const there = workload("there", { node: "n2" });
  writer.upsertWorkload(here);
  writer.upsertWorkload(there);
  deepStrictEqual(commit(), [[here.uid], [`want ${id("here")}`]]);
  writer.upsertWorkload({ ...there, node: "n1" });
  deepStrictEqual(commit(), [[there.uid], [`want ${id("there")}`]]);
  writer.upsertWorkload({ ...here, node: "n2" });
  deepStrictEqual(commit(), [[here.uid], [`forget ${id("here")}`]]);
  writer.clear();
  deepStrictEqual(commit(), [[there.uid], [`forget ${id("there")}`]]);
});
