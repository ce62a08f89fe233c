import type { InstanceReport, InstanceSpec, Port, ToControl, ToData } from "#link";
import type { Log } from "#log";
import type { MeshView } from "#mesh";
import type { Metrics } from "#metrics";
import { type Kernel, ListenError } from "#stream";
import type { Clock, Rng } from "#system";
import type { PackedList, Revocations, Tls } from "#tls";
import { Addresses } from "./addresses.ts";
import { Bundles } from "./bundles.ts";
import { Floods } from "./floods.ts";
import { Handshakes } from "./handshakes.ts";
import { type InstanceOptions, ProxyInstance } from "./instance.ts";
import { partsOf } from "./report_parts.ts";

/** What an instance stands on; disposed when the instance is gone. */
export interface Ground extends Disposable {
  readonly kernel: Kernel;
  readonly options: InstanceOptions;
}

export interface DataThreadDeps {
  readonly port: Port<ToControl, ToData>;
  readonly view: MeshView;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly metrics: Metrics;
  readonly tls: Tls;
  /** What `tls` judges peers by. */
  readonly revocations: Revocations;
  readonly scope: (name: string) => Log;
  /** One thread says what is the same on all of them. */
  readonly isSpokesman: boolean;
  /** Owns the file descriptors of `spec` from the call on. May throw a ListenError. */
  readonly groundOf: (spec: InstanceSpec) => Ground;
  /** So much memory that other threads share has just been let go of here. */
  readonly onSharedGarbage: (bytesCount: number) => void;
  readonly log: {
    /** Everything that was said so far is on its way to control when this returns. */
    flush(): void;
    taken(linesCount: number): void;
    setFilter(filter: string): void;
  };
}

interface Open {
  readonly instance: ProxyInstance;
  readonly ground: Ground;
}

/** The data side on one thread: any number of proxy instances, and the certificates that they share. */
export class DataThread {
  readonly #bundles: Bundles;
  readonly #addresses: Addresses;
  readonly #handshakes = new Handshakes();
  readonly #floods: Floods;
  readonly #open = new Map<number, Open>();
  #started = false;
  #isControlPlaneConnected = true;
  #listsBytesCount = 0;

  constructor(private readonly deps: DataThreadDeps) {
    const { port, clock, metrics } = deps;
    this.#floods = new Floods({ clock, metrics, log: deps.scope("ztunnel::proxy") });
    this.#bundles = new Bundles((identity) => port.post({ tell: "want_cert", identity }));
    this.#addresses = new Addresses((name) => port.post({ tell: "want_address", name }));
    port.onWord = (word) => this.#hear(word);
  }

  #hear(word: ToData): void {
    const { port, log, metrics } = this.deps;
    switch (word.tell) {
      case "mesh": {
        const mayRevoke = word.policiesChanged || word.workloadsChanged;
        for (const { instance } of this.#open.values()) instance.recheck(mayRevoke);
        return;
      }
      case "cert":
        return this.#bundles.store(word.bundle);
      case "cert_failed":
        return this.#bundles.failed(word.identity, word.reason);
      case "cert_gone":
        return this.#bundles.forget(word.identity);
      case "address_answered":
        return this.#addresses.answered(word.name, word.isAnswered);
      case "revocations":
        void this.#revoke(word.lists);
        return;
      case "open":
        return this.#openInstance(word.instance, word.spec);
      case "start":
        this.#started = true;
        for (const { instance } of this.#open.values()) instance.start();
        return;
      case "close":
        void this.#close(word.instance, word.deadlineMs);
        return;
      case "drain":
        void this.#drain(word.deadlineMs);
        return;
      case "list_connections":
        void this.#report(word.id);
        return;
      case "are_you_there":
        return port.post({ tell: "here" });
      case "control_plane":
        this.#isControlPlaneConnected = word.isConnected;
        return;
      case "log_filter":
        return log.setFilter(word.filter);
      case "log_taken":
        return log.taken(word.linesCount);
      case "series_freed":
        return metrics.freed(word.slots);
      case "sweep_series":
        return metrics.sweep();
    }
  }

  async #revoke(lists: readonly PackedList[]): Promise<void> {
    const { revocations, scope, onSharedGarbage } = this.deps;
    const loading = revocations.load(lists);
    onSharedGarbage(this.#listsBytesCount);
    this.#listsBytesCount = lists.reduce(
      (sum, { der, places }) => sum + der.buffer.byteLength + places.buffer.byteLength,
      0,
    );
    const revokedCount = await loading;
    if (revokedCount === 0) return;
    scope("ztunnel::proxy").info?.("connections closed by revocation", { revokedCount });
  }

  #openInstance(id: number, spec: InstanceSpec): void {
    const { port } = this.deps;
    let ground: Ground | undefined;
    try {
      ground = this.deps.groundOf(spec);
      const { kernel, options } = ground;
      const instance = new ProxyInstance(options, {
        ...this.deps,
        kernel,
        isControlPlaneConnected: () => this.#isControlPlaneConnected,
        bundles: this.#bundles,
        handshakes: this.#handshakes,
        floods: this.#floods,
        addresses: this.#addresses,
      });
      this.#open.set(id, { instance, ground });
      if (this.#started) instance.start();
    } catch (error) {
      ground?.[Symbol.dispose]();
      if (!(error instanceof ListenError)) throw error;
      const { code, errno, message: reason } = error;
      return port.post({ tell: "open_failed", instance: id, code, errno, reason });
    }
    port.post({ tell: "opened", instance: id });
  }

  async #close(id: number, deadlineMs: number): Promise<void> {
    const open = this.#open.get(id);
    if (open !== undefined) {
      await open.instance.drain(deadlineMs);
      this.#forget(id, open);
    }
    this.deps.port.post({ tell: "closed", instance: id });
  }

  /** The last instance of an identity takes the certificate along. */
  #forget(id: number, { instance, ground }: Open): void {
    if (!this.#open.delete(id)) return;
    ground[Symbol.dispose]();
    const { identity } = instance;
    if (identity === undefined) return;
    const isShared = this.#open.values().some((other) => other.instance.identity === identity);
    if (!isShared) this.#bundles.forget(identity);
  }

  async #drain(deadlineMs: number): Promise<void> {
    await Promise.all(
      Array.from(this.#open, async ([id, open]) => {
        await open.instance.drain(deadlineMs);
        this.#forget(id, open);
      }),
    );
    this.deps.log.flush();
    this.deps.port.post({ tell: "drained" });
  }

  /** Connections of users have their turn between two parts. */
  async #report(id: number): Promise<void> {
    const { port, clock } = this.deps;
    let last: readonly InstanceReport[] = [];
    for (const part of partsOf(this.#reports())) {
      if (last.length > 0) {
        port.post({ tell: "connections", id, instances: last, isLast: false });
        await clock.sleep(0);
      }
      last = part;
    }
    port.post({ tell: "connections", id, instances: last, isLast: true });
  }

  #reports(): InstanceReport[] {
    return Array.from(this.#open, ([id, { instance }], index) => ({
      instance: id,
      connections: instance.connections,
      tunnels: instance.tunnels,
      // Of the whole thread, whichever instance they met: told once.
      floods: index === 0 ? this.#floods.rows() : [],
    }));
  }
}
