/**
 * The test control plane as a process of its own, as `ztunnel dev --control-plane-only` starts it.
 * @module
 */
const main = new URL("../../main.ts", import.meta.url).pathname;

export interface ControlPlanePlaces {
  readonly xdsAddress: string;
  readonly controlUrl: string;
  readonly rootsPath: string;
  /** Path by `namespace/account` or `namespace/account@node`. */
  readonly tokens: Readonly<Record<string, string>>;
}

export class ControlPlaneProcess implements AsyncDisposable {
  #log = "";

  private constructor(
    readonly places: ControlPlanePlaces,
    private readonly child: Deno.ChildProcess,
  ) {}

  /** Resolves when it listens; rejects with what it wrote if it ends first. */
  static async start(args: readonly string[]): Promise<ControlPlaneProcess> {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--quiet", main, "dev", "--control-plane-only", ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    let errors = "";
    let self: ControlPlaneProcess | undefined;
    void (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
        errors += text;
        if (self !== undefined) self.#log = errors;
      }
    })();
    let line = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      line += text;
      if (!line.includes("\n")) continue;
      self = new ControlPlaneProcess(JSON.parse(line.slice(0, line.indexOf("\n"))), child);
      self.#log = errors;
      return self;
    }
    await child.status;
    throw new Error(`the control plane ended before it began:\n${errors}`);
  }

  /** What it logged. */
  get log(): string {
    return this.#log;
  }

  async get(path: string): Promise<Record<string, unknown>> {
    return await (await fetch(`${this.places.controlUrl}${path}`)).json();
  }

  /** Throws an Error with the answer's for anything but a success. */
  async post(path: string): Promise<string> {
    const response = await fetch(`${this.places.controlUrl}${path}`, { method: "POST" });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status}: ${text}`);
    return text;
  }

  async rssBytes(): Promise<number> {
    const status = await Deno.readTextFile(`/proc/${this.child.pid}/status`);
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGTERM");
    await this.child.status;
  }
}
