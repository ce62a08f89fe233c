/**
 * Our own records of values that were given typed: the wire's messages, and what the wire has no words for. Written by hand,
 * so that threads which only read the mesh do not load the generated code of its messages.
 */
import { Ip } from "#values";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type {
  GatewayAddress,
  LoadBalancer,
  Policy,
  PolicyMatch,
  PortMap,
  Service,
  StringMatch,
  Workload,
} from "./types.ts";
import { LOCAL_TYPE_FIELD, WORKLOAD_TYPES } from "./read_workload.ts";

// Enums of proto/workload.proto and proto/authorization.proto.
const IP_FAMILIES = { IPv4: 1, IPv6: 2, Dual: 3 } as const;
const MODES = { Standard: 0, Strict: 1, Failover: 2, Passthrough: 3 } as const;
const SCOPES = { Region: 1, Zone: 2, Subzone: 3, Node: 4, Cluster: 5, Network: 6 } as const;
const TUNNELS = { NONE: 0, PROXY: 1 } as const;
const POLICY_SCOPES = { Global: 0, Namespace: 1, WorkloadSelector: 2 } as const;

/** A message in the making, field after field; what is a field's default is left out, as proto3 does. */
class Message {
  readonly #writer = new BinaryWriter();

  text(field: number, value: string): void {
    if (value !== "") this.someText(field, value);
  }

  /** Written also when it is empty. */
  someText(field: number, value: string): void {
    this.#writer.tag(field, WireType.LengthDelimited).string(value);
  }

  bytes(field: number, value: Uint8Array): void {
    this.#writer.tag(field, WireType.LengthDelimited).bytes(value);
  }

  uint(field: number, value: number): void {
    if (value !== 0) this.someUint(field, value);
  }

  /** Written also when it is 0. */
  someUint(field: number, value: number): void {
    this.#writer.tag(field, WireType.Varint).uint32(value);
  }

  bool(field: number, value: boolean): void {
    if (value) this.#writer.tag(field, WireType.Varint).bool(true);
  }

  uints(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.#writer.tag(field, WireType.LengthDelimited).fork();
    for (const value of values) this.#writer.uint32(value);
    this.#writer.join();
  }

