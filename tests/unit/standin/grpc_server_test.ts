/** The stand-in's gRPC, asked by another implementation of it. */
import { Buffer } from "node:buffer";
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { Client, credentials, Metadata, type ServiceError, type StatusObject } from "@grpc/grpc-js";
import { realClock } from "#system";
import { MeshAuthority } from "#standin";
import { type GrpcCall, GrpcServer } from "../../../lib/standin/grpc_server.ts";
import { until } from "../../support/netns.ts";

const IP = "127.56.2.1";
const MESSAGE_BYTES_MAX = 1_000_000;
const authority = await MeshAuthority.create({ clock: realClock });
const certificate = await authority.serverCertificate({ ips: [IP], dns: ["localhost"] });

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

const calls: GrpcCall[] = [];

function start(port = 0): GrpcServer {
  return new GrpcServer({
    ip: IP,
    port,
    ...certificate,
    clock: realClock,
    handlers: {
      "/t/echo": async (call) => {
        const message = await call.next(MESSAGE_BYTES_MAX);
        if (!(message instanceof Uint8Array)) return await call.end(8, `too large: ${message}`);
        await call.send(message);
        await call.end(0, "");
      },
      "/t/refuse": (call) => call.end(16, `who is „${call.metadata("name")}“? 100 %`),
      "/t/throw": () => Promise.reject(new Error("a bug")),
      "/t/chat": async (call) => {
        calls.push(call);
        for (;;) {
          const message = await call.next(MESSAGE_BYTES_MAX);
          if (!(message instanceof Uint8Array)) return await call.end(0, "");
          await call.send(message);
          await call.send(message);
        }
      },
    },
  });
}

async function withClient(act: (client: Client, server: GrpcServer) => Promise<void>) {
  const server = start();
  const client = new Client(
    `${IP}:${server.port}`,
    credentials.createSsl(Buffer.from(authority.rootsPem)),
    { "grpc.ssl_target_name_override": "localhost", "grpc.max_receive_message_length": -1 },
  );
  try {
    await act(client, server);
  } finally {
    client.close();
    await server.close();
  }
}

const asIs = (bytes: Buffer) => bytes;

function unary(client: Client, path: string, message: Uint8Array): Promise<Buffer> {
  const metadata = new Metadata();
  metadata.set("name", "x");
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      path,
      asIs,
      asIs,
      Buffer.from(message),
      metadata,
      (error: ServiceError | null, answer?: Buffer) => error ? reject(error) : resolve(answer!),
    )
  );
}

test("a message for a message, small, empty and larger than every window", () =>
  withClient(async (client) => {
    for (const length of [0, 1, 65_536, MESSAGE_BYTES_MAX]) {
      const message = new Uint8Array(length).map((_, at) => at % 251);
      deepStrictEqual(new Uint8Array(await unary(client, "/t/echo", message)), message);
    }
  }));

test("ends other than well: refused, too large, a bug, and a method that is not there", () =>
  withClient(async (client) => {
    const none = new Uint8Array(3);
    for (
      const [path, message, end] of [
        ["/t/refuse", none, { code: 16, details: "who is „x“? 100 %" }],
        ["/t/echo", new Uint8Array(MESSAGE_BYTES_MAX + 1), {
          code: 8,
          details: `too large: ${MESSAGE_BYTES_MAX + 1}`,
        }],
        ["/t/throw", none, { code: 2, details: "a bug" }],
        ["/t/nothing", none, { code: 12, details: "no /t/nothing here" }],
      ] as const
    ) {
      await rejects(unary(client, path, message), (error: ServiceError) => {
        deepStrictEqual({ code: error.code, details: error.details }, end);
        return true;
      });
    }
  }));

test("a stream: both sides talk, the client finishes, and what it sent before is answered", () =>
  withClient(async (client) => {
    const stream = client.makeBidiStreamRequest("/t/chat", asIs, asIs);
    const answers: number[] = [];
    stream.on("data", (bytes: Buffer) => answers.push(bytes.length));
    for (const length of [1, 20_000, 300]) stream.write(Buffer.alloc(length));
    stream.end();
    const { code } = await new Promise<StatusObject>((resolve) => stream.on("status", resolve));
    strictEqual(code, 0);
    deepStrictEqual(answers, [1, 1, 20_000, 20_000, 300, 300]);
  }));

test("a client that leaves is noticed; so is a server, whose port is free at once", () =>
  withClient(async (client, server) => {
    const stream = client.makeBidiStreamRequest("/t/chat", asIs, asIs);
    stream.on("error", () => {});
    stream.write(Buffer.alloc(1));
    await new Promise((resolve) => stream.once("data", resolve));
    const call = calls.at(-1)!;
    let isOver = false;
    call.closed.then(() => isOver = true);
    stream.cancel();
    await until("the call is over", () => isOver);
    await call.send(new Uint8Array(1));
    await call.end(0, "");

    const other = client.makeBidiStreamRequest("/t/chat", asIs, asIs);
    const ended = new Promise<StatusObject>((resolve) => other.on("status", resolve));
    other.on("error", () => {});
    other.write(Buffer.alloc(1));
    await new Promise((resolve) => other.once("data", resolve));
    const { port } = server;
    await server.close();
    ok((await ended).code !== 0);
    await start(port).close();
  }));
