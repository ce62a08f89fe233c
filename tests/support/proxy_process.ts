/**
 * The program as its user starts it: a process of its own, dedicated mode, local YAML, development CA, on a loopback
 * address that no other test uses.
 * @module
 */
import { until } from "./netns.ts";

const main = new URL("../../main.ts", import.meta.url).pathname;

export interface ProxyOptions {
  /** Every listener binds it. */
  readonly ip: string;
  /** Of the local YAML; also PROXY_WORKLOAD_INFO's name and service account, namespace `shop`. */
  readonly workload: string;
  /** Local YAML; without it the mesh comes from where `env` says. */
  readonly meshPath?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Do not wait until it is ready. */
  readonly mayFail?: boolean;
  /** Its limit of open files; the machine's if absent. */
  readonly openFilesMax?: number;
  /** What to start instead of the sources, without `proxy ztunnel`; then nothing of our environment is passed on. */
  readonly program?: readonly string[];
}

export class ProxyProcess {
  #output = "";
  readonly exited: Promise<Deno.CommandStatus>;

  private constructor(readonly ip: string, private readonly child: Deno.ChildProcess) {
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) this.#output += text;
    };
    this.exited = Promise.all([child.status, read(child.stdout), read(child.stderr)])
      .then(([status]) => status);
  }

  static async start(options: ProxyOptions): Promise<ProxyProcess> {
    const limit = options.openFilesMax === undefined ? "" : `ulimit -n ${options.openFilesMax}; `;
    const sources = [Deno.execPath(), "run", "--allow-all", "--quiet", main];
    const command = [...options.program ?? sources, "proxy", "ztunnel"];
    const child = new Deno.Command("sh", {
      args: ["-c", `${limit}exec "$@"`, "sh", ...command],
      clearEnv: true,
      env: {
        ...(options.program === undefined ? inherited() : {}),
        // The runtime asks for its newest version half a second after its start, through a proxy if one is named.
        DENO_NO_UPDATE_CHECK: "1",
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: `shop/${options.workload}/${options.workload}`,
        FAKE_CA: "true",
        XDS_ADDRESS: "",
        ...(options.meshPath === undefined ? {} : { LOCAL_XDS_PATH: options.meshPath }),
        UNSTABLE_ENABLE_SOCKS5: "true",
        ENABLE_ORIG_SRC: "false",
        ZTUNNEL_BIND_ADDRESS: options.ip,
        ...options.env,
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const proxy = new ProxyProcess(options.ip, child);
    if (!options.mayFail) {
      await until("the proxy is ready", () => proxy.isReady(), () => proxy.output);
    }
    return proxy;
  }

  get pid(): number {
    return this.child.pid;
  }

  get output(): string {
    return this.#output;
  }

  async isReady(): Promise<boolean> {
    try {
      const response = await fetch(`http://${this.ip}:15021/healthz/ready`);
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  /** /config_dump as JSON. */
  async dump(): Promise<Record<string, unknown>> {
    return await (await fetch(`http://${this.ip}:15000/config_dump`)).json();
  }

  async metrics(): Promise<string> {
    return await (await fetch(`http://${this.ip}:15020/metrics`)).text();
  }

  /** The sum over all series of `family` whose labels contain every text of `having`. */
  async sum(family: string, ...having: string[]): Promise<number> {
    const lines = (await this.metrics()).split("\n").filter((line) =>
      line.startsWith(`${family}{`) && having.every((text) => line.includes(text))
    );
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  /** Access lines so far; one that has come in part is none yet. */
  get lines(): string[] {
    return this.#output.split("\n").slice(0, -1).filter((line) => line.includes("\taccess\t"));
  }

  signal(name: Deno.Signal): void {
    this.child.kill(name);
  }

  /** VmRSS of the process, bytes. */
  async rssBytes(): Promise<number> {
    const status = await Deno.readTextFile(`/proc/${this.pid}/status`);
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  async openFds(): Promise<number> {
    return (await Array.fromAsync(Deno.readDir(`/proc/${this.pid}/fd`))).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    await this.exited;
  }
}

function inherited(): Record<string, string> {
  const names = ["PATH", "HOME", "DENO_DIR"];
  const found = names.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  // The runtime's own question to its makers, through whatever HTTP proxy the environment names.
  return { ...Object.fromEntries(found), DENO_NO_UPDATE_CHECK: "1" };
}

/** A connection through the proxy's SOCKS5 port to an address or a name. */
export async function socksConnect(ip: string, host: string, port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: ip, port: 15080 });
  await connection.write(Uint8Array.of(5, 1, 0));
  await readExactly(connection, 2);
  const name = new TextEncoder().encode(host);
  const v4 = host.split(".").map(Number);
  const address = v4.length === 4 && v4.every((part) => part >= 0 && part < 256)
    ? [1, ...v4]
    : [3, name.length, ...name];
  await connection.write(Uint8Array.of(5, 1, 0, ...address, port >> 8, port & 255));
  const reply = await readExactly(connection, 10);
  if (reply[1] !== 0) {
    connection.close();
    throw new Error(`SOCKS5 reply ${reply[1]}`);
  }
  return connection;
}

export async function readExactly(connection: Deno.Conn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const read = await connection.read(bytes.subarray(at));
    if (read === null) throw new Error(`the connection ended after ${at} of ${count} bytes`);
    at += read;
  }
  return bytes;
}

/** Reads until the other side has finished. */
export async function readToEnd(connection: Deno.Conn): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) break;
    chunks.push(buffer.slice(0, count));
  }
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** An application that doubles what it gets, in process. */
export function doublingServer(ip: string, port: number): AsyncDisposable {
  const listener = Deno.listen({ hostname: ip, port });
  const open = new Set<Deno.Conn>();
  const accepting = (async () => {
    for await (const connection of listener) {
      open.add(connection);
      void (async () => {
        const buffer = new Uint8Array(65_536);
        try {
          for (;;) {
            const count = await connection.read(buffer);
            if (count === null) break;
            for (let round = 0; round < 2; round++) {
              for (let at = 0; at < count;) {
                at += await connection.write(buffer.subarray(at, count));
              }
            }
          }
          await connection.closeWrite();
        } catch {
          // The client may leave at any time.
        } finally {
          open.delete(connection);
          try {
            connection.close();
          } catch {
            // Closed by the disposal below.
          }
        }
      })();
    }
  })().catch(() => {});
  return {
    [Symbol.asyncDispose]: async () => {
      listener.close();
      for (const connection of open) connection.close();
      // The port is free only when the last accept has let go of it.
      await accepting;
    },
  };
}
