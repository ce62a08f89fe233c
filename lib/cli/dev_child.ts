/**
 * A proxy as a child process of `dev`: its environment, its lines, its end.
 * @module
 */
import type { Clock } from "#system";
import { ownCommand } from "./own_program.ts";
import { parseLine, type ProxyLine } from "./dev_lines.ts";

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

export interface ChildOptions {
  /** For people. */
  readonly name: string;
  /** A command that runs the rest, such as `ip netns exec <namespace>`. */
  readonly within?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly readyUrl: string;
  readonly clock: Clock;
  readonly onLine: (line: ProxyLine) => void;
}

/** Starts `ztunnel proxy` with this environment and hardly anything of ours. */
export function startChild(options: ChildOptions): RunningProxy {
  const { name, within = [], env, clock, onLine } = options;
  const [program, ...args] = [...within, ...ownCommand(), "proxy"];
  const child = new Deno.Command(program!, {
    args,
    clearEnv: true,
    env: {
      ...inherited(),
      // The runtime would ask for its newest version.
      DENO_NO_UPDATE_CHECK: "1",
      ZTUNNEL_EXIT_WITH_PARENT: "true",
      ...env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
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
    ready: () => becomeReady(options, ended, () => words.trimEnd()),
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
  { name, readyUrl, clock }: ChildOptions,
  ended: Promise<number>,
  lastWords: () => string,
): Promise<void> {
  const untilMs = clock.monotonicMs() + READY_TIMEOUT_MS;
  const over = ended.then((code) => {
    throw new Error(
      `${name} ended with exit code ${code}:\n${lastWords()}`,
    );
  });
  over.catch(() => {});
  while (clock.monotonicMs() < untilMs) {
    if (await Promise.race([answersReady(readyUrl), over])) return;
    await Promise.race([clock.sleep(READY_POLL_MS), over]);
  }
  throw new Error(
    `${name} was not ready after ${READY_TIMEOUT_MS / 1_000} s:\n${lastWords()}`,
  );
}

async function answersReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
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
