/** The program as its user starts it, in dedicated mode, following an istiod on this machine. */
import { ProxyProcess } from "../../tests/support/proxy_process.ts";
import { processorSeconds } from "./usage.ts";

const IP = "127.0.0.2";
const READY_INTERVAL_MS = 10;
/** Between two questions to the control side. */
const WATCH_INTERVAL_MS = 5;

export class MeshProxy implements AsyncDisposable {
  #longestMs = 0;
  #watch: ReturnType<typeof setInterval> | undefined;

  private constructor(private readonly process: ProxyProcess) {}

  static async start(port: number, rootsPem: string, env: Record<string, string>) {
    const process = await ProxyProcess.start({
      ip: IP,
      workload: "client",
      mayFail: true,
      env: {
        XDS_ADDRESS: `https://127.0.0.1:${port}`,
        XDS_ROOT_CA: rootsPem,
        // Nobody there certifies; the traffic needs no certificate.
        FAKE_CA: "false",
        CA_ADDRESS: `https://127.0.0.1:${port}`,
        CA_ROOT_CA: rootsPem,
        AUTH_TOKEN: "a-token",
        RUST_LOG: "warn",
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
