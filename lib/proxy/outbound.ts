/**
 * Applications' connections on their way out (behaviour.md 6).
 * @module
 */
import { type Baggage, Headings } from "#hbone";
import { display } from "#log";
import { identityOf, type Workload } from "#mesh";
import { type OutboundPlan, planOutbound } from "#route";
import type { Arrival, ByteStream } from "#stream";
import type { StopSignal } from "#system";
import type { Peer } from "#tls";
import { type Failure, Refusal, SocketAddress, type SpiffeId } from "#values";
import { carry } from "./carry.ts";
import { dialFor } from "./dial.ts";
import type { ProxyParts } from "./parts.ts";
import { Questions } from "./questions.ts";
import { ConnectionRecord, logEarlyDenial } from "./record.ts";

export interface OutboundArrival {
  readonly stream: ByteStream;
  readonly source: SocketAddress;
  /** Where the application wanted to go. */
  readonly target: SocketAddress;
}

type GoingPlan = Extract<OutboundPlan, { readonly kind: "tcp" | "hbone" }>;

/** Serves one connection to 15001 to its access line; never rejects. */
export async function serveCaptured(parts: ProxyParts, arrival: Arrival): Promise<void> {
  const { stream, source, local, destination: target } = arrival;
  const outbound = { stream, source, target };
  // Nobody redirected it: whoever came here meant this port. If that address is no workload's, going on would be to
  // dial ourselves again and again until no file descriptor is left.
  if (SocketAddress.equal(target, local)) return deny(parts, outbound, { kind: "self_call" });
  await serveOutbound(parts, outbound, "outbound");
}

/** Serves one connection from its decision to its access line; never rejects. */
export async function serveOutbound(
  parts: ProxyParts,
  arrival: OutboundArrival,
  via: "outbound" | "socks5",
): Promise<void> {
  const startMs = parts.clock.monotonicMs();
  await using downstream = arrival.stream;
  const traceId = hexOf(parts.rng.bytes(16));
  const log = parts.log.within({ name: via, fields: { id: display(traceId) } });
  let source: Workload;
  try {
    source = await parts.local.get(arrival.source.ip);
  } catch (error) {
    return deny(parts, arrival, Refusal.failureOf(error));
  }
  const questions = new Questions(parts);
  const decide = () =>
    planOutbound(parts.view, {
      source,
      client: arrival.source,
      target: arrival.target,
      network: parts.settings.network,
      illegalPorts: parts.settings.illegalPorts,
      asked: questions.answered,
    }, parts.rng);
  let plan = decide();
  while (plan.kind === "ask") {
    if (!await questions.ask(plan.name)) {
      return deny(parts, arrival, { kind: "not_told", name: plan.name });
    }
    source = parts.local.current ?? source;
    plan = decide();
  }
  // From the decision to the row no await: what was decided is what is listed.
  if (plan.kind === "refuse") return refuse(parts, arrival, plan, source, startMs);
  log.debug?.("decided", { kind: plan.kind, hop: SocketAddress.format(plan.hop) });
  using row = parts.connections.trackOutbound({
    src: SocketAddress.format(arrival.source),
    originalDst: SocketAddress.format(arrival.target),
    actualDst: SocketAddress.format(plan.hop),
    protocol: plan.kind === "hbone" ? "HBONE" : "TCP",
  });
  using record = openRecord(parts, arrival, plan, source, startMs);
  try {
    const opened = await openUpstream(parts, arrival, plan, source, traceId, row.revoked);
    await using upstream = opened.stream;
    await carry(row, record, downstream, upstream, opened.peer);
  } catch (error) {
    downstream.abort();
    record.end(row.revoked.aborted ? row.revoked.reason as Failure : Refusal.failureOf(error));
  }
}

function openRecord(
  parts: ProxyParts,
  arrival: OutboundArrival,
  plan: GoingPlan,
  source: Workload,
  startMs: number,
): ConnectionRecord {
  const mutualTls = plan.kind === "hbone";
  return new ConnectionRecord(
    parts,
    {
      reporter: "source",
      source: {
        workload: source,
        principal: mutualTls ? parts.local.identityOf(source) : undefined,
      },
      destination: { workload: plan.workload, principal: principalOf(plan.workload) },
      service: plan.service,
      mutualTls,
    },
    {
      client: arrival.source,
      hop: plan.hop,
      ...(plan.kind === "hbone" ? { hboneTarget: plan.authority } : {}),
    },
    startMs,
  );
}

async function openUpstream(
  parts: ProxyParts,
  arrival: OutboundArrival,
  plan: GoingPlan,
  source: Workload,
  traceId: string,
  revoked: StopSignal,
): Promise<{ readonly stream: ByteStream; readonly peer?: Peer }> {
  switch (plan.kind) {
    case "tcp":
      return { stream: await dialFor(parts, plan.hop, { kind: "io", revoked }) };
    case "hbone": {
      const identity = parts.local.identityOf(source);
      const client = SocketAddress.format(arrival.source);
      return await parts.pool.open(
        { source: identity, expected: plan.expected, hop: plan.hop, client: arrival.source.ip },
        {
          authority: plan.authority,
          headers: new Map([
            ["baggage", [baggageHeader(source)]],
            ["forwarded", [Headings.forwarded(client, plan.service?.hostname)]],
            ["traceparent", [Headings.traceparent(traceId, hexOf(parts.rng.bytes(8)))]],
          ]),
        },
        revoked,
      );
    }
  }
}

/**
 * A refusal before the request is built has a line and no metrics, as ztunnel. A branch that this build lacks counts
 * as a failed connection too: whoever runs it must see on a dashboard that traffic is refused.
 */
function refuse(
  parts: ProxyParts,
  arrival: OutboundArrival,
  plan: Extract<OutboundPlan, { readonly kind: "refuse" }>,
  source: Workload,
  startMs: number,
): void {
  if (plan.failure.kind !== "unsupported") return deny(parts, arrival, plan.failure);
  arrival.stream.abort();
  using record = new ConnectionRecord(
    parts,
    {
      reporter: "source",
      source: { workload: source, principal: undefined },
      destination: { workload: undefined, principal: undefined },
      service: undefined,
      mutualTls: false,
    },
    { client: arrival.source, hop: arrival.target },
    startMs,
  );
  record.end(plan.failure);
}

function deny(parts: ProxyParts, arrival: OutboundArrival, failure: Failure): void {
  arrival.stream.abort();
  logEarlyDenial(
    parts.access,
    { client: arrival.source, hop: arrival.target },
    "outbound",
    failure,
  );
}

/** The mesh gives the same object for as long as a workload has not changed. */
const baggageHeaders = new WeakMap<Workload, string>();

/** What a workload says of itself to the other side. */
export function baggageHeader(workload: Workload): string {
  let header = baggageHeaders.get(workload);
  if (header === undefined) {
    header = Headings.baggage(baggageOf(workload));
    baggageHeaders.set(workload, header);
  }
  return header;
}

function baggageOf(workload: Workload): Baggage {
  return {
    clusterId: workload.clusterId,
    namespace: workload.namespace,
    workloadName: workload.workloadName,
    workloadType: workload.workloadType,
    serviceName: workload.canonicalName,
    revision: workload.canonicalRevision,
    region: workload.locality.region,
    zone: workload.locality.zone,
  };
}

export function principalOf(workload: Workload | undefined): SpiffeId | undefined {
  return workload === undefined ? undefined : identityOf(workload);
}

export function hexOf(bytes: Uint8Array): string {
  return bytes.toHex();
}
