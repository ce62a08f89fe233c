import { bytesTag, type Cursor, varintTag } from "./cursor.ts";
import type { GatewayAddress, PortMap } from "./types.ts";
import { ipOf, portOf, reject } from "./wire_shared.ts";

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function port(cursor: Cursor): number {
  return portOf(cursor.uint32());
}

/** Port: service_port = 1, target_port = 2. */
export function readPort(cursor: Cursor, ports: Map<number, number>): void {
  const end = cursor.length();
  let [from, to] = [0, 0];
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === varintTag(1)) from = port(cursor);
    else if (tag === varintTag(2)) to = port(cursor);
    else cursor.skip(tag);
  }
  cursor.close(end);
  ports.set(from, to);
}

/** PortList: ports = 1. */
export function readPortList(cursor: Cursor): PortMap {
  const end = cursor.length();
  const ports = new Map<number, number>();
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) readPort(cursor, ports);
    else cursor.skip(tag);
  }
  cursor.close(end);
  return ports;
}

export interface WireAddress {
  network: string;
  address: Uint8Array;
  length: number | undefined;
}

/** NetworkAddress: network = 1, address = 2, length = 3. */
export function readNetworkAddress(cursor: Cursor): WireAddress {
  const end = cursor.length();
  const read: WireAddress = { network: "", address: new Uint8Array(), length: undefined };
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) read.network = cursor.text();
    else if (tag === bytesTag(2)) read.address = cursor.bytes();
    else if (tag === varintTag(3)) read.length = cursor.uint32();
    else cursor.skip(tag);
  }
  cursor.close(end);
  return read;
}

/** NamespacedHostname: namespace = 1, hostname = 2. */
function readHostname(cursor: Cursor): GatewayAddress["destination"] {
  const end = cursor.length();
  let [namespace, hostname] = ["", ""];
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) namespace = cursor.text();
    else if (tag === bytesTag(2)) hostname = cursor.text();
    else cursor.skip(tag);
  }
  cursor.close(end);
  return { kind: "hostname", namespace, hostname };
}

/** GatewayAddress: hostname = 1, address = 2 (the later of them counts), hbone_mtls_port = 3. */
export function readGateway(cursor: Cursor, field: string): GatewayAddress {
  const end = cursor.length();
  let destination: GatewayAddress["destination"] | undefined;
  let hboneMtlsPort = 0;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) destination = readHostname(cursor);
    else if (tag === bytesTag(2)) {
      const { network, address } = readNetworkAddress(cursor);
      destination = { kind: "address", network, ip: ipOf(address, `${field} address`) };
    } else if (tag === varintTag(3)) hboneMtlsPort = port(cursor);
    else cursor.skip(tag);
  }
  cursor.close(end);
  if (destination === undefined) reject(`${field} without a destination`);
  return { destination, hboneMtlsPort };
}
