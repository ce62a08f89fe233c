/**
 * Everything that applications do to a proxy, at once: transfers, short requests, stalls, resets of either side, halves
 * that are left open, refusals. Two proxies on loopback, every byte compared.
 * @module
 */
import type { Scenario, Soaked } from "../support/soak.ts";
import {
  ProxyProcess,
  readExactly,
  readToEnd,
  socksConnect,
} from "../../tests/support/proxy_process.ts";
import { Applications, isPattern, PORTS, writeAll } from "./applications.ts";

const CLIENT = "127.1.20.1";
const SERVER = "127.1.20.2";
/**
 * Short, so that what is left half open and what waits in the pool are gone within one rest; but no application on a
 * busy machine takes as long to answer a half close.
 */
const ENV = {
  ZTUNNEL_HALF_CLOSED_LINGER: "8s",
  POOL_UNUSED_RELEASE_TIMEOUT: "2s",
  // Access lines of failures only.
  RUST_LOG: "warn",
};
/** Failures that the load asks for; what a proxy says beyond them is wrong. */
const EXPECTED = [
  new RegExp(`:(${PORTS.closed}|${PORTS.denied})\\b`),
  /half-closed, and no byte for/,
  /FAKE_CA/,
];
/** Of a proxy, in the verdict. */
const LINES_MAX = 10;
/** One operation; what takes longer hangs. */
const OPERATION_MS_MAX = 45_000;

const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
policies:
- { name: no, namespace: shop, scope: Namespace, action: Deny,
    rules: [[[{ destinationPorts: [${PORTS.denied}] }]]] }
