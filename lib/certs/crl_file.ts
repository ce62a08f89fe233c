/**
 * The file of CRL_PATH, followed (behaviour.md 9.8).
 * @module
 */
import type { Log } from "#log";
import type { Pace } from "#system";
import { type PackedList, Revocations } from "#tls";
import { LastNews } from "./last_news.ts";

export const CRL_LIMITS = {
  /** kubelet changes a directory in several steps; one look after them is enough. */
  debounceMs: 2_000,
  /** Where the directory cannot be watched, or is not there yet, and for events that were lost. */
  pollMs: 30_000,
  /** As Revocations.pack takes at most. */
  fileBytesMax: 64 << 20,
} as const;

export interface CrlFileOptions extends Pace {
  readonly path: string;
  readonly log: Log;
  /** New lists. They may be kept. Must not throw. */
  readonly onLists: (lists: readonly PackedList[]) => void;
}

/** Follows its file until it is disposed. */
export interface CrlFile extends AsyncDisposable {
  /** The lists in force; undefined while there are none. */
  readonly lists: readonly PackedList[] | undefined;
}

/**
 * Reads the lists now and whenever the file changes. A file that is missing or cannot be used is a warning, once per
 * reason: lists that were read before stay in force, and the file is tried again when it changes.
 */
export async function followCrlFile(options: CrlFileOptions): Promise<CrlFile> {
  const follower = new CrlFollower(options);
  await follower.start();
  return follower;
}

class CrlFollower implements CrlFile {
  lists: readonly PackedList[] | undefined;
  readonly #stop = new AbortController();
  #watcher: Deno.FsWatcher | undefined;
  #watching: Promise<void> = Promise.resolve();
  #polling: Promise<void> = Promise.resolve();
  /** One look at a time: what was read first must not come last. */
  #looking: Promise<void> = Promise.resolve();
  #lookingSoon: Promise<void> = Promise.resolve();
  #isLookDue = false;
  /** Who has left waits for no list: the largest take seconds. */
  readonly #pace: Pace;
  #signature = "";
  readonly #news = new LastNews();

  constructor(private readonly options: CrlFileOptions) {
    const { clock, turn } = options;
    this.#pace = { clock, turn: () => turn().then(() => this.#stop.signal.throwIfAborted()) };
  }

  async start(): Promise<void> {
    this.#watch();
    await this.#look();
    this.#polling = this.#poll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#watcher?.close();
    await Promise.all([this.#watching, this.#polling, this.#lookingSoon]);
    await this.#looking;
  }

  /** The directory, not the file: a swap of symbolic links shows only there. */
  #watch(): void {
    if (this.#watcher !== undefined || this.#stop.signal.aborted) return;
    try {
      this.#watcher = Deno.watchFs(directoryOf(this.options.path), { recursive: false });
      this.#watching = this.#hear(this.#watcher);
    } catch {
      // Not there yet, or no watches left: `#poll` tries again, and looks itself meanwhile.
    }
  }

  async #hear(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for await (const _event of watcher) this.#lookSoon();
    } catch {
      // As where it could not be opened.
    }
    if (this.#watcher === watcher) this.#watcher = undefined;
  }

  async #poll(): Promise<void> {
    const { clock } = this.options;
    while (!this.#stop.signal.aborted) {
      await clock.sleep(CRL_LIMITS.pollMs, this.#stop.signal);
      this.#watch();
      await this.#look();
    }
  }

  #lookSoon(): void {
    if (this.#isLookDue) return;
    this.#isLookDue = true;
    const { clock } = this.options;
    this.#lookingSoon = clock.sleep(CRL_LIMITS.debounceMs, this.#stop.signal).then(() => {
      this.#isLookDue = false;
      return this.#look();
    });
  }

  #look(): Promise<void> {
    return this.#looking = this.#looking.then(() => this.#lookNow());
  }

  async #lookNow(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const { path, log, onLists } = this.options;
    try {
      const { mtime, size, ino, isFile } = await Deno.stat(path);
      const signature = `${mtime?.getTime()} ${size} ${ino}`;
      if (signature === this.#signature) return;
      if (!isFile) throw new Error("not a regular file");
      if (size > CRL_LIMITS.fileBytesMax) throw new Error(`${size} bytes are too much`);
      const bytes = await Deno.readFile(path);
      this.#signature = signature;
      const lists = await Revocations.pack(bytes, this.#pace);
      this.lists = lists;
      this.#news.over();
      log.info?.("revocation lists loaded", { path, lists: lists.length });
      onLists(lists);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (error instanceof Deno.errors.NotFound) this.#signature = "";
      this.#warn(error instanceof Error ? error.message : String(error));
    }
  }

  #warn(error: string): void {
    if (!this.#news.isNew(error)) return;
    const what = this.lists === undefined
      ? "revocation lists cannot be used, nobody is held to them"
      : "revocation lists cannot be used, the earlier ones stay in force";
    this.options.log.warn?.(what, { path: this.options.path, error });
  }
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}
