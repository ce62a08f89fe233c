/**
 * What the mesh does not know yet and the control plane may (behaviour.md 3.8): only where addresses are fetched when they
 * are needed. A name that was asked for once for this connection is not asked for again: then it is unknown.
 * @module
 */
import type { GatewayAddress, MeshView } from "#mesh";
import type { Ip } from "#values";
import { referenceOf } from "./waypoint.ts";

/** Names that the control plane has answered for this connection; undefined where everything is sent anyway. */
export type Asked = ReadonlySet<string> | undefined;

/** The name of an address, as the control plane is asked for it. */
export function nameOfAddress(network: string, ip: Ip): string {
  return `${network}/${ip}`;
}

/** What to ask for before `ip` can be called unknown. */
export function missingAddress(
  view: MeshView,
  asked: Asked,
  network: string,
  ip: Ip,
  namespace?: string,
): string | undefined {
  if (asked === undefined) return undefined;
  const name = nameOfAddress(network, ip);
  if (asked.has(name) || view.workloadAt(network, ip) !== undefined) return undefined;
  return view.serviceAt(network, ip, namespace) === undefined ? name : undefined;
}

/** What to ask for before a waypoint or gateway can be called unknown. */
export function missingGateway(
  view: MeshView,
  asked: Asked,
  gateway: GatewayAddress,
): string | undefined {
  if (asked === undefined || referenceOf(view, gateway) !== undefined) return undefined;
  const { destination } = gateway;
  const name = destination.kind === "address"
    ? nameOfAddress(destination.network, destination.ip)
    : `${destination.namespace}/${destination.hostname}`;
  return asked.has(name) ? undefined : name;
}
