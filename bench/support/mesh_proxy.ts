/** The program as its user starts it, in dedicated mode, following an istiod on this machine. */
import { ProxyProcess } from "../../tests/support/proxy_process.ts";
import { bundle, MAIN } from "../../tools/bundle.ts";
import { RUN_FLAGS } from "../../tools/single_file.ts";
import { processorSeconds } from "./usage.ts";

const IP = "127.0.0.2";
const READY_INTERVAL_MS = 10;
/** Between two questions to the control side. */
const WATCH_INTERVAL_MS = 5;

export class MeshProxy implements AsyncDisposable {
  #longestMs = 0;
  #watch: ReturnType<typeof setInterval> | undefined;

  private constructor(private readonly process: ProxyProcess) {}

  /** The program as it is shipped, in a folder of its own: what `program` of `start` takes. */
  static async shipped(): Promise<{ program: readonly string[]; folder: string }> {
    const folder = await Deno.makeTempDir();
    await bundle(`${folder}/app`);
    return { program: [Deno.execPath(), "run", ...RUN_FLAGS, `${folder}/app/${MAIN}`], folder };
  }

  /** Without `program` from the sources. */
  static async start(
    port: number,
    rootsPem: string,
    env: Record<string, string>,
    program?: readonly string[],
  ) {
    const process = await ProxyProcess.start({
      ip: IP,
      workload: "client",
      mayFail: true,
      ...(program !== undefined && { program }),
      env: {
        XDS_ADDRESS: `https://127.0.0.1:${port}`,
        XDS_ROOT_CA: rootsPem,
        // Nobody there certifies; the traffic needs no certificate.
        FAKE_CA: "false",
        CA_ADDRESS: `https://127.0.0.1:${port}`,
        CA_ROOT_CA: rootsPem,
        AUTH_TOKEN: "a-token",
        RUST_LOG: "warn",
        // As in the image: there is no folder for caches.
        ...(program !== undefined && { DENO_DIR: "/dev/null", PATH: Deno.env.get("PATH") ?? "" }),
        ...env,
      },
    });
    return new MeshProxy(process);
  }

  async ready(): Promise<void> {
    while (!await this.process.isReady()) {
      await new Promise((resolve) => setTimeout(resolve, READY_INTERVAL_MS));
    }
  }

  rssBytes(): number {
    return this.#memory("VmRSS");
  }

  peakBytes(): number {
    return this.#memory("VmHWM");
  }

  cpuSeconds(): number {
    return processorSeconds(this.process.pid);
  }

  /** User and kernel time of each of its threads, by its id, in milliseconds. */
  threadMs(): ReadonlyMap<string, number> {
    const tasks = `/proc/${this.process.pid}/task`;
    return new Map(Array.from(Deno.readDirSync(tasks), ({ name }) => {
      // schedstat(5): nanoseconds on a processor come first.
      const [ranNs] = Deno.readTextFileSync(`${tasks}/${name}/schedstat`).split(" ");
      return [name, Number(ranNs) / 1e6] as const;
    }));
  }

  async idle(timeMs: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, timeMs));
  }

  /** Asks the control side again and again, until `longestStallMs` is asked for. */
  watchControl(): void {
    this.#longestMs = 0;
    let isAsking = false;
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

  #memory(field: string): number {
    const status = Deno.readTextFileSync(`/proc/${this.process.pid}/status`);
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)![1]) * 1_024;
  }
}

/** Where its clients connect. */
export const PROXY_IP = IP;
