/**
 * The engine as h2spec wants to see it: over plain TCP, answering any method with a body.
 * @module
 */
import { type IncomingConnect, serve, type ServerConnection } from "#http2";
import { createKernel } from "#linux";
import { realClock } from "#system";
import { StreamError } from "#stream";
import { Ip } from "#values";
import type { Incoming } from "../../lib/http2/server.ts";

const SETTINGS = {
  // Small, so that h2spec can exceed them within its patience of two seconds.
  streamWindowBytes: 65_535,
  connectionWindowBytes: 1 << 20,
  frameBytesMax: 16_384,
  headerListBytesMax: 64 << 10,
  concurrentStreamsMax: 100,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
};

export function serveForH2spec(host: string): { readonly port: number } & AsyncDisposable {
  const acceptor = createKernel({ clock: realClock }).listen({
    at: { ip: Ip.parse(host)!, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const servers = new Set<ServerConnection>();
  acceptor.serve(({ stream }) => {
    const server = serve(stream, SETTINGS, realClock, (request) => void answer(request));
    servers.add(server);
    server.closed.then(() => servers.delete(server));
  });
  return {
    port: acceptor.address.port,
    async [Symbol.asyncDispose]() {
      acceptor.close();
      for (const server of servers) server.destroy();
      await Promise.all([...servers].map((server) => server.closed));
    },
  };
}

/** Heads at once, a body once the request's is in: what is wrong with a request shows before its answer is whole. */
async function answer(request: IncomingConnect): Promise<void> {
  const stream = (request as Incoming).respond(200, new Map());
  try {
    while (await stream.read() !== null);
    await stream.write(new TextEncoder().encode("a body longer than the smallest window\n"));
    await stream.closeWrite();
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
  }
}
