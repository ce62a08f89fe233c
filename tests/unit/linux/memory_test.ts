import { ok, strictEqual, throws } from "node:assert/strict";
import { createMesh } from "#mesh";
import { OwnProcess } from "#linux";

const { collectAndRelease, releaseCodePages, releasePages } = OwnProcess;
import { ip, workload } from "../mesh/builders.ts";

Deno.test("releasePages() gives memory back, and what was there reads as zeros", () => {
  const bytesCount = 64 << 20;
  const buffer = new SharedArrayBuffer(bytesCount, { maxByteLength: bytesCount });
  const bytes = new Uint8Array(buffer).fill(7);
  releasePages(buffer, 1 << 20, bytesCount - (2 << 20));
  // The kernel's own way of saying that the pages are gone.
  strictEqual(bytes[0], 7);
  strictEqual(bytes[1 << 20], 0);
  strictEqual(bytes[bytesCount - (1 << 20) - 1], 0);
  strictEqual(bytes[bytesCount - (1 << 20)], 7);
  throws(() => releasePages(buffer, 100, 4096), /madvise/);
});

Deno.test("a mesh that loses everything gives its memory back to the system", () => {
  let givenBytes = 0;
  const mesh = createMesh({
    releasePages: (buffer, byteOffset, byteLength) => {
      releasePages(buffer, byteOffset, byteLength);
      givenBytes += byteLength;
    },
  });
  const uidOf = (index: number) => `cluster//Pod/shop/workload-${index}`;
  const fill = () => {
    for (let index = 0; index < 30_000; index++) {
      mesh.writer.upsertWorkload(workload(uidOf(index), {
        workloadIps: [ip(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`)],
        canonicalRevision: "-".repeat(1_000),
      }));
      if (index % 500 === 499) mesh.writer.commit();
    }
  };
  fill();
  ok(mesh.use.pageBytes > 30 << 20);
  for (let index = 0; index < 30_000; index++) {
    mesh.writer.removeAddress(uidOf(index));
    if (index % 500 === 499) mesh.writer.commit();
  }
  ok(givenBytes > 30 << 20, `${givenBytes} bytes`);
  fill();
  strictEqual(mesh.view.workload(uidOf(29_999))?.uid, uidOf(29_999));
});

Deno.test("collectAndRelease() gives garbage back", () => {
  let garbage: unknown[] | undefined = Array.from(
    { length: 400_000 },
    (_, at) => ({ at, text: `${at}` }),
  );
  const before = Deno.memoryUsage().heapTotal;
  strictEqual(garbage.length, 400_000);
  garbage = undefined;
  collectAndRelease();
  const after = Deno.memoryUsage().heapTotal;
  ok(before - after > 10 << 20, `${before} to ${after}`);
  collectAndRelease();
});

Deno.test("releaseCodePages() lets go of the runtime's code, and everything runs on", () => {
  // Other threads of this process run meanwhile, and get their pages back at once: the best of a few tries is ours.
  const lessBytes: number[] = [];
  for (let attempt = 0; attempt < 20 && !(Math.max(...lessBytes) > 5 << 20); attempt++) {
    const before = fileRssBytes();
    ok(releaseCodePages() > 50 << 20);
    lessBytes.push(before - fileRssBytes());
  }
  ok(Math.max(...lessBytes) > 5 << 20, `${lessBytes} bytes less`);
  strictEqual(new RegExp("a(b+)c").exec("abbc")?.[1], "bb");
});

function fileRssBytes(): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return Number(/^RssFile:\s+(\d+) kB$/m.exec(status)![1]) * 1_024;
}
