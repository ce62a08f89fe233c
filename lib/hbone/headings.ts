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
} = undefined as never;
