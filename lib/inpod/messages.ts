/**
 * What the agent says and what we answer, on the wire (behaviour.md 10.2, Appendix A "ZDS").
 * @module
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from "#proto/zds_pb.ts";
import { INPOD_LIMITS } from "./limits.ts";

/** Who a pod is, as the node calls it. */
export interface PodInfo {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export type AgentMessage =
  | { readonly kind: "add"; readonly uid: string; readonly info: PodInfo | undefined }
  | { readonly kind: "del"; readonly uid: string }
  | { readonly kind: "keep"; readonly uid: string }
  | { readonly kind: "snapshot_sent" };

/** A packet that is no message; ends the connection (behaviour.md 10.3). */
export class UnreadableMessage extends Error {
  override readonly name = "UnreadableMessage";
}

/** Throws an UnreadableMessage. */
export function decodeMessage(bytes: Uint8Array): AgentMessage {
  const { payload } = decode(bytes);
  switch (payload.case) {
    case "add": {
      const { uid, workloadInfo: info } = payload.value;
      return {
        kind: "add",
        uid,
        info: info && {
          name: info.name,
          namespace: info.namespace,
          serviceAccount: info.serviceAccount,
        },
      };
    }
    case "del":
    case "keep":
      return { kind: payload.case, uid: payload.value.uid };
    case "snapshotSent":
      return { kind: "snapshot_sent" };
    default:
      throw new UnreadableMessage("no payload, or one that this version does not know");
  }
}

function decode(bytes: Uint8Array) {
  try {
    return fromBinary(WorkloadRequestSchema, bytes);
  } catch (error) {
    throw new UnreadableMessage(error instanceof Error ? error.message : String(error));
  }
}

/** Our first word, and the only one that nobody asked for. */
export function encodeHello(): Uint8Array<ArrayBuffer> {
  return copyOf(toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: Version.V1 })));
}

/** Tags and lengths around the text: two of each, a length of at most two bytes. */
const ANSWER_FRAME_BYTES = 6;
const CUT = "...";

/** An empty `error` is an ACK. A text that would not fit is cut between two characters and ends in three dots. */
export function encodeAnswer(error: string): Uint8Array<ArrayBuffer> {
  const response = create(WorkloadResponseSchema, {
    payload: { case: "ack", value: { error: cut(error) } },
  });
  return copyOf(toBinary(WorkloadResponseSchema, response));
}

function cut(text: string): string {
  const bytesMax = INPOD_LIMITS.packetBytesMax - ANSWER_FRAME_BYTES;
  const encoder = new TextEncoder();
  if (encoder.encode(text).length <= bytesMax) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytesMax - CUT.length));
  return text.slice(0, read) + CUT;
}

/** Over a buffer of its own, as the kernel's door wants it. */
function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
