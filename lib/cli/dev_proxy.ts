/**
 * One proxy of `dev`: a child process, its environment, its lines.
 * @module
 */
import type { Clock } from "#system";
import { parseLine, type ProxyLine } from "./dev_lines.ts";
import type { DevProxy } from "./dev_plan.ts";

/** How long a proxy may take to be ready, and to end after it was told to. */
const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 50;
const END_TIMEOUT_MS = 8_000;
/** Of a failed start's last words, this much is shown. */
const LAST_WORDS_CHARS_MAX = 4_000;

export interface RunningProxy {
  readonly name: string;
  /** Resolves when it answers 200 on its readiness port; rejects with its last words if it ends first. */
  ready(): Promise<void>;
  /** Resolves with its exit code. */
  readonly ended: Promise<number>;
  /** What it wrote to stderr, and the lines that were not JSON. */
  lastWords(): string;
  /** SIGTERM, and SIGKILL if that takes too long. */
  end(): Promise<void>;
}

/** Where a proxy finds its control plane, and what it shows there. */
export interface ControlPlaneAccess {
  /** Of xDS and of the CA. */
  readonly url: string;
  readonly rootsPath: string;
  readonly tokenPath: string;
}

/** Starts `proxy` on its loopback address; its mesh and its certificate come from the control plane. */
export function startProxy(
  proxy: DevProxy,
  access: ControlPlaneAccess,
  clock: Clock,
  onLine: (line: ProxyLine) => void,
): RunningProxy {
  const { name, namespace, serviceAccount } = proxy.workload;
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--allow-all",
      "--quiet",
      new URL("../../main.ts", import.meta.url).href,
      "proxy",
    ],
    clearEnv: true,
    env: {
      ...inherited(),
      DENO_NO_UPDATE_CHECK: "1",
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: `${namespace}/${name}/${serviceAccount}`,
      XDS_ADDRESS: access.url,
      CA_ADDRESS: access.url,
      XDS_ROOT_CA: access.rootsPath,
      CA_ROOT_CA: access.rootsPath,
      AUTH_TOKEN: access.tokenPath,
      CLUSTER_ID: proxy.workload.clusterId || "Kubernetes",
      POD_NAME: name,
      POD_NAMESPACE: namespace,
      INSTANCE_IP: proxy.ip,
      UNSTABLE_ENABLE_SOCKS5: "true",
      ENABLE_ORIG_SRC: "false",
      NODE_NAME: proxy.workload.node,
      NETWORK: proxy.workload.network,
      RUST_LOG: "info",
      LOG_FORMAT: "json",
      ZTUNNEL_BIND_ADDRESS: proxy.ip,
      ZTUNNEL_EXIT_WITH_PARENT: "true",
      // A few connections of one person: no threads beside the main one, for less memory.
      ZTUNNEL_INLINE: "true",
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  let words = "";
  const remember = (text: string) => {
    words = `${words}${text}\n`.slice(-LAST_WORDS_CHARS_MAX);
  };
  const reading = Promise.all([
    eachLine(child.stdout, (text) => {
      const line = parseLine(text);
      if (line === undefined) remember(text);
      else onLine(line);
    }),
    eachLine(child.stderr, remember),
  ]);
  const ended = Promise.all([child.status, reading]).then(([status]) => status.code);
  return {
    name,
    ended,
    lastWords: () => words.trimEnd(),
    ready: () => becomeReady(proxy, clock, ended, () => words.trimEnd()),
    end: () => endChild(child, ended, clock),
  };
}

/** Only what a child needs to run at all: a stray setting of the user's shell must not change the mesh. */
function inherited(): Record<string, string> {
  const names = ["PATH", "HOME", "DENO_DIR", "TMPDIR", "XDG_CACHE_HOME"];
  return Object.fromEntries(names.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  }));
}

async function becomeReady(
  proxy: DevProxy,
  clock: Clock,
  ended: Promise<number>,
  lastWords: () => string,
): Promise<void> {
  const untilMs = clock.monotonicMs() + READY_TIMEOUT_MS;
  const over = ended.then((code) => {
    throw new Error(
      `the proxy of "${proxy.workload.name}" ended with exit code ${code}:\n${lastWords()}`,
    );
  });
  over.catch(() => {});
  while (clock.monotonicMs() < untilMs) {
    if (await Promise.race([answersReady(proxy), over])) return;
    await Promise.race([clock.sleep(READY_POLL_MS), over]);
  }
  throw new Error(
    `the proxy of "${proxy.workload.name}" was not ready after ${
      READY_TIMEOUT_MS / 1_000
    } s:\n${lastWords()}`,
  );
}

async function answersReady(proxy: DevProxy): Promise<boolean> {
  try {
    const response = await fetch(`http://${proxy.ip}:15021/healthz/ready`);
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

async function endChild(
  child: Deno.ChildProcess,
  ended: Promise<number>,
  clock: Clock,
): Promise<void> {
  signal(child, "SIGTERM");
  const stop = new AbortController();
  await Promise.race([ended, clock.sleep(END_TIMEOUT_MS, stop.signal)]);
  stop.abort();
  signal(child, "SIGKILL");
  await ended;
}

function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch {
    // It has ended already.
  }
}

async function eachLine(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  act: (line: string) => void,
): Promise<void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line !== "") act(line);
  }
  if (rest !== "") act(rest);
}
