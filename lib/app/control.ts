import type { Config } from "#config";
import {
  type Authority,
  certificateDump,
  CertManager,
  type CrlFile,
  followCrlFile,
  type PodNames,
  Prefetch,
} from "#certs";
import type { ToData } from "#link";
import type { Log } from "#log";
import { OwnProcess } from "#linux";
import { type Commit, createMesh, type Mesh } from "#mesh";
import type { Metrics } from "#metrics";
import type { Clock, Rng } from "#system";
import { type LocalWatch, watchLocal, watchXds, type XdsStatus, type XdsWatch } from "#xds";
import { CertNews } from "./cert_news.ts";
import type { Tidy } from "./tidy.ts";
import { tidyThread } from "./tidy_thread.ts";
import { controlDialer, createAuthority, nodeFacts, xdsEndpoint } from "./control_plane.ts";
import type { Wish } from "./thread_slot.ts";

const BESIDE_XDS =
  "the local mesh is not read again: beside a control plane it counts only once, at the start";

export interface ControlDeps {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly metrics: Metrics;
  readonly scope: (name: string) => Log;
}

/** The control side: who is in the mesh, who has a certificate, and what data sides are told of both. */
export class Control implements AsyncDisposable {
  readonly mesh: Mesh;
  #local: LocalWatch | undefined;
  #xds: XdsWatch | undefined;
  #crl: CrlFile | undefined;
  readonly #prefetch: Prefetch | undefined;
  readonly #tidy: Tidy;

  private constructor(
    private readonly config: Config,
    private readonly deps: ControlDeps,
    private readonly authority: Authority & Disposable,
    private readonly certs: CertManager,
    private readonly news: CertNews,
  ) {
    const { localNode } = config;
    this.#tidy = tidyThread(deps.clock);
    this.mesh = createMesh({
      hashSeed: new DataView(deps.rng.bytes(4).buffer).getUint32(0),
      releasePages: OwnProcess.releasePages,
      ...(localNode !== undefined && { localNode }),
    });
    // In dedicated mode there is one identity, and it is needed until the end (behaviour.md 10.12).
    if (config.proxyMode === "shared") this.#prefetch = this.#createPrefetch();
  }

  static async create(config: Config, deps: ControlDeps): Promise<Control> {
    const log = deps.scope("ztunnel::identity");
    const authority = await createAuthority(config, { clock: deps.clock, log });
    const news = new CertNews(log);
    const certs: CertManager = new CertManager({
      authority,
      clock: deps.clock,
      rng: deps.rng,
      lifetimeMs: config.secretTtlMs,
      onBundle: (bundle) => {
        news.issued(bundle);
        control.onTell({ tell: "cert", identity: bundle.identity, bundle });
      },
      onFailed: (identity, reason) => {
        news.failed(identity, reason);
        control.onTell({ tell: "cert_failed", identity, reason });
      },
      onForgotten: (identity, reason) => control.onTell({ tell: "cert_failed", identity, reason }),
      onRenewalFailed: (bundle, reason) => news.renewalFailed(bundle, reason),
    });
    const control = new Control(config, deps, authority, certs, news);
    await control.#followCrl(log);
    return control;
  }

  /**
   * The local mesh is there when this resolves; that of a control plane is on its way (`meshKnown`). Throws xds's
   * LocalLoadError if the local source cannot be used.
   */
  async loadMesh(): Promise<void> {
    await this.#loadLocal();
    this.#follow();
  }

