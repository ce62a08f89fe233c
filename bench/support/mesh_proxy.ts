/** A ztunnel, ours or another, as its user starts it: in dedicated mode, following an istiod on this machine. */
import { ProxyProcess } from "../../tests/support/proxy_process.ts";
import { bundle, MAIN } from "../../tools/bundle.ts";
import { RUN_FLAGS } from "../../tools/single_file.ts";
import type { Istiod } from "./istiod_process.ts";
import { processorSeconds } from "./usage.ts";

/** Where ours listens, and where its clients connect. */
export const PROXY_IP = "127.0.0.2";
const READY_INTERVAL_MS = 10;
/** Between two questions to the control side. */
const WATCH_INTERVAL_MS = 5;

/** What to start: a command without `proxy ztunnel`, and its environment beside what all have. */
export interface Peer {
  readonly name: string;
  /** Absent: ours, from the sources. */
  readonly command?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The program as the image and the single file start it, from a bundle that is there until this process ends. */
export async function shippedCommand(): Promise<readonly string[]> {
  const folder = await Deno.makeTempDir({ prefix: "ztunnel-bench-bundle-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  await bundle(folder);
  return [Deno.execPath(), "run", ...RUN_FLAGS, `${folder}/${MAIN}`];
}

/** Bytes. */
export interface Memory {
  readonly rss: number;
  readonly anonymous: number;
  /** The runtime's own program, mostly, which it shares with whatever else runs it. */
  readonly file: number;
  readonly peak: number;
}

export class MeshProxy implements AsyncDisposable {
  #longestMs = 0;
  #watch: ReturnType<typeof setInterval> | undefined;

  private constructor(private readonly process: ProxyProcess) {}

  static async start(istiod: Istiod, { command, env }: Peer): Promise<MeshProxy> {
    const url = `https://127.0.0.1:${istiod.port}`;
    const process = await ProxyProcess.start({
      ip: PROXY_IP,
      workload: "client",
      mayFail: true,
      ...(command !== undefined && { program: command }),
      env: {
        XDS_ADDRESS: url,
        XDS_ROOT_CA: istiod.rootsPem,
        // Nobody there certifies; the traffic needs no certificate.
        FAKE_CA: "false",
        CA_ADDRESS: url,
        CA_ROOT_CA: istiod.rootsPem,
        AUTH_TOKEN: "a-token",
        RUST_LOG: "warn",
        // As in the image: there is no folder for caches.
        ...(command !== undefined && { DENO_DIR: "/dev/null", PATH: Deno.env.get("PATH") ?? "" }),
        ...env,
      },
    });
    return new MeshProxy(process);
  }

  get pid(): number {
    return this.process.pid;
  }

  /** Throws if the process ends before. */
  async ready(): Promise<void> {
    let status: Deno.CommandStatus | undefined;
    void this.process.exited.then((ended) => status = ended);
    while (!await this.process.isReady()) {
      if (status !== undefined) {
        throw new Error(`it ended (${status.code}): ${this.process.output.slice(-2_000)}`);
      }
      await sleep(READY_INTERVAL_MS);
    }
  }

  isReady(): Promise<boolean> {
    return this.process.isReady();
  }

  get memory(): Memory {
    const status = Deno.readTextFileSync(`/proc/${this.pid}/status`);
    const field = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1_024;
    return {
      rss: field("VmRSS"),
      anonymous: field("RssAnon"),
      file: field("RssFile"),
      peak: field("VmHWM"),
    };
  }

  cpuSeconds(): number {
    return processorSeconds(this.pid);
  }

  /** The data threads of ours: Workers are threads that the runtime names so. */
  get dataThreads(): readonly number[] {
    const tasks = `/proc/${this.pid}/task`;
    return [...Deno.readDirSync(tasks)].map(({ name }) => name)
      .filter((id) => /^worker-\d+$/.test(Deno.readTextFileSync(`${tasks}/${id}/comm`).trim()))
      .map(Number);
  }

  /** Asks the control side again and again, until `longestStallMs` is asked for. */
  watchControl(): void {
    this.#longestMs = 0;
    let isAsking = false;
    clearInterval(this.#watch);
    this.#watch = setInterval(async () => {
      if (isAsking) return;
      isAsking = true;
      const start = performance.now();
      await this.process.isReady();
      this.#longestMs = Math.max(this.#longestMs, performance.now() - start);
      isAsking = false;
    }, WATCH_INTERVAL_MS);
  }

  longestStallMs(): number {
    clearInterval(this.#watch);
    return this.#longestMs;
  }

  /** istiod did not take the list of what it holds. */
  get wasListRefused(): boolean {
    return this.process.output.includes("larger than max");
  }

  /** Warnings and errors that it told. */
  problems(): string[] {
    return this.process.output.split("\n").filter((line) => /\b(warn|error)\b/.test(line))
      .filter((line) => !line.includes("certificate")).slice(0, 5);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#watch);
    await this.process[Symbol.asyncDispose]();
  }
}

export function sleep(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, timeMs));
}