`;

interface Kind {
  readonly name: string;
  /** So many of them at a time. */
  readonly count: number;
  readonly once: (random: () => number) => Promise<void>;
}

const open = (port: number) => socksConnect(CLIENT, SERVER, port);
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const KINDS: readonly Kind[] = [
  { name: "long exchanges", count: 6, once: exchange },
  { name: "short requests", count: 8, once: request },
  { name: "downloads", count: 3, once: download },
  { name: "stalls", count: 3, once: stall },
  { name: "resets by the client", count: 3, once: resetByClient },
  { name: "resets by the server", count: 3, once: resetByServer },
  { name: "halves left open", count: 6, once: leaveHalfOpen },
  { name: "answers after a half close", count: 2, once: answerLate },
  { name: "idle connections", count: 20, once: idle },
  { name: "refused connections", count: 1, once: () => refused(PORTS.closed) },
  { name: "denied connections", count: 1, once: () => refused(PORTS.denied) },
];

/** Chunks back and forth for a second or two. */
async function exchange(random: () => number): Promise<void> {
  using connection = await open(PORTS.echo);
  const endMs = performance.now() + 500 + 2_000 * random();
  const chunk = new Uint8Array(32_768);
  for (let round = 0; performance.now() < endMs; round++) {
    chunk.fill(round & 0xff);
    const back = readExactly(connection, chunk.length);
    await writeAll(connection, chunk);
    if (!(await back).every((byte) => byte === (round & 0xff))) throw new Error("other bytes");
  }
  await connection.closeWrite();
  if ((await readToEnd(connection)).length > 0) throw new Error("more bytes than were sent");
}

async function request(random: () => number): Promise<void> {
  using connection = await open(PORTS.echo);
  const bytes = new Uint8Array(1 + Math.floor(400 * random())).fill(7);
  await writeAll(connection, bytes);
  await connection.closeWrite();
  const back = await readToEnd(connection);
  if (back.length !== bytes.length) throw new Error(`${back.length} of ${bytes.length} bytes`);
  await sleep(3);
}

async function download(random: () => number): Promise<void> {
  const count = Math.floor(8e6 * random());
  using connection = await open(PORTS.source);
  await writeAll(connection, new TextEncoder().encode(String(count).padStart(10)));
  const back = await readToEnd(connection);
  if (back.length !== count) throw new Error(`${back.length} of ${count} bytes`);
  if (!isPattern(back)) throw new Error("other bytes");
}

/** Asks for more than every buffer holds and takes none of it for a while. */
async function stall(random: () => number): Promise<void> {
  const count = 12_000_000;
  using connection = await open(PORTS.source);
  await writeAll(connection, new TextEncoder().encode(String(count).padStart(10)));
  await sleep(500 + 1_000 * random());
  const back = await readToEnd(connection);
  if (back.length !== count || !isPattern(back)) throw new Error("a stall lost bytes");
}

/** Leaves in the middle of a transfer: with bytes unread, a close is a reset. */
async function resetByClient(random: () => number): Promise<void> {
  using connection = await open(PORTS.source);
  await writeAll(connection, new TextEncoder().encode(String(5_000_000).padStart(10)));
  await readExactly(connection, Math.floor(1 + 200_000 * random()));
}

async function resetByServer(): Promise<void> {
  using connection = await open(PORTS.resetting);
  const chunk = new Uint8Array(65_536);
  try {
    for (let round = 0; round < 1_000; round++) await writeAll(connection, chunk);
    await readToEnd(connection);
  } catch {
    return;
  }
  throw new Error("a server that resets was an orderly end");
}

/** Finishes towards a server that never does: the proxies have to end it. */
async function leaveHalfOpen(): Promise<void> {
  using connection = await open(PORTS.holding);
  await writeAll(connection, new Uint8Array(100));
  await connection.closeWrite();
  try {
    await readToEnd(connection);
  } catch {
    return;
  }
  throw new Error("the holding server finished");
}

async function answerLate(): Promise<void> {
  using connection = await open(PORTS.late);
  await writeAll(connection, new Uint8Array(10).fill(1));
  await connection.closeWrite();
  const back = await readToEnd(connection);
  if (back.length !== 100_000) throw new Error(`${back.length} bytes after a half close`);
}

async function idle(random: () => number): Promise<void> {
  using connection = await open(PORTS.echo);
  await sleep(1_000 + 3_000 * random());
  await writeAll(connection, Uint8Array.of(9));
  if ((await readExactly(connection, 1))[0] !== 9) throw new Error("other bytes");
}

async function refused(port: number): Promise<void> {
  await sleep(20);
  using connection = await open(port);
  const end = await readToEnd(connection).then(() => "end", () => "reset");
  if (end !== "reset") throw new Error("a refusal was an orderly end");
}

class Mixed implements Soaked {
  readonly #counts = new Map(KINDS.map(({ name }) => [name, 0]));

  private constructor(
    private readonly meshPath: string,
    private readonly proxies: readonly ProxyProcess[],
    private readonly applications: Applications,
  ) {}

  static async start(): Promise<Mixed> {
    const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(meshPath, MESH);
    const applications = new Applications(SERVER);
    const proxies: ProxyProcess[] = [];
    for (const [ip, workload] of [[CLIENT, "client"], [SERVER, "server"]] as const) {
      proxies.push(await ProxyProcess.start({ ip, workload, meshPath, env: ENV }));
    }
    return new Mixed(meshPath, proxies, applications);
  }

  get processes() {
    return this.proxies.map(({ pid }, at) => ({ name: at === 0 ? "client" : "server", pid }));
  }

  async load(stop: AbortSignal): Promise<void> {
    const failed = new AbortController();
    const over = AbortSignal.any([stop, failed.signal]);
    const run = async ({ name, once }: Kind) => {
      while (!over.aborted) {
        await inTime(name, once(Math.random));
        this.#counts.set(name, this.#counts.get(name)! + 1);
      }
    };
    const running = KINDS.flatMap((kind) =>
      Array.from({ length: kind.count }, () =>
        run(kind).catch((error) => {
          failed.abort();
          throw new Error(`${kind.name}: ${error instanceof Error ? error.message : error}`);
        }))
    );
    const results = await Promise.allSettled(running);
    const reasons = results.flatMap((each) => each.status === "rejected" ? [each.reason] : []);
    if (reasons.length > 0) throw reasons[0];
    this.applications.letGo();
  }

  async remains(): Promise<string> {
    const left: string[] = [];
    for (const proxy of this.proxies) {
      for (const family of ["istio_tcp_sockets_open", "ztunnel_sockets"]) {
        const open = await proxy.sum(family);
        if (open !== 0) left.push(`${proxy.ip} has ${family} ${open}`);
      }
    }
    return left.join(", ");
  }

  done(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  complaints(): readonly string[] {
    return this.proxies.flatMap(({ ip, output }) =>
      output.split("\n").filter((line) =>
        line !== "" && !EXPECTED.some((pattern) => pattern.test(line))
      ).slice(0, LINES_MAX).map((line) => `${ip} said: ${line}`)
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    await this.applications[Symbol.asyncDispose]();
    await Deno.remove(this.meshPath);
  }
}

async function inTime(what: string, work: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`${what} hangs for ${OPERATION_MS_MAX} ms`)),
    OPERATION_MS_MAX,
  );
  try {
    await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

export const mixed: Scenario = { name: "mixed", start: () => Mixed.start() };
