/**
 * A node's worth of mesh: two pods, each in a network namespace with our program and the redirect rules, and a third
 * host that is in no mesh.
 * @module
 */
import { Host, join, type Program, redirect, until } from "./netns.ts";

export const PROGRAMS = ["ip", "nft", "curl", "iperf3"];
export const A = "10.9.0.1";
export const B = "10.9.0.2";
export const OUTSIDE = "10.9.1.9";
/** Where `outside` reaches b. */
export const OUTSIDE_TO_B = "10.9.1.2";
export const VIP_B = "10.96.0.10";
export const A6 = "fd09::1";
export const B6 = "fd09::2";
export const VIP6_B = "fd96::10";
export const VIP_A = "10.96.0.20";

const main = new URL("../../main.ts", import.meta.url).pathname;
/** The path of a program in support/apps. */
export const app = (name: string) => new URL(`./apps/${name}`, import.meta.url).pathname;
/** To run a program of ours; `deno[0]` is Deno itself. */
export const deno = [Deno.execPath(), "run", "--allow-all", "--quiet"];

/** Two pods that serve 8080 (HTTP), 9000 (echo) and 5201 (iperf3), each behind a service. */
export const mesh = (policies: string) => `
workloads:
- { uid: c//Pod/shop/a, name: a, namespace: shop, serviceAccount: a, trustDomain: cluster.local,
    workloadIps: ["${A}", "${A6}"], protocol: HBONE, workloadName: a, canonicalName: a, clusterId: c,
    services: { shop/a.shop.svc.cluster.local: { 80: 8080, 9000: 9000, 5201: 5201 } } }
- { uid: c//Pod/shop/b, name: b, namespace: shop, serviceAccount: b, trustDomain: cluster.local,
    workloadIps: ["${B}", "${B6}"], protocol: HBONE, workloadName: b, canonicalName: b, clusterId: c,
    services: { shop/b.shop.svc.cluster.local: { 80: 8080, 9000: 9000, 5201: 5201 } } }
services:
- { name: a, namespace: shop, hostname: a.shop.svc.cluster.local, vips: ["/${VIP_A}"],
    ports: { 80: 8080, 9000: 9000, 5201: 5201 } }
- { name: b, namespace: shop, hostname: b.shop.svc.cluster.local, vips: ["/${VIP_B}", "/${VIP6_B}"],
    ports: { 80: 8080, 9000: 9000, 5201: 5201 } }
policies: ${policies}
`;

/** Two meshed hosts and one outside, with applications and proxies running. */
export class Node implements AsyncDisposable {
  private constructor(
    readonly a: Host,
    readonly b: Host,
    readonly outside: Host,
    readonly proxyA: Program,
    readonly proxyB: Program,
    readonly meshPath: string,
  ) {}

  static async start(policies = "[]"): Promise<Node> {
    const [a, b, outside] = [await Host.create(), await Host.create(), await Host.create()];
    await join({ from: a, fromIp: A, to: b, toIp: B, ip6: [A6, B6] });
    await join({ from: outside, fromIp: OUTSIDE, to: b, toIp: OUTSIDE_TO_B });
    await b.sh(`ip route replace default via ${A}`);
    const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(meshPath, mesh(policies));
    const proxies: Program[] = [];
    for (const [host, name] of [[a, "a"], [b, "b"]] as const) {
      await redirect(host);
      await host.start([...deno, app("echo_server.ts"), "0.0.0.0", "9000"], { ready: /listening/ });
      await host.start([...deno, app("http_server.ts"), "0.0.0.0", "8080"], { ready: /listening/ });
      await host.start(["iperf3", "-s", "--forceflush"], { ready: /listening/ });
      proxies.push(
        await host.start([...deno, main, "proxy", "ztunnel"], {
          env: {
            PROXY_MODE: "dedicated",
            PROXY_WORKLOAD_INFO: `shop/${name}/${name}`,
            FAKE_CA: "true",
            XDS_ADDRESS: "",
            LOCAL_XDS_PATH: meshPath,
            PACKET_MARK: "1337",
            ENABLE_ORIG_SRC: "true",
          },
        }),
      );
    }
    const [proxyA, proxyB] = proxies as [Program, Program];
    for (const [host, proxy] of [[a, proxyA], [b, proxyB]] as const) {
      await until(
        "the proxy is ready",
        async () => (await host.try("curl -s -f http://127.0.0.1:15021/healthz/ready")).code === 0,
        () => proxy.output(),
      );
    }
    return new Node(a, b, outside, proxyA, proxyB, meshPath);
  }

  async client(host: Host, ...args: string[]): Promise<Record<string, unknown>> {
    const { code, out } = await host.try([...deno, app("echo_client.ts"), ...args].join(" "));
    if (code !== 0) throw new Error(`echo_client ${args.join(" ")}: ${out}\n${this.logs()}`);
    return JSON.parse(out);
  }

  logs(): string {
    return `--- a\n${this.proxyA.output().slice(-3_000)}\n--- b\n${
      this.proxyB.output().slice(-3_000)
    }`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of [this.a, this.b, this.outside]) await host.remove();
    await Deno.remove(this.meshPath);
  }
}
