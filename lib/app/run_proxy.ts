import { Readiness } from "#admin";
import { type Config, configDump } from "#config";
import { OpenFiles, OwnProcess } from "#linux";
import { blockingWriter, createLogHub, InvalidFilter, type Log, type LogHub } from "#log";
import { Metrics } from "#metrics";
import { ListenError } from "#stream";
import { type Clock, realClock, realRng } from "#system";
import { LocalLoadError } from "#xds";
import { Control } from "./control.ts";
import { DataThreads } from "./data_threads.ts";
import { checkPowers, Pods } from "./pods.ts";
import { declareMetrics, describeProcess } from "./process_facts.ts";
import { startServers } from "./servers.ts";
import { Shutdown } from "./shutdown.ts";
import { workerSpawner } from "./spawn.ts";
import { StartFailure } from "./start_failure.ts";
import { surviveStrayErrors, textOf } from "./stray_errors.ts";

const FAKE_CA_WARNING =
  "FAKE_CA: certificates come from a development root whose key is public; anybody can forge any identity";
const EXIT_OK = 0;
const EXIT_FAILURE = 1;
/** EX_SOFTWARE of sysexits: a bug of ours on the control side (ARCHITECTURE.md, "Side roads"). */
const EXIT_BUG = 70;

/**
 * Runs the proxy until it is told to stop; returns the exit code (behaviour.md 0.4, 14.8, 14.9). What keeps it from
 * starting is one line per problem in the log, on stderr where there is no log of errors, and exit code 1.
 */
export async function runProxy(
  parsed: { readonly config: Config; readonly warnings: readonly string[] },
): Promise<number> {
  const { config } = parsed;
  // First of all: the runtime cannot set up signals any more once file descriptors have run out.
  const shutdown = new Shutdown();
  if (config.exitWithParent) OwnProcess.exitWithParent();
  let hub: LogHub;
  try {
    hub = createLogHub({
      write: blockingWriter(Deno.stdout),
      nowMs: () => realClock.nowMs(),
      filter: config.logFilter,
      format: config.logFormat,
    });
  } catch (error) {
    if (!(error instanceof InvalidFilter)) throw error;
    complain(`invalid RUST_LOG: ${error.message}\n`);
    return EXIT_FAILURE;
  }
  const log = hub.scope("ztunnel");
  surviveStrayErrors(hub.scope("ztunnel::app"));
  try {
    return await run(parsed, hub, log, shutdown);
  } catch (error) {
    if (isStartFailure(error)) {
      // A filter that leaves out errors must not make this one silent.
      const say = log.error ?? ((line: string) => complain(`${line}\n`));
      for (const line of error.message.split("\n")) say(line);
      return EXIT_FAILURE;
    }
    log.error?.("bug: the proxy cannot go on", { error: textOf(error) });
    return EXIT_BUG;
  } finally {
    hub.flush();
  }
}

async function run(
  { config, warnings }: { readonly config: Config; readonly warnings: readonly string[] },
  hub: LogHub,
  log: Log,
  shutdown: Shutdown,
): Promise<number> {
  const clock: Clock = realClock;
  log.info?.(`version: ${describeProcess(config)}`);
  // JSON is YAML too, and one line stays one line.
  log.info?.(`running with config: ${JSON.stringify(configDump(config))}`);
  if (config.fakeCa) log.warn?.(FAKE_CA_WARNING);
  for (const warning of warnings) log.warn?.(warning);
  const { before, after } = OpenFiles.raiseLimit();
  log.info?.(`set file descriptor limits from ${before} to ${after}`);

  if (config.proxyMode === "shared") checkPowers(config);

  const readiness = new Readiness(clock, hub.scope("ztunnel::readiness"));
  const meshKnown = readiness.register("state manager");
  const proxyUp = readiness.register("proxy");
  const metrics = new Metrics({ nowMs: () => clock.monotonicMs() });

  const scope = (name: string) => hub.scope(name);
  await using control = await Control.create(config, { clock, rng: realRng, metrics, scope });
  await using threads = await startThreads(config, { clock, hub, metrics, control });
  declareMetrics(metrics, config, threads.count);
  const pods = config.proxyMode === "shared"
    ? new Pods(config, {
      clock,
      rng: realRng,
      log: scope("ztunnel::inpod"),
      metrics,
      readiness,
      threads,
      control,
    })
    : undefined;
  const parts = { clock, hub, readiness, metrics, control, threads, pods, shutdown };
  const servers = await startServers(config, parts);
  try {
    await control.loadMesh();
    await Promise.race([openOwn(config, threads), threads.lost]);
    proxyUp();
    shutdown.onReload = () => void control.reload();
    void control.meshKnown.then(() => {
      threads.start();
      meshKnown();
      pods?.start();
    });
    // Whoever stops us before the control plane has said anything is heard too.
    const { why, code } = await Promise.race([threads.lost, endOf(shutdown, pods)]);
    log.info?.(`shutdown requested by ${why}, draining`, { deadline_ms: config.drainDeadlineMs });
    await Promise.all([
      pods?.leave(),
      threads.drain(config.drainDeadlineMs),
      servers.drain(),
    ]);
    await pods?.end();
    log.info?.("shutdown complete");
    return code;
  } finally {
    await servers.drain();
  }
}

/** What ends us, and with which exit code. */
function endOf(
  shutdown: Shutdown,
  pods: Pods | undefined,
): Promise<{ readonly why: string; readonly code: number }> {
  const asked = shutdown.requested.then((why) => ({ why, code: EXIT_OK }));
  if (pods === undefined) return asked;
  const gaveUp = pods.gaveUp.then((reason) => {
    // behaviour.md 14.10.
    const why = `a CNI agent of another protocol (${reason})`;
    return { why, code: EXIT_FAILURE };
  });
  return Promise.race([asked, gaveUp]);
}

async function startThreads(
  config: Config,
  { clock, hub, metrics, control }: {
    readonly clock: Clock;
    readonly hub: LogHub;
    readonly metrics: Metrics;
    readonly control: Control;
  },
): Promise<DataThreads> {
  const spawn = config.inline
    ? (await import("./inline.ts")).inlineSpawner(control.mesh.view)
    : workerSpawner();
  const threads = new DataThreads({
    config,
    // Inline it is one too, although not a thread of its own.
    count: config.inline ? 1 : config.workerThreads,
    spawn,
    clock,
    rng: realRng,
    hub,
    log: hub.scope("ztunnel::app"),
    mesh: control.mesh,
    metrics,
    onWish: (wish) => control.hear(wish),
    greeting: () => control.greeting(),
    pods: control,
  });
  control.onTell = (word) => threads.tell(word);
  return threads;
}

/** What is open for as long as we live: in dedicated mode the proxy, in shared mode our own inbound (behaviour.md 2.5). */
async function openOwn(config: Config, threads: DataThreads): Promise<void> {
  const { proxyMode, proxyWorkload, ownWorkload } = config;
  if (proxyMode === "shared") {
    if (ownWorkload !== undefined) await threads.open({ kind: "self", info: ownWorkload });
    return;
  }
  if (proxyWorkload === undefined) throw new Error("a dedicated proxy without its workload");
  await threads.open({ kind: "dedicated", info: proxyWorkload });
}

function complain(text: string): void {
  blockingWriter(Deno.stderr)(new TextEncoder().encode(text));
}

/** What the user can mend: a port, a file. Anything else is a bug and says so with its trace. */
function isStartFailure(error: unknown): error is Error {
  return error instanceof ListenError || error instanceof LocalLoadError ||
    error instanceof StartFailure ||
    (error instanceof Error && /^cannot bind /.test(error.message));
}
