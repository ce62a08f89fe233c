/**
 * The whole program in dedicated mode, in two network namespaces with a node's redirect rules, and a third host that
 * is in no mesh. Applications are plain curl, iperf3 and echo programs that know of nothing.
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { Host, join, type Program, redirect, until } from "../support/netns.ts";
import { testAsRoot } from "../support/needs.ts";

const PROGRAMS = ["ip", "nft", "curl", "iperf3"];
const A = "10.9.0.1";
const B = "10.9.0.2";
const OUTSIDE = "10.9.1.9";
const VIP_B = "10.96.0.10";
const VIP_A = "10.96.0.20";

const main = new URL("../../main.ts", import.meta.url).pathname;
const app = (name: string) => new URL(`../support/apps/${name}`, import.meta.url).pathname;
const deno = [Deno.execPath(), "run", "--allow-all", "--quiet"];

const mesh = (policies: string) => `
workloads:
- { uid: c//Pod/shop/a, name: a, namespace: shop, serviceAccount: a, trustDomain: cluster.local,
    workloadIps: ["${A}"], protocol: HBONE, workloadName: a, canonicalName: a, clusterId: c,
    services: { shop/a.shop.svc.cluster.local: { 80: 8080, 9000: 9000, 5201: 5201 } } }
- { uid: c//Pod/shop/b, name: b, namespace: shop, serviceAccount: b, trustDomain: cluster.local,
    workloadIps: ["${B}"], protocol: HBONE, workloadName: b, canonicalName: b, clusterId: c,
    services: { shop/b.shop.svc.cluster.local: { 80: 8080, 9000: 9000, 5201: 5201 } } }
services:
- { name: a, namespace: shop, hostname: a.shop.svc.cluster.local, vips: ["/${VIP_A}"],
    ports: { 80: 8080, 9000: 9000, 5201: 5201 } }
- { name: b, namespace: shop, hostname: b.shop.svc.cluster.local, vips: ["/${VIP_B}"],
    ports: { 80: 8080, 9000: 9000, 5201: 5201 } }
policies: ${policies}
`;

/** Two meshed hosts and one outside, with applications and proxies running. */
class Node {
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
    await join({ from: a, fromIp: A, to: b, toIp: B });
    await join({ from: outside, fromIp: OUTSIDE, to: b, toIp: "10.9.1.2" });
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

testAsRoot(
  "redirected curl reaches pod IP and VIP, both ways, through HBONE",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    for (
      const [host, target] of [
        [node.a, `${B}:8080`],
        [node.a, VIP_B],
        [node.b, `${A}:8080`],
        [node.b, VIP_A],
      ] as const
    ) {
      const { code, out } = await host.try(`curl -s -S -m 10 http://${target}/`);
      strictEqual(code, 0, `${target}: ${out}\n${node.logs()}`);
      // The application sees who called, not the proxy.
      match(out, host === node.a ? /you are 10\.9\.0\.1$/m : /you are 10\.9\.0\.2$/m);
    }
    await until("both lines", () => /direction="inbound"/.test(node.proxyB.output()));
    const line = node.proxyA.output().split("\n").find((text) => /dst.service="b\.shop/.test(text));
    match(
      line ?? "",
      /\tinfo\taccess\tconnection complete\tsrc\.addr=10\.9\.0\.1:\d+ src\.workload="a"/,
    );
    match(line ?? "", /dst\.addr=10\.9\.0\.2:15008 dst\.hbone_addr=10\.9\.0\.2:8080/);
    match(line ?? "", /dst\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/b"/);
    const metrics = await node.b.sh("curl -s http://127.0.0.1:15020/metrics");
    match(
      metrics,
      /istio_tcp_connections_opened_total\{reporter="destination",[^}]*source_principal="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/a"[^}]*connection_security_policy="mutual_tls"/,
    );
  },
);

testAsRoot(
  "half-close crosses both proxies, 1,000 parallel connections keep apart",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    const bytes = 3_000_000;
    for (const [host, target] of [[node.a, VIP_B], [node.b, A]] as const) {
      deepStrictEqual(await node.client(host, "half-close", target, "9000", String(bytes)), {
        sent: bytes,
        received: bytes,
        same: true,
      });
    }
    deepStrictEqual(await node.client(node.a, "parallel", VIP_B, "9000", "1000"), {
      opened: 1_000,
      right: 1_000,
    }, node.logs());
    strictEqual((await node.client(node.a, "who", VIP_B, "9000"))["who"], A);
    // Whatever was opened is closed again on both sides.
    await until("no sockets are left", async () => {
      const { out } = await node.b.try("curl -s http://127.0.0.1:15020/metrics");
      return /istio_tcp_sockets_open\{reporter="source"\} 0/.test(out) ||
        !/istio_tcp_sockets_open\{reporter="source"\}/.test(out);
    });
  },
);

