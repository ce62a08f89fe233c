import type { MeshView, Service, Workload } from "#mesh";
import type { Rng } from "#system";
import { Ip } from "#values";
import { aliasesOf, clusterSearchDomains, wildcardsOf } from "./names.ts";

/** RFC 1035 section 2.3.4, in text form; a longer name is nobody's. */
const NAME_LENGTH_MAX = 253;
/** As ztunnel: short, since endpoints move and nobody tells the asker. */
const TTL_SECONDS = 30;

export interface NameAsk {
  /** As asked: any case, with or without the final dot. */
  readonly name: string;
  /** Record type in capitals; only A and AAAA are ever ours. */
  readonly type: string;
  /** The local workload that asks; its namespace and network decide what it sees. */
  readonly client: Workload;
  /** The cluster's DNS domain, usually `cluster.local`. */
  readonly clusterDomain: string;
  /** The `search` list of resolv.conf in dedicated mode; absent: what Kubernetes gives to every pod. */
  readonly searchDomains?: readonly string[];
  /** IPV6_ENABLED; on if absent. */
  readonly ipv6Enabled?: boolean;
  /** PREFERED_SERVICE_NAMESPACE. */
  readonly preferredNamespace?: string;
}

/** All but `not_ours` are authoritative (AA). */
export type Answer =
  | {
    readonly kind: "addresses";
    /** Shuffled; all of the asked family, at least one. */
    readonly ips: readonly Ip[];
    /** If present: asked name CNAME this, which then owns the addresses. */
    readonly cname?: string;
    readonly ttlSeconds: number;
    readonly service: Service;
  }
  /** NOERROR without records. */
  | {
    readonly kind: "empty";
    /** `result` of the log line (behaviour.md 11.7). */
    readonly reason: "no records" | "service does not support this record type";
    readonly service: Service;
  }
  /** The mesh does not know the name, or not for this type: forward the question. */
  | { readonly kind: "not_ours" };

const NOT_OURS: Answer = { kind: "not_ours" };

/** What the mesh answers to a DNS question (behaviour.md 11.3 to 11.5). Total on any name. */
export function answerName(view: MeshView, ask: NameAsk, rng: Rng): Answer {
  const family = familyOf(ask.type);
  if (family === undefined) return NOT_OURS;
  const hit = lookUp(view, ask);
  if (hit === undefined) return NOT_OURS;
  const { service, cname } = hit;
  if (!supports(service, family, ask.ipv6Enabled ?? true)) {
    return { kind: "empty", reason: "service does not support this record type", service };
  }
  const ips = shuffled(addressesOf(view, service, ask.client.network, family), rng);
  if (ips.length === 0) return { kind: "empty", reason: "no records", service };
  const named = cname === undefined ? {} : { cname };
  return { kind: "addresses", ips, ...named, ttlSeconds: TTL_SECONDS, service };
}

/** One address of the name, IPv4 if there is any; undefined if the mesh has none. For callers that dial by name (SOCKS5). */
export function resolveName(
  view: MeshView,
  ask: Omit<NameAsk, "type">,
  rng: Rng,
): Ip | undefined {
  for (const type of ["A", "AAAA"]) {
    const answer = answerName(view, { ...ask, type }, rng);
    if (answer.kind === "addresses") return answer.ips[0];
  }
  return undefined;
}

function familyOf(type: string): 4 | 6 | undefined {
  if (type === "A") return 4;
  return type === "AAAA" ? 6 : undefined;
}

interface Hit {
  readonly service: Service;
  readonly cname?: string;
}

/** The first alias with a service wins, its exact name before its wildcards. */
function lookUp(view: MeshView, ask: NameAsk): Hit | undefined {
  const name = ask.name.toLowerCase().replace(/\.$/, "");
  if (name === "" || name.length > NAME_LENGTH_MAX) return undefined;
  const { namespace } = ask.client;
  const searchDomains = ask.searchDomains ?? clusterSearchDomains(namespace, ask.clusterDomain);
  const aliases = aliasesOf({ name, namespace, clusterDomain: ask.clusterDomain, searchDomains });
  for (const alias of aliases) {
    const exact = bestNamed(view, alias.name, ask);
    if (exact !== undefined) {
      return alias.stripped === undefined
        ? { service: exact }
        : { service: exact, cname: alias.stripped };
    }
    for (const wildcard of wildcardsOf(alias.name)) {
      const service = bestNamed(view, wildcard, ask);
      // A wildcard covers the asked name itself, so no CNAME even if a search domain was stripped.
      if (service !== undefined) return { service };
    }
  }
  return undefined;
}

/** The asker's own namespace, else the last canonical one, else the preferred namespace, else the first. */
function bestNamed(view: MeshView, hostname: string, ask: NameAsk): Service | undefined {
  const { namespace } = ask.client;
  const candidates = view.servicesNamed(hostname).filter((service) =>
    isAnswerable(service, ask.clusterDomain) &&
    (service.visibility === "Public" || service.namespace === namespace)
  );
  return candidates.find((service) => service.namespace === namespace) ??
    candidates.findLast((service) => service.canonical) ??
    candidates.find((service) => service.namespace === ask.preferredNamespace) ??
    candidates[0];
}

/** An outside name without addresses is better answered by whoever owns it. */
function isAnswerable(service: Service, clusterDomain: string): boolean {
  return service.vips.length > 0 || service.hostname.endsWith(`.svc.${clusterDomain}`);
}

function supports(service: Service, family: 4 | 6, ipv6Enabled: boolean): boolean {
  if (family === 6) return ipv6Enabled && service.ipFamilies !== "IPv4";
  return service.ipFamilies !== "IPv6";
}

/** VIPs on the client's network; for a headless service one address of each endpoint. */
function addressesOf(
  view: MeshView,
  service: Service,
  network: string,
  family: 4 | 6,
): Ip[] {
  if (service.vips.length > 0) {
    return service.vips
      .filter((vip) => vip.network === network && Ip.family(vip.ip) === family)
      .map((vip) => vip.ip);
  }
  const ips = new Set<Ip>();
  for (const endpoint of view.endpointsOf(service)) {
    const workload = view.workload(endpoint.workloadUid);
    const ip = workload?.workloadIps.find((candidate) => Ip.family(candidate) === family);
    if (ip !== undefined) ips.add(ip);
  }
  return [...ips];
}

/** Fisher and Yates: every order equally likely. */
function shuffled(ips: Ip[], rng: Rng): Ip[] {
  for (let i = ips.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [ips[i], ips[j]] = [ips[j]!, ips[i]!];
  }
  return ips;
}
