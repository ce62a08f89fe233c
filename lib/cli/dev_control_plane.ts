/**
 * `ztunnel dev --control-plane-only`: the test control plane as a process of its own.
 * @module
 */
import { createLogHub } from "#log";
import { realClock, realRng } from "#system";
import type { DevSettings } from "./dev_arguments.ts";

export interface ControlPlaneRun {
  readonly settings: DevSettings;
  /** To stdout and stderr, a line each. */
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
}

/**
 * Its one line on stdout is JSON and says where everything is: `xdsAddress` (also the CA's), `controlUrl`, `rootsPath`,
 * and `tokens` by owner. Its log goes to stderr. Runs until a signal; rejects if it cannot start.
 */
export async function runControlPlane(
  { settings, print, printError }: ControlPlaneRun,
): Promise<number> {
  const stop = Promise.withResolvers<number>();
  const onSignal = () => stop.resolve(0);
  for (const name of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(name, onSignal);
  const { hostControlPlane } = await import("#standin");
  const folder = settings.folder ?? await Deno.makeTempDir({ prefix: "ztunnel-control-plane-" });
  try {
    await Deno.mkdir(folder, { recursive: true });
    const hub = createLogHub({
      write: (bytes) => printError(new TextDecoder().decode(bytes).trimEnd()),
      nowMs: () => realClock.nowMs(),
      filter: "info",
      format: "plain",
    });
    await using host = await hostControlPlane({
      clock: realClock,
      rng: realRng,
      log: hub.scope("istiod"),
      source: settings.source,
      ...settings.listen,
      controlPort: settings.controlPort,
      folder,
    });
    const tokens: Record<string, string> = {};
    for (const owner of settings.tokens) {
      const { namespace, serviceAccount, node } = owner;
      const name = `${namespace}/${serviceAccount}${node === undefined ? "" : `@${node}`}`;
      tokens[name] = await host.credentials.addToken(owner);
    }
    print(JSON.stringify({
      xdsAddress: host.plane.url,
      controlUrl: host.controlUrl,
      rootsPath: host.credentials.rootsPath,
      tokens,
    }));
    const code = await stop.promise;
    hub.flush();
    return code;
  } finally {
    if (settings.folder === undefined) await Deno.remove(folder, { recursive: true });
  }
}
