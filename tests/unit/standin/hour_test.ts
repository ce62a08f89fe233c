/**
 * istiod gone for an hour, in both halves' own machines and without a wire: what is known stays, certificates are kept,
 * and its return is no stampede.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { CertManager, createCaAuthority } from "#certs";
import { silentLog } from "#log";
import { createMesh } from "#mesh";
import { MeshAuthority, wireMeshOf } from "#standin";
import { seededRng } from "#system";
import type { CertBundle } from "#tls";
import { SpiffeId } from "#values";
import { CaService } from "../../../lib/standin/ca_service.ts";
import { Directory } from "../../../lib/standin/directory.ts";
import { IstiodStream } from "../../../lib/standin/istiod_stream.ts";
import { answerBytes } from "../../../lib/standin/wire_mesh.ts";
import { apply } from "../../../lib/xds/apply.ts";
import { Retry } from "../../../lib/xds/retry.ts";
import { Session } from "../../../lib/xds/session.ts";
import { IstioCertificateRequestSchema } from "../../../proto/gen/ca_pb.ts";
import type { DeltaDiscoveryRequest } from "../../../proto/gen/xds_pb.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { opened, readerOf } from "../xds/session_support.ts";
import { localMesh, SHOP, shop } from "./example.ts";

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
/** The longest wait, with its jitter. */
const BACKOFF_MAX_MS = 18 * SECOND_MS;
const web = SpiffeId.of("cluster.local", "shop", "web");

interface World {
  /** Undefined while istiod is gone. */
  directory: Directory | undefined;
}

/** One proxy's session with an istiod that is there or not. */
class Client {
  readonly session = new Session({ node: { id: "ztunnel~x" }, onDemand: false });
  readonly mesh = createMesh({});
  readonly arrivedAtMs: number[] = [];
  attemptsCount = 0;
  /** Resources sent to it on its last stream. */
  sentCount = 0;
  #istiod: IstiodStream | undefined;
  readonly #retry: Retry;

  constructor(private readonly clock: FakeClock, private readonly world: World, seed: number) {
    this.#retry = new Retry(seededRng(seed));
  }

  /** A new stream; where there is no istiod, another try later. */
  async connect(): Promise<void> {
    this.attemptsCount++;
    const { directory } = this.world;
    if (directory === undefined) return this.#again({ kind: "not_connected" }, false);
    this.arrivedAtMs.push(this.clock.monotonicMs());
    this.sentCount = 0;
    this.#istiod = new IstiodStream(directory);
    for (const request of opened(this.session)) await this.#say(request);
  }

  /** The connection breaks. */
  cut(): void {
    if (this.#istiod === undefined) return;
    this.#istiod = undefined;
    this.session.closed();
    this.#again({ kind: "status", code: 14, details: "transport is closing" }, true);
  }

  #again(end: Parameters<Retry["after"]>[0], gotSomething: boolean): void {
    const { waitMs } = this.#retry.after(end, gotSomething);
    this.clock.after(waitMs, () => void this.connect());
  }

  async #say(request: DeltaDiscoveryRequest): Promise<void> {
    for (const answer of this.#istiod!.hear(request).answers) {
      this.sentCount += answer.resources.length;
      const response = readerOf(answerBytes(answer));
      await response.begin();
      const push = this.session.receive(response);
      await apply(response, push, {
        writer: this.mesh.writer,
        clock: this.clock,
        turn: () => Promise.resolve(),
        onCommit: () => {},
        stop: new AbortController().signal,
      });
      const now = { wallMs: this.clock.nowMs(), monotonicMs: this.clock.monotonicMs() };
      await this.#say(push.finish(now).reply);
    }
  }
}

async function connected(count: number) {
  const clock = new FakeClock();
  const world: World = { directory: new Directory(shop()) };
  const clients = Array.from({ length: count }, (_, index) => new Client(clock, world, index + 1));
  for (const client of clients) await client.connect();
  const cut = () => {
    world.directory = undefined;
    for (const client of clients) client.cut();
  };
  return { clock, world, clients, cut };
}

