/**
 * `ztunnel dev`: a whole mesh on this machine's loopback, from one YAML.
 * @module
 */
import { type Clock, realClock } from "#system";
import { SocketAddress } from "#values";
import { type Paint, readable } from "./dev_lines.ts";
import {
  clientOf,
  commandsOf,
  compareDemos,
  type DevDemo,
  type DevPlan,
  type DevProxy,
  planDev,
} from "./dev_plan.ts";
import { type RunningProxy, startProxy } from "./dev_proxy.ts";

/** An editor may write a file in several steps. */
const EDIT_SETTLE_MS = 200;

export interface DevOptions {
  /** The mesh's YAML. */
  readonly path: string;
  readonly paint: Paint;
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
}

/** What is wrong with the YAML, one line each. */
class Mistakes extends Error {}

type Demo = { readonly demo: DevDemo; readonly service: AsyncDisposable };

/** Runs until a signal or a child ends it; returns the exit code. */
export async function runSession(options: DevOptions): Promise<number> {
  const { print, printError, paint } = options;
  if (Deno.build.os !== "linux") {
    printError(`dev needs Linux: a proxy uses its sockets directly, and this is ${Deno.build.os}`);
    return 1;
  }
  const stop = Promise.withResolvers<number>();
  const onSignal = () => stop.resolve(0);
  for (const name of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(name, onSignal);
  const session = new Session(options, realClock);
  let code: number;
  try {
    const plan = await session.load();
    await Promise.race([session.start(plan), stop.promise]);
    code = await Promise.race([stop.promise, session.running()]);
  } catch (error) {
    printError(paint("red", `dev: ${error instanceof Error ? error.message : String(error)}`));
    code = 1;
  } finally {
    await session.end();
  }
  print(code === 0 ? "dev: everything has ended" : "dev: ended because of the error above");
  return code;
}

class Session {
  #plan: DevPlan | undefined;
  readonly #demos: Demo[] = [];
  readonly #proxies: RunningProxy[] = [];
  #ending = false;
  #watcher: Deno.FsWatcher | undefined;

  constructor(private readonly options: DevOptions, private readonly clock: Clock) {}

  /** Throws an Error with every problem of the YAML. */
  async load(): Promise<DevPlan> {
    const { path } = this.options;
    const { formatProblem, loadLocal } = await import("#xds");
    let text: string;
    try {
      text = await Deno.readTextFile(path);
    } catch (error) {
      throw new Error(`cannot read ${path}: ${error instanceof Error ? error.message : error}`);
    }
    const loaded = loadLocal(text, path);
    if ("problems" in loaded) {
      throw new Mistakes(loaded.problems.map(formatProblem).join("\n"));
    }
    return planDev(loaded.mesh);
  }

  async start(plan: DevPlan): Promise<void> {
    const { print, paint, path } = this.options;
    this.#plan = plan;
    for (const demo of plan.demos) await this.#startDemo(demo);
    for (const proxy of plan.proxies) this.#startProxy(proxy, plan);
    await Promise.all(this.#proxies.map((proxy) => proxy.ready()));
    if (this.#ending) return;
    for (const line of introduction(plan, path, paint)) print(line);
    this.#watch().catch((error) => {
      const message = error instanceof Error ? error.message : String(error);
      this.options.printError(
        paint("yellow", `dev: cannot follow ${path}, demo services stay as they are: ${message}`),
      );
    });
  }

  /** Resolves with 1 when a proxy ends by itself. */
  async running(): Promise<number> {
    const proxy = await Promise.race(
      this.#proxies.map(async (proxy) => {
        await proxy.ended;
        return proxy;
      }),
    );
    if (!this.#ending) {
      const words = proxy.lastWords();
      this.options.printError(`dev: the proxy of "${proxy.name}" ended by itself\n${words}`);
    }
    return 1;
  }

  async end(): Promise<void> {
    this.#ending = true;
    this.#watcher?.close();
    await Promise.all([
      ...this.#proxies.map((proxy) => proxy.end()),
      ...this.#demos.map(({ service }) => service[Symbol.asyncDispose]()),
    ]);
  }

  #startProxy(proxy: DevProxy, plan: DevPlan): void {
    const { print, paint, path } = this.options;
    // Every proxy reloads the same file; one voice is enough for what concerns the mesh.
    const speaks = proxy === clientOf(plan);
    this.#proxies.push(
      startProxy(proxy, path, this.clock, (line) => {
        const text = readable(proxy.workload.name, line, paint);
        if (text === undefined) return;
        if (!speaks && /^(local mesh|FAKE_CA)/.test(String(line["message"]))) return;
        print(text);
      }),
    );
  }

  async #startDemo(demo: DevDemo): Promise<void> {
    const { startDemoService } = await import("#standin");
    try {
      this.#demos.push({ demo, service: startDemoService(demo.name, demo.address) });
    } catch (error) {
      const reason = error instanceof Deno.errors.AddrInUse
        ? "something else listens there already"
        : String(error);
      const at = SocketAddress.format(demo.address);
      throw new Error(`cannot start the demo service "${demo.name}" on ${at}: ${reason}`);
    }
  }

  /** The proxies follow the file themselves; `dev` follows with its demo services. */
  async #watch(): Promise<void> {
    const { path } = this.options;
    const slash = path.lastIndexOf("/");
    this.#watcher = Deno.watchFs(slash < 0 ? "." : path.slice(0, slash) || "/");
    for await (const event of this.#watcher) {
      const name = path.slice(slash + 1);
      if (!event.paths.some((changed) => changed.endsWith(`/${name}`))) continue;
      await this.clock.sleep(EDIT_SETTLE_MS);
      await this.#follow();
    }
  }

  async #follow(): Promise<void> {
    const { print, printError, paint } = this.options;
    let plan: DevPlan;
    try {
      plan = await this.load();
    } catch (error) {
      // A mistake in the YAML is the proxies' to report, with line and column; what is left concerns dev only.
      const message = error instanceof Error ? error.message : String(error);
      if (!(error instanceof Mistakes)) printError(paint("yellow", `dev: ${message}`));
      return;
    }
    const before = this.#plan!;
    const { gone, come } = compareDemos(before.demos, plan.demos);
    for (const demo of gone) {
      const at = this.#demos.findIndex((running) =>
        running.demo.name === demo.name &&
        SocketAddress.equal(running.demo.address, demo.address)
      );
      if (at >= 0) await this.#demos.splice(at, 1)[0]!.service[Symbol.asyncDispose]();
      print(`dev: stopped demo service "${demo.name}"`);
    }
    for (const demo of come) {
      try {
        await this.#startDemo(demo);
        print(`dev: started demo service "${demo.name}" on ${SocketAddress.format(demo.address)}`);
      } catch (error) {
        printError(paint("yellow", `dev: ${error instanceof Error ? error.message : error}`));
      }
    }
    const known = new Set(before.proxies.map((proxy) => `${proxy.workload.name} ${proxy.ip}`));
    for (const { workload, ip } of plan.proxies) {
      if (!known.has(`${workload.name} ${ip}`)) {
        print(
          paint("yellow", `dev: workload "${workload.name}" is new: restart dev for its proxy`),
        );
      }
    }
    this.#plan = { ...plan, proxies: before.proxies };
  }
}

