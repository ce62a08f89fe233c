/** `ztunnel dev --control-plane-only`, with a client of ours: a file's mesh, a large one, and its knobs over HTTP. */
import { match, ok, rejects, strictEqual } from "node:assert/strict";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { silentLog } from "#log";
import { realClock, seededRng } from "#system";
import { watchXds } from "#xds";
import { ControlPlaneProcess } from "../support/control_plane_process.ts";
import { until } from "../support/netns.ts";
import { realNetwork, realTurn } from "../support/network.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

const ANY_PORT = ["--listen", "127.0.0.1:0", "--control-port", "0"];

function follow({ places }: ControlPlaneProcess, tokenPath: string) {
  const mesh = createMesh({});
  const watch = watchXds({
    endpoint: {
      url: places.xdsAddress,
      roots: { kind: "file", path: places.rootsPath },
      token: { kind: "file", value: tokenPath },
      clusterId: "Kubernetes",
      headers: [],
    },
    node: { podName: "zt", podNamespace: "istio-system", metadata: {}, metadataJson: {} },
    onDemand: false,
    writer: mesh.writer,
    dialer: realNetwork.dialer,
    clock: realClock,
    turn: realTurn,
    rng: seededRng(1),
    log: silentLog,
    metrics: new Metrics({ nowMs: () => 0 }),
    onCommit: () => {},
  });
  return { watch, view: mesh.view };
}

test("a generated mesh arrives in one message; updates, emptying and filling are pushes", async () => {
  const size = ["--workloads", "5000", "--services", "500", "--nodes", "50"];
  const owner = "istio-system/ztunnel@node-1";
  await using plane = await ControlPlaneProcess.start([...ANY_PORT, ...size, "--token", owner]);
  const { watch, view } = follow(plane, plane.places.tokens[owner]!);
  await using _watch = watch;
  await watch.ready;
  strictEqual(view.workloads().length, 5_000);
  strictEqual(view.services().length, 500);
  const service = view.services()[0]!;
  strictEqual([...view.endpointsOf(service)].length, 10);
  const events = await plane.get("/events?last=20") as unknown as Record<string, unknown>[];
  const [sent] = events.filter(({ kind, type }) => kind === "sent" && type === "address");
  // As in a mesh of istiod's that was measured: 28 MB for 100,000.
  const bytes = sent?.["bytes"] as number / 5_000;
  ok(bytes > 265 && bytes < 295, `${bytes} bytes a workload`);

  strictEqual(await plane.post("/mesh?update=1000"), '{"told":1}');
  const changed = () =>
    view.workloads().filter(({ canonicalRevision }) => canonicalRevision === "v1").length;
  await until("the update is there", () => changed() === 1_000);
  await plane.post("/mesh?empty");
  await until("all of it is gone", () => view.workloads().length + view.services().length === 0);
  await plane.post("/mesh?full");
  await until("all of it is back", () => view.workloads().length === 5_000);
  strictEqual(changed(), 1_000);
});

