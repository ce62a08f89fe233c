import { Readiness } from "#admin";
import { type Config, configDump } from "#config";
import { exitWithParent, OpenFiles } from "#linux";
import { blockingWriter, createLogHub, InvalidFilter, type Log, type LogHub } from "#log";
import { Metrics } from "#metrics";
import { ListenError } from "#stream";
import { type Clock, realClock, realRng } from "#system";
import { LocalLoadError } from "#xds";
import { Control } from "./control.ts";
import { DataThreads } from "./data_threads.ts";
import { declareMetrics, describeProcess } from "./process_facts.ts";
import { startServers } from "./servers.ts";
import { Shutdown } from "./shutdown.ts";
import { workerSpawner } from "./spawn.ts";
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
  if (config.exitWithParent) exitWithParent();
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

  const readiness = new Readiness(clock, hub.scope("ztunnel::readiness"));
  const meshKnown = readiness.register("state manager");
  const proxyUp = readiness.register("proxy");
  const metrics = new Metrics({ nowMs: () => clock.monotonicMs() });

  const scope = (name: string) => hub.scope(name);
  await using control = await Control.create(config, { clock, rng: realRng, metrics, scope });
  await using threads = await startThreads(config, { clock, hub, metrics, control });
  declareMetrics(metrics, config, threads.count);
  const servers = await startServers(config, {
    clock,
    hub,
    readiness,
    metrics,
    control,
    threads,
    shutdown,
  });
  try {
    await control.loadMesh();
    await Promise.race([openAll(config, threads), threads.lost]);
    proxyUp();
    shutdown.onReload = () => void control.reload();
    // Whoever stops us before the control plane has said anything is heard too.
    const why = await Promise.race([
      threads.lost,
      shutdown.requested,
      control.meshKnown.then(() => {
        threads.start();
        meshKnown();
        return shutdown.requested;
      }),
    ]);
    log.info?.(`shutdown requested by ${why}, draining`, { deadline_ms: config.drainDeadlineMs });
    await Promise.all([threads.drain(config.drainDeadlineMs), servers.drain()]);
    log.info?.("shutdown complete");
    return EXIT_OK;
  } finally {
    await servers.drain();
  }
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
  });
  control.onTell = (word) => threads.tell(word);
  return threads;
}

/** In dedicated mode there is one instance, for as long as we live. */
async function openAll(config: Config, threads: DataThreads): Promise<void> {
  const { proxyWorkload: info } = config;
  if (info === undefined) throw new Error("a dedicated proxy without its workload");
  await threads.open({ kind: "dedicated", info });
}

function complain(text: string): void {
  blockingWriter(Deno.stderr)(new TextEncoder().encode(text));
}

/** What the user can mend: a port, a file. Anything else is a bug and says so with its trace. */
function isStartFailure(error: unknown): error is Error {
  return error instanceof ListenError || error instanceof LocalLoadError ||
    (error instanceof Error && /^cannot bind /.test(error.message));
}