function introduction(plan: DevPlan, path: string, paint: Paint): string[] {
  const client = clientOf(plan);
  const last = plan.proxies.at(-1)!;
  return [
    "",
    paint("bold", "A mesh is running on this machine."),
    "",
    ...plan.proxies.map(({ workload, ip }) =>
      `  proxy    ${
        paint("cyan", workload.name.padEnd(10))
      } ${ip}  SOCKS5 ${ip}:15080  HBONE ${ip}:15008  ` +
      `${workload.namespace}/${workload.serviceAccount}`
    ),
    ...plan.demos.map((demo) =>
      `  service  ${paint("cyan", demo.name.padEnd(10))} ${SocketAddress.format(demo.address)}`
    ),
    ...plan.policies.map((policy) =>
      `  policy   ${
        paint(policy.action === "Allow" ? "green" : "red", policy.action.toUpperCase().padEnd(10))
      } ${policy.key}`
    ),
    "",
    "Paste these into another terminal; what a policy refuses ends in a reset:",
    ...commandsOf(plan).map((command) => `  ${paint("bold", command)}`),
    "Then look:",
    `  curl -s http://${client.ip}:15020/metrics | grep istio_tcp   ${paint("dim", "# metrics")}`,
    `  curl -s http://${last.ip}:15000/config_dump                  ${paint("dim", "# state")}`,
    `Edit ${paint("bold", path)} while this runs: the mesh follows. Ctrl-C ends everything.`,
    "",
  ];
}
