/**
 * The labels of traffic metrics (behaviour.md 13.2), built once per connection.
 * @module
 */
import type { Baggage } from "#hbone";
import type { Service, Workload } from "#mesh";
import type { SpiffeId } from "#values";

export interface Traffic {
  readonly reporter: "source" | "destination";
  readonly source: {
    readonly workload: Workload | undefined;
    /** From the request's baggage; the record wins over it, whole. */
    readonly baggage?: Baggage;
    /** Only where mutual TLS proved it. */
    readonly principal: SpiffeId | undefined;
  };
  readonly destination: {
    readonly workload: Workload | undefined;
    readonly principal: SpiffeId | undefined;
  };
  readonly service: Service | undefined;
  readonly mutualTls: boolean;
}

/** One end of the connection, in the order of the labels. */
interface End {
  readonly workload: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  readonly namespace: string;
  readonly principal: string;
  readonly app: string;
  readonly version: string;
  readonly cluster: string;
  readonly region: string;
  readonly zone: string;
}

const RESPONSE_FLAGS_AT = 21;

/** All 27 values in their order, with `response_flags` `-`. */
export function trafficLabels(traffic: Traffic): string[] {
  const source = endOf(traffic.source.workload, traffic.source.baggage, traffic.source.principal);
  const { workload, principal } = traffic.destination;
  const destination = endOf(workload, undefined, principal);
  const { service } = traffic;
  return [
    traffic.reporter,
    ...labelsOf(source),
    known(service?.hostname),
    known(service?.namespace),
    known(service?.name),
    ...labelsOf(destination),
    "tcp",
    "-",
    traffic.mutualTls ? "mutual_tls" : "unknown",
    source.region,
    source.zone,
    destination.region,
    destination.zone,
  ];
}

/** The same labels with another `response_flags`. */
export function withFlag(labels: readonly string[], flag: string): string[] {
  return labels.with(RESPONSE_FLAGS_AT, flag);
}

function labelsOf(end: End): string[] {
  return [
    end.workload,
    end.canonicalService,
    end.canonicalRevision,
    end.namespace,
    end.principal,
    end.app,
    end.version,
    end.cluster,
  ];
}

function endOf(
  workload: Workload | undefined,
  baggage: Baggage | undefined,
  principal: SpiffeId | undefined,
): End {
  if (workload !== undefined) {
    return {
      workload: known(workload.workloadName),
      canonicalService: known(workload.canonicalName),
      canonicalRevision: known(workload.canonicalRevision),
      namespace: known(workload.namespace),
      principal: known(principal),
      app: known(workload.canonicalName),
      version: known(workload.canonicalRevision),
      cluster: known(workload.clusterId),
      region: known(workload.locality.region),
      zone: known(workload.locality.zone),
    };
  }
  return {
    workload: known(baggage?.workloadName),
    canonicalService: known(baggage?.serviceName),
    canonicalRevision: known(baggage?.revision),
    namespace: known(baggage?.namespace),
    principal: known(principal),
    // As ztunnel: from baggage, the app is the workload's name and not its canonical service.
    app: known(baggage?.workloadName),
    version: known(baggage?.revision),
    cluster: known(baggage?.clusterId),
    region: known(baggage?.region),
    zone: known(baggage?.zone),
  };
}

function known(text: string | undefined): string {
  return text === undefined || text === "" ? "unknown" : text;
}
