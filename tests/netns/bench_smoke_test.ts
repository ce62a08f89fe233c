/** The benchmark itself, as short as it can be, so that it does not rot: it runs, and its figures are of our proxy. */
import { match, ok, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../support/needs.ts";

const BENCH = new URL("../../bench/data_path.ts", import.meta.url).pathname;
const NODE_BENCH = new URL("../../bench/node.ts", import.meta.url).pathname;

testAsRoot(
  "the benchmark measures our proxy, and leaves no namespace behind",
  ["ip", "nft", "iperf3", "wrk", "nginx", "curl"],
  async () => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", BENCH, "--peers=ours", "--rounds=1", "--seconds=1", "--only=iperf"],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const { code, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    const [table, log] = [text.decode(stdout), text.decode(stderr)];
    strictEqual(code, 0, log);
    match(table, /; nothing failed\.$/m, log);
    const gigabits = Number(/\| iperf3, 1 stream, Gbit\/s \| ([\d.]+) \|/.exec(table)?.[1]);
    ok(gigabits > 0.05, table);
    const left = await new Deno.Command("ip", { args: ["netns", "list"] }).output();
    ok(!text.decode(left.stdout).includes(`zt${child.pid}x`), "a namespace is left");
  },
);

testAsRoot(
  "the node's benchmark adds pods to our proxy, and takes them away again",
  ["ip", "nft", "python3", "curl"],
  async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", NODE_BENCH, "--peers=ours", "--rounds=1", "--pods=3", "--churn=1"],
    }).output();
    const text = new TextDecoder();
    const table = text.decode(stdout);
    strictEqual(code, 0, text.decode(stderr));
    ok(Number(/^\| add to ACK, idle node, p50, ms \| ([\d.]+) \|/m.exec(table)?.[1]) > 0, table);
    match(table, /^\| — of them failed \| 0\.00 \|$/m, table);
  },
);
