/** The dump that istioctl and Kiali read (behaviour.md 14.3), written piece by piece. */
import type { DataReport, FloodRow } from "#link";
import { MeshDump, type MeshView } from "#mesh";
import { ADMIN_LIMITS } from "./limits.ts";

export interface DumpSources {
  /** The `config` key: all settings, names as in the dump. */
  configDump(): unknown;
  readonly mesh: MeshView;
  /** `{workloads, policies, services}` of the local source, read again. */
  staticConfig(): Promise<unknown>;
  /** Sorted by identity: `{identity, state, certChain, rootCerts}`. */
  certificates(): readonly unknown[];
  /** Live connections of all data threads, what peers did too often, and in shared mode the pods by uid. */
  report(): Promise<DataReport & { readonly workloadState?: unknown }>;
  version(): Readonly<Record<string, string>>;
  /** How it stands with the control plane; undefined without one. */
  xds(): unknown;
}

/**
 * Asks for everything first, so that a failure is still a clean error, then gives the text; `pause` lets the event
 * loop turn between two pieces. A mesh of 100,000 workloads is never one string.
 */
export async function configDump(
  sources: DumpSources,
  pause: () => Promise<void>,
): Promise<AsyncIterable<string>> {
  const { mesh } = sources;
  const [staticConfig, { connections, floods, workloadState }] = await Promise.all([
    sources.staticConfig(),
    sources.report(),
  ]);
  const xds = sources.xds();
  const staged = [...mesh.stagedEndpoints()].map(([service, endpoints]) => [
    service,
    Object.fromEntries([...endpoints].map(([uid, each]) => [uid, MeshDump.endpoint(each)])),
  ]);
  // Sorted by name. Ours: `connections` (in dedicated mode the reference shows none), `floodViolations` and `xds`.
  const parts: readonly Part[] = [
    { name: "certificates", list: sources.certificates(), dump: (each) => each },
    { name: "config", value: sources.configDump() },
    { name: "connections", value: connections },
    { name: "floodViolations", value: byPeer(floods) },
    list("policies", mesh.policies(), MeshDump.policy),
    list(
      "services",
      mesh.services(),
      (each) => MeshDump.service(each, mesh.endpointsOf(each)),
    ),
    { name: "stagedServices", value: Object.fromEntries(staged) },
    { name: "staticConfig", value: staticConfig },
    { name: "version", value: sources.version() },
    ...(workloadState === undefined ? [] : [{ name: "workloadState", value: workloadState }]),
    list("workloads", mesh.workloads(), MeshDump.workload),
    ...(xds === undefined ? [] : [{ name: "xds", value: xds }]),
  ];
  return inPieces(lines(parts), pause);
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
    readonly list: readonly unknown[];
    readonly dump: (item: unknown) => unknown;
  };

function list<T>(name: string, items: readonly T[], dump: (item: T) => unknown): Part {
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
    if (part.list.length === 0) {
      yield "[]";
      continue;
    }
    yield "[";
    for (const [at, item] of part.list.entries()) {
      yield `${at === 0 ? "" : ","}\n    ${indented(part.dump(item), "    ")}`;
    }
    yield "\n  ]";
  }
  yield "\n}\n";
}

/** A string's own line ends are escaped in JSON, so every real one is layout. */
function indented(value: unknown, indent: string): string {
  return (JSON.stringify(value, null, 2) ?? "null").replaceAll("\n", `\n${indent}`);
}

async function* inPieces(
  texts: Iterable<string>,
  pause: () => Promise<void>,
): AsyncGenerator<string> {
  let piece = "";
  for (const text of texts) {
    piece += text;
    if (piece.length < ADMIN_LIMITS.pieceChars) continue;
    yield piece;
    piece = "";
    await pause();
  }
  yield piece;
}
