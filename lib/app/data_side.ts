/**
 * A data thread from its parts, the same on a Worker and on the main thread.
 * @module
 */
import type { Config } from "#config";
import { shareWindowGrowth } from "#http2";
import type { InstanceSpec, Port, ToControl, ToData } from "#link";
import { createKernel, FdLedger } from "#linux";
import { createRelayedLogHub, LOG_LIMITS, type LogHub, type RelayedLogHub } from "#log";
import type { MeshHandles, MeshView } from "#mesh";
import { Metrics } from "#metrics";
import { DataThread, type Ground } from "#proxy";
import { DialError } from "#stream";
import { type Clock, realClock, realRng } from "#system";
import { createTls } from "#tls";
import { SocketAddress } from "#values";
import { revocationsOf } from "./revocations.ts";
import { instanceOptions } from "./settings.ts";

const ENETDOWN = 100;

/** What a data thread is born with: the first message of its Worker. Plain data and shared memory. */
export interface ThreadBoot {
  /** From 0. */
  readonly index: number;
  /** How many there are: what is bounded for the process is shared out. */
  readonly count: number;
  readonly config: Config;
  readonly mesh: MeshHandles;
  /** Where it counts. */
  readonly cells: SharedArrayBuffer;
  /** Where it says which raw file descriptors it holds. */
  readonly ledger: SharedArrayBuffer;
}

/**
 * Serves what control says by `port`, from now on. Returns the thread's log. `onSharedGarbage` hears of memory that this
 * thread has let go of and others shared.
 */
export function startDataSide(
  boot: ThreadBoot,
  port: Port<ToControl, ToData>,
  view: MeshView,
  onSharedGarbage: (bytesCount: number) => void,
): RelayedLogHub {
  const { config, cells } = boot;
  const clock = realClock;
  new FdLedger(boot.ledger).adoptThread();
  const log = createRelayedLogHub({
    nowMs: () => clock.nowMs(),
    filter: config.logFilter,
    format: config.logFormat,
    send: (text, linesCount) => port.post({ tell: "log", text, linesCount }),
    defer: gathering(clock),
  });
  const metrics = new Metrics({
    nowMs: () => clock.monotonicMs(),
    thread: { cells, onChange: (change) => port.post({ tell: "series", ...change }) },
  });
  const grown = metrics.series("hbone_window_growth_bytes", []);
  shareWindowGrowth(boot.count, (changeBytes) => grown.add(changeBytes));
  const onFallback = tellingOnce(log, boot.index === 0);
  const revocations = revocationsOf(metrics, clock);
  new DataThread({
    port,
    view,
    clock,
    rng: realRng,
    metrics,
    tls: createTls(clock, {
      allowTls12: config.tls12Enabled,
      onFallback,
      // Without CRL_PATH no list ever comes, and connections need not be kept count of.
      ...(config.crlPath === undefined ? {} : { revocation: revocations }),
    }),
    revocations,
    scope: (name) => log.scope(name),
    isSpokesman: boot.index === 0,
    groundOf: (spec) => groundOf(config, spec, clock, onFallback),
    onSharedGarbage,
    log: {
      flush: () => log.flush(),
      taken: (linesCount) => log.taken(linesCount),
      setFilter: (filter) => log.change(filter, true),
    },
  });
  return log;
}

/** That a slower road is taken: once, however many instances take it. */
function tellingOnce(log: LogHub, isSpokesman: boolean): (message: string) => void {
  const told = new Set<string>();
  const scope = log.scope("ztunnel::app");
  return (message) => {
    if (told.has(message)) return;
    told.add(message);
    const write = isSpokesman ? scope.warn : scope.debug;
    write?.(message);
  };
}

/** The first line of a while goes at once, what follows in batches. */
function gathering(clock: Clock): (flush: () => void) => void {
  let lastMs = -Infinity;
  return (flush) => {
    const waitMs = lastMs + LOG_LIMITS.relayDelayMs - clock.monotonicMs();
    const act = () => {
      lastMs = clock.monotonicMs();
      flush();
    };
    if (waitMs <= 0) queueMicrotask(act);
    else clock.after(waitMs, act, { background: true });
  };
}

/**
 * The kernel in the instance's namespace. Descriptors that nobody has taken over are closed with it, and nothing dials by
 * it any more: who still waits for a workload or a certificate would do so in whatever namespace has the number by then.
 */
export function groundOf(
  config: Config,
  spec: InstanceSpec,
  clock: Clock,
  onFallback: (message: string) => void,
): Ground {
  const { netnsFd } = spec;
  const left = new Set(Object.values(spec.listenerFds ?? {}));
  let isGone = false;
  const netns = netnsFd === undefined ? {} : { netns: netnsFd };
  const kernel = createKernel({ clock, onFallback, ...netns });
  return {
    kernel: {
      listen: (options) => {
        if (options.fd !== undefined) left.delete(options.fd);
        return kernel.listen(options);
      },
      dialer: (options) => {
        const dialer = kernel.dialer(options);
        return { dial: (to, how) => isGone ? Promise.reject(tooLate(to)) : dialer.dial(to, how) };
      },
    },
    options: instanceOptions(config, spec, clock),
    [Symbol.dispose]: () => {
      if (isGone) return;
      isGone = true;
      for (const fd of left) FdLedger.close(fd);
      left.clear();
      if (netnsFd !== undefined) FdLedger.close(netnsFd);
    },
  };
}

/** As if the pod's network were down, which it soon is. */
function tooLate(to: SocketAddress): DialError {
  const reason = `cannot dial ${SocketAddress.format(to)}: its proxy has ended (ENETDOWN)`;
  return new DialError("ENETDOWN", ENETDOWN, reason);
}