test("the mesh of a file, its knobs, and what it says of what happened", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.copyFile(
    new URL("../../examples/dev.yaml", import.meta.url),
    `${folder}/mesh.yaml`,
  );
  const plane = await ControlPlaneProcess.start([
    ...ANY_PORT,
    ...["--mesh", `${folder}/mesh.yaml`, "--files", `${folder}/files`, "--token", "demo/client"],
  ]);
  try {
    const { watch, view } = follow(plane, plane.places.tokens["demo/client"]!);
    await using _watch = watch;
    await watch.ready;
    strictEqual(view.workloads().length, 2);
    const pushed = /pushed addresses.*to="demo\/client" resources=4/;
    await until("the push is told", () => pushed.test(plane.log), () => plane.log);

    const yaml = await Deno.readTextFile(`${folder}/mesh.yaml`);
    await Deno.writeTextFile(`${folder}/mesh.yaml`, yaml.replace("policies:", "polices:"));
    await until("the mistake is told", () => /mesh\.yaml:\d+:\d+: .*polices/.test(plane.log));
    strictEqual(view.policies().length, 2);

    await plane.post("/suspend");
    await until("it is gone", () => watch.status().state !== "connected");
    await plane.post("/faults?tokensExpired=true");
    await plane.post("/resume");
    await until(
      "the token is refused",
      () => /UNAUTHENTICATED.*expired/.test(watch.status().lastError ?? ""),
    );
    const refused = /stream refused.*reason="the token has expired"/;
    await until("the refusal is told", () => refused.test(plane.log), () => plane.log);
    await plane.post("/faults");
    await until("it is back", () => watch.status().state === "connected");
    await plane.post("/poison?name=demo/x&kind=garbage");
    await until("it is refused", () => /resources refused.*demo\/x: decode/.test(plane.log));
    await plane.post("/poison");
    const roots = () => Deno.readTextFile(plane.places.rootsPath);
    const old = await roots();
    for (const step of ["announce", "use", "forget"]) await plane.post(`/root?step=${step}`);
    ok(await roots() !== old && (await roots()).length < old.length * 1.5);
    await until("it is back, under the new root", async () => {
      const { streams } = await plane.get("/status");
      return streams === 1;
    });
    const events = await plane.get("/events?last=1000");
    ok(
      !JSON.stringify(events).includes(
        await Deno.readTextFile(plane.places.tokens["demo/client"]!),
      ),
    );
    match(await plane.post("/token?namespace=a&serviceAccount=b"), /^[\w-]+\.[\w-]+\.[\w-]+$/);
  } finally {
    await plane[Symbol.asyncDispose]();
  }
  await Deno.remove(folder, { recursive: true });
});

test("what its knobs do not know is refused with the reason, and changes nothing", async () => {
  await using plane = await ControlPlaneProcess.start(ANY_PORT);
  const before = JSON.stringify((await plane.get("/status"))["faults"]);
  for (
    const [path, why] of [
      ["/faults?answerDelayMs=soon", /400: .*must be a number, not \\"soon\\"/],
      ["/faults?reorder=true&colour=red", /400: .*no fault is called \\"colour\\"/],
      ["/faults?ca=sleepy", /400: .*must be down or empty/],
      ["/poison?name=x&kind=arsenic", /400: .*must be garbage or/],
      ["/root?step=burn", /400: .*must be announce or use or forget/],
      ["/root?step=use", /500: .*no root was announced/],
      ["/token?namespace=a", /400: .*\\"serviceAccount\\" is missing/],
      ["/mesh?update=1", /400: .*edit the file/],
      ["/nothing", /404: /],
    ] as const
  ) await rejects(plane.post(path), why, path);
  // What a page elsewhere makes a browser on this machine send: tokens are for those who have a shell here.
  const { host, hostname, port } = new URL(plane.places.controlUrl);
  for (
    const [headers, status] of [
      [`Host: ${host}\r\nOrigin: https://evil.example`, 403],
      ["Host: evil.example", 403],
      [`Host: ${host}\r\nOrigin: http://${host}`, 200],
    ] as const
  ) {
    using connection = await Deno.connect({ hostname, port: Number(port) });
    const head = `POST /token?namespace=shop&serviceAccount=web HTTP/1.1\r\n${headers}`;
    await connection.write(
      new TextEncoder().encode(`${head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`),
    );
    const answer = await new Response(connection.readable).text();
    strictEqual(answer.slice(0, 12), `HTTP/1.1 ${status}`, headers);
  }
  strictEqual(JSON.stringify((await plane.get("/status"))["faults"]), before);
});

test("what it cannot start with is told in one line, with exit code 1", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/bad.yaml`, "workloads: 7\n");
  for (
    const [args, why] of [
      [["--mesh", `${folder}/bad.yaml`], /bad\.yaml:1:12: .*expected a list/],
      [["--mesh", `${folder}/none.yaml`], /none\.yaml.*No such file/],
      [["--listen", "203.0.113.1:0"], /203\.0\.113\.1/],
      [["--listen", "here"], /--listen here: expected ip:port/],
    ] as const
  ) {
    await rejects(ControlPlaneProcess.start([...args]), (error: Error) => {
      match(error.message, why);
      ok(!/\n\s+at /.test(error.message), error.message);
      return true;
    });
  }
  await Deno.remove(folder, { recursive: true });
});
