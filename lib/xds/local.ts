import type { Policy, PortMap, Service, ServiceKey, Workload } from "#mesh";
import { sameContent } from "#mesh";
import { type Decode, Fields, listOf, type Place, refuse } from "./decode.ts";
import { LOCAL_LIMITS } from "./limits.ts";
import { policy } from "./local_policy.ts";
import { Unique } from "./local_schema.ts";
import { type WrittenService, writtenService } from "./local_service.ts";
import { workload } from "./local_workload.ts";
import { type LocalProblem, Problems } from "./problems.ts";
import { parseYaml } from "./yaml_tree.ts";

/** A whole mesh, each list in the order of the file. */
export interface LocalMesh {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Policy[];
}

/** Either wholly usable, or everything that is wrong with it. */
export type LocalParse =
  | { readonly mesh: LocalMesh }
  | { readonly problems: readonly LocalProblem[] };

/**
 * The mesh that a YAML text describes (behaviour.md 3.11, with the defaults of 18.13 and 18.14). Pure; never throws,
 * whatever the text; bounded by LOCAL_LIMITS. `fileName` is how problems call the text. An empty text is an empty mesh.
 */
export function loadLocal(source: string, fileName: string): LocalParse {
  // Some editors put a byte order mark before the text; it is no part of it.
  const text = source.startsWith("\uFEFF") ? source.slice(1) : source;
  if (text.length > LOCAL_LIMITS.fileBytesMax) {
    const message = `Cannot read more than ${LOCAL_LIMITS.fileBytesMax} bytes`;
    return { problems: [{ file: fileName, path: "", message }] };
  }
  const problems = new Problems(fileName, text);
  const root = parseYaml(text, problems);
  const mesh = root === undefined ? EMPTY : meshOf({ node: root, path: "", problems }) ?? EMPTY;
  return problems.isEmpty ? { mesh } : { problems: problems.all() };
}

export const EMPTY: LocalMesh = { workloads: [], services: [], policies: [] };

function meshOf(place: Place): LocalMesh | undefined {
  if (place.node.kind === "scalar" && place.node.value === null) return EMPTY;
  const fields = Fields.of(place, ["workloads", "services", "policies"]);
  if (fields === undefined) return undefined;
  const workloads = fields.optional(
    "workloads",
    listOf(unique("workloads with the uid", workload, (each) => each.uid)),
    [],
  );
  const services = fields.optional(
    "services",
    listOf(unique("services", writtenService, ({ service }) => keyOf(service))),
    [],
  );
  const policies = fields.optional(
    "policies",
    listOf(unique("policies", policy, (each) => each.key)),
    [],
  );
  return {
    workloads: withEndpoints(workloads, services),
    services: services.map((each) => each.service),
    policies,
  };
}

function keyOf(service: Service): ServiceKey {
  return `${service.namespace}/${service.hostname}`;
}

function unique<T>(what: string, decode: Decode<T>, name: (value: T) => string): Decode<T> {
  const names = new Unique(what);
  return (place) => {
    const value = decode(place);
    if (value !== undefined) names.check(name(value), place);
    return value;
  };
}

/**
 * The workloads with what services say of them under `endpoints`. An endpoint is a workload's share in a service, so it
 * needs a workload, and may not contradict it.
 */
function withEndpoints(
  workloads: readonly Workload[],
  services: readonly WrittenService[],
): readonly Workload[] {
  const byUid = new Map(workloads.map((each) => [each.uid, each]));
  const added = new Map<string, Map<ServiceKey, PortMap>>();
  for (const { service, endpoints } of services) {
    for (const { place, workloadUid, ports, status } of endpoints) {
      const owner = byUid.get(workloadUid);
      const own = owner?.services.get(keyOf(service));
      if (owner === undefined) {
        refuse(place, "Cannot have an endpoint without its workload: no workload has that uid");
      } else if (status !== undefined && status !== owner.status) {
        refuse(place, `Cannot be ${status}: its workload is ${owner.status}`);
      } else if (own !== undefined && !sameContent(own, ports)) {
        refuse(place, 'Cannot have other ports than its workload says under "services"');
      }
      const shares = added.get(workloadUid) ?? new Map<ServiceKey, PortMap>();
      added.set(workloadUid, shares.set(keyOf(service), ports));
    }
  }
  return workloads.map((each) => {
    const shares = added.get(each.uid);
    return shares === undefined
      ? each
      : { ...each, services: new Map([...each.services, ...shares]) };
  });
}
