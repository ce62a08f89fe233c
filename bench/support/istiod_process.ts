/** `mesh_istiod.ts` as a process, seen from the bench. */
import { mintLeaf, mintRoot } from "../../tests/support/pki.ts";

interface Line {
  readonly what: string;
  readonly atMs: number;
  readonly name?: string;
  readonly port?: number;
  readonly fullBytes?: number;
  readonly rejected?: string;
}

export interface Answer {
  /** Unix milliseconds. */
  readonly atMs: number;
  /** The start of what it says about resources that it refused. */
  readonly rejected?: string;
}

const PATIENCE_MS = 300_000;
const script = new URL("./mesh_istiod.ts", import.meta.url).pathname;

export class Istiod implements AsyncDisposable {
  port = 0;
  fullBytes = 0;
  /** Who signed its certificate. */
  rootsPem = "";
  readonly #lines: Line[] = [];
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #wake = () => {};

  private constructor(private readonly child: Deno.ChildProcess, private readonly dir: string) {
    this.#input = child.stdin.getWriter();
    void this.#read();
  }

  static async start(workloadsCount: number): Promise<Istiod> {
    const root = mintRoot();
    const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 0, 0, 1)] });
    const dir = await Deno.makeTempDir();
    await Deno.writeTextFile(`${dir}/cert.pem`, leaf.pem);
    await Deno.writeTextFile(`${dir}/key.pem`, leaf.keyPem);
    const args = [script, String(workloadsCount), `${dir}/cert.pem`, `${dir}/key.pem`];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--quiet", ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const istiod = new Istiod(child, dir);
    const { port, fullBytes } = await istiod.#next((line) => line.what === "listening");
    istiod.port = port!;
    istiod.fullBytes = fullBytes!;
    istiod.rootsPem = root.pem;
    return istiod;
  }

  /** Sends what the command says; resolves with when, Unix milliseconds. */
  async ask(command: string, name: string): Promise<number> {
    await this.#input.write(new TextEncoder().encode(`${command}\n`));
    return await this.sent(name);
  }

  /** Makes what `hostile` sends: a service with so many endpoints. */
  async make(endpointsCount: number): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`make ${endpointsCount}\n`));
    await this.#next((line) => line.what === "made");
  }

  async sent(name: string): Promise<number> {
    return (await this.#next((line) => line.what === "sent" && line.name === name)).atMs;
  }

  /** Resolves when the response was answered, in whole or in part. */
  async answered(name: string): Promise<Answer> {
    return await this.#next((line) => line.what === "ack" && line.name === name);
  }

  /** Resolves with when the response was acknowledged, Unix milliseconds. Throws if it was rejected. */
  async acknowledged(name: string): Promise<number> {
    const { atMs, rejected } = await this.answered(name);
    if (rejected !== undefined) throw new Error(`${name} was rejected: ${rejected}`);
    return atMs;
  }

  /** Forgets what it has told so far: of another proxy. */
  forget(): void {
    this.#lines.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.status;
    await Deno.remove(this.dir, { recursive: true });
  }

  /** The next such line; lines before it are passed over. */
  async #next(isIt: (line: Line) => boolean): Promise<Line> {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const at = this.#lines.findIndex(isIt);
      if (at >= 0) return this.#lines.splice(0, at + 1).at(-1)!;
      if (Date.now() > end) throw new Error("istiod says nothing of that");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 1_000);
      });
    }
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      this.#lines.push(...parts.filter((part) => part !== "").map((part) => JSON.parse(part)));
      this.#wake();
    }
  }
}
