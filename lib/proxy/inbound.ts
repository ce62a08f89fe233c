/**
 * Peers' connections on their way in: mutual TLS, tunnels, policies (behaviour.md 8).
 * @module
 */
import { authorize, type ConnectionFacts, type Verdict } from "#authz";
import {
  type Baggage,
  Headings,
  type IncomingTunnel,
  serveTunnels,
  type TunnelServer,
} from "#hbone";
import { display, type Log } from "#log";
import type { Workload } from "#mesh";
import { type Authority, type InboundPlan, planInbound } from "#route";
import type { Arrival, ByteStream } from "#stream";
import type { Peer } from "#tls";
import { CONSEQUENCES, type Failure, Refusal, SocketAddress } from "#values";
import { carry } from "./carry.ts";
import { dialFor } from "./dial.ts";
import { baggageHeader, hexOf } from "./outbound.ts";
import type { ProxyParts } from "./parts.ts";
import { Questions } from "./questions.ts";
import { ConnectionRecord, logEarlyDenial } from "./record.ts";

/** What one inbound HBONE listener adds to the parts. */
export interface InboundSeat {
  /** The listener is transparent: dials to the application leave from the caller's address (behaviour.md 8.7). */
  readonly spoof: boolean;
  /** Called with every live tunnel server, so that a drain reaches it; the result forgets it. */
  readonly onServer: (server: TunnelServer, peer: Peer) => () => void;
}

/** One TCP connection to 15008: handshake, then its tunnels until it ends; never rejects. */
export async function serveInbound(
  parts: ProxyParts,
  seat: InboundSeat,
  arrival: Arrival,
): Promise<void> {
  try {
    const workload = await parts.local.get(arrival.local.ip);
    const bundle = await parts.bundles.get(parts.local.identityOf(workload));
    const secured = await parts.tls.server(arrival.stream, bundle);
    const server = serveTunnels(
      secured,
      parts.settings.tunnelServer,
      (request, peer) => void serveTunnel(parts, seat, arrival, request, peer),
      ({ kind, limit }, { identity }) =>
        parts.floods.note(kind, { address: arrival.source, identity }, limit),
    );
    const forget = seat.onServer(server, secured.peer);
    await server.closed;
    forget();
  } catch (error) {
    arrival.stream.abort();
    if (isTimeout(error)) {
      const source = { address: arrival.source, identity: undefined };
      parts.floods.note("handshake", source, "a fixed time");
    }
    const ends = { client: arrival.source, hop: arrival.local };
    logEarlyDenial(parts.access, ends, "inbound", Refusal.failureOf(error));
  }
}

/** The peer did not finish its handshake in time. */
function isTimeout(error: unknown): boolean {
  return error instanceof Refusal && error.cause instanceof Error &&
    error.cause.name === "TimeoutError";
}

async function serveTunnel(
  parts: ProxyParts,
  seat: InboundSeat,
  arrival: Arrival,
  request: IncomingTunnel,
  peer: Peer,
): Promise<void> {
  const startMs = parts.clock.monotonicMs();
  const traceId = Headings.parseTraceId(request.headers) ?? hexOf(parts.rng.bytes(16));
  const log = parts.log.within({
    name: "inbound",
    fields: { id: display(traceId), peer: display(SocketAddress.format(arrival.source)) },
  });
  const answer = new Answer(request);
  try {
    const authority = authorityOf(request);
    const workload = await parts.local.get(arrival.local.ip);
    const forwardedHost = Headings.parseForwardedHost(request.headers);
    const given = { parts, seat, arrival, request, answer, peer, log, startMs };
    await deliver({ ...given, forwardedHost, authority, workload });
  } catch (error) {
    const failure = Refusal.failureOf(error);
    answer.refuse(failure);
    const ends = { client: arrival.source, hop: arrival.local };
    logEarlyDenial(parts.access, ends, "inbound", failure);
  }
}

/** A request is answered once, whichever of the roads out of `deliver` is taken. */
class Answer {
  #given = false;
  constructor(private readonly request: IncomingTunnel) {}

  accept(headers: IncomingTunnel["headers"]): ByteStream {
    this.#given = true;
    return this.request.accept(headers);
  }

