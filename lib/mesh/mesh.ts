import { SpiffeId } from "#values";
import { Heap, type HeapUse, type ReleasePages } from "./heap.ts";
import { type Buffers, Memory, newBuffers } from "./memory.ts";
import { ArenaView } from "./reader.ts";
import type { MeshView, MeshWriter, Workload } from "./types.ts";
import { decodeAddressBytes, decodePolicyBytes } from "./read_address.ts";
import { ArenaWriter } from "./writer.ts";

/** What a mesh begins with. Address space; memory is taken as it is filled. */
const HEAP_BYTES_INITIAL = 1 << 20;

/** What another thread needs to read the mesh: goes through postMessage, once, and to one thread only. */
export interface MeshHandles {
  readonly buffers: Buffers;
  readonly reader: number;
  readonly localNode?: string;
}

export interface Mesh {
  readonly view: MeshView;
  readonly writer: MeshWriter;
  /** Room for one more reading thread. Throws RangeError when 128 are reading. */
  lend(): MeshHandles;
  /** The thread has ended: nothing waits for it any more. */
  retract(handles: MeshHandles): void;
  /** Frees what readers have left behind since the last commit; false while one still looks at something. */
  reclaim(): boolean;
  /** Bytes of live objects, bytes of the pages that they are in, and how many objects there are. */
  readonly use: HeapUse;
}

export interface MeshOptions {
  /** Undefined makes every workload local (behaviour.md 4.1). */
  readonly localNode?: string;
  /** Gives empty pages back to the system, as `madvise(MADV_DONTNEED)` does; without it they are only used again. */
  readonly releasePages?: ReleasePages;
}

/**
 * An empty mesh. The view shows a batch when `commit` has returned, all of it at once; a value that a batch did not
 * change is still the same object, as long as somebody asked for it lately.
 */
export function createMesh(options: MeshOptions): Mesh {
  const heap = new Heap(newBuffers(HEAP_BYTES_INITIAL), options.releasePages);
  const view = new ArenaView(heap.memory, options.localNode);
  const arena = new ArenaWriter(heap, view);

  const writer: MeshWriter = {
    upsertWorkload: (workload) => arena.batch.upsertWorkload(workload),
    upsertService: (service) => arena.batch.upsertService(service),
    upsertPolicy: (policy) => arena.batch.upsertPolicy(policy),
    upsertAddressBytes: (bytes) => upsertAddressBytes(arena, bytes),
    upsertAuthorizationBytes: (key, bytes) => {
      const decoded = decodePolicyBytes(key, bytes);
      if ("rejected" in decoded) return decoded.rejected;
      if (!arena.hasRoom(bytes.length)) return FULL;
      arena.batch.upsertPolicy(decoded.value, bytes);
      return undefined;
    },
    removeAddress: (name) => arena.batch.removeAddress(name),
    removePolicy: (key) => arena.batch.removePolicy(key),
    clear: () => arena.batch.clear(),
    commit: () => arena.commit(),
  };

  return {
    view,
    writer,
    lend: () => {
      const reader = heap.addReader();
      if (reader === undefined) throw new RangeError("Cannot let one more thread read the mesh");
      const { localNode } = options;
      return {
        buffers: heap.memory.buffers,
        reader,
        ...(localNode !== undefined && { localNode }),
      };
    },
    retract: ({ reader }) => heap.removeReader(reader),
    reclaim: () => heap.reclaim(),
    get use() {
      return heap.use;
    },
  };
}

const FULL = "the mesh is full";

function upsertAddressBytes(arena: ArenaWriter, bytes: Uint8Array): string | undefined {
  const decoded = decodeAddressBytes(bytes);
  if ("rejected" in decoded) return decoded.rejected;
  if (!arena.hasRoom(bytes.length)) return FULL;
  const { value } = decoded;
  if ("workload" in value) arena.batch.upsertWorkload(value.workload, value.body);
  else arena.batch.upsertService(value.service, value.body);
  return undefined;
}

/** The mesh in another thread than its writer's. */
export function attachMesh({ buffers, reader, localNode }: MeshHandles): MeshView {
  return new ArenaView(new Memory(buffers), localNode, reader);
}

/** The SPIFFE id that a workload's certificate carries (behaviour.md 7.4). */
export function identityOf(workload: Workload): SpiffeId {
  return SpiffeId.of(workload.trustDomain, workload.namespace, workload.serviceAccount);
}
