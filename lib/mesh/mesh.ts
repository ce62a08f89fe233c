import { SpiffeId } from "#values";
import type { Written } from "./batch.ts";
import { encodePolicy, encodeService, encodeWorkload } from "./encode.ts";
import { Heap, type HeapUse, type ReleasePages } from "./heap.ts";
import { type Buffers, HEAP_BYTES_MAX, Memory, newBuffers } from "./memory.ts";
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
  /** Of everything that commits touched since the last call, what is or was this node's. */
  takeTouchedLocal(): readonly string[];
}

export interface MeshOptions {
  /** What the mesh may take, in bytes; 1 GiB if absent, and at most. What has no room is refused. */
  readonly bytesMax?: number;
  /** Of the hashes of names, 32 bits: nobody who writes names shall know it. 0 if absent. */
  readonly hashSeed?: number;
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
  const bytesMax = options.bytesMax ?? HEAP_BYTES_MAX;
  const buffers = newBuffers(HEAP_BYTES_INITIAL, options.hashSeed ?? 0);
  const heap = new Heap(buffers, bytesMax, options.releasePages);
  const view = new ArenaView(heap.memory, options.localNode);
  const arena = new ArenaWriter(heap, view);

  const writer: MeshWriter = {
    upsertWorkload: (value) => {
      arena.batch.upsertWorkload(local(arena, value, encodeWorkload(value)));
    },
    upsertService: (value) => {
      arena.batch.upsertService(local(arena, value, encodeService(value)));
    },
    upsertPolicy: (value) => {
      arena.upsertPolicy(local(arena, value, encodePolicy(value)));
    },
    upsertAddressBytes: (bytes) => upsertAddressBytes(arena, bytes),
    upsertAuthorizationBytes: (key, bytes) => upsertAuthorizationBytes(arena, key, bytes),
    removeAddress: (name) => arena.batch.removeAddress(name),
    removePolicy: (key) => arena.removePolicy(key),
    clear: () => arena.clear(),
    discard: () => arena.discard(),
    commit: () => arena.commit(),
  };

  return {
    view,
    writer,
    takeTouchedLocal: () => arena.touchedLocal.splice(0),
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

/** Of values given typed there are never so many: files have limits. */
function local<V>(arena: ArenaWriter, value: V, bytes: Uint8Array): Written<V> {
  if (!arena.hasRoom(bytes.length)) throw new RangeError(`Cannot take it: ${FULL}`);
  return { value, bytes, isLocal: true };
}

function upsertAddressBytes(arena: ArenaWriter, bytes: Uint8Array): string | undefined {
  const decoded = decodeAddressBytes(bytes);
  if ("rejected" in decoded) return decoded.rejected;
  if (!arena.hasRoom(bytes.length)) return FULL;
  const { value } = decoded;
  if ("workload" in value) {
    const { workload, body } = value;
    arena.batch.upsertWorkload({ value: workload, bytes: body, isLocal: false });
  } else {
    const { service, body } = value;
    arena.batch.upsertService({ value: service, bytes: body, isLocal: false });
  }
  return undefined;
}

function upsertAuthorizationBytes(
  arena: ArenaWriter,
  key: string,
  bytes: Uint8Array,
): string | undefined {
  const decoded = decodePolicyBytes(key, bytes);
  if ("rejected" in decoded) return decoded.rejected;
  if (!arena.hasRoom(bytes.length)) return FULL;
  arena.upsertPolicy({ value: decoded.value, bytes, isLocal: false });
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