Deno.test("3.7 an hour without istiod: the mesh stays; then what differs is sent, and what went, goes", async () => {
  const { clock, world, clients: [client], cut } = await connected(1);
  const { view } = client!.mesh;
  strictEqual(view.workloads().length, 2);
  ok(client!.session.isReady);
  cut();
  await clock.advance(HOUR_MS);
  deepStrictEqual([view.workloads().length, view.services().length, view.policies().length], [
    2,
    1,
    2,
  ]);
  ok(client!.session.isReady, "never revoked");
  // One attempt in 12 to 18 s, once the first few have failed.
  const { attemptsCount } = client!;
  ok(attemptsCount > 200 && attemptsCount < 330, `${attemptsCount} attempts`);

  const edited = SHOP.replace("10.0.0.1", "10.0.0.9")
    .replace(/- \{ name: p2.*\n/, "")
    .replace(/- \{ uid: c\/\/Pod\/shop\/cart.*\n/, "");
  world.directory = new Directory(wireMeshOf(localMesh(edited)));
  await clock.advance(BACKOFF_MAX_MS);
  deepStrictEqual(view.workloads().map(({ workloadIps }) => workloadIps), [["10.0.0.9"]]);
  deepStrictEqual(view.policies().map(({ key }) => key), ["shop/p1"]);
  strictEqual(view.services().length, 1, "unchanged: not sent again, and not lost");
  strictEqual(client!.sentCount, 2, "the changed workload, and the policy, which has no version");
});

Deno.test("3.10 a thousand proxies come back over the backoff's whole length, not in one moment", async () => {
  const { clock, world, clients, cut } = await connected(1_000);
  cut();
  await clock.advance(10 * MINUTE_MS);
  world.directory = new Directory(shop());
  const returnedAtMs = clock.monotonicMs();
  await clock.advance(BACKOFF_MAX_MS);
  const perSecond = new Array<number>(19).fill(0);
  for (const { arrivedAtMs } of clients) {
    strictEqual(arrivedAtMs.length, 2, "each has come back, and once");
    perSecond[Math.floor((arrivedAtMs[1]! - returnedAtMs) / SECOND_MS)]!++;
  }
  const told = `arrivals by second: ${perSecond.join(" ")}`;
  // 1,000 over some 15 s: 67 a second on average.
  ok(Math.max(...perSecond) < 150, told);
  ok(perSecond.filter((count) => count > 20).length >= 10, told);
});

Deno.test("3.10 a short cut is over fast, and even then not in one moment", async () => {
  const { clock, world, clients, cut } = await connected(200);
  cut();
  await clock.advance(300);
  world.directory = new Directory(shop());
  const returnedAtMs = clock.monotonicMs();
  await clock.advance(2 * SECOND_MS);
  const waitsMs = clients.map(({ arrivedAtMs }) => arrivedAtMs[1]! - returnedAtMs);
  ok(waitsMs.every((waitMs) => waitMs >= 0 && waitMs < SECOND_MS), "all are back within a second");
  ok(Math.max(...waitsMs) - Math.min(...waitsMs) > 50, "and spread");
});

Deno.test("9.7 an hour without a CA: the certificate is kept, nobody is told, and it is renewed soon after", async () => {
  const clock = new FakeClock();
  const service = new CaService({
    authority: await MeshAuthority.create({ clock }),
    trustDomain: "cluster.local",
    nodeProxies: [],
    lifetimeMsMax: 24 * HOUR_MS,
  });
  let fault: "down" | undefined;
  const ca = createCaAuthority({
    clock,
    log: silentLog,
    impersonates: false,
    client: {
      async createCertificate({ csrPem, validitySeconds }) {
        const request = create(IstioCertificateRequestSchema, {
          csr: csrPem,
          validityDuration: BigInt(validitySeconds),
        });
        const caller = { namespace: "shop", serviceAccount: "web" };
        const outcome = await service.create(request, caller, new Directory(shop()), fault);
        if ("refused" in outcome) throw new Error(outcome.refused);
        return outcome.chain;
      },
    },
  });
  let signing: Promise<unknown> | undefined;
  const [bundles, failures, triesAtMs] = [[] as CertBundle[], [] as string[], [] as number[]];
  using certs = new CertManager({
    authority: {
      sign: (...ask) => {
        const bundle = ca.sign(...ask);
        signing = bundle.catch(() => {});
        return bundle;
      },
    },
    clock,
    rng: seededRng(1),
    lifetimeMs: 2 * HOUR_MS,
    onBundle: (bundle) => bundles.push(bundle),
    onFailed: (_identity, reason) => failures.push(reason),
    onForgotten: () => {},
    onRenewalFailed: () => triesAtMs.push(clock.monotonicMs()),
  });
  const advance = async (ms: number) => {
    for (let passedMs = 0; passedMs < ms; passedMs += SECOND_MS) {
      await clock.advance(SECOND_MS);
      // Keys and signatures take real time, in which the fake one stands still.
      await signing;
      signing = undefined;
    }
  };
  certs.want(web);
  await advance(SECOND_MS);
  strictEqual(bundles.length, 1);
  fault = "down";
  // Backdated by a minute, it is half over after 59.5 minutes. The CA is away for nearly all of the other half.
  await advance(118 * MINUTE_MS);
  deepStrictEqual([failures, bundles.length], [[], 1]);
  strictEqual(certs.states()[0]?.state, "Available");
  ok(Math.abs(triesAtMs[0]! - 59.5 * MINUTE_MS) <= 2 * SECOND_MS);
  ok(triesAtMs.length > 20 && triesAtMs.length < 40, `${triesAtMs.length} tries`);
  fault = undefined;
  await advance(150 * SECOND_MS);
  deepStrictEqual([failures, bundles.length], [[], 2]);
});
