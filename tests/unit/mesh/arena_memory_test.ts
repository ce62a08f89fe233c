import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { OwnProcess } from "#linux";
import { attachMesh, createMesh, type Mesh, type MeshHandles } from "#mesh";
import { AddressSchema } from "#proto/workload_pb.ts";
import { seededRng } from "#system";
import { Hashes } from "../../../lib/mesh/hash.ts";
import { ip, policy, service, workload } from "./builders.ts";

const PAGE_BYTES = 64 << 10;

function uidOf(index: number): string {
  return `cluster//Pod/shop/workload-${index}`;
}

function fill(mesh: Mesh, count: number, revision = 0): void {
  for (let index = 0; index < count; index++) {
    mesh.writer.upsertWorkload(workload(uidOf(index), {
      workloadIps: [ip(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`)],
      canonicalRevision: `${revision}${"-".repeat(100)}`,
      services: new Map([[`shop/s${index % 100}.org`, new Map([[80, 8080]])]] as const),
    }));
    if (index % 500 === 499) mesh.writer.commit();
  }
  mesh.writer.commit();
}

function empty(mesh: Mesh, count: number): void {
  for (let index = 0; index < count; index++) {
    mesh.writer.removeAddress(uidOf(index));
    if (index % 500 === 499) mesh.writer.commit();
  }
  mesh.writer.commit();
}

/** As if the thread of these handles stood in the middle of a look-up, until it is called. */
function standStill({ buffers, reader }: MeshHandles): () => void {
  const counters = new Int32Array(buffers.control);
  const slot = 16 + 16 * reader;
  Atomics.add(counters, slot, 1);
  return () => void Atomics.add(counters, slot, 1);
}

Deno.test("a mesh takes hardly more memory than its records", () => {
  const mesh = createMesh({});
  fill(mesh, 5_000);
  const { liveBytes, pageBytes, ids } = mesh.use;
  // Records of about 210 bytes, with a header and the slots of three indexes.
  ok(liveBytes / 5_000 < 330, `${liveBytes / 5_000} bytes a workload`);
  ok(pageBytes < 1.25 * liveBytes + 16 * PAGE_BYTES, `${pageBytes} bytes for ${liveBytes}`);
  // Of each index in use the parts have ids, too.
  ok(ids < 5_000 + 200 + 30 + 5 * 256, `${ids} ids`);
});

Deno.test("ten rounds of removing and adding everything end where they began", () => {
  const mesh = createMesh({});
  const nothing = mesh.use;
  fill(mesh, 3_000);
  const first = mesh.use;
  for (let round = 0; round < 10; round++) {
    empty(mesh, 3_000);
    deepStrictEqual(mesh.view.workloads(), []);
    strictEqual(mesh.use.ids, nothing.ids);
    ok(mesh.use.pageBytes <= 4 * PAGE_BYTES, `${mesh.use.pageBytes} bytes of nothing`);
    fill(mesh, 3_000, round);
    strictEqual(mesh.use.ids, first.ids);
    // Up to 1 MiB of waste is not worth moving anything.
    ok(mesh.use.pageBytes < first.pageBytes + (1 << 20), `${mesh.use.pageBytes} in round ${round}`);
    strictEqual(mesh.view.workloads().length, 3_000);
  }
});

Deno.test("updating everything again and again does not grow", () => {
  const mesh = createMesh({});
  fill(mesh, 3_000);
  const first = mesh.use;
  for (let round = 1; round <= 10; round++) fill(mesh, 3_000, round);
  strictEqual(mesh.use.ids, first.ids);
  ok(mesh.use.pageBytes < first.pageBytes * 1.3 + (2 << 20), `${mesh.use.pageBytes} bytes`);
  strictEqual(mesh.view.workload(uidOf(7))?.canonicalRevision.startsWith("10"), true);
});

Deno.test("what is scattered over many pages is moved together, and found where it is", () => {
  const mesh = createMesh({});
  fill(mesh, 20_000);
  const full = mesh.use.pageBytes;
  const attached = attachMesh(mesh.lend());
  for (let index = 0; index < 20_000; index++) {
    if (index % 10 !== 0) mesh.writer.removeAddress(uidOf(index));
    if (index % 500 === 499) mesh.writer.commit();
  }
  ok(mesh.use.pageBytes < full / 2, `${mesh.use.pageBytes} of ${full} bytes`);
  for (let index = 0; index < 20_000; index += 10) {
    strictEqual(attached.workload(uidOf(index))?.uid, uidOf(index));
  }
  strictEqual(attached.workload(uidOf(1)), undefined);
});

Deno.test("pages that are given back hold nothing", () => {
  let given = 0;
  const mesh = createMesh({
    releasePages: (buffer, offset, length) => {
      strictEqual(offset % PAGE_BYTES + length % PAGE_BYTES, 0);
      // What the system does to them.
      new Uint8Array(buffer, offset, length).fill(0);
      given += length;
    },
  });
  const attached = attachMesh(mesh.lend());
  fill(mesh, 36_000);
  const full = mesh.use.pageBytes;
  empty(mesh, 30_000);
  ok(given > full / 2, `${given} of ${full} bytes`);
  for (let index = 30_000; index < 36_000; index++) {
    strictEqual(attached.workload(uidOf(index))?.uid, uidOf(index));
  }
  fill(mesh, 36_000, 1);
  strictEqual(attached.workloads().length, 36_000);
});

Deno.test("nothing is used again while a thread may still look at it", () => {
  const mesh = createMesh({});
  const handles = mesh.lend();
  fill(mesh, 3_000);
  const full = mesh.use.pageBytes;
  const goOn = standStill(handles);
  const image = new Uint8Array(handles.buffers.heap).slice();
  empty(mesh, 3_000);
  strictEqual(mesh.reclaim(), false);
  ok(mesh.use.pageBytes >= full);
  fill(mesh, 100, 1);
  // Records keep every byte that they had, although nothing leads to them any more.
  const now = new Uint8Array(handles.buffers.heap);
  const text = new TextEncoder().encode(uidOf(2_999));
  const at = indexOf(image, text);
  ok(at > 0);
  deepStrictEqual(now.slice(at, at + 100), image.slice(at, at + 100));
  goOn();
  strictEqual(mesh.reclaim(), true);
  ok(mesh.use.pageBytes < full / 2, `${mesh.use.pageBytes} of ${full} bytes`);
});

function indexOf(bytes: Uint8Array, part: Uint8Array): number {
  for (let at = bytes.indexOf(part[0]!); at >= 0; at = bytes.indexOf(part[0]!, at + 1)) {
    if (part.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}

Deno.test("retract() frees what a dead thread stood at, and its place", () => {
  const mesh = createMesh({});
  const handles = mesh.lend();
  fill(mesh, 1_000);
  standStill(handles);
  empty(mesh, 1_000);
  strictEqual(mesh.reclaim(), false);
  mesh.retract(handles);
  strictEqual(mesh.reclaim(), true);
  strictEqual(mesh.lend().reader, handles.reader);
});

Deno.test("lend() has room for 128 threads", () => {
  const mesh = createMesh({});
  const all = Array.from({ length: 128 }, () => mesh.lend());
  strictEqual(new Set(all.map((each) => each.reader)).size, 128);
  throws(() => mesh.lend(), RangeError);
});

Deno.test("what has no room is refused, and what is there stays", () => {
  const mesh = createMesh({ bytesMax: 8 << 20 });
  const reasons = new Set<string>();
  let taken = 0;
  for (let index = 0; index < 20_000; index++) {
    const bytes = toBinary(
      AddressSchema,
      create(AddressSchema, {
        type: { case: "workload", value: { uid: uidOf(index), node: "n".repeat(1_000) } },
      }),
    );
    const reason = mesh.writer.upsertAddressBytes(bytes);
    if (reason === undefined) taken++;
    else reasons.add(reason);
    if (index % 100 === 99) mesh.writer.commit();
  }
  mesh.writer.commit();
  deepStrictEqual([...reasons], ["the mesh is full"]);
  ok(taken > 4_000 && taken < 8_000, `${taken} taken`);
  strictEqual(mesh.view.workloads().length, taken);
  throws(() => mesh.writer.upsertWorkload(workload("one more")), /the mesh is full/);
  empty(mesh, 1_000);
  mesh.writer.upsertWorkload(workload("one more"));
  mesh.writer.commit();
  strictEqual(mesh.view.workload("one more")?.uid, "one more");
});

Deno.test("what was promised room has it when it is committed, however large records have cut up the memory", () => {
  for (const seed of [13, 14, 30, 32]) {
    const rng = seededRng(seed);
    const mesh = createMesh({ bytesMax: 4 << 20 });
    const held: string[] = [];
    let refusedCount = 0;
    for (let round = 0; round < 1_200; round++) {
      if (rng.below(3) === 0 && held.length > 0) {
        mesh.writer.removeAddress(held.splice(rng.below(held.length), 1)[0]!);
      } else {
        const size = rng.below(4) === 0 ? rng.below(512 << 10) : 17_000 + rng.below(30_000);
        const value = { uid: `w${round}`, name: `w${round}`, namespace: "shop" };
        const address = create(AddressSchema, {
          type: { case: "workload", value: { ...value, node: "n".repeat(size) } },
        });
        const reason = mesh.writer.upsertAddressBytes(toBinary(AddressSchema, address));
        if (reason === undefined) held.push(value.uid);
        else refusedCount++;
      }
      if (round % 8 === 7) mesh.writer.commit();
    }
    ok(refusedCount > 0, "it was never full");
    deepStrictEqual(mesh.view.workloads().map(({ uid }) => uid), held.toSorted());
  }
});

Deno.test("a service of a hundred thousand endpoints is written and read in time", () => {
  const mesh = createMesh({});
  mesh.writer.upsertService(service("s.org"));
  // Of this thread's processor: what else this machine does is not counted.
  const tenthsMs: number[] = [];
  let startMs = OwnProcess.threadProcessorMs();
  for (let index = 0; index < 100_000; index++) {
    mesh.writer.upsertWorkload(
      workload(uidOf(index), { services: new Map([["shop/s.org", new Map()]]) }),
    );
    if (index % 1_000 === 999) mesh.writer.commit();
    if (index % 10_000 !== 9_999) continue;
    tenthsMs.push(OwnProcess.threadProcessorMs() - startMs);
    startMs = OwnProcess.threadProcessorMs();
  }
  const found = mesh.view.service("shop/s.org")!;
  strictEqual([...mesh.view.endpointsOf(found)].length, 100_000);
  // Copying the list for each workload, the last ones would cost many times what the early ones do.
  ok(Math.min(...tenthsMs.slice(-3)) < 3 * Math.min(...tenthsMs.slice(0, 3)), tenthsMs.join());
});

Deno.test("two names of one hash are two workloads, two services, and two policies", () => {
  const [one, other] = namesOfOneHash();
  const mesh = createMesh({});
  for (const name of [one, other]) {
    mesh.writer.upsertWorkload(
      workload(name, { namespace: name, services: new Map([[`ns/${name}`, new Map()]] as const) }),
    );
    mesh.writer.upsertService(service(name));
    mesh.writer.upsertPolicy(policy(`${name}/p`, { namespace: name }));
  }
  mesh.writer.commit();
  for (const view of [mesh.view, attachMesh(mesh.lend())]) {
    for (const name of [one, other]) {
      strictEqual(view.workload(name)?.uid, name);
      strictEqual(view.serviceNamed(name)?.hostname, name);
      deepStrictEqual(view.servicesNamed(name).map((each) => each.hostname), [name]);
      const applied = view.policiesFor(view.workload(name)!);
      deepStrictEqual(applied.map((each) => each.namespace), [name]);
    }
  }
  mesh.writer.removeAddress(one);
  mesh.writer.commit();
  strictEqual(mesh.view.workload(one), undefined);
  strictEqual(mesh.view.workload(other)?.uid, other);
});

Deno.test("names of one hash are not of one hash elsewhere, and every thread of a mesh knows its seed", () => {
  const [one, other] = namesOfOneHash();
  for (let seed = 1; seed < 100; seed++) {
    const hashes = new Hashes(seed);
    ok(hashes.of(one) !== hashes.of(other), `seed ${seed}`);
  }
  const mesh = createMesh({ hashSeed: 0xfedcba98 });
  for (const name of [one, other]) {
    mesh.writer.upsertWorkload(workload(name, { hostname: name, workloadIps: [ip("10.0.0.1")] }));
    mesh.writer.upsertService(service(name, { vips: [{ network: "", ip: ip("10.96.0.1") }] }));
    mesh.writer.upsertPolicy(policy(`${name}/p`, { namespace: name, scope: "Namespace" }));
  }
  mesh.writer.commit();
  for (const view of [mesh.view, attachMesh(mesh.lend())]) {
    for (const name of [one, other]) {
      strictEqual(view.workload(name)?.uid, name);
      strictEqual(view.serviceNamed(name)?.hostname, name);
    }
    ok(view.workloadAt("", ip("10.0.0.1")) !== undefined);
    ok(view.serviceAt("", ip("10.96.0.1")) !== undefined);
    strictEqual(view.policies().length, 2);
  }
});

/** By the birthday paradox, among some 100,000 names. */
function namesOfOneHash(): readonly [string, string] {
  const hashes = new Hashes(0);
  const seen = new Map<number, string>();
  for (let index = 0;; index++) {
    const name = `name-${index}.example.org`;
    const before = seen.get(hashes.of(name));
    if (before !== undefined) return [before, name];
    seen.set(hashes.of(name), name);
  }
}
