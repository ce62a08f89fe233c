import { deepStrictEqual, ok } from "node:assert/strict";
import { OwnProcess } from "#linux";
import { createMesh, type Mesh } from "#mesh";
import { seededRng } from "#system";
import {
  LOOSE_COUNT,
  PINNED_COUNT,
  pinnedService,
  policies,
  revised,
  twins,
  uidOf,
} from "./arena_mesh.ts";
import { service, workload } from "./builders.ts";

/** Long enough for growth, compaction and reuse; a minute is `ARENA_MS=60000`. */
const CHURN_MS = Number(Deno.env.get("ARENA_MS") ?? 2_500);
const COMMITS_MIN = 20;
/** By then a page has been given back. */
const COMMITS_MAX = 1_000;
/** A wave is larger than what the arena keeps in spare, so that its end gives pages back. */
const WAVE_PADDING = "x".repeat(800);
const READERS_COUNT = Number(Deno.env.get("ARENA_READERS") ?? 4);

interface Reader {
  readonly worker: Worker;
  /** The next word of the Worker. */
  hear(): Promise<unknown>;
}

async function startReader(mesh: Mesh): Promise<Reader> {
  const worker = new Worker(new URL("./arena_reader_worker.ts", import.meta.url).href, {
    type: "module",
  });
  const words: unknown[] = [];
  let wake = () => {};
  worker.onmessage = ({ data }) => {
    words.push(data);
    wake();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    words.push({ wrong: event.message });
    wake();
  };
  const hear = async () => {
    while (words.length === 0) await new Promise<void>((resolve) => wake = resolve);
    return words.shift();
  };
  worker.postMessage(mesh.lend());
  deepStrictEqual(await hear(), "reading");
  return { worker, hear };
}

Deno.test("threads that read while one writes see whole records, and policies of one push", async () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  let releasedCount = 0;
  const mesh = createMesh({
    releasePages: (buffer, byteOffset, byteLength) => {
      releasedCount++;
      OwnProcess.releasePages(buffer, byteOffset, byteLength);
    },
  });
  const { writer } = mesh;
  let revision = 0;
  const writePinned = (): void => {
    writer.upsertService(pinnedService(++revision));
    for (let index = 0; index < PINNED_COUNT; index++) {
      writer.upsertWorkload(revised(index, ++revision));
    }
    for (const each of policies(++revision)) writer.upsertPolicy(each);
  };
  const reload = (): void => {
    writer.clear();
    writePinned();
    for (const each of twins(++revision)) writer.upsertWorkload(each);
  };
  reload();
  writer.commit();

  const readers = [];
  for (let count = 0; count < READERS_COUNT; count++) readers.push(await startReader(mesh));

  let commits = 0;
  let sizeMax = 0;
  // A busy machine gets more time, not a smaller task.
  const end = performance.now() + CHURN_MS;
  const isEnough = () =>
    performance.now() >= end && commits > COMMITS_MIN &&
    (releasedCount > 0 || commits > COMMITS_MAX);
  for (; !isEnough(); commits++) {
    const act = rng.below(12);
    if (act < 3) reload();
    else if (act < 5) { for (const each of policies(++revision)) writer.upsertPolicy(each); }
    else if (act < 6) writer.upsertService(pinnedService(++revision));
    for (let writes = rng.below(60); writes > 0; writes--) {
      const index = rng.below(PINNED_COUNT + LOOSE_COUNT);
      if (index >= PINNED_COUNT && rng.below(3) === 0) writer.removeAddress(uidOf(index));
      else writer.upsertWorkload(revised(index, ++revision));
    }
    // A wave of others grows the tables and the heap, and its end leaves pages that are mostly waste.
    if (commits % 50 === 10) {
      for (let index = 0; index < 3_000; index++) {
        writer.upsertWorkload(workload(`wave-${index}`, { canonicalName: WAVE_PADDING }));
      }
      writer.upsertService(service("wave.org"));
    }
    if (commits % 50 === 30) {
      for (let index = 0; index < 3_000; index++) writer.removeAddress(`wave-${index}`);
    }
    writer.commit();
    sizeMax = Math.max(sizeMax, mesh.use.pageBytes);
    if (commits % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  for (const { worker, hear } of readers) {
    worker.postMessage("stop");
    const end = await hear() as { readonly reads?: number; readonly wrong?: string };
    worker.terminate();
    ok((end.reads ?? 0) > 100, `SEED=${seed}, ${commits} commits: ${JSON.stringify(end)}`);
  }
  ok(releasedCount > 0, `no page was given back in ${commits} commits`);
  ok(mesh.use.pageBytes < 6 * mesh.use.liveBytes + (4 << 20), `${mesh.use.pageBytes} bytes`);
  ok(sizeMax < 64 << 20, `grew to ${sizeMax} bytes`);
});
