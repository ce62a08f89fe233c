/** A mesh whose every value can be checked by itself, for tests that read while somebody writes. */
import type { Policy, Service, Workload } from "#mesh";
import { cidr, ip, policy, service, workload } from "./builders.ts";

export const PINNED_COUNT = 40;
export const LOOSE_COUNT = 400;
export const POLICIES_COUNT = 12;
export const SERVICE_KEY = "shop/pinned.org";

export function uidOf(index: number): string {
  return `cluster//Pod/shop/workload-${index}`;
}

/** Where a workload is in a revision; the pinned ones never move. */
export function ipOf(index: number, revision: number) {
  const place = index < PINNED_COUNT ? index : index * 3 + revision % 3;
  return ip(`10.${place >> 16}.${(place >> 8) & 255}.${place & 255}`);
}

/** All fields follow from the index and the revision, so half a record, or a mixture of two, shows. */
export function revised(index: number, revision: number): Workload {
  const padding = "x".repeat(revision % 97);
  return workload(uidOf(index), {
    name: `workload-${index}-${revision}`,
    canonicalName: `workload-${index}-${revision}-${padding}`,
    canonicalRevision: String(revision),
    workloadName: padding,
    workloadIps: [ipOf(index, revision)],
    capacity: revision % 1_000,
    hostname: `host-${index}.org`,
    services: new Map([[SERVICE_KEY, new Map([[80, 1 + revision % 60_000]])]]),
  });
}

export function pinnedService(revision: number): Service {
  return service("pinned.org", {
    vips: [{ network: "", ip: ip("10.96.0.1") }],
    cidrVips: [{ network: "", cidr: cidr("10.97.0.0/16") }],
    ports: new Map([[80, 1 + revision % 60_000]]),
    subjectAltNames: [String(revision)],
  });
}

/** All of one push carry its number. */
export function policies(push: number): Policy[] {
  return Array.from({ length: POLICIES_COUNT }, (_, index) =>
    policy(`shop/p${index}`, {
      name: String(push),
      scope: index % 3 === 0 ? "Global" : "Namespace",
      action: "Deny",
    }));
}

export const TWINS_COUNT = 200;
export const TWINS = service("twins.org");

/** Written together in one reload, and never otherwise. */
export function twins(revision: number): Workload[] {
  return Array.from({ length: TWINS_COUNT }, (_, index) =>
    workload(`twin-${index}`, {
      services: new Map([["shop/twins.org", new Map([[80, 1 + revision % 60_000]])]]),
    }));
}
