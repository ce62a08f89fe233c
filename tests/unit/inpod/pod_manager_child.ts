/**
 * The pod manager towards an agent of another make, by a real socket with real files: what it answers, and that no file is
 * left open. Run by pod_manager_test.ts in a process of its own.
 * @module
 */
import { deepStrictEqual as assertEquals, match, ok as assert } from "node:assert/strict";
import { INPOD_LIMITS, type PodInfo, PodManager } from "#inpod";
import { OpenFiles } from "#linux";
import { silentLog } from "#log";
import { realClock, realRng } from "#system";
import { until } from "../../support/netns.ts";
import { TestAgent, Zds } from "../../support/zds_agent.ts";

const OWN = "/proc/self/ns/net";
const NO_NETNS = "/dev/null";

/** A manager whose pods' proxies are told by the test whether they come up. */
class Scene implements AsyncDisposable {
  readonly opened: string[] = [];
  readonly closed: string[] = [];
  readonly gaveUp: string[] = [];
  /** By uid: why its proxy does not come up; `late` if it does so only at the end. */
  readonly failing = new Map<string, string>();
  readonly manager: PodManager;
  readonly #over = Promise.withResolvers<void>();

  private constructor(readonly agent: TestAgent) {
    this.manager = new PodManager({
      path: agent.path,
      clock: realClock,
      rng: realRng,
      log: silentLog,
      open: (pod) => this.#open(pod),
      onChange: () => {},
      onGiveUp: (reason) => void this.gaveUp.push(reason),
    });
  }

  static async start(): Promise<Scene> {
    const folder = await Deno.makeTempDir();
    const scene = new Scene(await TestAgent.start(`${folder}/ztunnel.sock`));
    scene.manager.start();
    await scene.agent.greet();
    return scene;
  }

  async #open({ uid }: PodInfo & { readonly uid: string }) {
    await Promise.resolve();
    const failure = this.failing.get(uid);
    if (failure === "late") await this.#over.promise;
    else if (failure !== undefined) throw new Error(failure);
    this.opened.push(uid);
    return {
      close: async () => {
        await realClock.sleep(5);
        this.closed.push(uid);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.resolve();
    await this.manager.end();
    await this.agent[Symbol.asyncDispose]();
    await Deno.remove(this.agent.path.replace(/\/[^/]+$/, ""), { recursive: true });
  }
}

const add = (uid: string) => Zds.add(uid, `pod-${uid}`, "shop", "web");

/** Runs `play` once to open what stays open, then under count: before the end, and after it. */
function scene(name: string, play: (scene: Scene) => Promise<void>): void {
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false }, async () => {
    const once = async (): Promise<number> => {
      {
        await using scene = await Scene.start();
        await play(scene);
      }
      return OpenFiles.count();
    };
    const before = await once();
    assertEquals(await once(), before, "files are left open");
  });
}

scene("pods come and go", async ({ agent, opened, closed, manager }) => {
  assertEquals(manager.waitsFor(), ["the CNI agent's list of pods"]);
  assertEquals(await agent.ask(add("u1"), [OWN]), "");
  assertEquals(await agent.ask(add("u2"), [OWN]), "");
  assertEquals(await agent.ask(Zds.snapshotSent), "");
  assertEquals(manager.waitsFor(), []);
  assertEquals(manager.pods().map(({ uid, info, state }) => [uid, info.name, state]), [
    ["u1", "pod-u1", "Up"],
    ["u2", "pod-u2", "Up"],
  ]);
  assertEquals(await agent.ask(Zds.del("u1")), "");
  assertEquals(await agent.ask(Zds.del("u1")), "");
  await until("u1 is closed", () => closed.length === 1);
  assertEquals(opened, ["u1", "u2"]);
});

scene(
  "a pod's namespace stays open as long as the pod, and no longer",
  async ({ agent, closed }) => {
    const before = OpenFiles.count();
    for (let round = 0; round < 5; round++) {
      assertEquals(await agent.ask(add("u1"), [OWN]), "");
      assertEquals(OpenFiles.count(), before + 1, "the second one of the same pod is closed");
    }
    await agent.ask(Zds.snapshotSent);
    assertEquals(await agent.ask(Zds.del("u1")), "");
    await until("u1 is closed", () => closed.length === 1);
    await until("its namespace is let go of", () => OpenFiles.count() === before);
  },
);

scene("what is no message is answered by a NACK, then the connection is made anew", async (all) => {
  const { agent, opened } = all;
  const long = Zds.add("u1", "x".repeat(INPOD_LIMITS.packetBytesMax), "shop", "web");
  const cases: readonly (readonly [hex: string, files: readonly string[], reason: RegExp])[] = [
    ["ffffffff", [], /./],
    ["ffffffff", [OWN], /./],
    ["3200", [], /no payload/],
    [long, [OWN], /truncated/],
    [add("u1"), [], /add came without a file/],
    [add("u1"), [OWN, OWN], /at most 1 file, got 2/],
    [add("u1"), Array(4).fill(OWN), /at most 1 file, got 4/],
    [add("u1"), Array(100).fill(OWN), /truncated/],
    [Zds.del("u1"), [OWN], /del came with a file/],
    [Zds.keep("u1"), [NO_NETNS], /keep came with a file/],
    [Zds.snapshotSent, [OWN], /snapshot_sent came with a file/],
  ];
  const before = OpenFiles.count();
  for (const [hex, files, reason] of cases) {
    // A connection that was of use is made anew without a wait.
    assertEquals(await agent.ask(Zds.snapshotSent), "");
    match(await agent.ask(hex, files), new RegExp(`^failure to read message: .*${reason.source}`));
    assertEquals(await agent.receive(), "", "it hangs up");
    await agent.hangUp();
    await agent.greet();
    assertEquals(OpenFiles.count(), before, `${hex} with ${files.length} files`);
  }
  assertEquals(opened, []);
  assertEquals(await agent.ask(add("u1"), [OWN]), "", "afterwards all is well");
});

