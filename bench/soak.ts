/**
 * `deno task soak`: hours of a proxy's life in minutes. Fails if anything grows, hangs or comes back changed.
 * @module
 */
import { parseArgs } from "node:util";
import { churn } from "./soak/churn.ts";
import { mixed } from "./soak/mixed.ts";
import { type Scenario, soak } from "./support/soak.ts";

const SCENARIOS: readonly Scenario[] = [mixed, churn];
const SECONDS = 600;
const USAGE = `deno task soak [--seconds=${SECONDS}] [--scenario=${
  SCENARIOS.map(({ name }) => name).join("|")
}] [--write]
  --write   keeps what is said as bench/soak-SCENARIO.txt`;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: String(SECONDS) },
    scenario: { type: "string" },
    write: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const chosen = SCENARIOS.filter(({ name }) => (values.scenario ?? name) === name);
if (values.help || !(seconds > 0) || chosen.length === 0) {
  console.error(USAGE);
  Deno.exit(values.help ? 0 : 2);
}
let failedCount = 0;
for (const scenario of chosen) {
  const lines: string[] = [];
  const say = (line: string) => {
    lines.push(line);
    console.log(line);
  };
  const day = new Date().toISOString().slice(0, 10);
  say(`${day}, ${navigator.hardwareConcurrency} CPUs, Deno ${Deno.version.deno}`);
  say(`soak ${scenario.name}: ${seconds} s, RSS, handles and sockets of each process`);
  const wrong = await soak(scenario, { seconds, print: say });
  for (const what of wrong) say(`WRONG ${what}`);
  say(`soak ${scenario.name}: ${wrong.length === 0 ? "passed" : "FAILED"}`);
  if (wrong.length > 0) failedCount++;
  if (!values.write) continue;
  const kept = new URL(`./soak-${scenario.name}.txt`, import.meta.url);
  await Deno.writeTextFile(kept, `${lines.join("\n")}\n`);
}
Deno.exit(failedCount === 0 ? 0 : 1);
