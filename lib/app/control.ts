import type { Config } from "#config";
import { certificateDump, CertManager, createDevAuthority } from "#certs";
import type { ConnectionLists, Port, ToControl, ToData } from "#link";
import type { Log } from "#log";
import { createMesh, type Mesh } from "#mesh";
import type { Clock, Rng } from "#system";
import { type LocalWatch, watchLocal } from "#xds";

/** A data side that does not answer in this time is left out of the dump. */
const CONNECTIONS_TIMEOUT_MS = 2_000;

export interface ControlDeps {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly scope: (name: string) => Log;
}

/** The control side: who is in the mesh, who has a certificate, and what data sides are told of both. */
export class Control implements AsyncDisposable {
  readonly mesh: Mesh;
  readonly #ports: Port<ToData, ToControl>[] = [];
  readonly #asked = new Map<number, (lists: ConnectionLists) => void>();
  readonly #drained: (() => void)[] = [];
  #lastAskId = 0;
  #local: LocalWatch | undefined;

  private constructor(
    private readonly config: Config,
    private readonly deps: ControlDeps,
    private readonly certs: CertManager,
  ) {
    this.mesh = createMesh(config.localNode === undefined ? {} : { localNode: config.localNode });
  }

  static async create(config: Config, deps: ControlDeps): Promise<Control> {
    const authority = await createDevAuthority(deps.clock);
    const log = deps.scope("ztunnel::identity");
    const certs: CertManager = new CertManager({
      authority,
      clock: deps.clock,
      rng: deps.rng,
      lifetimeMs: config.secretTtlMs,
      onBundle: (bundle) => {
        log.debug?.("certificate issued", { identity: bundle.identity });
        control.#tell({ tell: "cert", identity: bundle.identity, bundle });
      },
      onFailed: (identity, reason) => {
        log.warn?.("certificate unavailable", { identity, error: reason });
        control.#tell({ tell: "cert_failed", identity, reason });
      },
    });
    const control = new Control(config, deps, certs);
    return control;
  }

  /** Throws xds's LocalLoadError if the first load fails. */
  async loadMesh(): Promise<void> {
    if (this.config.localSource === undefined) return;
    this.#local = await watchLocal({
      source: this.config.localSource,
      writer: this.mesh.writer,
      clock: this.deps.clock,
      log: this.deps.scope("ztunnel::state"),
      onCommit: ({ epoch, policiesChanged, touched }) =>
        this.#tell({ tell: "mesh", epoch, policiesChanged, workloadsChanged: touched.length > 0 }),
    });
  }

  /** Hears a data side from now on. */
  attach(port: Port<ToData, ToControl>): void {
    this.#ports.push(port);
    port.onWord = (word) => this.#hear(word);
  }

  start(): void {
    this.#tell({ tell: "start" });
  }

  /** Resolves when every data side has drained. */
  async drain(): Promise<void> {
    const drained = this.#ports.map(() =>
      new Promise<void>((resolve) => this.#drained.push(resolve))
    );
    this.#tell({ tell: "drain", deadlineMs: this.config.drainDeadlineMs });
    await Promise.all(drained);
  }

  async reload(): Promise<void> {
    await this.#local?.reload();
  }

  certificates(): unknown[] {
    return this.certs.states().map(certificateDump);
  }

  /** What is loaded from the local source. */
  get local(): LocalWatch["mesh"] | undefined {
    return this.#local?.mesh;
  }

  /** The connections of all data sides. */
  async connections(): Promise<ConnectionLists> {
    const lists = await Promise.all(this.#ports.map((port) => this.#connectionsOf(port)));
    return {
      inbound: lists.flatMap((list) => list.inbound),
      outbound: lists.flatMap((list) => list.outbound),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.certs[Symbol.dispose]();
    await this.#local?.[Symbol.asyncDispose]();
  }

  #connectionsOf(port: Port<ToData, ToControl>): Promise<ConnectionLists> {
    const id = ++this.#lastAskId;
    return new Promise((resolve) => {
      const answer = (lists: ConnectionLists) => {
        timer.cancel();
        this.#asked.delete(id);
        resolve(lists);
      };
      const timer = this.deps.clock.after(
        CONNECTIONS_TIMEOUT_MS,
        () => answer({ inbound: [], outbound: [] }),
      );
      this.#asked.set(id, answer);
      port.post({ tell: "list_connections", id });
    });
  }

  #hear(word: ToControl): void {
    switch (word.tell) {
      case "want_cert":
        return this.certs.want(word.identity);
      case "connections":
        return this.#asked.get(word.id)?.(word.connections);
      case "drained":
        return this.#drained.shift()?.();
    }
  }

  #tell(word: ToData): void {
    for (const port of this.#ports) port.post(word);
  }
}
