import { type Cidr, Ip } from "#values";
import { hashOf, hashOfPair, hashOfTriple } from "./hash.ts";
import type { Service, ServiceKey, Workload, WorkloadInfo } from "./types.ts";
import { PART, type Part } from "./world.ts";

export function serviceKeyOf(service: Service): ServiceKey {
  return `${service.namespace}/${service.hostname}`;
}

/** Host-network pods share their node's addresses, so an address says nothing about them (behaviour.md 4.1). */
export function isFoundAt(workload: Workload, network: string, ip: Ip): boolean {
  return workload.networkMode === "Standard" && workload.network === network &&
    workload.workloadIps.includes(ip);
}

export function isInfoOf(workload: Workload, info: WorkloadInfo): boolean {
  return workload.name === info.name && workload.namespace === info.namespace &&
    workload.serviceAccount === info.serviceAccount;
}

export const hashOfInfo = (info: WorkloadInfo): number =>
  hashOfTriple(info.namespace, info.serviceAccount, info.name);

/** A range by its network, its kind (see `stratumOf`) and its first bits. */
export function hashOfRange(network: string, stratum: number, masked: string): number {
  return hashOfTriple(network, String(stratum), masked);
}

/** Ranges of one family and one length are found by one probe. */
export function stratumOf(cidr: Cidr): number {
  return Ip.family(cidr.base) << 8 | cidr.prefixLength;
}

/** The first `prefixLength` bits, as a key. */
export function maskedKey(bytes: Uint8Array, prefixLength: number): string {
  const whole = prefixLength >> 3;
  const head = bytes.subarray(0, whole).join(".");
  const rest = prefixLength & 7;
  return rest === 0 ? head : `${head}/${bytes[whole]! & (0xff << (8 - rest))}`;
}

export type IndexKeys = readonly (readonly [Part, number])[];

/** Under which hashes a workload is found. Each once, so that it is in each list once. */
export function workloadKeys(workload: Workload, isLocal: boolean): IndexKeys {
  const keys: (readonly [Part, number])[] = [[PART.uid, hashOf(workload.uid)]];
  if (workload.networkMode === "Standard") {
    for (
      const hash of new Set(workload.workloadIps.map((ip) => hashOfPair(workload.network, ip)))
    ) {
      keys.push([PART.address, hash]);
    }
  }
  if (isLocal) keys.push([PART.info, hashOfInfo(workload)]);
  if (workload.hostname !== "") {
    keys.push([PART.workloadHostname, hashOfPair(workload.namespace, workload.hostname)]);
  }
  for (const hash of new Set(workload.services.keys().map(hashOf))) {
    keys.push([PART.endpoints, hash]);
  }
  return keys;
}

export function serviceKeys(service: Service): IndexKeys {
  const keys: (readonly [Part, number])[] = [
    [PART.service, hashOf(serviceKeyOf(service))],
    [PART.serviceHostname, hashOf(service.hostname)],
  ];
  for (const hash of new Set(service.vips.map((vip) => hashOfPair(vip.network, vip.ip)))) {
    keys.push([PART.vip, hash]);
  }
  const ranges = service.cidrVips.map(({ network, cidr }) =>
    hashOfRange(
      network,
      stratumOf(cidr),
      maskedKey(Ip.toBytes(cidr.base), cidr.prefixLength),
    )
  );
  for (const hash of new Set(ranges)) keys.push([PART.range, hash]);
  return keys;
}
