import { InvalidFilter, type LogHub } from "#log";
import type { DumpSources } from "./config_dump.ts";
import { Dumps } from "./dumps.ts";
import {
  type HttpAnswer,
  type HttpRequest,
  type HttpServer,
  type HttpServerOptions,
  serveHttp,
} from "./http_server.ts";

/** What the admin server asks for; `app` brings it. */
export interface AdminSources extends DumpSources {
  readonly logHub: Pick<LogHub, "filter" | "change">;
  /** Resolves when everyone else on this thread has had a turn. */
  turn(): Promise<void>;
  /** Starts a graceful shutdown; may be called again. */
  quit(): void;
}

const ENDPOINTS: readonly (readonly [path: string, meaning: string])[] = [
  ["/config_dump", "everything this proxy knows: mesh, certificates, connections, settings"],
  ["/logging", "POST: log levels, to see and to change"],
  ["/quitquitquit", "POST: shut down"],
];

const LOGGING_USAGE = `usage: POST /logging                              (shows the current level)
usage: POST /logging?level=<level>                (changes the level of everything)
usage: POST /logging?level=<scope>=<level>,...    (changes single scopes)
usage: POST /logging?reset                        (goes back to the level of the start)

levels: off|error|warn|info|debug|trace
scopes: the beginning of a name, e.g. access, dns, ztunnel::proxy
`;

/** The admin interface on loopback (behaviour.md 14.2). */
export function startAdminServer(
  options: HttpServerOptions & { readonly sources: AdminSources },
): Promise<HttpServer> {
  const { sources, clock } = options;
  const dumps = new Dumps(sources, { clock, turn: () => sources.turn() });
  return serveHttp(options, (request) => {
    if (!isFromHere(request)) {
      return { status: 403, body: "requests of other sites are refused\n" };
    }
    switch (request.path) {
      case "/":
        return { status: 200, contentType: "text/html; charset=utf-8", body: INDEX };
      case "/config_dump":
        return dumps.answer();
      case "/logging":
        return logging(request, sources.logHub);
      case "/quitquitquit":
        return quit(request, sources);
      case "/debug/pprof/profile":
      case "/debug/pprof/heap":
      case "/debug/pprof/heap/profiling":
        return { status: 500, body: "profiling is not supported by this build\n" };
      default:
        return { status: 404 };
    }
  });
}

/**
 * The port is on loopback, but a browser on this machine is too. A page elsewhere can POST here (then there is an
 * Origin that is not ours) or point its own name at 127.0.0.1 (then Host is that name).
 */
function isFromHere({ header }: HttpRequest): boolean {
  const host = URL.parse(`http://${header("host") ?? "localhost"}`);
  if (host === null) return false;
  const { hostname } = host;
  const isOurs = hostname === "localhost" || hostname.startsWith("[") || /^[\d.]+$/.test(hostname);
  const origin = header("origin");
  return isOurs && (origin === undefined || URL.parse(origin)?.host === host.host);
}

/** behaviour.md 14.4. */
function logging({ method, query }: HttpRequest, hub: AdminSources["logHub"]): HttpAnswer {
  if (method !== "POST") return { status: 405, headers: { Allow: "POST" }, body: LOGGING_USAGE };
  const level = query.get("level");
  const reset = query.has("reset");
  try {
    if (level?.split(",").some((clause) => clause.trim() === "")) {
      throw new InvalidFilter("a level is missing");
    }
    if (level !== null || reset) hub.change(level ?? "", reset);
  } catch (error) {
    if (!(error instanceof InvalidFilter)) throw error;
    return { status: 400, body: `invalid level: ${error.message}\n${LOGGING_USAGE}` };
  }
  return { status: 200, body: `current log level is ${hub.filter}\n` };
}

function quit({ method }: HttpRequest, sources: AdminSources): HttpAnswer {
  if (method !== "POST") return { status: 405, headers: { Allow: "POST" } };
  sources.quit();
  return { status: 200, body: "shutdown now\n" };
}

const INDEX = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>ztunnel admin</title></head>
<body>
<h1>ztunnel admin</h1>
<table>
${
  ENDPOINTS.map(([path, meaning]) =>
    `<tr><td><a href="${path.slice(1)}">${path}</a></td><td>${meaning}</td></tr>`
  ).join("\n")
}
</table>
</body>
</html>
`;