  refuse(failure: Failure): void {
    if (this.#given) return;
    this.#given = true;
    this.request.refuse(CONSEQUENCES[failure.kind].status);
  }
}

interface Tunnel {
  readonly parts: ProxyParts;
  readonly seat: InboundSeat;
  readonly arrival: Arrival;
  readonly request: IncomingTunnel;
  readonly answer: Answer;
  readonly peer: Peer;
  readonly log: Log;
  readonly startMs: number;
  readonly forwardedHost: string | undefined;
  readonly authority: Authority;
  readonly workload: Workload;
}

/** Throws a Refusal for what has no record yet; later failures are the record's. */
async function deliver(asked: Tunnel): Promise<void> {
  const { parts, seat, arrival, request, answer, peer } = asked;
  const questions = new Questions(parts);
  if (!cameThroughGateway(parts, request)) await questions.askForLabels(arrival.source.ip);
  let tunnel = ofToday(asked);
  let plan = planTunnel(tunnel, questions);
  while (plan.kind === "ask") {
    if (!await questions.ask(plan.name)) {
      throw new Refusal({ kind: "not_told", name: plan.name });
    }
    tunnel = ofToday(asked);
    plan = planTunnel(tunnel, questions);
  }
  const { workload } = tunnel;
  if (plan.kind === "refuse") throw new Refusal(plan.failure);
  const facts: ConnectionFacts = {
    source: arrival.source,
    destination: plan.target,
    ...(peer.identity === undefined ? {} : { identity: peer.identity }),
  };
  // The row before the verdict, and both in one turn: a policy that changes later finds the row.
  using row = parts.connections.trackInbound(
    {
      src: SocketAddress.format(arrival.source),
      originalDst: tunnel.forwardedHost ?? null,
      actualDst: SocketAddress.format(plan.target),
      protocol: peer.identity === undefined ? "TCP" : "HBONE",
    },
    facts,
    workload,
  );
  using record = openRecord(tunnel, plan);
  const verdict = judge(parts, tunnel.log, workload, facts);
  try {
    if (!verdict.allowed) throw new Refusal({ kind: "denied", reason: verdict.reason });
    await using application = await dialFor(parts, plan.target, {
      kind: "application_connect",
      revoked: row.revoked,
      abandoned: request.abandoned,
      ...(seat.spoof ? { spoof: arrival.source.ip } : {}),
    });
    if (row.revoked.aborted) throw new Refusal(row.revoked.reason as Failure);
    await using downstream = answer.accept(
      parts.settings.responseBaggage
        ? new Map([["baggage", [baggageHeader(workload)]]])
        : new Map(),
    );
    await carry(row, record, downstream, application, peer);
  } catch (error) {
    const failure = Refusal.failureOf(error);
    answer.refuse(failure);
    record.end(failure);
  }
}

/** Our workload may have changed while we asked; no row was there that would have been judged again. */
function ofToday(tunnel: Tunnel): Tunnel {
  return { ...tunnel, workload: tunnel.parts.local.current ?? tunnel.workload };
}

function planTunnel(
  { parts, arrival, forwardedHost, authority, workload }: Tunnel,
  questions: Questions,
): InboundPlan {
  return planInbound(parts.view, {
    workload,
    connectedIp: arrival.local.ip,
    authority,
    network: parts.settings.network,
    illegalPorts: parts.settings.illegalPorts,
    asked: questions.answered,
    ...(forwardedHost === undefined ? {} : { forwardedHost }),
  });
}

/** Policies, with their notes in the log (behaviour.md 5.7). */
export function judge(
  parts: ProxyParts,
  log: Log,
  workload: Workload,
  facts: ConnectionFacts,
): Verdict {
  const verdict = authorize(parts.view.policiesFor(workload), facts);
  const write = parts.settings.policyInfoLogging ? log.info : log.debug;
  for (const note of verdict.notes) write?.(note.message, { policy: note.policy });
  return verdict;
}

function openRecord(
  { parts, arrival, request, peer, workload, startMs }: Tunnel,
  plan: Extract<InboundPlan, { readonly kind: "deliver" }>,
): ConnectionRecord {
  const source = sourceOf(parts, arrival, request);
  return new ConnectionRecord(
    parts,
    {
      reporter: "destination",
      source: { ...source, principal: peer.identity },
      destination: { workload, principal: parts.local.identityOf(workload) },
      service: plan.service,
      mutualTls: true,
    },
    { client: arrival.source, hop: arrival.local, hboneTarget: request.authority },
    startMs,
  );
}

function cameThroughGateway({ settings }: ProxyParts, request: IncomingTunnel): boolean {
  const cameFrom = request.headers.get("x-forwarded-network")?.[0];
  return cameFrom !== undefined && cameFrom.toLowerCase() !== settings.network.toLowerCase();
}

/** Who speaks (behaviour.md 8.9): through a gateway the address is the gateway's, so only baggage knows. */
function sourceOf(
  parts: ProxyParts,
  arrival: Arrival,
  request: IncomingTunnel,
): { readonly workload: Workload | undefined; readonly baggage?: Baggage } {
  const { network, responseBaggage } = parts.settings;
  const workload = cameThroughGateway(parts, request)
    ? undefined
    : parts.view.workloadAt(network, arrival.source.ip);
  // The record wins over baggage, whole.
  if (workload !== undefined || !responseBaggage) return { workload };
  return { workload, baggage: Headings.parseBaggage(request.headers) };
}

/** Throws a Refusal (not_connect, bad_authority). */
function authorityOf(request: IncomingTunnel): Authority {
  if (request.method !== "CONNECT") {
    throw new Refusal({ kind: "not_connect", method: request.method });
  }
  const address = SocketAddress.parse(request.authority);
  if (address !== undefined) return { kind: "address", address };
  const match = /^([a-zA-Z0-9._-]{1,253}):(\d{1,5})$/.exec(request.authority);
  const port = Number(match?.[2]);
  // A host that looks like an address but is none ("10.0.0.999") must not become a name.
  if (match === null || port < 1 || port > 65_535 || /^[\d.]+$/.test(match[1]!)) {
    throw new Refusal({ kind: "bad_authority", authority: request.authority.slice(0, 300) });
  }
  return { kind: "hostname", hostname: match[1]!.toLowerCase(), port };
}
