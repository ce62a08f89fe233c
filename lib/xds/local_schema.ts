/** The words that workloads, services and policies share. */
import type { GatewayAddress, NetworkIp, PortMap, ServiceKey } from "#mesh";
import { Cidr, Ip } from "#values";
import { type Decode, Fields, mapAt, parsed, refuse, whole } from "./decode.ts";
import { quote } from "./problems.ts";
import { under } from "./yaml_tree.ts";

export const PORT_MAX = 65_535;
export const U32_MAX = 2 ** 32 - 1;

export const port = whole(1, PORT_MAX);
/** 0 is a value with a meaning of its own. */
export const portOrZero = whole(0, PORT_MAX);

export const ip: Decode<Ip> = parsed(Ip.parse, "an IP address");
export const cidr: Decode<Cidr> = parsed(
  Cidr.parse,
  'an IP range with its prefix length, as "10.0.0.0/8"',
);

/** The two sides of the first `/`. */
export function split(value: string): readonly [string, string] | undefined {
  const slash = value.indexOf("/");
  return slash < 0 ? undefined : [value.slice(0, slash), value.slice(slash + 1)];
}

export const networkIp: Decode<NetworkIp> = parsed((value) => {
  const [network, address] = split(value) ?? [];
  const ip = address === undefined ? undefined : Ip.parse(address);
  return ip && { network: network!, ip };
}, '"network/ip"; where the network has no name, "/ip"');

export function isServiceKey(value: string): value is ServiceKey {
  const [namespace, hostname] = split(value) ?? ["", ""];
  return namespace !== "" && hostname !== "" && !hostname.includes("/");
}

const destination: Decode<GatewayAddress["destination"]> = parsed((value) => {
  const [scope, name] = split(value) ?? [];
  if (scope === undefined || name === undefined) return undefined;
  const ip = Ip.parse(name);
  if (ip !== undefined) return { kind: "address", network: scope, ip };
  // What only digits and colons could have been was meant as an address, and is none.
  const isAddressLike = /^[\d.]*$/.test(name) || name.includes(":");
  if (isAddressLike || !isServiceKey(value)) return undefined;
  return { kind: "hostname", namespace: scope, hostname: name };
}, '"network/ip" or "namespace/hostname"');

const NO_GATEWAY: GatewayAddress = {
  destination: { kind: "hostname", namespace: "", hostname: "" },
  hboneMtlsPort: 0,
};

export const gatewayAddress: Decode<GatewayAddress> = (place) => {
  const fields = Fields.of(place, ["destination", "hboneMtlsPort"]);
  return fields && {
    destination: fields.required("destination", destination, NO_GATEWAY.destination),
    hboneMtlsPort: fields.required("hboneMtlsPort", port, 0),
  };
};
export { NO_GATEWAY };

/** Service port to target port; `target` says which targets there may be. */
export function portMap(target: Decode<number>): Decode<PortMap> {
  return (place) => {
    const map = mapAt(place);
    if (map === undefined) return undefined;
    const ports = new Map<number, number>();
    for (const [name, { keyOffset, value }] of map.entries) {
      const path = under(place.path, name);
      const from = /^[1-9]\d{0,4}$/.test(name) ? Number(name) : undefined;
      if (from === undefined || from > PORT_MAX) {
        place.problems.add(
          keyOffset,
          path,
          `Cannot use ${quote(name)} as a port: expected a number from 1 to ${PORT_MAX}`,
        );
        continue;
      }
      const to = target({ node: value, path, problems: place.problems });
      if (to !== undefined) ports.set(from, to);
    }
    return ports;
  };
}

/** A map whose keys are `namespace/hostname`. */
export function byService<T>(decode: Decode<T>): Decode<ReadonlyMap<ServiceKey, T>> {
  return (place) => {
    const map = mapAt(place);
    if (map === undefined) return undefined;
    const values = new Map<ServiceKey, T>();
    for (const [name, { keyOffset, value }] of map.entries) {
      const path = under(place.path, name);
      if (!isServiceKey(name)) {
        const message = `Cannot use ${quote(name)} as a service: expected "namespace/hostname"`;
        place.problems.add(keyOffset, path, message);
        continue;
      }
      const decoded = decode({ node: value, path, problems: place.problems });
      if (decoded !== undefined) values.set(name, decoded);
    }
    return values;
  };
}

/** Tells of every value whose name another had before; `what` is its kind. */
export class Unique {
  readonly #lines = new Map<string, number>();

  constructor(private readonly what: string) {}

  /** `place` is where the value stands that has this name. */
  check(name: string, place: Parameters<typeof refuse>[0]): void {
    const line = this.#lines.get(name);
    if (line === undefined) {
      this.#lines.set(name, place.problems.placeOf(place.node.offset).line);
      return;
    }
    refuse(place, `Cannot have two ${this.what} ${quote(name)}: the first is on line ${line}`);
  }
}
