/**
 * Connections from outside the mesh, in clear, by redirection to 15006 (behaviour.md 8.12).
 * @module
 */
import type { ConnectionFacts } from "#authz";
import { display } from "#log";
import { attributeService } from "#route";
import type { Arrival } from "#stream";
import { Refusal, SocketAddress } from "#values";
import { carry } from "./carry.ts";
import { dialFor } from "./dial.ts";
import { judge } from "./inbound.ts";
import { hexOf } from "./outbound.ts";
import type { ProxyParts } from "./parts.ts";
import { Questions } from "./questions.ts";
import { ConnectionRecord, logEarlyDenial } from "./record.ts";

/** Serves one connection to its access line; never rejects. */
export async function servePassthrough(
  parts: ProxyParts,
  spoof: boolean,
  arrival: Arrival,
): Promise<void> {
  const startMs = parts.clock.monotonicMs();
  await using downstream = arrival.stream;
  const target = arrival.destination;
  try {
    if (parts.settings.illegalPorts.has(target.port)) throw new Refusal({ kind: "self_call" });
    await deliver(parts, spoof, arrival, startMs);
  } catch (error) {
    downstream.abort();
    const ends = { client: arrival.source, hop: target };
    logEarlyDenial(parts.access, ends, "inbound", Refusal.failureOf(error));
  }
}

/** Throws a Refusal for what has no record yet; later failures are the record's. */
async function deliver(
  parts: ProxyParts,
  spoof: boolean,
  arrival: Arrival,
  startMs: number,
): Promise<void> {
  const known = await parts.local.get(arrival.local.ip);
  await new Questions(parts).askForLabels(arrival.source.ip);
  // It may have changed meanwhile, and no row was there that would have been judged again.
  const workload = parts.local.current ?? known;
  const target = arrival.destination;
  const facts: ConnectionFacts = { source: arrival.source, destination: target };
  const log = parts.log.within({
    name: "inbound",
    fields: {
      id: display(hexOf(parts.rng.bytes(16))),
      peer: display(SocketAddress.format(arrival.source)),
    },
  });
  using row = parts.connections.trackInbound(
    {
      src: SocketAddress.format(arrival.source),
      originalDst: null,
      actualDst: SocketAddress.format(target),
      protocol: "TCP",
    },
    facts,
    workload,
  );
  using record = new ConnectionRecord(
    parts,
    {
      reporter: "destination",
      source: {
        workload: parts.view.workloadAt(parts.settings.network, arrival.source.ip),
        principal: undefined,
      },
      destination: { workload, principal: parts.local.identityOf(workload) },
      service: attributeService(parts.view, workload, target.port),
      mutualTls: false,
    },
    { client: arrival.source, hop: target },
    startMs,
  );
  const verdict = judge(parts, log, workload, facts);
  try {
    if (!verdict.allowed) throw new Refusal({ kind: "denied", reason: verdict.reason });
    await using application = await dialFor(parts, target, {
      kind: "application_connect",
      revoked: row.revoked,
      ...(spoof ? { spoof: arrival.source.ip } : {}),
    });
    await carry(row, record, arrival.stream, application);
  } catch (error) {
    arrival.stream.abort();
    record.end(Refusal.failureOf(error));
  }
}
