/**
 * Hosts of their own on one machine: network namespaces, joined by veths, redirected as a node redirects its pods.
 * @module
 */

/** Address of a namespace on one of its links. */
interface Wire {
  readonly from: Host;
  readonly fromIp: string;
  readonly to: Host;
  readonly toIp: string;
  /** IPv6 addresses of both ends, where the wire carries that too. */
  readonly ip6?: readonly [from: string, to: string];
}

/** A running program inside a host; ends with the testbed at the latest. */
export interface Program {
  readonly pid: number;
  readonly ended: Promise<Deno.CommandStatus>;
  /** Everything it has written to stdout and stderr so far. */
  output(): string;
  signal(name: Deno.Signal): void;
}

/** How a program ended. */
export interface Result {
  readonly code: number;
  readonly out: string;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly ready?: RegExp;
}

/** A program for whoever ends it. */
export interface Started {
  readonly child: Deno.ChildProcess;
  readonly done: Promise<unknown>;
}

/** Test files that run in parallel are threads of one process, each with a count of its own. */
const thread = crypto.randomUUID().slice(0, 6);
let count = 0;

/** One network namespace. */
export class Host {
  readonly namespace = `zt${Deno.pid}x${thread}n${count++}`;
  readonly #programs: Started[] = [];

  static async create(): Promise<Host> {
    const host = new Host();
    await sh(`ip netns add ${host.namespace}`);
    await host.sh("ip link set lo up");
    return host;
  }

