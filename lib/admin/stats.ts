import type { Format, Metrics } from "#metrics";
import { chooseEncoding, encode } from "./encoding.ts";
import { type HttpServer, type HttpServerOptions, serveHttp } from "./http_server.ts";

const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  openmetrics: "application/openmetrics-text;charset=utf-8;version=1.0.0",
  text: "text/plain; charset=utf-8",
};

/** `/metrics` and `/stats/prometheus` (behaviour.md 14.6). */
export function startStatsServer(
  options: HttpServerOptions & { readonly metrics: Metrics },
): Promise<HttpServer> {
  const { metrics, clock } = options;
  return serveHttp(options, async ({ path, header }) => {
    if (path !== "/metrics" && path !== "/stats/prometheus") return { status: 404 };
    const format = chooseFormat(header("accept"));
    const pieces = metrics.expose(format, () => clock.sleep(0));
    const { encoding, body } = await encode(pieces, chooseEncoding(header("accept-encoding")));
    return {
      status: 200,
      contentType: CONTENT_TYPES[format],
      headers: {
        Vary: "accept-encoding",
        ...(encoding === undefined ? {} : { "Content-Encoding": encoding }),
      },
      body,
    };
  });
}

/** Any mention counts, wherever it stands and however little it is liked: as ztunnel. */
function chooseFormat(accept: string | undefined): Format {
  const types = (accept ?? "").split(",").map((entry) => entry.split(";")[0]!.trim().toLowerCase());
  return types.includes("application/openmetrics-text") ? "openmetrics" : "text";
}
