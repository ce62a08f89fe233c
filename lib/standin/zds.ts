/**
 * ZDS on the wire, from the agent's side (behaviour.md, Appendix A).
 * @module
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from "#proto/zds_pb.ts";
import type { ReceivedPacket } from "#linux";
import type { AgentPod, Answer } from "./cni_agent.ts";

export function encodeAdd(pod: AgentPod): Uint8Array<ArrayBuffer> {
  const { uid, name, namespace, serviceAccount } = pod;
  return encode({
    case: "add",
    value: { uid, workloadInfo: { name, namespace, serviceAccount } },
  });
}

/** An `add` that names nobody, which the protocol forbids; for tests. */
export function encodeNamelessAdd(uid: string): Uint8Array<ArrayBuffer> {
  return encode({ case: "add", value: { uid } });
}

export function encodeDelete(uid: string): Uint8Array<ArrayBuffer> {
  return encode({ case: "del", value: { uid } });
}

export function encodeKeep(uid: string): Uint8Array<ArrayBuffer> {
  return encode({ case: "keep", value: { uid } });
}

export function encodeSnapshotSent(): Uint8Array<ArrayBuffer> {
  return encode({ case: "snapshotSent", value: {} });
}

/** Undefined for a right hello, else what is wrong with it. */
export function readHello(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  try {
    const { version } = fromBinary(ZdsHelloSchema, bytes);
    return version === Version.V1 ? undefined : `version ${version}`;
  } catch (error) {
    return String(error);
  }
}

/** A packet that is no answer counts as none. */
export function readAnswer(packet: ReceivedPacket): Answer {
  if (packet.truncated) return { kind: "unanswered" };
  try {
    const { payload } = fromBinary(WorkloadResponseSchema, packet.bytes);
    if (payload.case !== "ack") return { kind: "unanswered" };
    const { error } = payload.value;
    return error === "" ? { kind: "ok" } : { kind: "refused", text: error };
  } catch {
    return { kind: "unanswered" };
  }
}

export function describeAnswer(answer: Answer): string {
  return answer.kind === "refused" ? `refused: ${answer.text}` : answer.kind;
}

type Payload = Parameters<typeof create<typeof WorkloadRequestSchema>>[1];

function encode(payload: NonNullable<NonNullable<Payload>["payload"]>): Uint8Array<ArrayBuffer> {
  return toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload }));
}
