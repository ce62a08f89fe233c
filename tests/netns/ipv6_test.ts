/** The same roads in IPv6: redirected, through HBONE, with the caller's address kept (behaviour.md 2.2, 2.8, 2.9). */
import { match, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../support/needs.ts";
import { until } from "../support/netns.ts";
import { A6, app, B6, deno, Node, PROGRAMS, VIP6_B } from "../support/node.ts";

testAsRoot(
  "redirected IPv6 reaches pod IP and VIP through HBONE, and the application sees the caller",
  PROGRAMS,
  async () => {
    await using node = await Node.start();
    const ready = { ready: /listening/ };
    await node.b.start([...deno, app("http_server.ts"), B6, "8080"], ready);
    await node.b.start([...deno, app("echo_server.ts"), B6, "9000"], ready);
    for (const target of [`[${B6}]:8080`, `[${VIP6_B}]`]) {
      const { code, out } = await node.a.try(`curl -g -s -S -m 60 http://${target}/`);
      strictEqual(code, 0, `${target}: ${out}\n${node.logs()}`);
      match(out, new RegExp(`you are ${A6}$`, "m"));
    }
    strictEqual((await node.client(node.a, "who", VIP6_B, "9000"))["who"], A6);
    const lines = () =>
      node.proxyA.output().split("\n").filter((text) => /dst\.service="b/.test(text));
    await until(
      "the lines",
      () => node.proxyB.output().split("direction=").length === 4 && lines().length > 0,
      () => node.logs(),
    );
    match(
      lines()[0]!,
      /src\.addr=\[fd09::1\]:\d+ src\.workload="a".* dst\.addr=\[fd09::2\]:15008 dst\.hbone_addr=\[fd09::2\]:8080/,
    );
    match(
      node.proxyB.output(),
      /src\.addr=\[fd09::1\]:\d+ .*dst\.addr=\[fd09::2\]:15008 dst\.hbone_addr=\[fd09::2\]:8080 .*direction="inbound"/,
    );
  },
);
