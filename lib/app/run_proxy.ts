import { Readiness } from "#admin";
import { type Config, configDump } from "#config";
import { loopback, type ToControl, type ToData } from "#link";
import { createKernel, exitWithParent, raiseOpenFileLimit } from "#linux";
import { blockingWriter, createLogHub, InvalidFilter, type Log, type LogHub } from "#log";
import { Metrics } from "#metrics";
import { DataPlane } from "#proxy";
import { ListenError } from "#stream";
import { type Clock, realClock, realRng } from "#system";
import { createTls } from "#tls";
import { LocalLoadError } from "#xds";
import { Control } from "./control.ts";
import { declareMetrics, describeProcess } from "./process_facts.ts";
import { startServers } from "./servers.ts";
import { dataPlaneOptions } from "./settings.ts";
import { Shutdown } from "./shutdown.ts";

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
    log.error?.("bug: the proxy cannot go on", {
      error: error instanceof Error ? error.stack ?? error.message : String(error),
    });
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
  const { before, after } = raiseOpenFileLimit();
  log.info?.(`set file descriptor limits from ${before} to ${after}`);

  const readiness = new Readiness(clock, hub.scope("ztunnel::readiness"));
  const meshKnown = readiness.register("state manager");
  const proxyUp = readiness.register("proxy");
  const metrics = new Metrics({ nowMs: () => clock.monotonicMs() });
  declareMetrics(metrics, config);

  const scope = (name: string) => hub.scope(name);
  await using control = await Control.create(config, { clock, rng: realRng, metrics, scope });
  const servers = await startServers(config, { clock, hub, readiness, metrics, control, shutdown });
  try {
    await control.loadMesh();
    const [controlPort, dataPort] = loopback<ToData, ToControl>();
    control.attach(controlPort);
    const tls = createTls(clock, { allowTls12: config.tls12Enabled });
    new DataPlane(dataPlaneOptions(config, clock), {
      kernel: createKernel({ clock }),
      port: dataPort,
      view: control.mesh.view,
      clock,
      rng: realRng,
      metrics,
      tls,
      scope,
    });
    proxyUp();
    shutdown.onReload = () => void control.reload();
    // Whoever stops us before the control plane has said anything is heard too.
    const why = await Promise.race([
      shutdown.requested,
      control.meshKnown.then(() => {
        control.start();
        meshKnown();
        return shutdown.requested;
      }),
    ]);
    log.info?.(`shutdown requested by ${why}, draining`, { deadline_ms: config.drainDeadlineMs });
    await Promise.all([control.drain(), servers.drain()]);
    log.info?.("shutdown complete");
    return EXIT_OK;
  } finally {
    await servers.drain();
  }
}

function complain(text: string): void {
  blockingWriter(Deno.stderr)(new TextEncoder().encode(text));
}

/** What the user can mend: a port, a file. Anything else is a bug and says so with its trace. */
function isStartFailure(error: unknown): error is Error {
  return error instanceof ListenError || error instanceof LocalLoadError ||
    (error instanceof Error && /^cannot bind /.test(error.message));
}

/**
 * A rejection that nobody awaited is a bug of ours, and other people's connections are no reason to die of it: it is
 * told, with its place, and the process goes on. (A bug inside a connection ends only that connection anyway.)
 */
function surviveStrayErrors(log: Log): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    const { reason } = event;
    log.error?.("bug: a rejection was not handled", {
      error: reason instanceof Error ? reason.stack ?? reason.message : String(reason),
    });
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    log.error?.("bug: an error was not caught", {
      error: event.error instanceof Error ? event.error.stack ?? event.message : event.message,
    });
  });
}
