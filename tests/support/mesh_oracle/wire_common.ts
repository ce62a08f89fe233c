import type { GatewayAddress as WireGateway, Port as WirePort } from "#proto/workload_pb.ts";
import type { GatewayAddress, PortMap } from "#mesh";
import { ipOf, portOf, reject } from "../../../lib/mesh/wire_shared.ts";

export function portMapOf(ports: readonly WirePort[]): PortMap {
  const map = new Map<number, number>();
  for (const { servicePort, targetPort } of ports) map.set(portOf(servicePort), portOf(targetPort));
  return map;
}

export function gatewayOf(wire: WireGateway, field: string): GatewayAddress {
  const hboneMtlsPort = portOf(wire.hboneMtlsPort);
  const { destination } = wire;
  switch (destination.case) {
    case "address": {
      const { network, address } = destination.value;
      const ip = ipOf(address, `${field} address`);
      return { destination: { kind: "address", network, ip }, hboneMtlsPort };
    }
    case "hostname": {
      const { namespace, hostname } = destination.value;
      return { destination: { kind: "hostname", namespace, hostname }, hboneMtlsPort };
    }
    case undefined:
      return reject(`${field} without a destination`);
  }
}
