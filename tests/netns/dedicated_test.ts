/**
 * The whole program in dedicated mode, in two network namespaces with a node's redirect rules, and a third host that
 * is in no mesh. Applications are plain curl, iperf3 and echo programs that know of nothing.
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../support/needs.ts";
import { until } from "../support/netns.ts";
import { A, B, deno, mesh, Node, PROGRAMS, VIP_A, VIP_B } from "../support/node.ts";

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
      const { code, out } = await host.try(`curl -s -S -m 60 http://${target}/`);
      strictEqual(code, 0, `${target}: ${out}\n${node.logs()}`);
      // The application sees who called, not the proxy.
      match(out, host === node.a ? /you are 10\.9\.0\.1$/m : /you are 10\.9\.0\.2$/m);
    }
    const ofService = () =>
      node.proxyA.output().split("\n").find((text) => /dst.service="b\.shop/.test(text));
    await until(
      "both lines",
      () => /direction="inbound"/.test(node.proxyB.output()) && ofService() !== undefined,
      () => node.logs(),
    );
    const line = ofService();
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
    let out = "";
    // The server takes one test at a time, and may not have seen the end of the last one yet.
    await until(`iperf3 ${args} ran`, async () => {
      const run = await node.a.try(`iperf3 ${args} -t 1 -J`);
      out = run.out;
      if (out.includes("the server is busy")) return false;
      strictEqual(run.code, 0, `${out}\n${node.logs()}`);
      return true;
    });
    const bits = JSON.parse(out).end.sum_received?.bits_per_second ?? 0;
    ok(bits > 50e6, `${args}: only ${bits} bit/s\n${out.slice(-500)}\n${node.logs()}`);
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
    const allowed = await node.a.try(`curl -s -m 60 http://${VIP_B}/`);
    strictEqual(allowed.code, 0, `port 8080 is not denied: ${node.logs()}`);
    await until(
      "the server says why",
      () => /explicitly denied by: shop\/no/.test(node.proxyB.output()),
    );
    await until(
      "the client's proxy says so too",
      () =>
        /error\taccess\tconnection complete\t.*error="http status: 401 Unauthorized"/.test(
          node.proxyA.output(),
        ),
      () => node.logs(),
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
    const plain = await node.outside.try("curl -s -S -m 60 http://10.9.1.2:8080/");
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
    const denied = await node.outside.try("curl -s -S -m 60 http://10.9.1.2:8080/");
    ok(denied.code !== 0, "strict mutual TLS refuses plaintext");
    await until(
      "the server's reason",
      () => /policy rejection: explicitly denied by: shop\/strict/.test(node.proxyB.output()),
      () => `${denied.out}\n${node.logs()}`,
    );
    const meshed = await node.a.try(`curl -s -m 60 http://${VIP_B}/`);
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
