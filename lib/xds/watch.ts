import type { Log } from "#log";
import type { Commit, MeshWriter } from "#mesh";
import type { Clock } from "#system";
import { changesBetween, listed, type LocalChanges } from "./changes.ts";
import { EMPTY, loadLocal, type LocalMesh, type LocalParse } from "./local.ts";
import { readLocalFile, signatureOf } from "./local_file.ts";
import { formatProblem, type LocalProblem } from "./problems.ts";

export interface LocalWatchOptions {
  /** As in Config.localSource. Only a file is watched. */
  readonly source:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "inline"; readonly text: string };
  /** Owned by the watch: every load replaces the whole mesh. */
  readonly writer: MeshWriter;
  readonly clock: Clock;
  readonly log: Log;
  /** After each load that changed anything, the first one included; the view already shows it. */
  readonly onCommit: (commit: Commit, changes: LocalChanges) => void;
}

/** The mesh cannot be loaded at start. The message has one line per problem. */
export class LocalLoadError extends Error {
  override readonly name = "LocalLoadError";
  constructor(readonly problems: readonly LocalProblem[]) {
    super(["Cannot load the local mesh:", ...problems.map(formatProblem)].join("\n"));
  }
}

/** A mesh that follows its file. Close it, or it keeps the process alive. */
export interface LocalWatch extends AsyncDisposable {
  /** Reads the source again, now; resolves to whether it could be used. Never rejects. */
  reload(): Promise<boolean>;
  /** What is loaded: for `staticConfig` of the dump. */
  readonly mesh: LocalMesh;
}

/** What writes in bursts (editors, `cp`, kubelet) is one change. */
const DEBOUNCE_MS = 200;
/** While somebody keeps writing we wait for the end, at most this many times DEBOUNCE_MS. */
const SETTLE_ROUNDS_MAX = 25;

/**
 * Loads the mesh and keeps it up to date (behaviour.md 3.11; watching is ours). Rejects with LocalLoadError if the first
 * load fails. Later a source that cannot be used is an error in the log, and the mesh stays as it was.
 */
export async function watchLocal(options: LocalWatchOptions): Promise<LocalWatch> {
  const follower = new LocalFollower(options);
  await follower.start();
  return follower;
}

class LocalFollower implements LocalWatch {
  mesh: LocalMesh = EMPTY;
  readonly #options: LocalWatchOptions;
  readonly #stop = new AbortController();
  #watcher: Deno.FsWatcher | undefined;
  #watching: Promise<void> = Promise.resolve();
  #loading: Promise<boolean> = Promise.resolve(true);
  /** A reload that has not begun yet: whoever asks meanwhile gets the same one. */
  #next: Promise<boolean> | undefined;
  /** Of the file as it was read last. */
  #signature = "";
  /** Whether something happened in the directory since we looked. */
  #isStale = false;

  constructor(options: LocalWatchOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    // Watching begins before reading: what changes between the two is seen.
    this.#openWatcher();
    const loaded = await this.#parse();
    if ("problems" in loaded) {
      this.#watcher?.close();
      throw new LocalLoadError(loaded.problems);
    }
    this.#adopt(loaded.mesh, "loaded");
    this.#watching = this.#follow();
  }

  reload(): Promise<boolean> {
    return this.#next ??= this.#loading = this.#loading.then(() => {
      this.#next = undefined;
      return this.#reloadNow();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#watcher?.close();
    await this.#watching;
    await this.#loading;
  }

  async #reloadNow(): Promise<boolean> {
    const { log } = this.#options;
    try {
      const loaded = await this.#parse();
      if (this.#stop.signal.aborted) return false;
      if ("mesh" in loaded) {
        this.#adopt(loaded.mesh, "reloaded");
        return true;
      }
      const problems = loaded.problems.map(formatProblem).join("; ");
      log.error?.("local mesh cannot be used, the previous one stays", { problems });
    } catch (error) {
      // Whoever is told of a commit may throw; the file must be followed all the same.
      log.error?.("local mesh reload failed", {
        error: error instanceof Error ? error.message : String(error),
      });
    }
    return false;
  }

  async #parse(): Promise<LocalParse> {
    const { source, clock } = this.#options;
    if (source.kind === "inline") return loadLocal(source.text, "LOCAL_XDS");
    this.#signature = await signatureOf(source.path, clock.nowMs());
    const read = await readLocalFile(source.path);
    if ("text" in read) return loadLocal(read.text, source.path);
    return { problems: [{ file: source.path, path: "", message: read.wrong }] };
  }

  /** One turn: nobody sees half of it. */
  #adopt(mesh: LocalMesh, how: "loaded" | "reloaded"): void {
    const { writer, log, onCommit } = this.#options;
    const changes = changesBetween(this.mesh, mesh);
    const counts = {
      workloads: mesh.workloads.length,
      services: mesh.services.length,
      policies: mesh.policies.length,
    };
    const { added, removed, changed } = changes;
    const isChanged = added.length + removed.length + changed.length > 0;
    if (how === "reloaded" && !isChanged) {
      log.info?.("local mesh reloaded, nothing changed", counts);
      return;
    }
    writer.clear();
    for (const workload of mesh.workloads) writer.upsertWorkload(workload);
    for (const policy of mesh.policies) writer.upsertPolicy(policy);
    for (const service of mesh.services) writer.upsertService(service);
    const commit = writer.commit();
    this.mesh = mesh;
    log.info?.(`local mesh ${how}`, {
      ...counts,
      added: listed(added),
      removed: listed(removed),
      changed: listed(changed),
    });
    onCommit(commit, changes);
  }

  /** The directory, not the file: a rename over the file, or kubelet's swap of a symbolic link, shows only there. */
  #openWatcher(): void {
    const { source, log } = this.#options;
    if (source.kind === "inline") return;
    try {
      this.#watcher = Deno.watchFs(directoryOf(source.path), { recursive: false });
    } catch (error) {
      log.warn?.("cannot watch the local mesh, it is read again only when asked to", {
        error: error instanceof Error ? error.message : String(error),
      });
    }
  }

  async #follow(): Promise<void> {
    if (this.#watcher === undefined) return;
    let checking: Promise<void> | undefined;
    try {
      for await (const _event of this.#watcher) {
        this.#isStale = true;
        checking ??= this.#check().then(() => {
          checking = undefined;
        });
      }
    } catch (error) {
      this.#options.log.warn?.(
        "watching the local mesh ended, it is read again only when asked to",
        { error: error instanceof Error ? error.message : String(error) },
      );
    }
    await checking;
  }

  /** An event that comes while we look makes us look once more, so none is lost. */
  async #check(): Promise<void> {
    const { source, clock } = this.#options;
    if (source.kind === "inline") return;
    const stop = this.#stop.signal;
    while (this.#isStale && !stop.aborted) {
      this.#isStale = false;
      let signature = await signatureOf(source.path, clock.nowMs());
      for (let round = 0; round < SETTLE_ROUNDS_MAX && !stop.aborted; round++) {
        await clock.sleep(DEBOUNCE_MS, stop);
        const before = signature;
        signature = await signatureOf(source.path, clock.nowMs());
        if (signature === before) break;
      }
      // Other files of the directory make events too.
      if (!stop.aborted && signature !== this.#signature) await this.reload();
    }
  }
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}
