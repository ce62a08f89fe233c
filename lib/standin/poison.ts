import { create, toBinary } from "@bufbuild/protobuf";
import { AddressSchema, TunnelProtocol } from "#proto/workload_pb.ts";
import type { Poison } from "./faults.ts";
import { resourceOf, type WireResource } from "./wire_mesh.ts";

/** An address resource of that name that a client cannot use (behaviour.md 3.12). */
export function poisonResource(name: string, poison: Poison): WireResource {
  return resourceOf("address", name, messageOf(name, poison));
}

function messageOf(uid: string, poison: Poison): Uint8Array | undefined {
  const workload = { uid, name: "poison", namespace: "poison" };
  switch (poison) {
    case "no_payload":
      return undefined;
    case "garbage":
      // Field 1, of 127 bytes that are not there.
      return Uint8Array.of(0x0a, 0x7f, 0x01);
    case "short_address":
      return addressOf({ ...workload, addresses: [Uint8Array.of(10, 0, 1)] });
    case "legacy_tunnel":
      return addressOf({ ...workload, tunnelProtocol: TunnelProtocol.LEGACY_ISTIO_MTLS });
  }
}

function addressOf(value: {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly addresses?: Uint8Array[];
  readonly tunnelProtocol?: TunnelProtocol;
}): Uint8Array {
  return toBinary(AddressSchema, create(AddressSchema, { type: { case: "workload", value } }));
}