  message(field: number, write: (message: Message) => void): void {
    const inner = new Message();
    write(inner);
    this.bytes(field, inner.finish());
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}

export function encodeWorkload(workload: Workload): Uint8Array {
  const { applicationTunnel: tunnel, locality } = workload;
  const typeIndex = WORKLOAD_TYPES.indexOf(workload.workloadType);
  const message = new Message();
  message.text(1, workload.name);
  message.text(2, workload.namespace);
  for (const ip of workload.workloadIps) message.bytes(3, Ip.toBytes(ip));
  message.text(4, workload.network);
  message.uint(5, workload.protocol === "HBONE" ? 1 : 0);
  message.text(6, workload.trustDomain);
  message.text(7, workload.serviceAccount);
  gateway(message, 8, workload.waypoint);
  message.text(9, workload.node);
  message.text(10, workload.canonicalName);
  message.text(11, workload.canonicalRevision);
  message.uint(12, Math.max(typeIndex, 0));
  message.text(13, workload.workloadName);
  message.bool(14, workload.nativeTunnel);
  for (const key of workload.authorizationPolicies) message.someText(16, key);
  message.uint(17, workload.status === "Healthy" ? 0 : 1);
  message.text(18, workload.clusterId);
  gateway(message, 19, workload.networkGateway);
  message.text(20, workload.uid);
  message.text(21, workload.hostname);
  for (const [key, served] of workload.services) {
    message.message(22, (entry) => {
      entry.someText(1, key);
      entry.message(2, (list) => ports(list, 1, served));
    });
  }
  if (tunnel !== undefined) {
    message.message(23, (inner) => {
      inner.uint(1, TUNNELS[tunnel.protocol]);
      inner.uint(2, tunnel.port ?? 0);
    });
  }
  message.message(24, (inner) => {
    inner.text(1, locality.region);
    inner.text(2, locality.zone);
    inner.text(3, locality.subzone);
  });
  message.uint(25, workload.networkMode === "Standard" ? 0 : 1);
  message.message(27, (inner) => inner.uint(1, workload.capacity));
  if (typeIndex < 0) message.someText(LOCAL_TYPE_FIELD, workload.workloadType);
  return message.finish();
}

export function encodeService(service: Service): Uint8Array {
  const { loadBalancer } = service;
  const message = new Message();
  message.text(1, service.name);
  message.text(2, service.namespace);
  message.text(3, service.hostname);
  for (const { network, ip } of service.vips) {
    message.message(4, (inner) => networkAddress(inner, network, ip));
  }
  for (const { network, cidr } of service.cidrVips) {
    message.message(4, (inner) => {
      networkAddress(inner, network, cidr.base);
      inner.someUint(3, cidr.prefixLength);
    });
  }
  ports(message, 5, service.ports);
  for (const name of service.subjectAltNames) message.someText(6, name);
  gateway(message, 7, service.waypoint);
  if (loadBalancer !== undefined) message.message(8, (inner) => balance(inner, loadBalancer));
  message.uint(9, service.ipFamilies === undefined ? 0 : IP_FAMILIES[service.ipFamilies]);
  message.bool(11, service.canonical);
  for (const { destination, weight } of service.weightedWaypoints) {
    message.message(13, (inner) => {
      gateway(inner, 1, destination);
      inner.uint(2, weight);
    });
  }
  message.uint(14, service.visibility === "Public" ? 0 : 1);
  return message.finish();
}

function balance(message: Message, balancer: LoadBalancer): void {
  message.uints(1, balancer.routingPreferences.map((scope) => SCOPES[scope]));
  message.uint(2, MODES[balancer.mode]);
  message.uint(3, balancer.healthPolicy === "AllowAll" ? 1 : 0);
}

export function encodePolicy(policy: Policy): Uint8Array {
  const message = new Message();
  message.text(1, policy.name);
  message.text(2, policy.namespace);
  message.uint(3, POLICY_SCOPES[policy.scope]);
  message.uint(4, policy.action === "Allow" ? 0 : 1);
  for (const clauses of policy.rules) {
    message.message(5, (rule) => {
      for (const matches of clauses) {
        rule.message(1, (clause) => {
          for (const match of matches) clause.message(2, (inner) => matchOf(inner, match));
        });
      }
    });
  }
  message.bool(6, policy.dryRun);
  return message.finish();
}

function matchOf(message: Message, match: PolicyMatch): void {
  stringMatches(message, 1, match.namespaces);
  stringMatches(message, 2, match.notNamespaces);
  stringMatches(message, 3, match.principals);
  stringMatches(message, 4, match.notPrincipals);
  ranges(message, 5, match.sourceIps);
  ranges(message, 6, match.notSourceIps);
  ranges(message, 7, match.destinationIps);
  ranges(message, 8, match.notDestinationIps);
  message.uints(9, match.destinationPorts);
  message.uints(10, match.notDestinationPorts);
  accounts(message, 11, match.serviceAccounts);
  accounts(message, 12, match.notServiceAccounts);
}

function stringMatches(message: Message, field: number, matches: readonly StringMatch[]): void {
  for (const each of matches) message.message(field, (inner) => stringMatch(inner, each));
}

function stringMatch(message: Message, each: StringMatch): void {
  switch (each.kind) {
    case "Exact":
      return message.someText(1, each.value);
    case "Prefix":
      return message.someText(2, each.value);
    case "Suffix":
      return message.someText(3, each.value);
    case "Presence":
      return message.message(4, () => {});
  }
}

function ranges(message: Message, field: number, list: PolicyMatch["sourceIps"]): void {
  for (const { base, prefixLength } of list) {
    message.message(field, (inner) => {
      inner.bytes(1, Ip.toBytes(base));
      inner.uint(2, prefixLength);
    });
  }
}

function accounts(message: Message, field: number, list: PolicyMatch["serviceAccounts"]): void {
  for (const { namespace, serviceAccount } of list) {
    message.message(field, (inner) => {
      inner.text(1, namespace);
      inner.text(2, serviceAccount);
    });
  }
}

function ports(message: Message, field: number, map: PortMap): void {
  for (const [servicePort, targetPort] of map) {
    message.message(field, (inner) => {
      inner.uint(1, servicePort);
      inner.uint(2, targetPort);
    });
  }
}

function networkAddress(message: Message, network: string, ip: Ip): void {
  message.text(1, network);
  message.bytes(2, Ip.toBytes(ip));
}

function gateway(message: Message, field: number, address: GatewayAddress | undefined): void {
  if (address === undefined) return;
  const { destination, hboneMtlsPort } = address;
  message.message(field, (inner) => {
    if (destination.kind === "hostname") {
      inner.message(1, (name) => {
        name.text(1, destination.namespace);
        name.text(2, destination.hostname);
      });
    } else {
      inner.message(2, (where) => networkAddress(where, destination.network, destination.ip));
    }
    inner.uint(3, hboneMtlsPort);
  });
}
