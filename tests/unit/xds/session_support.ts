/** A session and a mesh that do what `watchXds` does, without a stream. */
import { fromBinary } from "@bufbuild/protobuf";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import { createMesh, type HeapUse, type MeshOptions } from "#mesh";
import { FakeClock } from "../../support/fake_clock.ts";
import { apply } from "../../../lib/xds/apply.ts";
import { bytesOf } from "../../../lib/xds/opening.ts";
import { KNOWN_TYPES, type PushOutcome, Session } from "../../../lib/xds/session.ts";
import { type Pieces, ResponseReader } from "../../../lib/xds/wire_response.ts";
import { responseBytes, type ResponseInit } from "./messages.ts";

export interface Talk {
  readonly session: Session;
  readonly view: ReturnType<typeof createMesh>["view"];
  /** Commits so far. */
  readonly commits: { readonly policiesChanged: boolean }[];
  /** Of the mesh's memory. */
  use(): HeapUse;
  hear(type: string, init?: ResponseInit): Promise<PushOutcome>;
}

/** The bytes as a network would deliver them, by so many at a time; undefined is all at once. */
export function piecesOf(bytes: Uint8Array, sizeOf = () => bytes.length): Pieces {
  let at = 0;
  return {
    bytesCount: bytes.length,
    read() {
      const piece = bytes.slice(at, at + Math.max(1, sizeOf()));
      at += piece.length;
      return Promise.resolve(piece.length === 0 ? undefined : piece);
    },
  };
}

export function readerOf(bytes: Uint8Array, sizeOf?: () => number): ResponseReader {
  return new ResponseReader(piecesOf(bytes, sizeOf), KNOWN_TYPES);
}

/** What a session says first on a stream, as its server reads it. */
export function opened(session: Session): DeltaDiscoveryRequest[] {
  return Array.from(session.open(), (opening) => {
    const bytes = Array.from(bytesOf(opening)).flatMap((piece) => [...piece]);
    return fromBinary(DeltaDiscoveryRequestSchema, Uint8Array.from(bytes));
  });
}

export const NOW = { wallMs: Date.UTC(2026, 0, 1), monotonicMs: 0 };

export function talk(onDemand = false, options: MeshOptions = {}): Talk {
  const session = new Session({ node: { id: "ztunnel~x" }, onDemand });
  const mesh = createMesh(options);
  const { view, writer } = mesh;
  const commits: { policiesChanged: boolean }[] = [];
  const stop = new AbortController().signal;
  return {
    session,
    view,
    commits,
    use: () => mesh.use,
    async hear(type, init) {
      const response = readerOf(responseBytes(type, init));
      await response.begin();
      const push = session.receive(response);
      const clock = new FakeClock();
      await apply(response, push, {
        writer,
        clock,
        turn: () => Promise.resolve(),
        stop,
        onCommit: (commit) => commits.push(commit),
      });
      return push.finish(NOW);
    },
  };
}