scene("an empty packet with a file is refused, and its file closed", async ({ agent }) => {
  const before = OpenFiles.count();
  match(await agent.ask("", [OWN]), /^failure to read message: no payload/);
  await agent.hangUp();
  await agent.greet();
  assertEquals(OpenFiles.count(), before);
});

scene("a pod that cannot be served is refused, and tried again", async (scene) => {
  const { agent, failing, opened, manager } = scene;
  failing.set("u1", "no room");
  assertEquals(await agent.ask(add("u1"), [NO_NETNS]), "failure to start proxy: no room");
  assertEquals(await agent.ask(Zds.snapshotSent), "");
  assertEquals(manager.waitsFor(), ["pod shop/pod-u1: no room"]);
  failing.clear();
  await until("it is tried again", () => opened.length === 1);
  await until("we are ready", () => manager.waitsFor().length === 0);
});

scene(
  "a NACK with a very long reason still is one packet of 1024 bytes",
  async ({ agent, failing }) => {
    failing.set("u1", "ö".repeat(5_000));
    await agent.send(add("u1"), [OWN]);
    const answer = Uint8Array.fromHex(await agent.receive());
    assert(
      answer.length <= INPOD_LIMITS.packetBytesMax && answer.length > 1_000,
      `${answer.length}`,
    );
  },
);

scene(
  "a proxy that does not come up is refused in time, and later messages are answered",
  async (all) => {
    const { agent, failing, manager } = all;
    failing.set("u1", "late");
    const startMs = performance.now();
    match(await agent.ask(add("u1"), [OWN]), /^failure to start proxy: not up after 3000 ms/);
    const elapsedMs = performance.now() - startMs;
    // It does not come up before the end of this test.
    assert(elapsedMs > 2_900 && elapsedMs < 30_000, `${elapsedMs} ms`);
    assertEquals(await agent.ask(add("u2"), [OWN]), "");
    assertEquals(await agent.ask(Zds.snapshotSent), "");
    match(manager.waitsFor().join(), /^pod shop\/pod-u1: not up/);
  },
);

scene(
  "an agent that restarts finds its pods served, and only those that it still has",
  async (all) => {
    const { agent, opened, closed, manager } = all;
    for (const uid of ["u1", "u2", "u3"]) assertEquals(await agent.ask(add(uid), [OWN]), "");
    await agent.ask(Zds.snapshotSent);
    await agent.leave();
    await agent.hangUp();
    await until("it is missed", () => manager.waitsFor()[0] === "the CNI agent");
    await realClock.sleep(300);
    await agent.listen();
    const startMs = performance.now();
    await agent.greet();
    // Doubling without a limit, the wait would be hours.
    assert(performance.now() - startMs < 30_000);
    assertEquals(await agent.ask(add("u1"), [OWN]), "");
    assertEquals(await agent.ask(Zds.keep("u2")), "");
    assertEquals(closed, []);
    assertEquals(await agent.ask(Zds.snapshotSent), "");
    await until("u3 is closed", () => closed.length === 1);
    assertEquals([opened, closed], [["u1", "u2", "u3"], ["u3"]]);
    assertEquals(manager.waitsFor(), []);
  },
);

scene(
  "another network namespace under a pod's name replaces its proxy",
  async ({ agent, opened, closed }) => {
    assertEquals(await agent.ask(add("u1"), [OWN]), "");
    // Any other file has another inode.
    assertEquals(await agent.ask(add("u1"), [NO_NETNS]), "");
    await until("the old one is closed", () => closed.length === 1);
    assertEquals([opened, closed], [["u1", "u1"], ["u1"]]);
  },
);

scene("another protocol is refused and given up", async ({ agent, gaveUp }) => {
  match(await agent.ask(Zds.addWithoutInfo("u1"), [OWN]), /^failure to process message: /);
  assertEquals(await agent.receive(), "", "it hangs up");
  assertEquals(gaveUp, ["no workload info for u1"]);
});

scene("messages that come all at once are answered in their order", async ({ agent, failing }) => {
  failing.set("u2", "no");
  for (const uid of ["u1", "u2", "u3"]) await agent.send(add(uid), [OWN]);
  await agent.send(Zds.snapshotSent);
  const answers: string[] = [];
  for (let count = 0; count < 4; count++) answers.push(Zds.errorOf(await agent.receive()));
  assertEquals(answers, ["", "failure to start proxy: no", "", ""]);
});

scene(
  "the end closes the connection although the agent hangs, and stops everything",
  async (all) => {
    const { agent, manager, closed } = all;
    assertEquals(await agent.ask(add("u1"), [OWN]), "");
    await manager.disconnect();
    assertEquals(await agent.receive(), "");
    assertEquals(closed, [], "what runs stays, for its drain");
    await manager.end();
    assertEquals(closed, ["u1"]);
  },
);
