/**
 * An istiod in a process of its own that sends a large mesh, prebuilt, in one message, and then what standard input asks
 * for: `update <count>`, `remove`, `add` (everything), `change` (everything, in another revision), `make <count>` (a
 * service with so many endpoints, which takes a while in which nothing is answered), `hostile` (that service), `cut`.
 * Tells on standard output, a JSON line each, when a response left and when it was acknowledged.
 * Run: deno run -A bench/support/mesh_istiod.ts <workloads> <certificate chain> <key> [receive limit, bytes]
 * @module
 */
import { Buffer } from "node:buffer";
import { fromBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import {
  ADDRESS_TYPE,
  endpointResource,
  largeMesh,
  leanService,
  pairResources,
  podResource,
  responseOf,
  serviceName,
  serviceResource,
  uidOf,
  workloadResource,
} from "./large_mesh.ts";

const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const HOST = "127.0.0.1";
const [workloadsText, chainPath, keyPath, limitText] = Deno.args;
const mesh = largeMesh(Number(workloadsText));
/** None that updates reach. */
const CHANGED_REVISION = 1_000_000;
/** istiod's own. */
const receiveLimit = Number(limitText ?? 4 << 20);

/** The proxy itself, and a server that it is asked to reach; never removed. */
function* everything(revision: number): Generator<Uint8Array> {
  yield podResource("client", Uint8Array.of(127, 0, 0, 2));
  yield podResource("server", Uint8Array.of(127, 0, 0, 3));
  for (let at = 0; at < mesh.servicesCount; at++) yield serviceResource(mesh, at, revision);
  for (let at = 0; at < mesh.workloadsCount; at++) yield workloadResource(mesh, at, revision);
}

function* allNames(): Generator<string> {
  for (let at = 0; at < mesh.workloadsCount; at++) yield uidOf(mesh, at);
  for (let at = 0; at < mesh.servicesCount; at++) yield serviceName(mesh, at);
}

/** One service with so many endpoints, and behind them another one with one. */
function* hostile(count: number): Generator<Uint8Array> {
  yield leanService("big", Uint8Array.of(172, 31, 0, 1));
  for (let at = 0; at < count; at++) yield endpointResource(at);
  yield* pairResources("last", Uint8Array.of(127, 0, 0, 4), Uint8Array.of(172, 31, 0, 2));
}

const full = responseOf(ADDRESS_TYPE, "full", everything(1));
/** The same in another revision; made when it is asked for. */
let changed: Uint8Array | undefined;
let made: Uint8Array | undefined;
const removal = responseOf(ADDRESS_TYPE, "removal", [], allNames());
let stream: ServerDuplexStream<Buffer, Buffer> | undefined;
let revision = 1;

function tell(what: string, more: Record<string, unknown> = {}): void {
  console.log(JSON.stringify({ what, atMs: performance.timeOrigin + performance.now(), ...more }));
}

function send(bytes: Uint8Array, what: string): void {
  tell("sent", { name: what, bytes: bytes.length });
  stream?.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

function arrive(call: ServerDuplexStream<Buffer, Buffer>): void {
  stream = call;
  call.on("error", () => {});
  call.on("data", (bytes: Buffer) => {
    const request = fromBinary(DeltaDiscoveryRequestSchema, bytes);
    const isAddress = request.typeUrl === ADDRESS_TYPE;
    if (request.responseNonce !== "") {
      const rejected = request.errorDetail?.message.slice(0, 200);
      if (isAddress) tell("ack", { name: request.responseNonce, ...(rejected && { rejected }) });
      return;
    }
    tell("subscribed", {
      type: request.typeUrl,
      listed: Object.keys(request.initialResourceVersions).length,
    });
    if (isAddress) send(full, "full");
    else call.write(Buffer.from(responseOf(request.typeUrl, "policies", [])));
  });
}

const plain = (bytes: Buffer) => bytes;
const server = new Server({ "grpc.max_receive_message_length": receiveLimit });
server.addService({
  ads: {
    path: PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: plain,
    requestDeserialize: plain,
    responseSerialize: plain,
    responseDeserialize: plain,
  },
}, { ads: arrive });
const chain = Buffer.from(Deno.readTextFileSync(chainPath!));
const pair = { cert_chain: chain, private_key: Buffer.from(Deno.readTextFileSync(keyPath!)) };
server.bindAsync(`${HOST}:0`, ServerCredentials.createSsl(chain, [pair]), (error, port) => {
  if (error) throw error;
  tell("listening", { port, fullBytes: full.length });
});

/** What standard input may ask for. */
const ASKED: Readonly<Record<string, (count: number) => void>> = {
  update(count) {
    revision++;
    const some = Array.from(
      { length: count },
      (_, at) => workloadResource(mesh, at * 7 % mesh.workloadsCount, revision),
    );
    send(responseOf(ADDRESS_TYPE, `update-${count}`, some), `update-${count}`);
  },
  remove: () => send(removal, "removal"),
  add: () => send(full, "full"),
  change() {
    changed ??= responseOf(ADDRESS_TYPE, "change", everything(CHANGED_REVISION));
    send(changed, "change");
  },
  make(count) {
    made = responseOf(ADDRESS_TYPE, "hostile", hostile(count));
    tell("made");
  },
  hostile: () => send(made!, "hostile"),
  cut: () => void stream?.emit("error", { code: 14, details: "transport is closing" }),
};

const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
let rest = "";
for await (const text of lines) {
  const parts = (rest + text).split("\n");
  rest = parts.pop()!;
  for (const line of parts) {
    const [word = "", count] = line.split(" ");
    ASKED[word]?.(Number(count));
  }
}
Deno.exit(0);
