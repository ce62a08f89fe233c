/** The dump that istioctl and Kiali read (behaviour.md 14.3), written piece by piece. */
import type { DataReport, FloodRow } from "#link";
import { type Endpoint, MeshDump, type MeshView, type Service } from "#mesh";
import { catalogue } from "./catalogue.ts";
import { Entries, jsonPieces, jsonText } from "./json_pieces.ts";
import { ADMIN_LIMITS } from "./limits.ts";

export interface DumpSources {
  /** The `config` key: all settings, names as in the dump. */
  configDump(): unknown;
  readonly mesh: MeshView;
  /** `{workloads, policies, services}` of the local source, read again. */
  staticConfig(): Promise<unknown>;
  /** Sorted by identity: `{identity, state, certChain, rootCerts}`. */
  certificates(): Iterable<unknown>;
  /** Live connections of all data threads, what peers did too often, and in shared mode the pods by uid. */
  report(): Promise<DataReport & { readonly workloadState?: unknown }>;
  version(): Readonly<Record<string, string>>;
  /** How it stands with the control plane; undefined without one. */
  xds(): unknown;
  /** A dump of so many records is over, whoever ended it: a large one leaves garbage behind. */
  dumped(recordsCount: number): void;
}

/**
 * Asks for everything first, so that a failure is still a clean error, then gives the text; `pause` lets the event
 * loop turn between two pieces, where it is time. A mesh of 100,000 workloads is never one string, nor one list of values.
 */
export async function configDump(
  sources: DumpSources,
  pause: () => Promise<void>,
): Promise<AsyncIterable<string>> {
  const { mesh } = sources;
  const [staticConfig, { connections, tunnels, floods, workloadState }] = await Promise.all([
    sources.staticConfig(),
    sources.report(),
  ]);
  const xds = sources.xds();
  const { services, workloads, staged, recordsCount } = await catalogue(mesh, pause);
  // Sorted by name. Ours: `connections` (in dedicated mode the reference shows none), `floodViolations`, `tunnels`
  // and `xds`.
  const parts: readonly Part[] = [
    { name: "certificates", list: sources.certificates(), dump: (each) => each },
    { name: "config", value: sources.configDump() },
    { name: "connections", value: connections },
    { name: "floodViolations", value: byPeer(floods) },
    list("policies", mesh.policies(), MeshDump.policy),
    list("services", services, (each) => serviceDump(each, mesh.eachEndpoint(each))),
    { name: "stagedServices", value: staged },
    { name: "staticConfig", value: staticConfig },
    { name: "tunnels", value: tunnels },
    { name: "version", value: sources.version() },
    ...(workloadState === undefined ? [] : [{ name: "workloadState", value: workloadState }]),
    list("workloads", workloads, MeshDump.workload),
    ...(xds === undefined ? [] : [{ name: "xds", value: xds }]),
  ];
  return inPieces(lines(parts), pause, () => sources.dumped(recordsCount));
}

/** A service may have a million endpoints: by uid as far as they are in one run. */
function serviceDump(service: Service, endpoints: Iterable<Endpoint>): unknown {
  const fields = Object.entries(MeshDump.service(service, []));
  return new Entries(
    fields.map(([name, value]) => [name, name === "endpoints" ? endpointsDump(endpoints) : value]),
  );
}

function endpointsDump(endpoints: Iterable<Endpoint>): Entries {
  return new Entries(function* () {
    for (const run of inRuns(endpoints)) {
      run.sort((a, b) => a.workloadUid < b.workloadUid ? -1 : 1);
      for (const each of run) yield [each.workloadUid, MeshDump.endpoint(each)] as const;
    }
  }());
}

/** So many at once are a few milliseconds. */
function* inRuns<T>(items: Iterable<T>): Generator<T[]> {
  let run: T[] = [];
  for (const item of items) {
    run.push(item);
    if (run.length < ADMIN_LIMITS.recordsPerTurn) continue;
    yield run;
    run = [];
  }
  if (run.length > 0) yield run;
}

/** A peer may have met several data threads; each of them has bounded its own rows. */
function byPeer(rows: readonly FloodRow[]): FloodRow[] {
  const peers = new Map<string, FloodRow>();
  for (const row of rows) {
    const key = row.identity ?? row.address.slice(0, row.address.lastIndexOf(":"));
    const known = peers.get(key);
    if (known === undefined) {
      peers.set(key, row);
      continue;
    }
    const [earlier, later] = known.lastSeen < row.lastSeen ? [known, row] : [row, known];
    const violations = { ...earlier.violations };
    for (const [kind, count] of Object.entries(later.violations)) {
      violations[kind] = (violations[kind] ?? 0) + count;
    }
    peers.set(key, { ...later, violations });
  }
  return [...peers.values()];
}

type Part =
  | { readonly name: string; readonly value: unknown }
  | {
    readonly name: string;
    readonly list: Iterable<unknown>;
    readonly dump: (item: unknown) => unknown;
  };

function list<T>(name: string, items: Iterable<T>, dump: (item: T) => unknown): Part {
  return { name, list: items, dump: (item) => dump(item as T) };
}

/** Two spaces per level, as `JSON.stringify(…, 2)` of the whole would be. */
function* lines(parts: readonly Part[]): Generator<string> {
  yield "{";
  for (const [index, part] of parts.entries()) {
    yield `${index === 0 ? "" : ","}\n  ${JSON.stringify(part.name)}: `;
    if (!("list" in part)) {
      yield* jsonPieces(part.value, "  ");
      continue;
    }
    let count = 0;
    for (const item of part.list) {
      const value = part.dump(item);
      yield `${count++ === 0 ? "[" : ","}\n    `;
      // What has a bound is written faster at once.
      if (value instanceof Entries) yield* jsonPieces(value, "    ");
      else yield jsonText(value, "    ");
    }
    yield count === 0 ? "[]" : "\n  ]";
  }
  yield "\n}\n";
}

async function* inPieces(
  texts: Iterable<string>,
  pause: () => Promise<void>,
  onEnd: () => void,
): AsyncGenerator<string> {
  let piece = "";
  let textsCount = 0;
  try {
    for (const text of texts) {
      piece += text;
      const isLong = piece.length >= ADMIN_LIMITS.pieceChars;
      if (isLong) {
        yield piece;
        piece = "";
      }
      if (++textsCount % ADMIN_LIMITS.textsPerTurn === 0 || isLong) await pause();
    }
    yield piece;
  } finally {
    onEnd();
  }
}
