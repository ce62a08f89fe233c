/** The soak's verdict: that it is able to fail. */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { type Scenario, soak, type Soaked } from "../../../bench/support/soak.ts";

/** Our own process under a "load" that is `act`, again and again. */
function scenario(act: () => Promise<void>, also: Partial<Soaked> = {}): Scenario {
  return {
    name: "a test's",
    start: () =>
      Promise.resolve({
        processes: [{ name: "self", pid: Deno.pid }],
        async load(stop) {
          while (!stop.aborted) {
            await act();
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
        },
        remains: () => Promise.resolve(""),
        done: () => ({ acts: 1 }),
        complaints: () => [],
        [Symbol.asyncDispose]: () => Promise.resolve(),
        ...also,
      }),
  };
}

const SHORT = { seconds: 0.5, restMsMax: 300, print: () => {} };

Deno.test("soak() has nothing to say of a load that leaves nothing, and prints its figures", async () => {
  const lines: string[] = [];
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  try {
    const quiet = scenario(() => Promise.resolve(), {
      processes: [{ name: "sleeper", pid: child.pid }],
    });
    deepStrictEqual(await soak(quiet, { ...SHORT, print: (line) => lines.push(line) }), []);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  deepStrictEqual(
    lines.map((line) => line.split(" ").slice(0, 2).join(" ").trim()),
    ["start", ...[1, 2, 3, 4].flatMap((cycle) => [`load ${cycle}`, `rest ${cycle}`]), "acts: 1"],
  );
});

Deno.test("soak() finds handles that stay open, what remains, complaints, and what never happened", async () => {
  const leaked: Deno.FsFile[] = [];
  const path = await Deno.makeTempFile();
  try {
    const wrong = await soak(
      // More than other tests of this process may close meanwhile.
      scenario(async () => {
        for (let count = 0; count < 20; count++) leaked.push(await Deno.open(path));
      }, {
        remains: () => Promise.resolve("a socket"),
        complaints: () => ["a bug"],
        done: () => ({ acts: 0 }),
      }),
      SHORT,
    );
    match(wrong.join("\n"), /^rest 4: self has \d+ fds, and \d+ at the start$/m);
    match(wrong.join("\n"), /^rest 1: a socket$/m);
    match(wrong.join("\n"), /^a bug$/m);
    match(wrong.join("\n"), /^no acts ever happened$/m);
  } finally {
    for (const file of leaked) file.close();
    await Deno.remove(path);
  }
});

Deno.test("soak() says why a load failed", async () => {
  const wrong = await soak(scenario(() => Promise.reject(new Error("other bytes"))), SHORT);
  strictEqual(wrong.length, 1);
  match(wrong[0]!, /other bytes/);
});
