/**
 * What is in a mesh, in the order of the dump (behaviour.md 14.3), without the mesh: 100,000 workloads as values are
 * 250 MB, their names 10.
 * @module
 */
import { MeshDump, type MeshView, type Service, type ServiceKey, type Workload } from "#mesh";
import { Entries } from "./json_pieces.ts";
import { ADMIN_LIMITS } from "./limits.ts";

/** Looks records up as it is walked: what is gone by then is left out. */
export interface Catalogue {
  /** By hostname, then in the order of their coming. */
  readonly services: Iterable<Service>;
  /** By uid. */
  readonly workloads: Iterable<Workload>;
  /** Endpoints that wait for their service, as the dump has them. */
  readonly staged: Entries;
  /** Services and workloads. */
  readonly recordsCount: number;
}

/** Goes through all of the mesh; `pause` lets the event loop turn. */
export async function catalogue(
  mesh: MeshView,
  pause: () => Promise<void>,
): Promise<Catalogue> {
  let seen = 0;
  const pauseIfDue = async () => {
    if (++seen % ADMIN_LIMITS.recordsPerTurn === 0) await pause();
  };
  const hostnames = new SortedNames();
  const keys = new Set<string>();
  for (const { namespace, hostname } of mesh.eachService()) {
    hostnames.add(hostname);
    keys.add(`${namespace}/${hostname}`);
    await pauseIfDue();
  }
  const uids = new SortedNames();
  /** Uids by service: a million of them as values would be some 300 MB. */
  const staged = new Map<string, string[]>();
  for (const workload of mesh.eachWorkload()) {
    uids.add(workload.uid);
    for (const key of workload.services.keys()) {
      if (keys.has(key)) continue;
      const waiting = staged.get(key);
      if (waiting === undefined) staged.set(key, [workload.uid]);
      else waiting.push(workload.uid);
    }
    await pauseIfDue();
  }
  return {
    services: each(hostnames, (hostname) => mesh.servicesNamed(hostname)),
    workloads: each(uids, (uid) => {
      const workload = mesh.workload(uid);
      return workload === undefined ? [] : [workload];
    }),
    recordsCount: seen,
    staged: new Entries(
      staged.entries().map(([key, waiting]) => [key, stagedOf(mesh, key, waiting)]),
    ),
  };
}

function stagedOf(mesh: MeshView, key: string, uids: readonly string[]): Entries {
  return new Entries(
    uids.values().map((uid) => {
      const workload = mesh.workload(uid);
      const ports = workload?.services.get(key as ServiceKey);
      if (workload === undefined || ports === undefined) return [uid, undefined];
      return [uid, MeshDump.endpoint({ workloadUid: uid, ports, status: workload.status })];
    }),
  );
}

function* each<T>(names: Iterable<string>, find: (name: string) => Iterable<T>): Generator<T> {
  for (const name of names) yield* find(name);
}

/** Sorts so many at once; a list of 100,000 would take a tenth of a second in one turn. */
const RUN_LENGTH = 4_096;

/** Names in the order of their code units, each once. */
class SortedNames implements Iterable<string> {
  readonly #runs: string[][] = [];
  #open: string[] = [];

  add(name: string): void {
    this.#open.push(name);
    if (this.#open.length === RUN_LENGTH) this.#close();
  }

  *[Symbol.iterator](): Generator<string> {
    this.#close();
    const at = this.#runs.map(() => 0);
    let last: string | undefined;
    for (;;) {
      let least = -1;
      for (const [run, names] of this.#runs.entries()) {
        const name = names[at[run]!];
        if (name === undefined) continue;
        if (least < 0 || name < this.#runs[least]![at[least]!]!) least = run;
      }
      if (least < 0) return;
      const name = this.#runs[least]![at[least]!++]!;
      if (name !== last) yield name;
      last = name;
    }
  }

  #close(): void {
    if (this.#open.length > 0) this.#runs.push(this.#open.sort());
    this.#open = [];
  }
}
