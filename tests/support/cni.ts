/**
 * Nodes and pods for a test, by our stand-in for istio-cni, with namespaces that no other test has.
 * @module
 */
import { Cni, type CniOptions, type Pod, type PodSpec } from "#standin";
import { seededRng } from "#system";
import {
  endAll,
  type Program,
  type Result,
  type Started,
  startIn,
  type StartOptions,
  tryIn,
  until,
} from "./netns.ts";

const thread = crypto.randomUUID().slice(0, 4);
let count = 0;

/** The path of a program in support/apps. */
export const appPath = (name: string) => new URL(`./apps/${name}`, import.meta.url).pathname;

/** Nodes with their agents; everything ends with it. */
export class Nodes implements AsyncDisposable {
  readonly #started: Started[] = [];

  private constructor(
    readonly cni: Cni,
    readonly folder: string,
    /** What the agents saw. */
    readonly events: readonly string[],
  ) {}

  static async start(options: Partial<CniOptions> = {}): Promise<Nodes> {
    const folder = await Deno.makeTempDir({ prefix: "cni" });
    const events: string[] = [];
    const cni = await Cni.start({
      nodes: ["node1"],
      folder,
      ledger: `${folder}/ledger`,
      prefix: `zt${Deno.pid}${thread}${count++}-`,
      rng: seededRng(1),
      onEvent: (text) => events.push(text),
      ...options,
    });
    return new Nodes(cni, folder, events);
  }

  /** A pod of service account `name` in namespace `demo`, told to whoever is connected. */
  async pod(name: string, more: Partial<PodSpec> = {}): Promise<Pod> {
    const { pod } = await this.cni.addPod({
      name,
      namespace: "demo",
      serviceAccount: name,
      node: "node1",
      ...more,
    });
    return pod;
  }

  /** A shell command in a pod's or node's namespace. */
  async try(name: string, command: string): Promise<Result> {
    return await tryIn(this.cni.netnsOf(name), command);
  }

  /** A program in a pod's or node's namespace. */
  async run(
    name: string,
    command: readonly string[],
    options: StartOptions = {},
  ): Promise<Program> {
    return await startIn(this.cni.netnsOf(name), command, options, this.#started);
  }

  /** `who.py` on these ports of a pod. */
  async serve(name: string, ...ports: readonly string[]): Promise<Program> {
    return await this.run(name, ["python3", appPath("who.py"), ...ports], { ready: /ready/ });
  }

  /** What `ask.py` hears, or why it hears nothing. */
  async ask(from: string, host: string, port: number, ...words: string[]): Promise<string> {
    const command = ["python3", appPath("ask.py"), host, port, ...words].join(" ");
    const { out } = await this.try(from, command);
    return out.trim().split("\n").at(-1) ?? "";
  }

  async until(text: RegExp): Promise<void> {
    await until(
      `the agent says ${text}`,
      () => this.events.some((event) => text.test(event)),
      () => this.events.join("\n"),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endAll(this.#started);
    await this.cni[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** ZDS by hand: `zds_client.py`, a peer that shares no code with us. */
export class HandZds implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #rest = "";

  constructor() {
    this.#child = new Deno.Command("python3", {
      args: [appPath("zds_client.py")],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#writer = this.#child.stdin.getWriter();
  }

  /** One command of zds_client.py, and its answer. */
  async say(
    line: string,
  ): Promise<{ readonly bytes?: string; readonly inodes?: number[]; readonly error?: string }> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#lines.read();
      if (done) throw new Error("zds_client.py ended");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const answer = JSON.parse(this.#rest.slice(0, end));
    this.#rest = this.#rest.slice(end + 1);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#child.status;
    await this.#lines.cancel();
  }
}
