/**
 * A CNI agent that does what a test says, in a process of its own and in another language, so that both sides of the
 * socket are not the same mistake.
 * @module
 */
const program = new URL("./apps/zds_agent.py", import.meta.url).pathname;

/** A length-delimited field. */
function field(
  number: number,
  ...parts: readonly (string | Uint8Array)[]
): Uint8Array<ArrayBuffer> {
  const bytes = parts.flatMap((part) =>
    typeof part === "string" ? [...new TextEncoder().encode(part)] : [...part]
  );
  const { length } = bytes;
  const size = length < 0x80 ? [length] : [(length & 0x7f) | 0x80, length >> 7];
  return Uint8Array.of((number << 3) | 2, ...size, ...bytes);
}

/** Messages as bytes in hex, by hand (behaviour.md, Appendix A "ZDS" and C.6). */
export const Zds = {
  hello: "0801",
  ack: "0a00",
  snapshotSent: "1a00",
  add: (uid: string, name: string, namespace: string, serviceAccount: string): string =>
    field(1, field(1, uid), field(2, field(1, name), field(2, namespace), field(3, serviceAccount)))
      .toHex(),
  addWithoutInfo: (uid: string): string => field(1, field(1, uid)).toHex(),
  del: (uid: string): string => field(2, field(2, uid)).toHex(),
  keep: (uid: string): string => field(5, field(1, uid)).toHex(),
  /** The text of a NACK; empty for an ACK. */
  errorOf: (hex: string): string => {
    if (hex === Zds.ack) return "";
    const bytes = Uint8Array.fromHex(hex);
    // Two tags, each with a length of one byte up to 127 and of two above.
    let at = 1 + (bytes[1]! < 0x80 ? 1 : 2);
    if (bytes[0] !== 0x0a || bytes[at] !== 0x0a) throw new Error(`not an answer: ${hex}`);
    at += 1 + (bytes[at + 1]! < 0x80 ? 1 : 2);
    return new TextDecoder().decode(bytes.subarray(at));
  },
} as const;

export class TestAgent implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  #text = "";
  #connectionsCount = 0;

  private constructor(readonly path: string) {
    this.#child = new Deno.Command("python3", {
      args: [program, path],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#answers = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Listening when it resolves. */
  static async start(path: string): Promise<TestAgent> {
    const agent = new TestAgent(path);
    await agent.#do({ do: "listen" });
    return agent;
  }

  /** The number of the next connection, for the other methods; they mean the newest if none is given. */
  async accept(): Promise<number> {
    await this.#do({ do: "accept" });
    return this.#connectionsCount++;
  }

  async send(hex: string, files: readonly string[] = [], to = this.#newest): Promise<void> {
    await this.#do({ do: "send", hex, files, to });
  }

  /** Empty when the other side has closed. */
  async receive(from = this.#newest): Promise<string> {
    return (await this.#do({ do: "receive", from })).hex!;
  }

  /** What the other side says to a message: empty for an ACK, else the text of the NACK. */
  async ask(hex: string, files: readonly string[] = []): Promise<string> {
    await this.send(hex, files);
    return Zds.errorOf(await this.receive());
  }

  async hangUp(on = this.#newest): Promise<void> {
    await this.#do({ do: "hang_up", on });
  }

  /** Stops listening; connections stay. */
  async leave(): Promise<void> {
    await this.#do({ do: "leave" });
  }

  async listen(): Promise<void> {
    await this.#do({ do: "listen" });
  }

  /** Accepts, and hears the hello. */
  async greet(): Promise<void> {
    await this.accept();
    const hello = await this.receive();
    if (hello !== Zds.hello) throw new Error(`not a hello: ${hello}`);
  }

  get #newest(): number {
    return this.#connectionsCount - 1;
  }

  async #do(command: Readonly<Record<string, unknown>>): Promise<{ readonly hex?: string }> {
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(command)}\n`));
    while (!this.#text.includes("\n")) {
      const { value, done } = await this.#answers.read();
      if (done) throw new Error(`the agent has ended in ${JSON.stringify(command)}`);
      this.#text += value;
    }
    const [line, ...rest] = this.#text.split("\n");
    this.#text = rest.join("\n");
    const answer = JSON.parse(line!);
    if (answer.error !== undefined) throw new Error(`${JSON.stringify(command)}: ${answer.error}`);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#answers.cancel();
    await this.#child.status;
  }
}
