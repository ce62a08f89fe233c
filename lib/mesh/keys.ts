import { type Cidr, Ip } from "#values";
import type { Hashes } from "./hash.ts";
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

export const hashOfInfo = (hashes: Hashes, info: WorkloadInfo): number =>
  hashes.ofTriple(info.namespace, info.serviceAccount, info.name);

/** A range by its network, its kind (see `stratumOf`) and its first bits. */
export function hashOfRange(
  hashes: Hashes,
  network: string,
  stratum: number,
  masked: string,
): number {
  return hashes.ofTriple(network, String(stratum), masked);
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

/** A part of the world and a hash in one number: a hash has 32 bits, so both have room. */
export type IndexKey = number;

const HASHES = 0x100000000;

function indexKey(part: Part, hash: number): IndexKey {
  return part * HASHES + hash;
}

export function partOfKey(key: IndexKey): Part {
  return Math.floor(key / HASHES) as Part;
}

export function hashOfKey(key: IndexKey): number {
  return key >>> 0;
}

/** Under which keys a workload is found; one may come twice. */
export function workloadKeys(hashes: Hashes, workload: Workload, isLocal: boolean): IndexKey[] {
  const { network, workloadIps, services } = workload;
  const keys = [indexKey(PART.uid, hashes.of(workload.uid))];
  if (workload.networkMode === "Standard") {
    for (const ip of workloadIps) keys.push(indexKey(PART.address, hashes.ofPair(network, ip)));
  }
  if (isLocal) keys.push(indexKey(PART.info, hashOfInfo(hashes, workload)));
  if (workload.hostname !== "") {
    const hash = hashes.ofPair(workload.namespace, workload.hostname);
    keys.push(indexKey(PART.workloadHostname, hash));
  }
  for (const key of services.keys()) keys.push(indexKey(PART.endpoints, hashes.of(key)));
  return keys;
}

/** Under which keys a service is found; one may come twice. */
export function serviceKeys(hashes: Hashes, service: Service): IndexKey[] {
  const keys = [
    indexKey(PART.service, hashes.of(serviceKeyOf(service))),
    indexKey(PART.serviceHostname, hashes.of(service.hostname)),
  ];
  for (const { network, ip } of service.vips) {
    keys.push(indexKey(PART.vip, hashes.ofPair(network, ip)));
  }
  for (const { network, cidr } of service.cidrVips) {
    const masked = maskedKey(Ip.toBytes(cidr.base), cidr.prefixLength);
    keys.push(indexKey(PART.range, hashOfRange(hashes, network, stratumOf(cidr), masked)));
  }
  return keys;
}
