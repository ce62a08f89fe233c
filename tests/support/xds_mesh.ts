/**
 * Two proxies, a client and a server, as processes of their own; their mesh and their certificates come from a control
 * plane that the test owns. And traffic through them that does not stop for anything.
 * @module
 */
import { ControlPlane, type ControlPlaneOptions, wireMeshOf } from "#standin";
import { realClock, realRng } from "#system";
import { loadLocal } from "#xds";
import { CredentialFiles } from "../../lib/standin/credentials.ts";
import { doublingServer, ProxyProcess, readExactly, socksConnect } from "./proxy_process.ts";
import { pause } from "./waiting.ts";

export const HOST = "server.shop.svc.cluster.local";

export interface XdsMeshOptions {
  /** `127.x.y`: the client is .1, the server .2, the control plane .3. */
  readonly network: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Of one of them. */
  readonly envOf?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly plane?: Partial<ControlPlaneOptions>;
  /** Before the proxies start. */
  readonly prepare?: (plane: ControlPlane) => void | Promise<void>;
  /** Of both proxies: do not wait until they are ready. */
  readonly mayFail?: boolean;
  /** Only this one of the two. */
  readonly only?: "client" | "server";
}

/** The mesh's YAML; a test changes it by text. */
export function meshYaml(network: string): string {
  return `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, workloadIps: ["${network}.1"], trustDomain: cluster.local, protocol: HBONE, clusterId: c }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, workloadIps: ["${network}.2"], trustDomain: cluster.local, protocol: HBONE, clusterId: c, services: { shop/${HOST}: { 80: 8080 } }, authorizationPolicies: [shop/client-only] }
services:
- { name: server, namespace: shop, hostname: ${HOST}, vips: ["/10.96.1.1"], ports: { 80: 8080 } }
policies:
- { name: client-only, namespace: shop, scope: WorkloadSelector, action: Allow, rules: [[[{ principals: [{ Exact: cluster.local/ns/shop/sa/client }] }]]] }
`;
}

export function wireMesh(yaml: string): ReturnType<typeof wireMeshOf> {
  const parsed = loadLocal(yaml, "mesh.yaml");
  if ("problems" in parsed) throw new Error(JSON.stringify(parsed.problems));
  return wireMeshOf(parsed.mesh);
}

export class XdsMesh implements AsyncDisposable {
  readonly #proxies: ProxyProcess[] = [];
  readonly #application: AsyncDisposable;

  private constructor(
    readonly plane: ControlPlane,
    readonly credentials: CredentialFiles,
    private readonly folder: string,
    private readonly options: XdsMeshOptions,
  ) {
    this.#application = doublingServer(`${options.network}.2`, 8080);
  }

  static async start(options: XdsMeshOptions): Promise<XdsMesh> {
    const { network, prepare, only } = options;
    const plane = await ControlPlane.start({
      clock: realClock,
      rng: realRng,
      ip: `${network}.3`,
      mesh: wireMesh(meshYaml(network)),
      ...options.plane,
    });
    const folder = await Deno.makeTempDir();
    const credentials = new CredentialFiles(folder, plane, realClock);
    const mesh = new XdsMesh(plane, credentials, folder, options);
    try {
      await credentials.writeRoots();
      await prepare?.(plane);
      const names = only === undefined ? ["client", "server"] : [only];
      mesh.#proxies.push(...await Promise.all(names.map((name) => mesh.#startProxy(name))));
      return mesh;
    } catch (error) {
      await mesh[Symbol.asyncDispose]();
      throw error;
    }
  }

  get yaml(): string {
    return meshYaml(this.options.network);
  }

  get proxies(): readonly ProxyProcess[] {
    return this.#proxies;
  }

  get client(): ProxyProcess {
    return this.#of(1);
  }

  get server(): ProxyProcess {
    return this.#of(2);
  }

  /** Of the client or the server: the file that its token is in. */
  tokenPath(name: string): string {
    return `${this.folder}/token.shop.${name}`;
  }

  async dump(proxy: ProxyProcess): Promise<Record<string, unknown>> {
    return await (await fetch(`http://${proxy.ip}:15000/config_dump`)).json();
  }

  /** Uids or names in the dump. */
  async workloadsOf(proxy: ProxyProcess): Promise<string[]> {
    const { workloads } = await this.dump(proxy) as { workloads: { uid: string }[] };
    return workloads.map(({ uid }) => uid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    await this.#application[Symbol.asyncDispose]();
    this.credentials[Symbol.dispose]();
    await this.plane[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }

  #of(last: number): ProxyProcess {
    const ip = `${this.options.network}.${last}`;
    return this.#proxies.find((proxy) => proxy.ip === ip)!;
  }

  async #startProxy(name: string): Promise<ProxyProcess> {
    const { network, env, envOf, mayFail } = this.options;
    const tokenPath = await this.credentials.addToken({ namespace: "shop", serviceAccount: name });
    const { url } = this.plane;
    return await ProxyProcess.start({
      ip: `${network}.${name === "client" ? 1 : 2}`,
      workload: name,
      ...(mayFail !== undefined && { mayFail }),
      env: {
        FAKE_CA: "false",
        XDS_ADDRESS: url,
        CA_ADDRESS: url,
        XDS_ROOT_CA: this.credentials.rootsPath,
        CA_ROOT_CA: this.credentials.rootsPath,
        AUTH_TOKEN: tokenPath,
        ...env,
        ...envOf?.[name],
      },
    });
  }
}

const QUESTION = new TextEncoder().encode("ping");

/** Asks over one connection, twice what was asked must come back. */
async function ask(connection: Deno.TcpConn): Promise<void> {
  await connection.write(QUESTION);
  const answer = new TextDecoder().decode(await readExactly(connection, 2 * QUESTION.length));
  if (answer !== "pingping") throw new Error(`answered "${answer}"`);
}

/**
 * A connection after the other through the client's SOCKS5 port to the server's service, and one that stays open all the
 * while. What fails is kept, with its reason and when.
 */
export class Traffic {
  okCount = 0;
  readonly failures: string[] = [];
  readonly #startedMs = performance.now();
  #isOver = false;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(private readonly ip: string, private readonly everyMs: number) {}

  /** Resolves when the first connections work. */
  static async start({ ip }: ProxyProcess, everyMs: number): Promise<Traffic> {
    const traffic = new Traffic(ip, everyMs);
    const steady = await socksConnect(ip, HOST, 80);
    await ask(steady);
    traffic.#running = Promise.all([traffic.#short(), traffic.#long(steady)]);
    return traffic;
  }

  /** Ends it; every failure so far, none if all is well. */
  async stop(): Promise<readonly string[]> {
    this.#isOver = true;
    await this.#running;
    return this.failures;
  }

  async #short(): Promise<void> {
    while (!this.#isOver) {
      await this.#try("a new connection", async () => {
        const connection = await socksConnect(this.ip, HOST, 80);
        try {
          await ask(connection);
        } finally {
          connection.close();
        }
      });
      await pause(this.everyMs);
    }
  }

  async #long(connection: Deno.TcpConn): Promise<void> {
    try {
      while (!this.#isOver) {
        await this.#try("the steady connection", () => ask(connection));
        await pause(this.everyMs);
      }
    } finally {
      connection.close();
    }
  }

  async #try(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
      this.okCount++;
    } catch (error) {
      const atMs = Math.round(performance.now() - this.#startedMs);
      this.failures.push(
        `${what}, after ${atMs} ms: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
}
