/** The dump that istioctl and Kiali read (behaviour.md 14.3), written piece by piece. */
import type { DataReport, FloodRow } from "#link";
import { terminalSafe } from "#log";
import { MeshDump, type MeshView } from "#mesh";
import { catalogue } from "./catalogue.ts";
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
 * loop turn between two pieces. A mesh of 100,000 workloads is never one string, nor one list of values.
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
    list("services", services, (each) => MeshDump.service(each, mesh.endpointsOf(each))),
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
      yield indented(part.value, "  ");
      continue;
    }
    let count = 0;
    for (const item of part.list) {
      yield `${count++ === 0 ? "[" : ","}\n    ${indented(part.dump(item), "    ")}`;
    }
    yield count === 0 ? "[]" : "\n  ]";
  }
  yield "\n}\n";
}

/** A string's own line ends are escaped in JSON, so every real one is layout. */
function indented(value: unknown, indent: string): string {
  const json = terminalSafe(JSON.stringify(value, null, 2) ?? "null");
  return json.replaceAll("\n", `\n${indent}`);
}

async function* inPieces(
  texts: Iterable<string>,
  pause: () => Promise<void>,
  onEnd: () => void,
): AsyncGenerator<string> {
  let piece = "";
  try {
    for (const text of texts) {
      piece += text;
      if (piece.length < ADMIN_LIMITS.pieceChars) continue;
      yield piece;
      piece = "";
      await pause();
    }
    yield piece;
  } finally {
    onEnd();
  }
}
