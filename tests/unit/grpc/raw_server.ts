/** A server of HTTP/2 of which a test is every byte. */
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { connectChannel, type GrpcChannel } from "#grpc";
import { realNetwork } from "../../support/network.ts";
import { mintLeaf, mintRoot } from "../../support/pki.ts";

const HOST = "127.54.0.2";
export const PATH = "/test.Echo/Say";
const root = mintRoot();
const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 54, 0, 2)] });
export const GRPC = { ":status": 200, "content-type": "application/grpc" };

export const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

export type Heads = Readonly<Record<string, string | string[] | number | undefined>>;
export type Serve = (stream: ServerHttp2Stream, heads: Heads) => void;

/** A server that does with each call what `serve` does, and a channel to it. */
export async function withServer(
  serve: Serve,
  act: (
    channel: GrpcChannel,
    sessions: Set<{ close(): void; destroy(): void }>,
    sockets: readonly Socket[],
  ) => Promise<void>,
): Promise<void> {
  const server = createSecureServer({ cert: leaf.pem, key: leaf.keyPem });
  const sessions = new Set<{ close(): void; destroy(): void }>();
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
  });
  server.on("session", (session) => {
    sessions.add(session as never);
    session.on("error", () => {});
  });
  server.on("stream", (stream, heads) => {
    stream.on("error", () => {});
    serve(stream as never, heads as Heads);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  try {
    using channel = await connectChannel({
      url: `https://${HOST}:${(server.address() as AddressInfo).port}`,
      roots: { kind: "inline", pem: root.pem },
      token: { kind: "literal", value: "t1" },
      clusterId: "c1",
      headers: [["X-Mine", "yes"], ["y-bin", "\u00ff"]],
    }, realNetwork);
    await act(channel, sessions, sockets);
  } finally {
    for (const session of sessions) session.destroy();
    server.close();
  }
}