testAsRoot("iperf3 runs both ways by pod IP and by VIP", PROGRAMS, async () => {
  await using node = await Node.start();
  for (const args of [`-c ${VIP_B}`, `-c ${B} -R`, `-c ${VIP_B} -P 4`]) {
    const { code, out } = await node.a.try(`iperf3 ${args} -t 1 -J`);
    strictEqual(code, 0, `${out}\n${node.logs()}`);
    const bits = JSON.parse(out).end.sum_received.bits_per_second;
    ok(bits > 50e6, `${args}: only ${bits} bit/s`);
  }
});

testAsRoot(
  "a denied client is reset, with a 401 in one log and the policy in the other",
  PROGRAMS,
  async () => {
    await using node = await Node.start(`
- { name: no, namespace: shop, scope: Namespace, action: Deny, rules: [[[{ destinationPorts: [9000] }]]] }
`);
    const denied = await node.client(node.a, "outcome", VIP_B, "9000");
    strictEqual(denied["ended"], "reset", JSON.stringify(denied));
    const allowed = await node.a.try(`curl -s -m 10 http://${VIP_B}/`);
    strictEqual(allowed.code, 0, `port 8080 is not denied: ${node.logs()}`);
    await until(
      "the server says why",
      () => /explicitly denied by: shop\/no/.test(node.proxyB.output()),
    );
    match(
      node.proxyA.output(),
      /error\taccess\tconnection complete\t.*error="http status: 401 Unauthorized"/,
    );
    match(
      node.proxyB.output(),
      /error\taccess\tconnection complete\t.*error="connection closed due to policy rejection: explicitly denied by: shop\/no"/,
    );
    const metrics = await node.b.sh("curl -s http://127.0.0.1:15020/metrics");
    match(metrics, /istio_tcp_connections_failed_total\{[^}]*response_flags="DENY"/);
  },
);

testAsRoot("a policy that comes to deny ends the live connection", PROGRAMS, async () => {
  await using node = await Node.start();
  const client = await node.a.start(
    [
      ...deno,
      "eval",
      `const c = await Deno.connect({ hostname: "${VIP_B}", port: 9000 });
     await c.write(new TextEncoder().encode("hi"));
     await c.read(new Uint8Array(9));
     console.log("open");
     try { console.log("read " + await c.read(new Uint8Array(9))); } catch (e) { console.log(e.name); }`,
    ].filter((word) => word !== "run" && word !== "--allow-all"),
    { ready: /open/ },
  );
  await Deno.writeTextFile(
    node.meshPath,
    mesh(`
- { name: no, namespace: shop, scope: Namespace, action: Deny, rules: [[[{ destinationPorts: [9000] }]]] }
`),
  );
  await until("the client is cut off", () => /ConnectionReset|read null/.test(client.output()));
  match(client.output(), /ConnectionReset/);
  await until("the line", () => /closed due to policy change/.test(node.proxyB.output()));
});

testAsRoot(
  "plaintext from outside the mesh works, and is denied where policy wants mutual TLS",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    const plain = await node.outside.try("curl -s -S -m 10 http://10.9.1.2:8080/");
    strictEqual(plain.code, 0, `${plain.out}\n${node.logs()}`);
    match(plain.out, /you are 10\.9\.1\.9/);
    await until(
      "the line",
      () => /connection_security_policy|dst\.addr=10\.9\.1\.2:8080/.test(node.proxyB.output()),
    );
    await Deno.writeTextFile(
      node.meshPath,
      mesh(`
- { name: strict, namespace: shop, scope: Namespace, action: Deny, rules: [[[{ notPrincipals: [{ Presence: [] }] }]]] }
`),
    );
    await until(
      "the reload",
      () => /mesh reloaded/.test(node.proxyB.output()),
      () => node.proxyB.output(),
    );
    const denied = await node.outside.try("curl -s -S -m 10 http://10.9.1.2:8080/");
    ok(denied.code !== 0, "strict mutual TLS refuses plaintext");
    match(denied.out, /reset/i);
    const meshed = await node.a.try(`curl -s -m 10 http://${VIP_B}/`);
    strictEqual(meshed.code, 0, `meshed clients still may: ${node.logs()}`);
  },
);

testAsRoot(
  "SIGTERM drains: a running transfer may finish, nothing new is accepted, exit 0",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    const client = await node.a.start([
      ...deno.filter((word) => word !== "run" && word !== "--allow-all"),
      "eval",
      `const c = await Deno.connect({ hostname: "${VIP_B}", port: 9000 });
     const b = new Uint8Array(9);
     for (let i = 0; i < 4; i++) {
       await c.write(new TextEncoder().encode("hi"));
       if (await c.read(b) === null) throw new Error("cut off");
       console.log("round " + i);
       await new Promise((r) => setTimeout(r, 400));
     }
     c.close(); console.log("done");`,
    ], { ready: /round 0/ });
    node.proxyB.signal("SIGTERM");
    await until(
      "the transfer ends by itself",
      () => /done/.test(client.output()),
      () => client.output(),
    );
    strictEqual((await node.proxyB.ended).code, 0, node.logs());
  },
);
