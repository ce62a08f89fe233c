import type { Headers } from "#http2";

/** Who a workload says it is (behaviour.md 7.5); absent items are absent, never empty. */
export interface Baggage {
  readonly clusterId?: string;
  readonly namespace?: string;
  readonly workloadName?: string;
  /** deployment, cronjob, pod or job. */
  readonly workloadType?: string;
  readonly serviceName?: string;
  readonly revision?: string;
  readonly region?: string;
  readonly zone?: string;
}

/** What an absent type means in the mesh's own messages (behaviour.md Appendix A). */
const WORKLOAD_TYPE_DEFAULT = "deployment";
/** It becomes part of a key: anything else could start an item, or make the whole header one that cannot be sent. */
const TYPE = /^[A-Za-z0-9_-]+$/;

/** Baggage keys and what they say. Several may name the workload. */
const ITEM_OF_KEY: Readonly<Record<string, keyof Baggage>> = {
  "k8s.cluster.name": "clusterId",
  "k8s.namespace.name": "namespace",
  "k8s.deployment.name": "workloadName",
  "k8s.cronjob.name": "workloadName",
  "k8s.pod.name": "workloadName",
  "k8s.job.name": "workloadName",
  "service.name": "serviceName",
  "service.version": "revision",
  "cloud.region": "region",
  "cloud.availability_zone": "zone",
};

/** Writing and reading the headers of a CONNECT; reading is total on any text (behaviour.md 7.5, C.8). */
export const Headings: {
  baggage(baggage: Baggage): string;
  parseBaggage(headers: Headers): Baggage;
  forwarded(client: string, serviceHostname?: string): string;
  /** The host of `forwarded`, if any. */
  parseForwardedHost(headers: Headers): string | undefined;
  /** 32 hex digits of trace id and 16 of parent id, both the caller's random bytes. */
  traceparent(traceId: string, parentId: string): string;
  /** The 32-digit trace id, or undefined. */
  parseTraceId(headers: Headers): string | undefined;
} = {
  baggage(baggage) {
    const given = baggage.workloadType;
    const type = given !== undefined && TYPE.test(given) ? given : WORKLOAD_TYPE_DEFAULT;
    const items: readonly (readonly [string, string | undefined])[] = [
      ["k8s.cluster.name", baggage.clusterId],
      ["k8s.namespace.name", baggage.namespace],
      [`k8s.${type}.name`, baggage.workloadName],
      ["service.name", baggage.serviceName],
      ["service.version", baggage.revision],
      ["cloud.region", baggage.region],
      ["cloud.availability_zone", baggage.zone],
    ];
    return items.filter(([, value]) => isItemValue(value)).map((item) => item.join("=")).join(",");
  },

  parseBaggage(headers) {
    const lines = headers.get("baggage") ?? [];
    if (!lines.every(isAscii)) return {};
    const items = new Map<string, string>();
    for (const part of lines.flatMap((line) => line.split(","))) {
      const [key = "", value] = part.split("=").map((text) => text.trim());
      if (value === undefined || !Object.hasOwn(ITEM_OF_KEY, key)) continue;
      const name = ITEM_OF_KEY[key]!;
      if (name === "workloadName") items.set("workloadType", value && key.split(".")[1]!);
      items.set(name, value);
    }
    return Object.fromEntries([...items].filter(([, value]) => value !== ""));
  },

  forwarded(client, serviceHostname) {
    const by = `for="${client}"`;
    return serviceHostname === undefined ? by : `${by};host=${serviceHostname}`;
  },

  parseForwardedHost(headers) {
    const line = headers.get("forwarded")?.[0];
    if (line === undefined || !isAscii(line)) return undefined;
    const part = line.split(";").map((text) => text.trim()).find((text) =>
      text.startsWith("host=")
    );
    const host = part?.slice("host=".length).replace(/^"(.*)"$/s, "$1");
    return host || undefined;
  },

  traceparent: (traceId, parentId) => `00-${traceId}-${parentId}-00`,

  parseTraceId(headers) {
    const line = headers.get("traceparent")?.[0] ?? "";
    return /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i.exec(line)?.[1];
  },
};

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7f) return false;
  return true;
}

/**
 * There is no escaping in this header (behaviour.md 7.5): a comma would start an item of somebody's choice, and what is
 * no printable ASCII would fail the whole request. A label less is the smaller harm.
 */
function isItemValue(value: string | undefined): boolean {
  return value !== undefined && /^[\x21-\x2b\x2d-\x7e](?:[\x20-\x2b\x2d-\x7e]*)$/.test(value);
}