  #follow(): void {
    const endpoint = xdsEndpoint(this.config);
    if (endpoint === undefined) return;
    const { clock, rng, scope, metrics } = this.deps;
    this.#xds = watchXds({
      endpoint,
      node: nodeFacts(this.config),
      onDemand: this.config.xdsOnDemand,
      writer: this.mesh.writer,
      clock,
      turn: OwnProcess.othersTurn,
      dialer: controlDialer(clock),
      rng,
      log: scope("ztunnel::xds"),
      metrics,
      onCommit: (commit, resourcesCount) => this.#onCommit(commit, resourcesCount),
      onConnected: (isConnected) => this.onTell({ tell: "control_plane", isConnected }),
    });
  }

  /** Resolves when every source of the mesh has told all of it (behaviour.md 3.9); never rejects. */
  get meshKnown(): Promise<void> {
    return this.#xds?.ready ?? Promise.resolve();
  }

  /** What data threads hear of it all. */
  onTell: (word: ToData) => void = () => {};

  /** What a data thread wants; answered by a word to all of them. */
  hear(wish: Wish): void {
    switch (wish.tell) {
      case "want_cert":
        this.#prefetch?.wanted(wish.identity);
        return this.certs.want(wish.identity);
      case "want_address":
        return void this.#answer(wish.name);
    }
  }

  /** What a new data thread has to know before anything else. */
  greeting(): readonly ToData[] {
    const words: ToData[] = [];
    const lists = this.#crl?.lists;
    if (lists !== undefined) words.push({ tell: "revocations", lists });
    const xds = this.#xds?.status();
    if (xds !== undefined) {
      words.push({ tell: "control_plane", isConnected: xds.state === "connected" });
    }
    return words;
  }

  /** A pod's proxy runs from now on: its certificate is kept until `podClosed`, called as often. */
  podOpened(pod: PodNames): void {
    this.#prefetch?.opened(pod);
  }

  podClosed(pod: PodNames): void {
    this.#prefetch?.closed(pod);
  }

  async reload(): Promise<void> {
    if (this.#xds === undefined) await this.#local?.reload();
    else this.deps.scope("ztunnel::state").warn?.(BESIDE_XDS);
  }

  /** So many records were dumped, which leaves as much behind as a push of them. */
  dumped(recordsCount: number): void {
    this.#tidy.note(recordsCount);
  }

  /** By identity, each read when it is asked for: they may be 10,000. */
  *certificates(): Generator<unknown> {
    for (const state of this.certs.states()) yield certificateDump(state);
  }

  /** How it stands with the control plane, for the dump; undefined without one. */
  xds(): XdsStatus | undefined {
    return this.#xds?.status();
  }

  /** What is loaded from the local source. */
  get local(): LocalWatch["mesh"] | undefined {
    return this.#local?.mesh;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tidy[Symbol.dispose]();
    this.certs[Symbol.dispose]();
    this.authority[Symbol.dispose]();
    const followers = [this.#local, this.#xds, this.#crl];
    await Promise.all(followers.map((each) => each?.[Symbol.asyncDispose]()));
  }

  #createPrefetch(): Prefetch {
    return new Prefetch({
      localNode: this.config.localNode,
      own: this.config.ownIdentity,
      want: (identity) => this.certs.fetchAhead(identity),
      forget: (identity) => {
        this.certs.forget(identity);
        this.news.forgotten(identity);
        this.onTell({ tell: "cert_gone", identity });
      },
    });
  }

  async #followCrl(log: Log): Promise<void> {
    const { crlPath: path } = this.config;
    if (path === undefined) return;
    this.#crl = await followCrlFile({
      path,
      clock: this.deps.clock,
      turn: OwnProcess.othersTurn,
      log,
      onLists: (lists) => this.onTell({ tell: "revocations", lists }),
    });
  }

  async #loadLocal(): Promise<void> {
    const { localSource: source, xdsAddress } = this.config;
    if (source === undefined) return;
    this.#local = await watchLocal({
      source,
      writer: this.mesh.writer,
      clock: this.deps.clock,
      log: this.deps.scope("ztunnel::state"),
      onCommit: (commit) => this.#onCommit(commit, commit.touched.length),
    });
    // A load replaces everything, so that there is only one once the control plane writes too.
    if (xdsAddress !== undefined) await this.#local[Symbol.asyncDispose]();
  }

  /** To all data threads: they may wait for the same name. */
  async #answer(name: string): Promise<void> {
    // Without a control plane what is here is all there is.
    const isAnswered = await this.#xds?.demand(name) ?? true;
    this.onTell({ tell: "address_answered", name, isAnswered });
  }

  /** `resourcesCount`: what was looked at for it, also where nothing came of that. */
  #onCommit({ epoch, policiesChanged, touched }: Commit, resourcesCount: number): void {
    this.#tidy.note(resourcesCount);
    const touchedLocal = this.mesh.takeTouchedLocal();
    this.#prefetch?.changed(touchedLocal, (uid) => this.mesh.view.workload(uid));
    this.onTell({ tell: "mesh", epoch, policiesChanged, workloadsChanged: touched.length > 0 });
  }
}
