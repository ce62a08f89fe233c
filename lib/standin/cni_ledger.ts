/**
 * What a run has made of the machine, on disk: so that a later run can take away what a crash has left.
 * @module
 */
import { removeLink, removeNamespace } from "./cni_network.ts";

interface Entry {
  readonly pid: number;
  /** When that process started, in clock ticks since boot: a number may be used again. */
  readonly started: string;
  readonly link: string | undefined;
  readonly scratch: string | undefined;
  readonly names: readonly string[];
}

/** Where `ip netns` keeps its names. */
const NAMESPACES = "/run/netns";

/** One run's file. */
export class Ledger {
  readonly #path: string;
  readonly #names = new Set<string>();
  #saved: Promise<void> = Promise.resolve();

  constructor(
    private readonly folder: string,
    private readonly made: Pick<Entry, "link" | "scratch">,
  ) {
    this.#path = `${folder}/${Deno.pid}.json`;
  }

  /** Notes a namespace that is about to be made. Throws where somebody else has that name. */
  async record(name: string): Promise<void> {
    if (await exists(`${NAMESPACES}/${name}`)) {
      throw new Error(
        `a network namespace "${name}" exists already and is not ours; look at it with: ip netns pids ${name}`,
      );
    }
    this.#names.add(name);
    await this.#saveInTurn();
  }

  /** It is gone, or never was: whoever has that name from now on is not us. */
  async forget(name: string): Promise<void> {
    if (this.#names.delete(name)) await this.#saveInTurn();
  }

  /** All is taken down. */
  async close(): Promise<void> {
    await this.#saved;
    await Deno.remove(this.#path).catch(() => {});
    // Others may have their notes there.
    await Deno.remove(this.folder).catch(() => {});
  }

  async #saveInTurn(): Promise<void> {
    await (this.#saved = this.#saved.then(() => this.#save()));
  }

  async #save(): Promise<void> {
    await Deno.mkdir(this.folder, { recursive: true, mode: 0o700 });
    const entry: Entry = {
      pid: Deno.pid,
      started: await startOf(Deno.pid) ?? "",
      ...this.made,
      names: [...this.#names],
    };
    // By a rename: half a file would hide what it names.
    await Deno.writeTextFile(`${this.#path}.new`, JSON.stringify(entry));
    await Deno.rename(`${this.#path}.new`, this.#path);
  }
}

/** Takes away what runs that are no more have left; returns the names of the namespaces. */
export async function removeStale(folder: string): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const path of await filesOf(folder)) {
    const entry = await readEntry(path);
    if (entry !== undefined && entry.started === await startOf(entry.pid)) continue;
    for (const name of entry?.names ?? []) {
      if (!await exists(`${NAMESPACES}/${name}`)) continue;
      await removeNamespace(name);
      removed.push(name);
    }
    if (entry?.link !== undefined) await removeLink(entry.link);
    if (entry?.scratch !== undefined) {
      await Deno.remove(entry.scratch, { recursive: true }).catch(() => {});
    }
    await Deno.remove(path);
  }
  return removed;
}

async function filesOf(folder: string): Promise<string[]> {
  const paths: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) paths.push(`${folder}/${name}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return paths;
}

/** Undefined for a file that a crash left half written: its names are in no namespace yet. */
async function readEntry(path: string): Promise<Entry | undefined> {
  try {
    const value: unknown = JSON.parse(await Deno.readTextFile(path));
    return typeof value === "object" && value !== null && "pid" in value && "names" in value
      ? value as Entry
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Field 22 of /proc/<pid>/stat, counted behind the name, which may contain anything; undefined for one that is no more, or
 * only waits to be reaped.
 */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const text = await Deno.readTextFile(`/proc/${pid}/stat`);
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch {
    return false;
  }
}