  /** Runs a shell command inside; throws with its output if it fails. */
  async sh(command: string, input?: string): Promise<string> {
    return await sh(command, {
      namespace: this.namespace,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** The same, but gives output and exit code back whatever they are. */
  async try(command: string): Promise<Result> {
    return await tryIn(this.namespace, command);
  }

  /** Starts a program inside; `ready` waits until its output matches. */
  async start(command: readonly string[], options: StartOptions = {}): Promise<Program> {
    return await startIn(this.namespace, command, options, this.#programs);
  }

  async remove(): Promise<void> {
    await endAll(this.#programs);
    await sh(`ip netns del ${this.namespace}`);
  }
}

/** Runs a shell command in a namespace and gives output and exit code back, whatever they are. */
export async function tryIn(namespace: string, command: string): Promise<Result> {
  const result = await new Deno.Command("ip", {
    args: ["netns", "exec", namespace, "sh", "-c", command],
  }).output();
  const text = new TextDecoder();
  return { code: result.code, out: text.decode(result.stdout) + text.decode(result.stderr) };
}

/** Starts a program in a namespace and adds it to `started`; waits until its output matches `ready`. */
export async function startIn(
  namespace: string,
  command: readonly string[],
  options: StartOptions,
  started: Started[],
): Promise<Program> {
  const child = new Deno.Command("ip", {
    args: ["netns", "exec", namespace, ...command],
    env: { ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) text += chunk;
  };
  const done = Promise.all([read(child.stdout), read(child.stderr), child.status]);
  started.push({ child, done });
  const program: Program = {
    pid: child.pid,
    ended: done.then(([, , status]) => status),
    output: () => text,
    signal: (name) => child.kill(name),
  };
  if (options.ready !== undefined) {
    const { ready } = options;
    await until(`${command.join(" ")} says ${ready}`, () => ready.test(text), () => text);
  }
  return program;
}

/** Kills programs and waits for their end. */
export async function endAll(started: readonly Started[]): Promise<void> {
  for (const { child } of started) {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  }
  await Promise.all(started.map(({ done }) => done));
}

/**
 * Ends whatever still runs in hosts of this process and removes them: for an end in the middle, such as Ctrl-C, when
 * nobody may know any more which hosts there are.
 */
export async function removeHostsOfThisProcess(): Promise<void> {
  const names = (await sh("ip netns list")).split("\n").map((line) => line.split(" ")[0]!);
  for (const name of names.filter((name) => name.startsWith(`zt${Deno.pid}x`))) {
    await sh(`kill -9 $(ip netns pids ${name}) 2>/dev/null; ip netns del ${name} || true`);
  }
}

/** Joins two hosts and gives each a route through the other. */
export async function join(wire: Wire): Promise<void> {
  const [near, far] = [`v${Deno.pid % 100_000}n${count}`, `v${Deno.pid % 100_000}f${count++}`];
  await sh(
    `ip link add ${near} netns ${wire.from.namespace} type veth peer name ${far} netns ${wire.to.namespace}`,
  );
  await wire.from.sh(`ip addr add ${wire.fromIp}/24 dev ${near} && ip link set ${near} up`);
  await wire.to.sh(`ip addr add ${wire.toIp}/24 dev ${far} && ip link set ${far} up`);
  await wire.from.sh(`ip route replace default via ${wire.toIp}`);
  await wire.to.sh(`ip route add default via ${wire.fromIp} 2>/dev/null || true`);
  if (wire.ip6 === undefined) return;
  const [fromIp6, toIp6] = wire.ip6;
  // Without nodad the address could not be used for the first second.
  await wire.from.sh(`ip addr add ${fromIp6}/64 dev ${near} nodad`);
  await wire.to.sh(`ip addr add ${toIp6}/64 dev ${far} nodad`);
  await wire.from.sh(`ip -6 route replace default via ${toIp6}`);
  await wire.to.sh(`ip -6 route replace default via ${fromIp6}`);
}

/**
 * The rules of a meshed pod, without the DNS rows: outgoing TCP to 15001, incoming to 15006, the proxy's own packets
 * (mark 0x539) let through, replies to spoofed addresses brought back by the connection mark. Both families.
 */
export async function redirect(host: Host): Promise<void> {
  for (const family of ["-4", "-6"]) {
    await host.sh(`ip ${family} rule add fwmark 0x111/0xfff lookup 100 pref 32764`);
    await host.sh(`ip ${family} route add local default dev lo table 100`);
  }
  await host.sh(
    "nft -f -",
    `table inet mesh {
      chain mangle_in {
        type filter hook prerouting priority mangle;
        meta mark & 0xfff == 0x539 counter ct mark set ct mark & 0xfffff000 | 0x111
      }
      chain mangle_out {
        type route hook output priority mangle;
        ct mark & 0xfff == 0x111 counter meta mark set ct mark
      }
      chain nat_in {
        type nat hook prerouting priority dstnat;
        ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0xfff != 0x539 counter redirect to :15006
        ip6 daddr != ::1 tcp dport != 15008 meta mark & 0xfff != 0x539 counter redirect to :15006
      }
      chain nat_out {
        type nat hook output priority -100;
        meta l4proto tcp meta mark & 0xfff == 0x111 counter accept
        oifname "lo" ip daddr != 127.0.0.1 counter accept
        oifname "lo" ip6 daddr != ::1 counter accept
        meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0xfff != 0x539 counter redirect to :15001
        meta l4proto tcp ip6 daddr != ::1 meta mark & 0xfff != 0x539 counter redirect to :15001
      }
    }`,
  );
}

/** Runs a shell command, inside a namespace if one is named; throws with its output if it fails. */
export async function sh(
  command: string,
  options: { readonly namespace?: string; readonly input?: string } = {},
): Promise<string> {
  const [program, args] = options.namespace === undefined
    ? ["sh", ["-c", command]] as const
    : ["ip", ["netns", "exec", options.namespace, "sh", "-c", command]] as const;
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: options.input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (options.input !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(options.input));
    await writer.close();
  }
  const result = await child.output();
  const text = new TextDecoder();
  const out = text.decode(result.stdout);
  if (!result.success) {
    throw new Error(`"${command}" failed (${result.code}): ${out}${text.decode(result.stderr)}`);
  }
  return out;
}

/** Long enough for a machine that is many times slower than usual: who waits this long waits in vain. */
const UNTIL_MS_MAX = 60_000;

/** Waits until `holds`, or throws saying what did not come to be and what there was instead. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  seen: () => string = () => "",
  timeoutMs = UNTIL_MS_MAX,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (performance.now() < endMs) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within ${timeoutMs} ms. ${seen()}`);
}
