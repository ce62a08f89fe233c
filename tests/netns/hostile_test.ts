/** Calls to the proxies' own ports, from pods and from outside: none goes round in circles or gets anything out (16.2). */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../support/needs.ts";
import { type Host, until } from "../support/netns.ts";
import { A, app, B, deno, Node, OUTSIDE_TO_B, PROGRAMS, VIP_B } from "../support/node.ts";

const PORTS = [15001, 15006, 15008, 15080, 15000, 15020, 15021];
/** Metrics and readiness are for everybody; without SOCKS5 nothing listens on 15080. */
const OPEN = { 15020: "answer", 15021: "answer" };
const SHUT = { 15001: "nothing", 15006: "nothing", 15008: "nothing" };

testAsRoot(
  "calls to the proxies' own ports carry nothing, whoever makes them, and leave the mesh working",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    const probe = async (from: Host, ip: string): Promise<Record<string, string>> => {
      const targets = PORTS.map((port) => `${ip}:${port}`);
      const { code, out } = await from.try([...deno, app("probe.ts"), ...targets].join(" "));
      strictEqual(code, 0, out);
      const found: Record<string, string> = JSON.parse(out);
      return Object.fromEntries(PORTS.map((port) => [port, found[`${ip}:${port}`]!]));
    };
    const behindUs = { ...SHUT, 15080: "nothing", 15000: "nothing", ...OPEN };
    deepStrictEqual(await probe(node.a, B), behindUs, `another pod: ${node.logs()}`);
    deepStrictEqual(
      await probe(node.a, A),
      { ...SHUT, 15008: "alert", 15080: "refused", 15000: "refused", ...OPEN },
      `its own address: ${node.logs()}`,
    );
    deepStrictEqual(
      await probe(node.a, "127.0.0.1"),
      { ...SHUT, 15008: "alert", 15080: "refused", 15000: "answer", ...OPEN },
      `loopback: ${node.logs()}`,
    );
    deepStrictEqual(
      await probe(node.outside, OUTSIDE_TO_B),
      { ...behindUs, 15008: "alert" },
      `from outside the mesh: ${node.logs()}`,
    );
    for (const proxy of [node.proxyA, node.proxyB]) {
      await until(
        "it says why",
        () => /error="attempted recursive call to ourselves"/.test(proxy.output()),
        () => node.logs(),
      );
    }
    const { code, out } = await node.a.try(`curl -s -S -m 60 http://${VIP_B}/`);
    strictEqual(code, 0, `${out}\n${node.logs()}`);
    ok(!/bug:/.test(node.proxyA.output() + node.proxyB.output()), node.logs());
  },
);

testAsRoot(
  "a server whose proxy is gone: its connections break, new ones connect and carry nothing",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    const client = await node.a.start([
      deno[0]!,
      "eval",
      `const c = await Deno.connect({ hostname: "${VIP_B}", port: 9000 });
       await c.write(new TextEncoder().encode("hi"));
       await c.read(new Uint8Array(9));
       console.log("open");
       try { console.log("read " + await c.read(new Uint8Array(9))); } catch (e) { console.log(e.name); }`,
    ], { ready: /open/ });
    node.proxyB.signal("SIGKILL");
    await client.ended;
    match(client.output(), /ConnectionReset|read null/);
    const later = await node.client(node.a, "outcome", VIP_B, "9000");
    // The connection is made with our proxy on the client's side, which is there.
    ok(["reset", "eof"].includes(String(later["ended"])), JSON.stringify(later));
    // A dial that nobody answers would last ten seconds.
    ok(Number(later["ms"]) < 9_000, `and it says so soon: ${later["ms"]} ms`);
    const line =
      /error\taccess\tconnection complete\t.*error="io error: cannot dial 10\.9\.0\.2:15008: connection refused/;
    await until("its line", () => line.test(node.proxyA.output()), () => node.proxyA.output());
  },
);
