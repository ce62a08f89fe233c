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

/** Pairs of workloads whose labels are remembered, of about 1 KB each. */
const REMEMBERED_PAIRS_MAX = 1_024;

interface Remembered {
  readonly traffic: Traffic;
  readonly labels: readonly string[];
}

/** By source and destination. The mesh gives the same object for as long as a workload has not changed. */
let remembered = new WeakMap<Workload, WeakMap<Workload, Remembered>>();
let rememberedCount = 0;

/** `trafficLabels`, the same array again for a pair that talks again; frozen. */
export function labelsOfPair(traffic: Traffic): readonly string[] {
  const source = traffic.source.workload;
  const destination = traffic.destination.workload;
  if (source === undefined || destination === undefined) return trafficLabels(traffic);
  const known = remembered.get(source)?.get(destination);
  if (known !== undefined && isSame(known.traffic, traffic)) return known.labels;
  if (known === undefined && ++rememberedCount > REMEMBERED_PAIRS_MAX) {
    remembered = new WeakMap();
    rememberedCount = 1;
  }
  const labels = Object.freeze(trafficLabels(traffic));
  let ofSource = remembered.get(source);
  if (ofSource === undefined) remembered.set(source, ofSource = new WeakMap());
  ofSource.set(destination, { traffic, labels });
  return labels;
}

/** Of the same two workloads. */
function isSame(a: Traffic, b: Traffic): boolean {
  return a.reporter === b.reporter && a.service === b.service && a.mutualTls === b.mutualTls &&
    a.source.principal === b.source.principal &&
    a.destination.principal === b.destination.principal;
}

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
export function withFlag(labels: readonly string[], flag: string): readonly string[] {
  if (labels[RESPONSE_FLAGS_AT] === flag) return labels;
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
