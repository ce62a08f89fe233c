/**
 * `ztunnel dev`: a whole mesh on this machine's loopback, from one YAML.
 * @module
 */
import { type Clock, realClock, realRng } from "#system";
import { SocketAddress } from "#values";
import type { LocalMesh } from "#xds";
import type { DevSettings } from "./dev_arguments.ts";
import { controlPlaneLog, type Paint, readable } from "./dev_lines.ts";
import {
  clientOf,
  commandsOf,
  compareDemos,
  type DevDemo,
  type DevPlan,
  type DevProxy,
  planDev,
} from "./dev_plan.ts";
import type { RunningProxy } from "./dev_child.ts";
import { startProxy } from "./dev_proxy.ts";

export interface DevOptions {
  readonly settings: DevSettings;
  readonly paint: Paint;
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
}

type Demo = { readonly demo: DevDemo; readonly service: AsyncDisposable };
type Host = Awaited<ReturnType<typeof import("#standin").hostControlPlane>>;

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
    await Promise.race([session.start(), stop.promise]);
    code = await Promise.race([stop.promise, session.running()]);
  } catch (error) {
    printError(paint("red", `dev: ${messageOf(error)}`));
    code = 1;
  } finally {
    await session.end();
  }
  print(code === 0 ? "dev: everything has ended" : "dev: ended because of the error above");
  return code;
}

class Session {
  #plan: DevPlan | undefined;
  #host: Host | undefined;
  #folder: string | undefined;
  readonly #demos: Demo[] = [];
  readonly #proxies: RunningProxy[] = [];
  #ending = false;
  #starting: Promise<void> = Promise.resolve();
  /** Edits are followed one after another. */
  #following: Promise<void> = Promise.resolve();

  constructor(private readonly options: DevOptions, private readonly clock: Clock) {}

  start(): Promise<void> {
    return this.#starting = this.#start();
  }

  async #start(): Promise<void> {
    const { print, paint, settings } = this.options;
    const plan = this.#plan = planDev(await loadMesh(meshPathOf(settings)));
    for (const demo of plan.demos) await this.#startDemo(demo);
    const host = await this.#startControlPlane();
    for (const proxy of plan.proxies) await this.#startProxy(proxy, host);
    await Promise.all(this.#proxies.map((proxy) => proxy.ready()));
    if (this.#ending) return;
    const { url } = host.plane;
    for (
      const line of introduction(plan, {
        path: meshPathOf(settings),
        paint,
        istiod: url.slice("https://".length),
        controlUrl: host.controlUrl,
      })
    ) print(line);
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
      this.options.printError(`dev: ${proxy.name} ended by itself\n${words}`);
    }
    return 1;
  }

  async end(): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#proxies.map((proxy) => proxy.end()));
    // What was being started when the end came is ended too.
    await this.#starting.catch(() => {});
    await Promise.all(this.#demos.map(({ service }) => service[Symbol.asyncDispose]()));
    await this.#host?.[Symbol.asyncDispose]();
    if (this.#folder !== undefined) await Deno.remove(this.#folder, { recursive: true });
  }

  async #startControlPlane(): Promise<Host> {
    const { settings, print, paint } = this.options;
    const { hostControlPlane } = await import("#standin");
    const folder = settings.folder ?? await Deno.makeTempDir({ prefix: "ztunnel-dev-" });
    if (settings.folder === undefined) this.#folder = folder;
    else await Deno.mkdir(folder, { recursive: true });
    const log = controlPlaneLog(this.clock, paint, (line) => {
      if (!this.#ending) print(line);
    });
    return this.#host = await hostControlPlane({
      clock: this.clock,
      rng: realRng,
      log,
      source: {
        kind: "file",
        path: meshPathOf(settings),
        onMesh: (mesh) => {
          this.#following = this.#following.then(() => this.#follow(mesh));
        },
      },
      ...settings.listen,
      controlPort: settings.controlPort,
      folder,
    });
  }

  async #startProxy(proxy: DevProxy, { plane, credentials }: Host): Promise<void> {
    const { print, paint } = this.options;
    const { name, namespace, serviceAccount } = proxy.workload;
    const access = {
      url: plane.url,
      rootsPath: credentials.rootsPath,
      tokenPath: await credentials.addToken({ namespace, serviceAccount }),
    };
    if (this.#ending) return;
    this.#proxies.push(
      startProxy(proxy, access, this.clock, (line) => {
        const text = readable(name, line, paint);
        if (text !== undefined) print(text);
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

  /** The proxies are told by the control plane; `dev` follows with its demo services. */
  async #follow(mesh: LocalMesh): Promise<void> {
    const { print, printError, paint } = this.options;
    if (this.#ending) return;
    let plan: DevPlan;
    try {
      plan = planDev(mesh);
    } catch (error) {
      printError(paint("yellow", `dev: ${messageOf(error)}`));
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
        printError(paint("yellow", `dev: ${messageOf(error)}`));
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

function meshPathOf({ source }: DevSettings): string {
  if (source.kind === "file") return source.path;
  throw new Error("a generated mesh has no proxies to start");
}

/** Throws an Error with every problem of the YAML, one line each. */
export async function loadMesh(path: string): Promise<LocalMesh> {
  const { formatProblem, loadLocal } = await import("#xds");
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    throw new Error(`cannot read ${path}: ${messageOf(error)}`);
  }
  const loaded = loadLocal(text, path);
  if ("mesh" in loaded) return loaded.mesh;
  throw new Error(loaded.problems.map(formatProblem).join("\n"));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

interface Places {
  readonly path: string;
  readonly paint: Paint;
  readonly istiod: string;
  readonly controlUrl: string;
}

function introduction(plan: DevPlan, { path, paint, istiod, controlUrl }: Places): string[] {
  const client = clientOf(plan);
  const last = plan.proxies.at(-1)!;
  return [
    "",
    paint("bold", "A mesh is running on this machine."),
    "",
    `  istiod   ${paint("cyan", "".padEnd(10))} ${istiod}  xDS and CA`,
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
    `  curl -s ${controlUrl}/                     ${
      paint("dim", "# what the control plane can do wrong, on demand")
    }`,
    `Edit ${paint("bold", path)} while this runs: an edit is a push. Ctrl-C ends everything.`,
    "",
  ];
}
